"""``bus topology``: a broker booted or made from a workspace is as it should be, and what is otherwise is named."""

from __future__ import annotations

import json
import re
import shlex
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from bus.bench.services import RabbitAdmin, RabbitNode
from bus.bench.services.waiting import wait_until
from bus.cli import main
from tests.support.workspaces.copies import Edit, copy_of_small

Run: TypeAlias = Callable[..., tuple[int, str, str]]

PASSWORDS = {"bus": "of the bus", "agency.registry": "of the registry", "agency.land_office": "of the land office"}
#: Put in place of it: two agencies whose hosts speak over RabbitMQ.
ROUTES = Edit(
    old="agencies:\n  portal:",
    new="agencies:\n  land_office: {name: {en: Land, ar: الأراضي}, adapter: registry}\n  portal:",
)
ENV = """
  registry: {{use: simulator, broker_password: {{file: secrets/agency.registry}}}}
  land_office: {{use: simulator, broker_password: {{file: secrets/agency.land_office}}}}
  office: {{use: desk}}
broker:
  url: {url}
  password: {{file: secrets/bus}}
"""
ALL = {"configure": ".*", "write": ".*", "read": ".*"}
#: A broker that nobody runs.
DEAD = RabbitAdmin(hosts="127.0.0.1:1", management="http://127.0.0.1:1")
MANAGEMENT = "  management: {{url: '{url}', user: {user}, password: {{file: secrets/ops}}}}\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A workspace on a broker, and the administrator of that broker."""

    root: Path
    vhost: str
    admin: RabbitAdmin
    type: Run

    def run(self, verb: str, *words: str) -> tuple[int, str, str]:
        """``bus topology VERB`` on this workspace: exit code, output, errors."""
        return self.type("topology", verb, "--workspace", str(self.root), "--env", "dev", *words)

    def found(self) -> set[tuple[str, str, str]]:
        """What ``check`` tells: weight, code and name of each finding, but of the disk of a node made for tests."""
        code, out, _ = self.run("check", "--json")
        findings = json.loads(out)["findings"]
        assert all(one["mend"] and one["message"] for one in findings)
        assert code == int(any(one["weight"] == "difference" for one in findings))
        return {(one["weight"], one["code"], one["name"]) for one in findings if "limit" not in one["code"]}

    def tamper(self, break_: Callable[[Site], object]) -> None:
        """Break something as an administrator, who has the rights for it just as long."""
        self.ask("PUT", "permissions", "guest", ALL)
        break_(self)
        if self.vhost in (one["name"] for one in self.admin.ask("GET", "/api/vhosts")):
            self.ask("DELETE", "permissions", "guest")

    def ask(self, method: str, kind: str, rest: str = "", json: object = None) -> Any:
        """Ask the management API about this virtual host: ``("PUT", "policies", "name", {...})``."""
        return self.admin.ask(method, f"/api/{kind}/{self.vhost}{'/' if rest else ''}{rest}", json)


@pytest.fixture
def type_(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("LANG", "en_GB.UTF-8")

    def run(*words: str) -> tuple[int, str, str]:
        code = main(words)
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitNode]:
    with RabbitNode(tmp_path_factory.mktemp("rabbit")) as node:
        yield node


def workspace(folder: Path, url: str, management: str = "") -> Path:
    """A workspace on the broker at ``url``."""
    root, _ = copy_of_small(folder, ROUTES)
    (root / "env/dev.yaml").write_text("agencies:" + ENV.format(url=url) + management, encoding="utf-8")
    (root / "secrets").mkdir()
    for user, password in {**PASSWORDS, "ops": "guest"}.items():
        (root / "secrets" / user).write_text(password + "\n", encoding="utf-8")
    return root


def managed(admin: RabbitAdmin, user: str = "guest") -> str:
    return MANAGEMENT.format(url=admin.management, user=user)


@pytest.fixture
def site(node: RabbitNode, tmp_path: Path, type_: Run) -> Iterator[Site]:
    """A workspace with its topology made by ``apply`` in a virtual host of its own."""
    root = workspace(tmp_path, node.admin.url("gov"), managed(node.admin))
    made = Site(root=root, vhost="gov", admin=node.admin, type=type_)
    assert made.run("apply")[0] == 0
    yield made
    if "gov" in (one["name"] for one in node.admin.ask("GET", "/api/vhosts")):
        made.admin.ask("PUT", "/api/vhosts/gov", {"tracing": False})  # which a new one of this name would have
        node.admin.drop_vhost("gov")
    for user in node.admin.ask("GET", "/api/users"):
        if user["name"] != "guest":
            node.admin.ask("DELETE", f"/api/users/{user['name']}")


