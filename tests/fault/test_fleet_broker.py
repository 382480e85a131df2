"""Many processes under load, and the broker dies, is wiped, starved, filled, or changed behind their backs."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol
from uuid import uuid4

import httpx
import pika  # type: ignore[import-untyped]
import pytest

from bus.bench.services import RabbitNode
from bus.message.channel import control, replies, tasks
from tests.support.accounts import ends_told
from tests.support.demo_workspace import PORTAL, REGISTRY, SERVICE, application
from tests.support.fleet import VHOST, Fleet, fleet_on
from tests.support.ledgers import assert_all_is_well
from tests.support.load import Load, all_end, wait_until_flowing
from tests.support.tap import tapped
from tests.support.waiting import wait_for

#: Who crashes under an alarm in the long suites only.
OTHERS = ("broker", "gateway", "clock", "host")
#: In every run, and those that only the long suites try.
ALWAYS = (("exchange", tasks(REGISTRY)), ("queue", replies(REGISTRY)))
DELETIONS = [
    (what, channel) if (what, channel) in ALWAYS else pytest.param(what, channel, marks=pytest.mark.long)
    for channel in (tasks(REGISTRY), control(REGISTRY), replies(REGISTRY))
    for what in ("exchange", "queue", "binding")
]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet_on(tmp_path_factory.mktemp("fleet"), intervals={"outbox_most": "200"}) as running:
        yield running


@pytest.fixture(autouse=True)
def _all_run(fleet: Fleet) -> Iterator[None]:
    yield
    fleet.start()


def ends_well(fleet: Fleet, load: Load) -> None:
    outcomes = all_end(fleet, load)
    assert set(outcomes) == {"completed"}
    assert_all_is_well(fleet)


@pytest.mark.parametrize("how", [pytest.param("restart", marks=pytest.mark.long), "kill"])
def test_a_broker_that_restarts_under_load_loses_nothing(fleet: Fleet, how: str) -> None:
    with Load(fleet) as load:
        load.wait_for(30)
        fleet.fault_begins()
        if how == "kill":
            fleet.rabbit.wait_until_written()
        try:
            if how == "kill":
                fleet.rabbit.kill()
            else:
                fleet.rabbit.stop()
            # The gateway needs no broker to give a receipt. A broker that stops takes its time, and more come in it.
            load.wait_for(5)
        finally:
            fleet.rabbit.start()
        load.wait_for(15)
        ends_well(fleet, load)


def test_a_broker_that_was_wiped_is_filled_again_from_the_store(fleet: Fleet) -> None:
    with fleet.store() as store:
        old = store.epoch()
        last = max((failure.key for failure in store.failures(is_open=None, after=0, most=500)), default=0)
    known = fleet.rabbit_definitions()
    with Load(fleet) as load:
        load.wait_for(30)
        fleet.fault_begins()
        fleet.rabbit.wipe()
        fleet.define(known)
        load.wait_for(15)
        ends_well(fleet, load)
    ends = ends_told(fleet.portal)
    # Then every result is told once, and people of what happened to the channels, not to the requests
    assert {ends[request] for request in load.accepted} == {1}
    with fleet.store() as store:
        assert store.epoch() != old
        told_of = store.failures(is_open=None, after=last, most=500)
    assert [failure.code for failure in told_of if failure.request_id] == []
    assert max(Counter((failure.code, failure.agency) for failure in told_of).values(), default=0) <= 1


class Alarm(Protocol):
    """Of the broker: it takes nothing from publishers while it is on."""

    def __call__(self, node: RabbitNode, /, *, on: bool) -> None: ...


@pytest.mark.parametrize(
    "alarm", [RabbitNode.memory_alarm, pytest.param(RabbitNode.disk_alarm, marks=pytest.mark.long)]
)
def test_a_broker_without_memory_or_disk_stops_new_submissions_and_nothing_else(fleet: Fleet, alarm: Alarm) -> None:
    with Load(fleet, rate=30) as load:
        load.wait_for(20)
        fleet.fault_begins()
        alarm(fleet.rabbit, on=True)
        try:
            wait_for("submissions are told to wait", lambda: load.refused["outbox-full"])
            # What the broker had taken before may still leave, and make room for a moment.
            refusal = wait_for("one more is told to wait", lambda: refused_once(fleet))
            assert refusal.json()["code"] == "outbox-full"
            assert int(refusal.headers["Retry-After"]) > 0
            # Reading needs no broker.
            assert fleet.state(load.accepted[0])
        finally:
            alarm(fleet.rabbit, on=False)
        load.wait_for(20)
        ends_well(fleet, load)


@pytest.mark.parametrize("name", ["manager-1", *(pytest.param(one, marks=pytest.mark.long) for one in OTHERS)])
def test_a_crash_while_the_broker_takes_nothing_costs_time_and_nothing_else(fleet: Fleet, name: str) -> None:
    with Load(fleet, rate=30) as load:
        load.wait_for(20)
        fleet.rabbit.memory_alarm(on=True)
        try:
            wait_for("submissions are told to wait", lambda: load.refused["outbox-full"])
            fleet.fault_begins()
            if name == "broker":
                fleet.rabbit.wait_until_written()
                fleet.rabbit.kill()
                fleet.rabbit.start()
            else:
                fleet.kill_one(name)
                fleet.start_one(name)
        finally:
            fleet.rabbit.memory_alarm(on=False)
        load.wait_for(20)
        ends_well(fleet, load)


def refused_once(fleet: Fleet) -> httpx.Response | None:
    """The 503 of the gateway to one submission, as it is on the wire; None where it was accepted."""
    url, token = ((fleet.data / name).read_text(encoding="utf-8").strip() for name in ("url", "token"))
    key = uuid4().hex
    fleet.attempt(key)
    answer = httpx.post(
        f"{url}/v1/services/{SERVICE}/requests",
        json=application(premises=False),
        headers={"Authorization": f"Bearer {token}", "Bus-Agency": PORTAL, "Idempotency-Key": key},
        trust_env=False,
        timeout=30,
    )
    return answer if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE else None


def test_the_bus_starts_and_accepts_while_the_broker_is_away(fleet: Fleet) -> None:
    fleet.kill()
    fleet.rabbit.stop()
    try:
        fleet.start()
        with Load(fleet, rate=10) as load:
            load.wait_for(10)
            fleet.rabbit.start()
            load.wait_for(10)
            ends_well(fleet, load)
    finally:
        fleet.rabbit.start()


@pytest.mark.parametrize(("what", "channel"), DELETIONS)
def test_what_somebody_deletes_from_the_broker_is_made_again_and_told(fleet: Fleet, what: str, channel: str) -> None:
    unroutable = told(fleet, "publish_unroutable", by=channel)
    with Load(fleet) as load:
        wait_until_flowing(fleet)
        fleet.delete(what, channel)
        if channel == control(REGISTRY):
            # Nothing goes there but what is said to a host that starts.
            fleet.kill_one("host")
            fleet.start_one("host")
        load.wait_for(15)
        # What the queue held went with it, and the bus may ask for it again only after a while.
        outcomes = all_end(fleet, load, within=110)
    assert set(outcomes) == {"completed"}
    assert_all_is_well(fleet)
    assert fleet.differences() == []
    # Others may be made again before anything is sent there.
    if channel == tasks(REGISTRY) and what != "queue":
        assert told(fleet, "publish_unroutable", by=channel) > unroutable


@contextmanager
def full(fleet: Fleet, channel: str) -> Iterator[None]:
    """The channel takes one message, and no second one before that is gone."""
    policy = f"/api/policies/{VHOST}/full"
    pattern = f"^{channel.replace('.', '[.]')}$"
    limit = {"pattern": pattern, "definition": {"max-length": 1}, "apply-to": "queues"}
    fleet.rabbit.admin.ask("PUT", policy, limit)
    where = f"/api/queues/{VHOST}/{channel}"
    try:
        wait_for("the policy holds", lambda: fleet.rabbit.admin.ask("GET", where).get("effective_policy_definition"))
        yield
    finally:
        fleet.rabbit.admin.ask("DELETE", policy)


def test_a_channel_that_is_full_delays_its_own_messages_and_comes_back(fleet: Fleet) -> None:
    refused = told(fleet, "publish_refused")
    with Load(fleet, rate=30, clients=6) as load:
        load.wait_for(20)
        with full(fleet, tasks(REGISTRY)):
            # Nobody takes anything out, and more is sent until the host is missed.
            fleet.kill_one("host")
            wait_for("the channel refuses", lambda: told(fleet, "publish_refused") > refused)
            load.wait_for(20)
        fleet.start_one("host")
        ends_well(fleet, load)


def told(fleet: Fleet, event: str, *, by: str = "") -> int:
    """How many lines of the log tell of this, and name ``by``."""
    lines = fleet.log.read_text(encoding="utf-8", errors="replace").splitlines()
    return sum(event in line and by in line for line in lines)


def test_every_message_again_twice_and_in_disorder_changes_nothing(fleet: Fleet) -> None:
    with tapped(fleet) as tap, Load(fleet) as load:
        load.wait_for(40)
        ends_well(fleet, load)
    effects = dict(fleet.ledger.counts())
    assert len(tap.copies) > 80

    # When all of it comes again, while more is under way
    fleet.let_impersonate()
    again = tap.copies * 2
    random.Random(7).shuffle(again)
    with Load(fleet) as load:
        connection = pika.BlockingConnection(pika.URLParameters(fleet.rabbit.admin.url_with_user(VHOST)))
        channel = connection.channel()
        for name, body, properties in again:
            channel.basic_publish(name, name, body, properties)
        connection.close()
        load.wait_for(20)
        ends_well(fleet, load)

    # Then nothing happened twice
    counts = fleet.ledger.counts()
    assert {name: counts[name] for name in effects} == effects
    wait_for("all of it is settled", lambda: not fleet.depths())


def test_a_message_that_the_broker_does_not_vouch_for_is_not_believed(fleet: Fleet) -> None:
    with tapped(fleet) as tap, Load(fleet) as load:
        load.wait_for(5)
        ends_well(fleet, load)
    forged = next(copy for copy in tap.copies if copy.channel == replies(REGISTRY))

    connection = pika.BlockingConnection(pika.URLParameters(fleet.rabbit.admin.url_with_user(VHOST)))
    name, body, properties = forged
    properties.user_id = None
    connection.channel().basic_publish(name, name, body, properties)
    connection.close()

    failure = fleet.wait_for_failure("invalid:unvouched-sender", agency=REGISTRY)
    assert failure["request_id"] is None


@pytest.mark.long
def test_a_channel_that_brings_nothing_though_something_waits_is_consumed_anew(fleet: Fleet) -> None:
    # Given a reply channel whose broker serves one consumer alone, and that one takes a single message
    channel, missed = replies(REGISTRY), told(fleet, "nothing_delivered", by=replies(REGISTRY))
    with Load(fleet, rate=5) as load:
        load.wait_for(10)
        with served_alone(fleet, channel):
            # Then process managers notice, though other channels go on, and connect anew
            wait_for("it is noticed", lambda: told(fleet, "nothing_delivered", by=channel) > missed + 1, 90)
        fleet.delete("queue", channel)
        outcomes = all_end(fleet, load)
    assert set(outcomes) == {"completed"}
    assert_all_is_well(fleet)
    wait_for("the channel is as it was", lambda: not fleet.differences())


@contextmanager
def served_alone(fleet: Fleet, channel: str) -> Iterator[None]:
    """Somebody consumes the channel meanwhile, and the broker gives nobody else anything."""
    admin = fleet.rabbit.admin
    arguments = dict(admin.ask("GET", f"/api/queues/{VHOST}/{channel}")["arguments"])
    connection = pika.BlockingConnection(pika.URLParameters(admin.url_with_user(VHOST)))
    amqp = connection.channel()
    amqp.basic_qos(prefetch_count=1)
    fleet.delete("queue", channel)
    try:
        amqp.queue_declare(channel, durable=True, arguments={**arguments, "x-single-active-consumer": True})
        amqp.queue_bind(channel, channel, channel)
        amqp.basic_consume(channel, lambda *_: None)
        yield
    finally:
        connection.close()
