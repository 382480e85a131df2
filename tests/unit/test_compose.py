"""docker-compose.yml, the Dockerfile and what they read: what can be said of them before anything is started."""

from __future__ import annotations

import fnmatch
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from bus.bootstrap import hosted, load_workspace
from bus.catalog import Workspace
from bus.errors import ConfigurationError
from scripts.compose_file import FILE, read, replaced
from scripts.without_docker import WORKSPACE

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / FILE).read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
HOSTS = {name: service for name, service in SERVICES.items() if name.startswith("host-")}
#: Services of images that are not ours.
BELOW = ("rabbitmq", "postgres")
#: Where somebody is told to give commands to services, and how.
PAGES = ("docs/operating.md", ".github/workflows/ci.yml", FILE)
SPOKEN_TO = re.compile(r"docker compose (?:exec(?: -T)?|run --rm(?: -v \S+)?) ([\w-]+)")


@pytest.fixture(scope="module")
def workspace() -> Workspace:
    return load_workspace(ROOT, "compose")


def secrets_of(service: dict[str, Any]) -> set[str]:
    return {one if isinstance(one, str) else one["source"] for one in service.get("secrets", ())}


def test_the_file_is_one_that_docker_compose_reads() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(ROOT / FILE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_agency_that_has_a_host_here_has_one_in_the_file(workspace: Workspace) -> None:
    roles = {service["command"][service["command"].index("--role") + 1] for service in HOSTS.values()}
    assert roles == {f"agency:{agency}" for agency in hosted(workspace)}


@pytest.mark.parametrize("name", sorted(HOSTS))
def test_a_host_has_its_own_secret_and_no_other(name: str) -> None:
    agency = name.removeprefix("host-").replace("-", "_")
    assert secrets_of(HOSTS[name]) == {"tls_ca", f"broker_{agency}"}


@pytest.mark.parametrize("name", sorted(HOSTS))
def test_a_host_shares_a_network_with_the_broker_and_with_nobody_else(name: str) -> None:
    (own,) = HOSTS[name]["networks"]
    assert {other for other, service in SERVICES.items() if own in service["networks"]} == {name, "rabbitmq"}
    assert COMPOSE["networks"][own]["internal"]


@pytest.mark.parametrize("name", sorted(HOSTS))
def test_a_host_is_not_told_where_the_store_is(name: str) -> None:
    assert "BUS_STORE_URL" not in HOSTS[name]["environment"]


def test_only_the_gateway_can_be_reached_from_elsewhere_and_that_from_this_machine_alone() -> None:
    assert {name: service["ports"] for name, service in SERVICES.items() if "ports" in service} == {
        "gateway": ["127.0.0.1:8420:8420"]
    }


def test_only_who_has_business_outside_has_a_way_out() -> None:
    ways_out = {name for name, network in COMPOSE["networks"].items() if not network.get("internal")}
    taken = {name: ways_out.intersection(service["networks"]) for name, service in SERVICES.items()}
    # Portals come to the gateway, and the relay goes to the receivers of webhooks.
    assert {name: out for name, out in taken.items() if out} == {"gateway": {"front"}, "relay": {"webhooks"}}


def test_everything_runs_without_privileges_within_bounds_and_not_as_root() -> None:
    for name, service in SERVICES.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["user"].startswith("${BUS_USER:?"), name
        assert service["deploy"]["resources"]["limits"].keys() == {"cpus", "memory", "pids"}, name
        assert service.get("read_only") is True or name == "rabbitmq", name


def test_everything_that_stays_has_a_health_check_and_comes_back() -> None:
    for name, service in SERVICES.items():
        if service["restart"] != "no":
            assert service["restart"] == "unless-stopped", name
            assert service["healthcheck"]["test"][0] == "CMD", name


def test_what_runs_once_is_waited_for_by_something_that_stays() -> None:
    # Docker Compose's --wait takes the end of anything else for a failure.
    waited = {
        other
        for service in SERVICES.values()
        for other, need in service.get("depends_on", {}).items()
        if need["condition"] == "service_completed_successfully"
    }
    assert waited == {name for name, service in SERVICES.items() if service["restart"] == "no"}


def test_no_image_names_a_registry() -> None:
    for service in SERVICES.values():
        assert re.fullmatch(r"[a-z0-9-]+(:[a-z0-9.-]+)?", service["image"])


def test_each_program_finds_the_secrets_that_its_environment_names() -> None:
    env = (ROOT / "env" / "compose.yaml").read_text(encoding="utf-8")
    named = set(re.findall(r"secrets/[\w.]+", env))
    mounted = {
        one["target"] for name, service in SERVICES.items() if name not in BELOW for one in service.get("secrets", ())
    }
    assert mounted == {f"/workspace/{path}" for path in named}


def test_the_script_makes_every_secret_for_its_owner_alone_and_none_twice(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    script = [str(ROOT / "scripts" / "make-secrets"), str(folder)]
    # When it runs once, one more secret is wanted, and it runs again
    subprocess.run(script, check=True, capture_output=True)
    files = [folder / Path(one["file"]).relative_to("secrets") for one in COMPOSE["secrets"].values()]
    first = {file: file.read_bytes() for file in files}
    (folder / "store").unlink()
    told = subprocess.run(script, check=True, capture_output=True, text=True)
    # Then only that one is new, and nobody else can read what is secret
    changed = [file.name for file in files if file.read_bytes() != first[file]]
    assert changed == ["store"]
    assert told.stdout == f"Made in {folder}: store.\n"
    open_to_others = {file.name for file in files if stat.S_IMODE(file.stat().st_mode) != 0o600}
    assert open_to_others == {"ca.pem", "rabbitmq.pem"}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    # and all differ, none can be committed, and the containers run as whoever may read them
    secrets = [first[file] for file in files if not file.suffix]
    assert len(set(secrets)) == len(secrets)
    assert all(re.fullmatch(rb"[0-9a-f]{64}\n", secret) for secret in secrets)
    assert (folder / ".gitignore").read_text(encoding="ascii") == "*\n"
    owner = folder.stat()
    assert (tmp_path / ".env").read_text(encoding="ascii") == f"BUS_USER={owner.st_uid}:{owner.st_gid}\n"
    assert owner.st_uid != 0


def copied() -> list[str]:
    """What the Dockerfile takes from the repository."""
    lines = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    return [name for line in lines for name in line.split()]


def test_the_image_is_given_what_it_copies_and_nothing_else() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    let_in = [line[1:] for line in lines if line.startswith("!")]
    assert "*" in lines
    assert sorted(let_in) == sorted(copied())
    assert [name for name in let_in if not (ROOT / name).exists()] == []


def test_the_workspace_without_docker_is_that_of_the_image() -> None:
    of_the_build = {"pyproject.toml", "constraints.txt", "README.md", "LICENSE", "bus"}
    assert set(WORKSPACE) == set(copied()) - of_the_build


def test_no_secret_is_in_a_line_of_the_file_or_in_the_image() -> None:
    assert not [name for name in copied() if fnmatch.fnmatch(name, "*secret*") or name.startswith(".")]
    for name, service in SERVICES.items():
        for variable, value in service.get("environment", {}).items():
            assert "PASSWORD" not in variable or variable.endswith("_FILE"), name
            assert not re.search(r"//[^/@]+:[^/@]+@", str(value)), name


@pytest.mark.parametrize("page", PAGES)
def test_each_service_that_a_page_speaks_to_is_there(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    named = SPOKEN_TO.findall(text)
    assert named
    assert set(named) <= SERVICES.keys()


def test_whoever_is_asked_about_the_store_by_command_knows_a_folder_on_a_disk_to_work_in() -> None:
    text = "".join((ROOT / page).read_text(encoding="utf-8") for page in PAGES)
    asked = set(re.findall(rf"{SPOKEN_TO.pattern} bus (?:store|status|submit|request)", text))
    services = {service.name: service for service in read(ROOT)}
    assert asked == {"gateway", "migrate"}
    for name in asked:
        # Not in memory, of which a container has little: a restore unpacks a whole store there.
        on_disk = [folder for folder, volume in services[name].folders.items() if volume]
        data = Path(services[name].environment["BUS_DATA"])
        assert [folder for folder in on_disk if data.is_relative_to(folder)], name


def test_services_are_started_after_what_they_need() -> None:
    services = read(ROOT)
    place = {service.name: number for number, service in enumerate(services)}
    assert place.keys() == SERVICES.keys()
    assert all(place[needed] < place[service.name] for service in services for needed in service.needs)


def test_a_member_that_would_be_left_out_without_docker_is_refused(tmp_path: Path) -> None:
    text = (ROOT / FILE).read_text(encoding="utf-8")
    (tmp_path / FILE).write_text(
        text.replace("    hostname: rabbitmq ", "    pid: host\n    dns: x ", 1), encoding="utf-8"
    )
    with pytest.raises(ConfigurationError) as refused:
        read(tmp_path)
    assert [fault.message for fault in refused.value.faults] == [
        "dns of the service rabbitmq has no meaning without Docker yet.",
        "pid of the service rabbitmq has no meaning without Docker yet.",
    ]


@pytest.mark.parametrize(
    ("text", "here"),
    [
        ("amqps://rabbitmq:5671/bus", "amqps://127.0.0.1:1/bus"),
        ("postgresql://bus@postgres:5432/bus", "postgresql://bus@127.0.0.1:2/bus"),
        ("rabbitmq:56711", "rabbitmq:56711"),
        ("/data/bus", "/x/bus"),
        ("mkdir -p /data/bus; test -s /data", "mkdir -p /x/bus; test -s /x"),
        ("/database", "/database"),
        ("/srv/data", "/srv/data"),
    ],
)
def test_addresses_and_paths_of_containers_are_replaced_whole(text: str, here: str) -> None:
    names = {"rabbitmq:5671": "127.0.0.1:1", "postgres:5432": "127.0.0.1:2", "/data": "/x"}
    assert replaced([text], names) == (here,)


def test_the_health_check_says_no_where_the_role_does_not_run() -> None:
    command = [str(ROOT / "scripts" / "connected.py"), "agency:nobody", "rabbitmq:5671"]
    found = shutil.which("python3")
    done = subprocess.run([str(found), *command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "agency:nobody does not run\n")