# --- export and boot --------------------------------------------------------------------------------------------------


def test_a_broker_that_boots_with_what_export_wrote_is_as_it_should_be(tmp_path: Path, type_: Run) -> None:
    # Given definitions exported for a broker that does not run yet, with an administrator of its own
    file = tmp_path / "definitions.json"
    node = RabbitNode(tmp_path / "rabbit", definitions=file)
    root = workspace(tmp_path, node.admin.url("bus"), managed(node.admin, "ops"))
    made = Site(root=root, vhost="bus", admin=node.admin, type=type_)
    assert made.run("export", "--output", str(file))[0] == 0
    # When it boots with them
    with node:
        # Then nobody but the users of the definitions was made (the node itself adds guest, to be reached by tests)
        users = {user["name"]: user["tags"] for user in node.admin.ask("GET", "/api/users") if user["name"] != "guest"}
        assert users == {"bus": [], "agency.registry": [], "agency.land_office": [], "ops": ["administrator"]}
        made.ask("DELETE", "permissions", "guest")
        assert made.found() == set()
        # And a queue that is gone comes back when they are imported once more, from where the node has them
        node.ctl("delete_queue", "--vhost", "bus", "tasks.registry")
        assert ("difference", "queue-missing", "tasks.registry") in made.found()
        (place,) = re.findall("load_definitions = (.+)", (node.folder / "rabbitmq.conf").read_text(encoding="utf-8"))
        node.ctl("import_definitions", place)
        assert made.found() == set()


def test_export_writes_for_its_owner_alone_in_place_of_what_was_there_and_tells_no_password(site: Site) -> None:
    file = site.root / "definitions.json"
    file.write_text("old", encoding="utf-8")
    file.chmod(0o644)

    assert site.run("export", "--output", str(file)) == (0, "", "")

    text = file.read_text(encoding="utf-8")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [password for password in [*PASSWORDS.values(), "guest"] if password in text] == []
    assert json.loads(text)["vhosts"] == [{"name": "gov"}]
    assert [left.name for left in site.root.glob(".definitions*")] == []


def test_export_where_nothing_can_be_written_says_so(site: Site) -> None:
    code, out, err = site.run("export", "--output", str(site.root / "nowhere" / "definitions.json"))

    assert (code, out) == (2, "")
    assert "not-writable" in err
    assert "--output" in err


def test_a_password_that_cannot_be_read_stops_the_export_and_all_of_them_are_named(site: Site) -> None:
    for user in PASSWORDS:
        (site.root / "secrets" / user).unlink()

    code, out, err = site.run("export")

    assert (code, out) == (2, "")
    assert [user for user in PASSWORDS if f"secrets/{user}" not in err] == []


def test_one_password_for_two_users_is_refused_because_each_could_speak_for_the_other(site: Site) -> None:
    (site.root / "secrets/agency.registry").write_text(PASSWORDS["agency.land_office"], encoding="utf-8")

    for verb in ("export", "apply", "check"):
        code, _, err = site.run(verb)
        assert code == 2
        assert "agency.land_office, agency.registry have one password" in err
        assert PASSWORDS["agency.land_office"] not in err


def test_an_agency_without_a_password_is_left_out_and_named(site: Site) -> None:
    env = site.root / "env/dev.yaml"
    text = env.read_text(encoding="utf-8")
    env.write_text(text.replace(", broker_password: {file: secrets/agency.registry}", ""), encoding="utf-8")

    code, out, err = site.run("export")

    assert code == 0
    assert "agency.registry" in err
    assert [user["name"] for user in json.loads(out)["users"]] == ["agency.land_office", "bus"]


# --- show -------------------------------------------------------------------------------------------------------------


