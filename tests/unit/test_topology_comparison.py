"""Everything that is otherwise in a broker than it should be is told, all at once, each with its mend."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any, TypeAlias

import pytest

from bus.brokers.comparison import Found, Weight, compare
from bus.brokers.definitions import User, definitions, password_hash
from bus.brokers.topology import topology

WANTED = topology(["tax", "registry"], "bus", 1)
PASSWORDS = {rights.user: f"of {rights.user}" for rights in WANTED.rights}
#: What stands in a broker, by kind, as its management writes it.
Standing: TypeAlias = dict[str, Any]
Break: TypeAlias = Callable[[Standing], object]


def sound() -> Standing:
    """A broker in which all is as it should be."""
    users = [User(name=name, password_hash=password_hash(text, b"salt")) for name, text in PASSWORDS.items()]
    written: Standing = deepcopy(definitions(WANTED, users))
    default = {"name": "", "type": "direct", "durable": True, "auto_delete": False, "internal": False, "arguments": {}}
    for queue in written["queues"]:
        name = queue["name"]
        queue |= {"type": "quorum", "members": ["one@here"], "messages": 0}
        to = {"destination": name, "destination_type": "queue", "routing_key": name, "arguments": {}}
        written["bindings"].append({"source": "", "vhost": "bus", **to})
    for binding in written["bindings"]:
        binding["properties_key"] = binding["routing_key"]
    epoch = {"name": "bus.epoch.1", "type": "quorum", "durable": True, "auto_delete": False, "arguments": {}}
    written["queues"].append(epoch)
    written["exchanges"] += [default, {**default, "name": "amq.topic", "type": "topic"}]
    written |= {"vhost": {"name": "bus", "tracing": False}, "policies": [], "operator_policies": [], "parameters": []}
    written["nodes"] = [{"name": "one@here", "running": True, "disk_free_limit": 2_000_000_000}]
    return written


def found(standing: Standing) -> Found:
    return Found(**{name: value for name, value in standing.items() if name != "vhosts"})


def one(standing: Standing, kind: str, name: str) -> dict[str, Any]:
    """The one of this kind that is called so."""
    key = {"permissions": "user", "bindings": "source"}.get(kind, "name")
    (it,) = (each for each in standing[kind] if each[key] == name)
    found_one: dict[str, Any] = it
    return found_one


def without(kind: str, name: str) -> Break:
    def broken(standing: Standing) -> None:
        standing[kind].remove(one(standing, kind, name))

    return broken


def changed(kind: str, name: str, **values: Any) -> Break:
    def broken(standing: Standing) -> None:
        one(standing, kind, name).update(values)

    return broken


def added(kind: str, **values: Any) -> Break:
    return lambda standing: standing[kind].append(values)


def argument(queue: str, name: str, value: object) -> Break:
    def broken(standing: Standing) -> None:
        one(standing, "queues", queue)["arguments"][name] = value

    return broken


def binding(source: str, to: str, key: str, kind: str = "queue") -> Break:
    values = {"destination": to, "destination_type": kind, "routing_key": key, "properties_key": key, "arguments": {}}
    return added("bindings", source=source, **values)


def policy(name: str, pattern: str, priority: int = 0, apply_to: str = "all", **definition: Any) -> dict[str, Any]:
    return {
        "name": name,
        "pattern": pattern,
        "apply-to": apply_to,
        "priority": priority,
        "definition": {key.replace("_", "-"): value for key, value in definition.items()},
    }


def rights(user: str, vhost: str = "bus") -> dict[str, str]:
    return {"user": user, "vhost": vhost, "configure": "", "write": "", "read": ".*"}


BREAKS: list[tuple[str, str, Break]] = [
    ("vhost-missing", "bus", lambda standing: standing.update(vhost=None)),
    ("traced", "bus", lambda standing: standing["vhost"].update(tracing=True)),
    ("exchange-missing", "replies.tax", without("exchanges", "replies.tax")),
    ("exchange-differs", "replies.tax", changed("exchanges", "replies.tax", type="fanout")),
    ("exchange-differs", "poison", changed("exchanges", "poison", durable=False)),
    ("exchange-differs", "tasks.tax", changed("exchanges", "tasks.tax", arguments={"alternate-exchange": "spy"})),
    ("queue-missing", "tasks.tax", without("queues", "tasks.tax")),
    ("queue-type", "tasks.tax", changed("queues", "tasks.tax", arguments={}, type="classic")),
    ("queue-type", "poison", argument("poison", "x-queue-type", "stream")),
    ("queue-arguments", "tasks.tax", argument("tasks.tax", "x-delivery-limit", 3)),
    ("queue-arguments", "tasks.tax", argument("tasks.tax", "x-message-ttl", 60_000)),
    ("queue-passes-away", "tasks.tax", changed("queues", "tasks.tax", auto_delete=True)),
    ("binding-missing", "control.registry", without("bindings", "control.registry")),
    ("binding-strange", "spy", binding("tasks.tax", "spy", "tasks.tax")),
    ("binding-strange", "replies.tax", binding("tasks.tax", "replies.tax", "tasks.tax")),
    ("binding-strange", "replies.tax", binding("tasks.tax", "replies.tax", "tasks.tax", kind="exchange")),
    ("binding-strange", "replies.tax", binding("amq.topic", "replies.tax", "#")),
    ("binding-strange", "tasks.tax", binding("tasks.tax", "tasks.tax", "other")),
    ("policy", "short", lambda standing: standing["policies"].append(policy("short", "^tasks", message_ttl=9))),
    ("policy", "ops", lambda standing: standing["operator_policies"].append(policy("ops", "poison", expires=9))),
    ("policy", "lookahead", lambda standing: standing["policies"].append(policy("lookahead", "(?(R)a)", expires=9))),
    ("parameter", "away", added("parameters", component="shovel", name="away", vhost="bus")),
    ("user-missing", "agency.tax", without("users", "agency.tax")),
    ("user-tags", "agency.tax", changed("users", "agency.tax", tags=["impersonator"])),
    ("user-tags", "bus", changed("users", "bus", tags="administrator,")),
    ("user-password", "agency.tax", changed("users", "agency.tax", password_hash=password_hash("x", b"salt"))),
    ("rights-missing", "agency.tax", without("permissions", "agency.tax")),
    ("rights-differ", "agency.tax", changed("permissions", "agency.tax", read=".*")),
    ("rights-differ", "agency.tax", changed("permissions", "agency.tax", configure="^replies")),
    ("rights-strange", "guest", lambda standing: standing["permissions"].append(rights("guest"))),
    ("rights-strange", "agency.old", lambda standing: standing["permissions"].append(rights("agency.old"))),
    ("rights-elsewhere", "agency.tax", lambda standing: standing["permissions"].append(rights("agency.tax", "/"))),
]


def test_of_a_broker_as_it_should_be_there_is_nothing_to_tell() -> None:
    assert compare(WANTED, found(sound()), PASSWORDS) == ()


@pytest.mark.parametrize(("code", "name", "break_"), BREAKS)
def test_a_difference_is_told_once_with_its_name_and_its_mend(code: str, name: str, break_: Break) -> None:
    standing = sound()
    break_(standing)

    told = compare(WANTED, found(standing), PASSWORDS)

    assert [(each.weight, each.code, each.name) for each in told] == [(Weight.DIFFERENCE, code, name)]
    assert told[0].mend


def test_all_differences_are_told_at_once() -> None:
    standing, codes = sound(), {"traced", "queue-arguments", "user-tags", "rights-strange", "binding-strange"}
    for code, _, break_ in BREAKS:
        if code in codes:
            break_(standing)

    told = compare(WANTED, found(standing), PASSWORDS)

    assert {each.code for each in told} == {
        "traced",
        "queue-arguments",
        "user-tags",
        "rights-strange",
        "binding-strange",
    }


WARNINGS: list[tuple[str, str, Break]] = [
    ("disk-limit", "one@here", changed("nodes", "one@here", disk_free_limit=50_000_000)),
    ("alarm", "one@here", changed("nodes", "one@here", mem_alarm=True)),
    ("nodes-too-few", "bus", changed("nodes", "one@here", running=False)),
    ("copies-too-few", "bus", changed("queues", "tasks.tax", members=[])),
    ("queue-strange", "tasks.gone", added("queues", name="tasks.gone", messages=3)),
    ("exchange-strange", "tasks.gone", added("exchanges", name="tasks.gone")),
]


@pytest.mark.parametrize(("code", "name", "break_"), WARNINGS)
def test_what_may_hurt_is_a_warning(code: str, name: str, break_: Break) -> None:
    standing = sound()
    break_(standing)

    told = compare(WANTED, found(standing), PASSWORDS)

    assert [(each.weight, each.code, each.name) for each in told] == [(Weight.WARNING, code, name)]


def test_of_a_node_that_has_not_told_its_limits_yet_they_are_unseen() -> None:
    standing = sound()
    del one(standing, "nodes", "one@here")["disk_free_limit"]

    told = compare(WANTED, found(standing), PASSWORDS)

    assert [(each.weight, each.code, each.name) for each in told] == [(Weight.UNSEEN, "limits-unseen", "one@here")]


def test_a_policy_that_another_outranks_or_that_decides_nothing_is_not_told() -> None:
    standing = sound()
    standing["policies"] += [
        policy("outranked", ".*", priority=1, expires=9),
        policy("harmless", ".*", priority=2, queue_leader_locator="balanced"),
        policy("of others", "^other", priority=3, message_ttl=9),
        policy("of streams", ".*", priority=3, apply_to="streams", max_length_bytes=9),
    ]

    assert compare(WANTED, found(standing), PASSWORDS) == ()


def test_a_user_for_whom_no_password_is_named_may_be_missing() -> None:
    standing = sound()
    without("users", "agency.tax")(standing)
    without("permissions", "agency.tax")(standing)
    named = {user: text for user, text in PASSWORDS.items() if user != "agency.tax"}

    assert compare(WANTED, found(standing), named) == ()


def test_no_finding_tells_a_password_or_its_hash() -> None:
    standing = sound()
    for _, _, break_ in BREAKS[1:]:
        try:
            break_(standing)
        except ValueError:
            continue  # what one break took away, another cannot change
    secrets = [*PASSWORDS.values(), *(user["password_hash"] for user in standing["users"])]

    told = str(compare(WANTED, found(standing), PASSWORDS))

    assert [secret for secret in secrets if secret in told] == []
