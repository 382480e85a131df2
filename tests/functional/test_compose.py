"""What docker-compose.yml describes, started from that file without Docker: the same programs and settings."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psutil
import pytest
import yaml

from bus.brokers.rabbitmq import RabbitBroker
from bus.client import Client
from bus.errors import BrokerUnavailableError
from bus.message.channel import Channel, tasks
from scripts.compose_file import read
from scripts.without_docker import Instance, paths
from tests.support.waiting import wait_for

ROOT = Path(__file__).parents[2]
AGENCIES = ("commercial_registry", "tax_authority")
#: Nothing can be written in $1 by the rest, which is a command.
READ_ONLY = 'mount --bind "$1" "$1"; mount -o remount,bind,ro "$1"; shift; exec "$@"'
#: Seconds for everything to start, on a machine that is busy with other suites.
START, STOP = 240.0, 60.0

pytestmark = pytest.mark.timeout(300)


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The running whole."""

    process: subprocess.Popen[bytes]
    folder: Path
    secrets: Path
    gateway: str
    #: Service and port -> address here.
    addresses: Mapping[str, str]
    #: Instance -> its program, then what that started.
    programs: Mapping[str, tuple[int, ...]]

    @property
    def broker(self) -> str:
        return f"amqps://{self.addresses['rabbitmq:5671']}/bus"

    def password(self, agency: str) -> str:
        return (self.secrets / f"broker_{agency}").read_text(encoding="ascii").strip()

    def port(self, address: str) -> int:
        return int(self.addresses[address].rpartition(":")[2])


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    folder = tmp_path_factory.mktemp("compose")
    secrets = folder / "secrets"
    subprocess.run([str(ROOT / "scripts" / "make-secrets"), str(secrets)], check=True, capture_output=True)
    command = [sys.executable, "-m", "scripts.without_docker", "--port", "0"]
    command += ["--secrets", str(secrets), "--folder", str(folder / "run")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    running = folder / "run" / "running.json"
    try:
        wait_for("it runs, or ended", lambda: running.exists() or process.poll() is not None, START)
        assert process.poll() is None, (folder / "log").read_text(encoding="utf-8")
        told = json.loads(running.read_text(encoding="utf-8"))
        yield Started(
            process=process,
            folder=folder / "run",
            secrets=secrets,
            gateway=told["gateway"],
            addresses=told["addresses"],
            programs={name: tuple(one["pids"]) for name, one in told["services"].items()},
        )
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(STOP)


def _remote_ports(pid: int) -> set[int]:
    connections = psutil.Process(pid).net_connections("tcp")
    return {one.raddr.port for one in connections if one.status == psutil.CONN_ESTABLISHED}


def _host(agency: str) -> str:
    return f"host-{agency.replace('_', '-')}"


def test_every_service_of_the_file_runs_as_often_as_it_says(started: Started) -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    stay = {name for name, one in services.items() if one["restart"] != "no"} - {"rabbitmq", "postgres"}
    wanted = (stay - {"process-manager"}) | {"process-manager-1", "process-manager-2"}
    assert started.programs.keys() == wanted
    assert all(psutil.pid_exists(pid) for pids in started.programs.values() for pid in pids)


def test_a_request_goes_through_all_of_it_with_a_clerk_in_the_middle(started: Started) -> None:
    # Given the token that the first start left for the administrator
    file = started.folder / "volumes" / "gateway" / "bus" / "administrator"
    assert file.stat().st_mode & 0o077 == 0
    token = json.loads(file.read_text(encoding="utf-8"))["token"]
    business = json.loads((ROOT / "docs" / "samples" / "open-business.json").read_text(encoding="utf-8"))
    business["business"]["premises"]["lease_number"] = "L-2026-0042"
    permit = json.loads((ROOT / "docs" / "samples" / "permit.json").read_text(encoding="utf-8"))
    portal = Client(started.gateway, token, agency="one_stop_shop")
    clerk = Client(started.gateway, token, agency="municipality")
    # When somebody asks for a business, and the clerk grants the permit
    receipt = portal.submit("open-business.v1", business, key=uuid4().hex)
    identity = str(receipt["request_id"])
    (row,) = wait_for("the clerk's task", lambda: clerk.desk_list()["items"])
    clerk.desk_claim(row["row"])
    clerk.desk_answer(row["row"], permit)
    # Then every agency has done its part
    ended = wait_for("its end", lambda: _ended(portal, identity))
    assert ended["state"] == "completed", ended
    portal.close()
    clerk.close()


def _ended(portal: Client, identity: str) -> dict[str, Any] | None:
    seen = dict(portal.request_show(identity))
    return seen if seen["ended_at"] else None


@pytest.mark.parametrize("agency", AGENCIES)
def test_a_host_reaches_the_broker_and_nothing_of_the_store(started: Started, agency: str) -> None:
    host, *stand_in = started.programs[_host(agency)]
    ports = _remote_ports(host)
    assert started.port("rabbitmq:5671") in ports
    for other in ("postgres:5432", "rabbitmq:clear", "rabbitmq:15671", "gateway:8420"):
        assert started.port(other) not in ports, other
    # and neither is it told where it would be, nor with which password
    environment = psutil.Process(host).environ()
    assert {name for name in environment if name.startswith("BUS_")} == {"BUS_ENV", "BUS_BROKER_URL"}
    own = started.folder / _host(agency) / "workspace" / "secrets"
    assert {file.name for file in own.iterdir()} == {"ca.pem", f"broker_{agency}"}
    assert stand_in, "the stand-in for its legacy system runs beside it"


@pytest.mark.parametrize("name", ["gateway", "process-manager-1", "process-manager-2", "relay", "timekeeper"])
def test_a_role_of_the_bus_reaches_the_store(started: Started, name: str) -> None:
    # That the hosts do not is worth something only if it would be seen.
    assert started.port("postgres:5432") in _remote_ports(started.programs[name][0])


def test_everybody_speaks_with_the_broker_enciphered_and_under_an_own_name(started: Started) -> None:
    url = f"{started.addresses['rabbitmq:management']}/api/connections"

    def connections() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = httpx.get(url, auth=("guest", "guest"), timeout=30.0).json()
        # A young connection is listed before it is described.
        return [one for one in found if "user" in one]

    users = {"bus", *(f"agency.{agency}" for agency in AGENCIES)}

    def all_of_them() -> list[dict[str, Any]]:
        found = connections()
        return found if {one["user"] for one in found} >= users else []

    seen = wait_for("a connection of each user", all_of_them)
    assert {one["user"] for one in seen} == users
    assert {one["ssl"] for one in seen} == {True}


@pytest.mark.parametrize(
    ("user", "password", "channel", "trusted", "told"),
    [
        ("tax_authority", "tax_authority", tasks("commercial_registry"), "ca.pem", "ACCESS_REFUSED"),
        ("commercial_registry", "tax_authority", tasks("commercial_registry"), "ca.pem", "does not let the user"),
        ("tax_authority", "tax_authority", tasks("tax_authority"), None, "certificate"),
    ],
    ids=["another agency's channel", "another agency's name", "an authority that nobody knows"],
)
def test_credentials_of_an_agency_are_good_for_that_agency_alone(
    started: Started, user: str, password: str, channel: Channel, trusted: str | None, told: str
) -> None:
    ca = None if trusted is None else started.secrets / "tls" / trusted
    broker = RabbitBroker(started.broker, user=f"agency.{user}", password=started.password(password), ca=ca)
    with pytest.raises(BrokerUnavailableError, match=told):
        broker.consumer([channel], 1)
    broker.close()


def test_where_tls_is_spoken_nothing_else_is(started: Started) -> None:
    url = started.broker.replace("amqps://", "amqp://")
    broker = RabbitBroker(url, user="agency.tax_authority", password=started.password("tax_authority"))
    with pytest.raises(BrokerUnavailableError, match="cannot be reached"):
        broker.consumer([tasks("tax_authority")], 1)
    broker.close()


def test_the_broker_stands_as_the_workspace_wants_it(started: Started) -> None:
    done = _bus(started, "topology", "topology", "check")
    assert (done.returncode, done.stdout) == (0, "No differences.\n"), done.stderr


@pytest.mark.parametrize(
    ("service", "command"),
    [
        ("topology", "topology apply"),
        ("migrate", "store recount"),
        ("migrate", "store migrate"),
        ("gateway", "status"),
        ("gateway", "failure list"),
    ],
)
def test_a_command_that_the_page_gives_to_a_service_is_carried_out(
    started: Started, service: str, command: str
) -> None:
    done = _bus(started, service, *command.split())
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_backup_is_made_and_put_back_only_while_no_role_runs(started: Started, tmp_path: Path) -> None:
    file = str(tmp_path / "today")
    made = _bus(started, "migrate", "store", "backup", file)
    assert made.returncode == 0, made.stdout + made.stderr
    # It is unpacked and found whole before anybody is asked who else uses the store
    for command in (["restore", file, "--replace"], ["reconcile", "--reason", "a disk was put back"]):
        refused = _bus(started, "migrate", "store", *command)
        assert (refused.returncode, "[store-in-use]" in refused.stderr) == (3, True), refused.stdout + refused.stderr


def test_a_journal_in_a_volume_is_declared_restored_only_while_its_host_is_stopped(started: Started) -> None:
    command = ("agency", "restore", "tax_authority", "--data")
    here = str(started.folder / "volumes" / "tax-authority" / "bus")
    refused = _bus(started, _host("tax_authority"), *command, here)
    assert (refused.returncode, "[data-in-use]" in refused.stderr) == (3, True), refused.stdout + refused.stderr


def _bus(started: Started, name: str, *command: str) -> subprocess.CompletedProcess[str]:
    """A command where a service runs, as ``docker compose run --rm`` or ``exec`` has it: on a read-only workspace."""
    service = next(one for one in read(ROOT) if one.name == name)
    here = {**started.addresses, **paths(started.folder, name, service)}
    here["127.0.0.1:8420"] = started.addresses["gateway:8420"]
    instance = Instance(name=name, service=service, folder=started.folder / name, here=here)
    workspace = instance.folder / "workspace"
    walled = [*instance.start(["bus"]).command, *command]
    if os.geteuid() == 0:
        # Rights do not hold root back.
        walled = ["unshare", "--mount", "sh", "-euc", READ_ONLY, "sh", str(workspace), *walled]
    else:
        workspace.chmod(0o500)
    return subprocess.run(walled, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("role", ["relay", "agency:tax_authority"])
def test_the_health_check_sees_a_connection_that_is_missing(started: Started, role: str) -> None:
    def asked(address: str) -> tuple[int, str]:
        command = [sys.executable, str(ROOT / "scripts" / "connected.py"), role, address]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, done.stderr

    assert asked(started.addresses["rabbitmq:5671"]) == (0, "")
    unused = started.addresses["gateway:8420"]
    assert asked(unused) == (1, f"{role} has no connection to port {unused.rpartition(':')[2]}\n")


def test_nothing_is_left_when_it_was_told_to_stop(started: Started) -> None:
    everything = psutil.Process(started.process.pid).children(recursive=True)
    assert len(everything) > len(started.programs)
    started.process.send_signal(signal.SIGTERM)
    assert started.process.wait(STOP) == 0
    left = [one for one in everything if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
    assert left == []
    # each role ended well, and not by force
    for name in started.programs:
        assert "Traceback" not in (started.folder / name / "log").read_text(encoding="utf-8"), name