def test_show_needs_the_files_alone_and_tells_who_may_do_what(tmp_path: Path, type_: Run) -> None:
    root = workspace(tmp_path, "amqps://nowhere.invalid/gov")
    for secret in (root / "secrets").iterdir():
        secret.unlink()

    code, out, _ = type_("topology", "show", "--workspace", str(root), "--json")

    shown = json.loads(out)
    channels = {one["channel"]: (one["written_by"], one["read_by"]) for one in shown["channels"]}
    assert (code, shown["vhost"]) == (0, "gov")
    assert channels["tasks.land_office"] == (["bus"], ["bus", "agency.land_office"])
    assert channels["replies.land_office"] == (["bus", "agency.land_office"], ["bus"])
    assert channels["poison"] == (["bus"], ["bus"])
    assert len(channels) == 7


def test_show_prints_each_channel_and_user_on_a_line(tmp_path: Path, type_: Run) -> None:
    root = workspace(tmp_path, "amqps://nowhere.invalid/gov")

    lines = type_("topology", "show", "--workspace", str(root))[1].splitlines()

    assert "tasks.registry       bus                      bus, agency.registry" in lines
    assert "x-delivery-limit             20              all but poison" in lines
    assert any(
        line.split() == ["agency.registry", "^$", "^replies\\.registry$", "^(tasks|control)\\.registry$"]
        for line in lines
    )


def test_a_workspace_whose_environment_names_no_broker_has_nothing_to_apply(tmp_path: Path, type_: Run) -> None:
    root, _ = copy_of_small(tmp_path)

    for verb in ("export", "apply", "check"):
        code, _, err = type_("topology", verb, "--workspace", str(root), "--env", "dev")
        assert (code, "broker-unset" in err) == (2, True)


# --- apply ------------------------------------------------------------------------------------------------------------


def test_apply_tells_what_it_made_and_a_second_time_that_all_is_as_it_was(node: RabbitNode, site: Site) -> None:
    node.admin.drop_vhost("gov")
    node.admin.ask("DELETE", "/api/users/agency.registry")
    node.admin.ask("PUT", "/api/users/bus", {"password": "another", "tags": "administrator"})

    first = deeds(site.run("apply", "--json"))
    second = deeds(site.run("apply", "--json"))

    assert first["vhost gov"] == first["user agency.registry"] == first["rights bus"] == "made"
    assert first["user bus"] == "changed"
    assert first["user agency.land_office"] == "as it was"
    assert {first[thing] for thing in first if thing.startswith("channel")} == {"made"}
    assert set(second.values()) == {"as it was"}
    assert second.keys() == first.keys()
    assert site.found() == set()


def deeds(ran: tuple[int, str, str]) -> dict[str, str]:
    assert (ran[0], ran[2]) == (0, "")
    return {f"{one['kind']} {one['name']}": one["deed"] for one in json.loads(ran[1])["items"]}


def test_apply_mends_what_is_missing_and_tells_what_it_cannot_change(site: Site) -> None:
    # Given a binding and a queue that are gone, rights that are another's, and two queues with other arguments
    def break_(site: Site) -> None:
        site.ask("DELETE", "bindings", "e/tasks.registry/q/tasks.registry/tasks.registry")
        site.ask("DELETE", "queues", "control.registry")
        site.ask("PUT", "permissions", "agency.registry", ALL)
        for name in ("replies.registry", "tasks.land_office"):
            site.ask("DELETE", "queues", name)
            site.ask("PUT", "queues", name, {"durable": True, "arguments": {"x-queue-type": "classic"}})

    site.tamper(break_)
    # When the topology is applied
    code, out, err = site.run("apply")
    # Then what can be mended is, and both others are named
    assert code == 2
    told = out.splitlines()
    assert "changed    rights   agency.registry" in told
    assert "changed    channel  tasks.registry" in told
    assert "made       channel  control.registry" in told
    assert "as it was  channel  poison" in told
    assert "replies.registry" in err
    assert "tasks.land_office" in err
    assert site.found() == {
        ("difference", "queue-type", "replies.registry"),
        ("difference", "binding-missing", "replies.registry"),
        ("difference", "queue-type", "tasks.land_office"),
        ("difference", "binding-missing", "tasks.land_office"),
    }


def test_without_management_apply_makes_the_channels_and_check_says_what_it_cannot_see(site: Site) -> None:
    text = (site.root / "env/dev.yaml").read_text(encoding="utf-8")
    (site.root / "env/dev.yaml").write_text(text.partition("  management:")[0], encoding="utf-8")
    site.tamper(lambda site: site.ask("DELETE", "queues", "tasks.registry"))

    assert site.found() == {
        ("difference", "queue-missing", "tasks.registry"),
        ("unseen", "management-unset", "dev"),
    }
    done = deeds(site.run("apply", "--json"))
    assert {thing for thing, deed in done.items() if deed != "as it was"} == {"channel tasks.registry"}
    assert all(thing.startswith("channel") for thing in done)
    assert site.found() == {("unseen", "management-unset", "dev")}


