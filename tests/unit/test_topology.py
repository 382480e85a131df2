"""What stands in the broker for which agencies, who may do what there, and how both are written for RabbitMQ."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.brokers.definitions import (
    ADMINISTRATOR,
    HASHING,
    User,
    as_bytes,
    definitions,
    has_password,
    password_hash,
)
from bus.brokers.topology import DELIVERY_LIMIT, Topology, may_read, may_write, topology
from bus.message.channel import POISON, control, host_user, replies, tasks

SALT = bytes.fromhex("908DC60A")
AGENCIES = ("tax", "tax-office", "tax_office", "t")

agency_names = st.from_regex(r"[a-z][a-z0-9_-]{0,20}", fullmatch=True)


def of(*agencies: str) -> Topology:
    return topology(agencies, "bus", 3)


def test_each_agency_has_three_channels_and_what_is_given_up_has_one_that_comes_first() -> None:
    names = [one.name for one in of("b", "a").declarations]

    assert names == [POISON, *(make(agency) for agency in ("a", "b") for make in (tasks, control, replies))]


def test_a_full_queue_refuses_and_what_cannot_be_delivered_is_kept_until_the_poison_channel_has_it() -> None:
    poison, *others = of("tax").declarations

    for one in others:
        assert one.arguments["x-overflow"] == "reject-publish"
        assert one.arguments["x-dead-letter-strategy"] == "at-least-once"
        assert one.arguments["x-dead-letter-exchange"] == POISON
        assert one.arguments["x-delivery-limit"] == DELIVERY_LIMIT
    assert "x-dead-letter-exchange" not in poison.arguments


def test_what_was_given_up_once_is_not_given_up_again() -> None:
    (poison, *_) = of().declarations

    # Without a limit of its own the queue has that of 20 which RabbitMQ 4 gives, and then drops the message.
    assert int(poison.arguments["x-delivery-limit"]) > 1_000_000_000


@given(st.sets(agency_names, min_size=2, max_size=6))
def test_no_agency_may_read_or_write_what_is_of_another_or_of_the_bus(agencies: set[str]) -> None:
    made = of(*agencies)
    names = [*(one.name for one in made.declarations), "amq.default", "amq.topic", "bus.epoch.1", ""]
    by_user = {rights.user: rights for rights in made.rights}

    for agency in agencies:
        rights = by_user[host_user(agency)]
        assert [name for name in names if may_write(rights, name)] == [replies(agency)]
        assert {name for name in names if may_read(rights, name)} == {tasks(agency), control(agency)}
        assert not any(re.search(rights.configure, name) for name in names if name)


@pytest.mark.parametrize(
    "near", ["replies.tax.office", "replies.tax_office2", "xreplies.tax-office", "replies-tax-office", "repliesXtax"]
)
def test_a_name_that_only_resembles_an_agencys_own_is_not_its_own(near: str) -> None:
    assert [rights.user for rights in of(*AGENCIES).rights[1:] if may_write(rights, near)] == []


def test_the_bus_may_do_everything_with_its_own_names_and_nothing_with_others() -> None:
    bus = of("tax").rights[0]
    own = [*(one.name for one in of("tax").declarations), tasks("new"), "bus.epoch.7e5c"]
    strange = ["amq.default", "amq.direct", "", "xtasks.tax", "tasks.", "poisoned", "results.portal", "bus.epoch."]

    for verb in (bus.configure, bus.write, bus.read):
        assert [name for name in own if not re.search(verb, name)] == []
        assert [name for name in strange if re.search(verb, name)] == []


@pytest.mark.parametrize("agency", ["a.b", "A", "*", "", "a|b", "بلدية"])
def test_a_name_that_cannot_be_an_agencys_has_no_topology(agency: str) -> None:
    with pytest.raises(ValueError, match="cannot name an agency"):
        of(agency)


def test_a_password_is_kept_as_rabbitmq_documents_it() -> None:
    # The example of RabbitMQ's own documentation of passwords.
    assert password_hash("test12", SALT) == "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR"


def test_a_password_is_known_by_its_hash_and_another_is_not() -> None:
    user = {"password_hash": password_hash("كلمة السر", SALT), "hashing_algorithm": HASHING}

    assert has_password(user, "كلمة السر")
    assert not has_password(user, "كلمة السرّ")
    assert not has_password({**user, "hashing_algorithm": "rabbit_password_hashing_md5"}, "كلمة السر")
    assert not has_password({**user, "password_hash": ""}, "")


@pytest.mark.parametrize("salt", [b"", b"abc", b"abcde"])
def test_a_salt_of_another_length_is_refused(salt: bytes) -> None:
    with pytest.raises(ValueError, match="in place of 4"):
        password_hash("x", salt)


def test_the_definitions_are_the_same_whatever_the_order_of_agencies_and_users() -> None:
    users = [User(name=rights.user, password_hash=password_hash(rights.user, SALT)) for rights in of(*AGENCIES).rights]

    there = as_bytes(definitions(of(*AGENCIES), users))
    back = as_bytes(definitions(of(*reversed(AGENCIES)), reversed(users)))

    assert there == back


def test_the_definitions_name_every_user_with_rights_and_nobody_else() -> None:
    users = [User(name=name, password_hash=password_hash("x", SALT)) for name in ("bus", "agency.tax")]
    ops = User(name="ops", password_hash=password_hash("x", SALT), tags=(ADMINISTRATOR,))

    written = json.loads(as_bytes(definitions(of("tax", "late"), [*users, ops])))

    assert [user["name"] for user in written["users"]] == ["agency.tax", "bus", "ops"]
    assert [user["tags"] for user in written["users"]] == [[], [], ["administrator"]]
    # agency.late has no password: RabbitMQ would refuse the whole file for rights of a user that is not in it.
    assert [one["user"] for one in written["permissions"]] == ["bus", "agency.tax"]
    assert {one["vhost"] for kind in ("permissions", "exchanges", "queues", "bindings") for one in written[kind]} == {
        "bus"
    }


def test_each_channel_of_the_definitions_is_an_exchange_a_queue_and_their_binding() -> None:
    written = definitions(of("tax"), ())
    names = [one.name for one in of("tax").declarations]

    assert [one["name"] for one in written["exchanges"]] == names
    assert [one["name"] for one in written["queues"]] == names
    assert [(one["source"], one["destination"], one["routing_key"]) for one in written["bindings"]] == [
        (name, name, name) for name in names
    ]
    assert all(one["durable"] and not one["auto_delete"] for one in [*written["queues"], *written["exchanges"]])