@pytest.mark.parametrize("management", [managed(DEAD), ""], ids=["over the management", "over AMQP"])
def test_a_broker_that_cannot_be_reached_is_tried_again_later(tmp_path: Path, type_: Run, management: str) -> None:
    root = workspace(tmp_path, DEAD.url("gov"), management)

    for verb in ("apply", "check"):
        code, _, err = type_("topology", verb, "--workspace", str(root))
        assert (code, "broker-unavailable" in err) == (3, True)
        assert not [password for password in PASSWORDS.values() if password in err]


def test_an_administrator_whom_the_broker_does_not_know_is_told_with_the_mend(site: Site) -> None:
    (site.root / "secrets/ops").write_text("wrong", encoding="utf-8")

    code, _, err = site.run("check")

    assert code == 2
    assert "management-refuses" in err
    assert "wrong" not in err


# --- check ------------------------------------------------------------------------------------------------------------


Break: TypeAlias = Callable[[Site], object]


def replaced(queue: str, **arguments: object) -> Break:
    """Another queue in the place of this one, bound as the old one was."""

    def broken(site: Site) -> None:
        there = site.ask("GET", "queues", queue)["arguments"]
        site.ask("DELETE", "queues", queue)
        every = {**there, **{name.replace("_", "-"): value for name, value in arguments.items()}}
        wanted = {name: value for name, value in every.items() if value is not None}
        site.ask("PUT", "queues", queue, {"durable": True, "arguments": wanted})
        site.ask("POST", "bindings", f"e/{queue}/q/{queue}", {"routing_key": queue})

    return broken


def bound(source: str, to: str, key: str) -> Break:
    return lambda site: site.ask("POST", "bindings", f"e/{source}/q/{to}", {"routing_key": key})


def made_so(name: str, kind: str) -> Break:
    def broken(site: Site) -> None:
        site.ask("DELETE", "exchanges", name)
        site.ask("PUT", "exchanges", name, {"type": kind, "durable": True})
        site.ask("POST", "bindings", f"e/{name}/q/{name}", {"routing_key": name})

    return broken


def policed(kind: str, **definition: object) -> Break:
    named = {name.replace("_", "-"): value for name, value in definition.items()}
    return lambda site: site.ask("PUT", kind, "short", {"pattern": "^tasks", "apply-to": "queues", "definition": named})


def spied(site: Site) -> None:
    site.ask("PUT", "queues", "spy", {"durable": True})
    bound("tasks.registry", "spy", "tasks.registry")(site)


def tagged(user: str, tag: str) -> Break:
    return lambda site: site.admin.ask("PUT", f"/api/users/{user}", {"password": PASSWORDS[user], "tags": tag})


def eavesdropping(site: Site) -> None:
    site.admin.ask("PUT", "/api/users/eve", {"password": "eve", "tags": ""})
    site.ask("PUT", "permissions", "eve", ALL)


BREAKS: list[tuple[str, str, Break]] = [
    ("queue-missing", "tasks.registry", lambda site: site.ask("DELETE", "queues", "tasks.registry")),
    ("queue-type", "tasks.registry", replaced(
        "tasks.registry", x_queue_type="classic", x_quorum_initial_group_size=None, x_delivery_limit=None,
        x_dead_letter_strategy=None)),
    ("queue-arguments", "tasks.registry", replaced("tasks.registry", x_delivery_limit=3)),
    ("queue-arguments", "replies.registry", replaced("replies.registry", x_overflow="drop-head")),
    ("queue-arguments", "tasks.registry", replaced("tasks.registry", x_message_ttl=1000)),
    ("queue-arguments", "poison", replaced("poison", x_max_length_bytes=None)),
    ("exchange-differs", "replies.registry", made_so("replies.registry", "fanout")),
    ("binding-missing", "control.land_office", lambda site: site.ask(
        "DELETE", "bindings", "e/control.land_office/q/control.land_office/control.land_office")),
    ("binding-strange", "spy", spied),
    ("binding-strange", "replies.registry", bound("tasks.registry", "replies.registry", "tasks.registry")),
    ("binding-strange", "replies.registry", bound("amq.topic", "replies.registry", "#")),
    ("rights-differ", "agency.registry", lambda site: site.ask("PUT", "permissions", "agency.registry", ALL)),
    ("rights-missing", "agency.registry", lambda site: site.ask("DELETE", "permissions", "agency.registry")),
    ("rights-strange", "eve", eavesdropping),
    ("rights-elsewhere", "agency.registry",
     lambda site: site.admin.ask("PUT", "/api/permissions/%2F/agency.registry", ALL)),
    ("user-missing", "agency.registry", lambda site: site.admin.ask("DELETE", "/api/users/agency.registry")),
    ("user-password", "agency.registry",
     lambda site: site.admin.ask("PUT", "/api/users/agency.registry", {"password": "other", "tags": ""})),
    ("user-tags", "agency.registry", tagged("agency.registry", "impersonator")),
    ("policy", "short", policed("policies", message_ttl=1000)),
    ("policy", "short", policed("operator-policies", expires=100_000)),
    ("traced", "gov", lambda site: site.admin.ask("PUT", "/api/vhosts/gov", {"tracing": True})),
    ("vhost-missing", "gov", lambda site: site.admin.drop_vhost("gov")),
]  # fmt: skip


@pytest.mark.parametrize(("code", "name", "break_"), BREAKS, ids=[f"{code}-{name}" for code, name, _ in BREAKS])
def test_a_rule_of_the_topology_that_is_broken_is_named_and_its_mend_mends_it(
    node: RabbitNode, site: Site, code: str, name: str, break_: Break
) -> None:
    assert site.found() == set()

    site.tamper(break_)

    assert {one[1:] for one in site.found() if one[0] == "difference"} == {(code, name)}
    # When somebody does what it says, then it is as it should be
    (mend,) = (one["mend"] for one in json.loads(site.run("check", "--json")[1])["findings"] if one["code"] == code)
    commands = re.findall("`([^`]+)`", mend)
    assert commands
    for command in commands:
        do(site, node, *shlex.split(command))
    assert {one for one in site.found() if one[0] == "difference"} == set()


def do(site: Site, node: RabbitNode, program: str, *words: str) -> None:
    if program == "rabbitmqctl":
        node.ctl(*words)
    elif program == "DELETE":
        site.tamper(lambda site: site.admin.ask("DELETE", words[0]))
    else:
        assert (program, *words) == ("bus", "topology", "apply")
        assert site.run("apply")[0] == 0


def test_all_that_is_broken_is_told_at_once_for_people_too(site: Site) -> None:
    for break_ in (spied, policed("policies", message_ttl=9), replaced("poison", x_max_length_bytes=None)):
        site.tamper(break_)

    code, out, _ = site.run("check")

    assert code == 1
    assert [tag for tag in ("[binding-strange]", "[policy]", "[queue-arguments]") if tag not in out] == []
    assert out.endswith("3 differences.\n")
    assert "rabbitmqctl clear_policy -p gov short" in out


def test_what_an_agency_that_is_gone_left_behind_is_a_warning(site: Site) -> None:
    site.tamper(lambda site: site.ask("PUT", "queues", "tasks.gone", {"durable": True}))
    site.tamper(lambda site: site.ask("PUT", "exchanges", "tasks.gone", {"type": "direct", "durable": True}))

    assert site.found() == {
        ("warning", "queue-strange", "tasks.gone"),
        ("warning", "exchange-strange", "tasks.gone"),
    }


def test_fewer_nodes_than_copies_and_a_disk_alarm_of_the_default_are_warnings(node: RabbitNode, site: Site) -> None:
    env = site.root / "env/dev.yaml"
    env.write_text(env.read_text(encoding="utf-8").replace("broker:\n", "broker:\n  replicas: 3\n"), encoding="utf-8")

    wait_until("the limits", lambda: knows_its_limits(node), within=30, log=node.log, alive=lambda: bool(node.pids))

    found = json.loads(site.run("check", "--json")[1])["findings"]

    warned = {(one["code"], one["name"]) for one in found if one["weight"] == "warning"}
    assert warned == {("nodes-too-few", "gov"), ("disk-limit", node.name)}


def knows_its_limits(node: RabbitNode) -> bool:
    return all("disk_free_limit" in one for one in node.admin.ask("GET", "/api/nodes"))
