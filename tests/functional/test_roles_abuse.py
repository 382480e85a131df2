"""The roles under abuse: by the processes beside them, by an agency's own user at the broker, by who starts them."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import ssl
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import pika  # type: ignore[import-untyped]
import pytest

from bus.bench import fanout
from bus.bootstrap import bus_broker, host_broker, roles_of, running, secret_of
from bus.brokers.rabbitmq import RabbitBroker
from bus.catalog import Workspace, load_workspace
from bus.errors import BrokerBusyError, BrokerUnavailableError, ConfigurationError, ConflictError, TransientError
from bus.message.channel import POISON, control, host_user, replies, tasks
from bus.message.envelope import MessageType
from bus.operations.admission import Admission
from bus.ports import (
    Act,
    Confirmation,
    Consumer,
    Delivery,
    Incoming,
    JournalChanges,
    JournalReply,
    Mode,
    Outgoing,
    Publisher,
    Told,
)
from bus.process.event import CancelAsked
from bus.process.state import RequestState, StepState
from bus.receiver.announcement import Alive, Started, alive_message, started_message
from bus.receiver.row import JournalIdentity
from bus.runtime.dispatcher import Dispatcher
from bus.runtime.poison import PoisonConsumer
from bus.runtime.process_manager import ProcessManager
from bus.runtime.reconcile import Reconciler, open_for_work
from bus.runtime.relay import Relay
from tests.support import host_rig
from tests.support.fleet import Fleet, Load, all_end, fleet_on
from tests.support.installation import REGISTRY, ROOT, wait_for
from tests.support.ledgers import assert_all_is_well
from tests.support.runtime_rig import AGENCIES, A, B, RuntimeRig, runtime
from tests.support.workspaces.copies import copy_of_repository

# --- what a process manager owes to those who decide ------------------------------------------------------------------


class SlowBroker:
    """Gives publishers over a real broker, which a test makes mute, busy or lost, and counts them."""

    def __init__(self, rig: RuntimeRig) -> None:
        self.rig = rig
        #: While it is clear, nothing is confirmed.
        self.confirms = threading.Event()
        self.confirms.set()
        self.made: list[SlowPublisher] = []
        self.posted = 0
        #: Raised in place of the next connection, or in place of the next post.
        self.no_connection: BrokerUnavailableError | None = None
        self.no_post: BrokerUnavailableError | None = None
        self.before_post: Callable[[], None] = lambda: None

    def publisher(self) -> Publisher:
        if self.no_connection is not None:
            raise self.no_connection
        self.made.append(SlowPublisher(self, self.rig.broker.publisher()))
        return self.made[-1]


class SlowPublisher:
    def __init__(self, broker: SlowBroker, publisher: Publisher) -> None:
        self.broker = broker
        self.publisher = publisher
        self.unsaid: list[tuple[Told, tuple[Confirmation, ...]]] = []
        self.is_closed = False

    def publish(self, batch: Sequence[Outgoing]) -> tuple[Confirmation, ...]:
        return self.publisher.publish(batch)

    def post(self, batch: Sequence[Outgoing], told: Told) -> None:
        self.broker.posted += 1
        self.broker.before_post()
        if self.broker.no_post is not None:
            raise self.broker.no_post
        said = self.publisher.publish(batch)
        if self.broker.confirms.is_set():
            told(said)
        else:
            self.unsaid.append((told, said))

    def say(self, *, lost: bool = False) -> None:
        """Say what was held back, or that the connection is gone."""
        for told, said in self.unsaid:
            told(None if lost else said)
        self.unsaid = []

    def close(self) -> None:
        """As RabbitMQ's: what is confirmed while it waits a little is told."""
        if not self.is_closed:
            self.is_closed = True
            self.say()
            self.publisher.close()


class Clock:
    """A monotonic clock that a test moves."""

    now = 0

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[RuntimeRig]:
    with runtime(tmp_path) as made:
        made.admit(A)
        made.manager.flush()
        yield made


@contextmanager
def slow(rig: RuntimeRig) -> Iterator[tuple[SlowBroker, ProcessManager, Clock]]:
    broker, clock = SlowBroker(rig), Clock()
    manager = ProcessManager(
        store=rig.store,
        publisher=broker.publisher,
        tools=rig.parts.tools,
        dispatcher=rig.parts.dispatcher,
        monotonic=clock,
    )
    with closing(manager):
        yield broker, manager, clock


def in_time(body: Callable[[], object]) -> None:
    """The body ends, and does not hang."""
    thread = threading.Thread(target=body, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive(), "it still waits"


def test_a_relay_that_waits_for_confirmations_holds_up_nobody_who_decides(rig: RuntimeRig) -> None:
    with slow(rig) as (broker, manager, _):
        # Given a relay that waits, in the process of those who decide
        manager.decide([rig.incoming("one")])
        rows = rig.store.leftovers(2**62, 10, 1_000)
        broker.confirms.clear()
        relayed: list[int] = []
        relay = threading.Thread(target=lambda: relayed.append(manager.publish(rows)), daemon=True)
        relay.start()
        wait_for("the relay has published", lambda: broker.made[0].unsaid)
        # When something is decided, then that does not wait
        in_time(lambda: manager.decide([rig.incoming("two")]))
        assert relay.is_alive()
        # And the relay hears what was said of its own
        broker.made[0].say()
        relay.join(20)
        assert relayed == [len(rows)]


def test_a_connection_that_was_lost_is_not_made_anew_by_those_who_decide(rig: RuntimeRig) -> None:
    with slow(rig) as (broker, manager, clock):
        broker.confirms.clear()
        manager.decide([rig.incoming("one")])
        first = broker.made[0]
        # When the connection is lost, and the broker cannot be reached
        first.say(lost=True)
        broker.no_connection = BrokerUnavailableError()
        manager.tend()
        broker.no_connection = None
        manager.decide([rig.incoming("two")])
        assert (first.is_closed, len(broker.made)) == (True, 1)
        # Then it is tried again after a while, and by whoever tends it
        manager.tend()
        assert len(broker.made) == 1
        clock.now += 2_000
        manager.decide([rig.incoming("three")])
        assert len(broker.made) == 1
        manager.tend()
        broker.confirms.set()
        manager.decide([rig.incoming("four")])
        assert (len(broker.made), broker.posted) == (2, 2)


def test_the_word_of_a_connection_that_is_long_gone_costs_its_successor_nothing(rig: RuntimeRig) -> None:
    with slow(rig) as (broker, manager, _):
        broker.confirms.clear()
        manager.decide([rig.incoming("one")])
        manager.decide([rig.incoming("two")])
        first = broker.made[0]
        late = first.unsaid.pop()
        first.say(lost=True)
        manager.tend()
        # When the first says once more that it is lost
        late[0](None)
        # Then the second still serves
        manager.decide([rig.incoming("three")])
        assert (len(broker.made), broker.made[1].is_closed, len(broker.made[1].unsaid)) == (2, False, 1)


def test_a_broker_that_takes_nothing_is_left_in_peace_for_a_while_and_kept(rig: RuntimeRig) -> None:
    with slow(rig) as (broker, manager, clock):
        manager.decide([rig.incoming("one")])
        broker.no_post = BrokerBusyError()
        manager.decide([rig.incoming("two")])
        manager.decide([rig.incoming("three")])
        assert broker.posted == 2
        clock.now += 2_000
        broker.no_post = None
        manager.decide([rig.incoming("four")])
        assert (broker.posted, len(broker.made), broker.made[0].is_closed) == (3, 1, False)


def test_what_is_confirmed_is_deleted_though_nobody_decides_any_more(rig: RuntimeRig) -> None:
    with slow(rig) as (_, manager, clock):
        manager.decide([rig.incoming("one")])
        left = rig.store.outbox_depth()
        # Under load the next transaction takes it along
        manager.tend()
        assert rig.store.outbox_depth() == left > 0
        # Without any, it goes before the relay takes it for left over
        clock.now += 2_000
        manager.tend()
        assert rig.store.outbox_depth() == 0


def test_what_is_confirmed_while_a_process_ends_is_deleted(rig: RuntimeRig) -> None:
    with slow(rig) as (broker, manager, _):
        broker.confirms.clear()
        manager.decide([rig.incoming("one")])
        assert rig.store.outbox_depth() > 0
    assert rig.store.outbox_depth() == 0


def test_a_relay_that_starts_ends_its_start_though_others_go_on_writing(rig: RuntimeRig) -> None:
    def away() -> Publisher:
        raise BrokerUnavailableError

    parts = rig.parts
    other = ProcessManager(store=rig.store, publisher=away, tools=parts.tools, dispatcher=parts.dispatcher)
    other.decide([rig.incoming("before")])
    with slow(rig) as (broker, manager, _):
        numbers = iter(range(50))

        def write_more() -> None:
            rig.pass_time(1)
            if (number := next(numbers, None)) is not None:
                other.decide([rig.incoming(f"meanwhile {number}")])

        broker.before_post = write_more
        relay = Relay(rig.store, rig.broker, manager, parts.tools.keys, rig.settings)
        relay.drain(lambda: False)
        assert broker.posted < 5
    assert rig.store.outbox_depth() > 0


def test_the_relay_takes_what_another_process_left_only_once_it_is_old(rig: RuntimeRig) -> None:
    def away() -> Publisher:
        raise BrokerUnavailableError

    parts = rig.parts
    other = ProcessManager(store=rig.store, publisher=away, tools=parts.tools, dispatcher=parts.dispatcher)
    other.decide([rig.incoming("one")])
    left = rig.store.outbox_depth()
    # What is young may be on its way
    assert (rig.relay.step(), rig.store.outbox_depth()) == (0, left)
    rig.pass_time(6_000)
    assert (rig.relay.step(), rig.store.outbox_depth()) == (left, 0)


def test_a_relay_sees_while_it_works_that_the_broker_was_wiped(rig: RuntimeRig) -> None:
    clock = Clock()
    relay = Relay(rig.store, rig.broker, rig.manager, rig.parts.tools.keys, rig.settings, AGENCIES, clock)
    relay.step()
    rig.submit("one")
    (task,) = rig.tasks(A)
    known = rig.store.epoch()
    # When the broker has forgotten everything
    rig.broker._epochs.clear()  # type: ignore[attr-defined]  # noqa: SLF001 - an accident of the broker
    clock.now += 2_000
    relay.step()
    # Then another epoch has begun, and the task leaves again
    assert rig.store.epoch() not in {None, known}
    assert [again.body for again in rig.tasks(A)] == [task.body]


def test_a_relay_makes_the_channels_of_an_agency_of_whose_hosts_nothing_is_heard(rig: RuntimeRig) -> None:
    # Given two agencies without the channel from which their hosts would hear that they are admitted
    clock, queues = Clock(), rig.broker._queues  # type: ignore[attr-defined]  # noqa: SLF001 - an accident
    relay = Relay(rig.store, rig.broker, rig.manager, rig.parts.tools.keys, rig.settings, AGENCIES, clock)
    clock.now += 6_000
    relay.step()
    for agency in (A, B):
        del queues._names[control(agency)]  # noqa: SLF001
    # When the relay comes by, then that of the silent one is made
    clock.now += 6_000
    relay.step()
    assert (queues.name(control(A)) is None, queues.name(control(B)) is None) == (True, False)


class Witness:
    """A consumer that notes how things stand whenever something is acknowledged."""

    def __init__(self, consumer: Consumer, look: Callable[[], object]) -> None:
        self.consumer = consumer
        self.look = look
        self.seen: list[object] = []

    def acknowledge(self, deliveries: Collection[Delivery]) -> None:
        self.seen.append(self.look())
        self.consumer.acknowledge(deliveries)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.consumer, name)


def test_a_reply_is_acknowledged_only_once_it_is_settled(rig: RuntimeRig) -> None:
    (request,) = rig.submit("one")
    (task,) = rig.tasks(A)
    with closing(rig.broker_consumer()) as consumer:
        witness = Witness(consumer, lambda: rig.step(request).state)
        rig.say(A, rig.reply(task))
        rig.consumer.step(cast("Consumer", witness))
    assert witness.seen == [StepState.SUCCEEDED]


def test_what_the_broker_gave_up_is_acknowledged_only_once_it_is_shown(rig: RuntimeRig) -> None:
    poison = PoisonConsumer(lambda: rig.broker.consumer([POISON], 20), rig.manager, rig.parts.tools.keys)
    with closing(rig.broker.consumer([POISON], 20)) as consumer, closing(rig.broker.publisher()) as publisher:
        witness = Witness(consumer, rig.codes)
        publisher.publish([Outgoing(channel=POISON, message_id="x", type="t", correlation_id="", body=b"nonsense")])
        assert poison.step(cast("Consumer", witness)) == 1
    assert witness.seen == [["poison"]]


def restored(rig: RuntimeRig) -> ProcessManager:
    """The process manager of a process that starts on what is now a restored store."""
    rig.manager.flush()
    rig.store.begin_reconcile(Act(actor="op", what="store_restored", target="store"))
    dispatcher = Dispatcher(rig.store, rig.settings)
    return ProcessManager(store=rig.store, publisher=rig.broker.publisher, tools=rig.parts.tools, dispatcher=dispatcher)


def test_a_restored_store_is_opened_only_when_all_have_answered_or_by_force(rig: RuntimeRig) -> None:
    # Given a restored store with one task under way, which has been asked about
    rig.submit("one")
    with closing(restored(rig)) as manager:
        reconciler = Reconciler(rig.store, manager, rig.settings)
        while reconciler.step():
            pass
    assert rig.store.mode() is Mode.ASKED
    # When it is opened while nobody has answered, then that is refused with the number
    with pytest.raises(ConflictError, match="1 of those asked about have no answer"):
        open_for_work(rig.store, by="op", reason="now")
    assert rig.store.mode() is Mode.ASKED
    assert open_for_work(rig.store, by="op", reason="now", force=True) == 1


def test_nothing_but_look_ups_leaves_a_restored_store_whatever_is_decided(rig: RuntimeRig) -> None:
    # Given a task under way in a restored store
    (request,) = rig.submit("one")
    rig.tasks(A)
    with closing(restored(rig)) as manager:
        # When its request is taken back, which would be told to the provider
        manager.decide([Incoming(request_id=request, event=CancelAsked(actor="op", reason="x"))])
    # Then nothing leaves but questions
    assert {task.envelope.type for task in rig.tasks(A)} <= {MessageType.TASK_QUERIED}


def test_what_leaves_between_two_counts_is_counted_too(rig: RuntimeRig) -> None:
    # Given room for four, when six come one after the other
    requests = [rig.submit(f"number {number}")[0] for number in range(6)]
    # Then two wait
    assert Counter(rig.step(request).state.value for request in requests) == {"dispatched": 4, "ready": 2}


def test_a_full_outbox_refuses_what_is_new_and_answers_what_is_known(rig: RuntimeRig) -> None:
    rig.submit("one")
    admission = Admission(rig.store, replace(rig.settings, outbox_most=0))
    admission.check(fanout.CONSUMER, "one")
    with pytest.raises(TransientError, match="Too much waits"):
        admission.check(fanout.CONSUMER, "two")


def test_what_is_held_back_because_nothing_comes_through_the_broker_counts_as_waiting(rig: RuntimeRig) -> None:
    # Given steps that wait in the store for agencies without a host
    rig.tick()
    rig.submit("one")
    rig.manager.flush()
    clock = Clock()
    admission = Admission(rig.store, replace(rig.settings, outbox_most=1), clock)
    admission.check(fanout.CONSUMER, "two")
    # When no tick has come for long, then they are there because the broker is away
    rig.pass_time(4 * rig.settings.tick_every)
    clock.now += 2_000
    with pytest.raises(TransientError, match="Too much waits"):
        admission.check(fanout.CONSUMER, "two")


@pytest.mark.parametrize("kind", ["started", "alive"])
def test_nobody_announces_a_host_of_another_agency(rig: RuntimeRig, kind: str) -> None:
    journal = JournalIdentity(journal_id=str(uuid4()), seq=1)
    began = Started(agency=B, start_id="s", journal=journal, operations={}, versions={})
    lives = Alive(agency=B, start_id="s", journal_id=journal.journal_id, seq=1)
    id, now = str(uuid4()), rig.store.now()
    rig.say(A, started_message(began, id=id, now=now) if kind == "started" else alive_message(lives, id=id, now=now))
    rig.settle()
    assert rig.codes() == ["invalid:wrong-provider"]
    assert B not in rig.store.agencies()


def test_a_gateway_alone_leaves_the_relay_nothing_that_the_broker_has(tmp_path: Path) -> None:
    with runtime(tmp_path) as rig, running(rig.parts, hosts=False, roles=["gateway"]):
        rig.admit(A)
        rig.submit("one")
        # Nobody decides anything more here, and the relay is in another process
        wait_for("the rows are deleted", lambda: rig.store.outbox_depth() == 0)


def test_a_host_keeps_what_its_channel_did_not_take_and_sends_it_again(tmp_path: Path) -> None:
    rig = host_rig.Rig(tmp_path)
    rig.start()
    queues = rig.broker._queues  # type: ignore[attr-defined]  # noqa: SLF001 - an accident of the broker
    del queues._names[replies(host_rig.AGENCY)]  # noqa: SLF001
    rig.heard.clear()
    rig.send(rig.task())

    def is_made_again() -> bool:
        rig.host.step()
        return queues.name(replies(host_rig.AGENCY)) is not None

    wait_for("the host makes its channel again", is_made_again)
    assert not rig.heard
    rig.now += 6_000
    rig.settle()
    assert MessageType.TASK_COMPLETED in {message.envelope.type for message in rig.heard}


def test_a_host_whose_journal_a_sister_has_declared_restored_announces_itself_anew(tmp_path: Path) -> None:
    rig = host_rig.Rig(tmp_path)
    rig.start()
    renewed = rig.journal.renew(rig.now).journal_id
    rig.heard.clear()
    rig.now += host_rig.SETTINGS.alive_every
    rig.settle()
    announced = [one.envelope.journalid for one in rig.heard if one.envelope.type == MessageType.HOST_STARTED]
    assert (announced, rig.host.is_admitted) == ([renewed], True)


def test_a_host_that_was_cut_off_for_a_month_sends_all_it_has_in_its_order(tmp_path: Path) -> None:
    rig = host_rig.Rig(tmp_path)
    waiting = [JournalReply(message_id=f"m{n}", type="t", correlation_id="", body=b"%d" % n) for n in range(2_500)]
    with rig.journal.transaction() as transaction:
        transaction.write(JournalChanges(outbox=waiting))
    with closing(rig.broker.consumer([replies(host_rig.AGENCY)], 10_000)) as consumer:
        rig._consumer.close()  # noqa: SLF001 - the test listens in its place
        rig.host.open()
        for _ in range(10):
            rig.host.step()
        came = [delivery.body for delivery in consumer.collect(10_000, 0)]
    assert [body for body in came if body.isdigit()] == [reply.body for reply in waiting]


def test_an_end_without_a_store_lets_go_of_everything_all_the_same(tmp_path: Path) -> None:
    with runtime(tmp_path) as rig, closing(sqlite3.connect(rig.parts.data / "store.db")) as stranger:
        with running(rig.parts, hosts=False, roles=["process-manager"]):
            rig.admit(A)
            rig.manager.flush()
            # Given a store that takes nothing more, and something that it should forget
            stranger.execute("BEGIN IMMEDIATE")
            rig.manager._give_back([1])  # noqa: SLF001 - as if the broker had just confirmed it
        # Then
        with pytest.raises(BrokerUnavailableError):
            rig.broker.publisher()
        stranger.rollback()


# --- what an agency's own user may do to the others -------------------------------------------------------------------


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet_on(tmp_path_factory.mktemp("fleet")) as running:
        yield running


@contextmanager
def agency_user(fleet: Fleet) -> Iterator[Any]:
    """A channel of AMQP of somebody who has stolen the name and the password of the registry's hosts."""
    word = (fleet.workspace / "secrets" / REGISTRY).read_text(encoding="ascii")
    parameters = pika.URLParameters(fleet.broker_url)
    parameters.credentials = pika.PlainCredentials(host_user(REGISTRY), word)
    with closing(pika.BlockingConnection(parameters)) as connection:
        yield connection.channel()


PROPERTIES = pika.BasicProperties(user_id=host_user(REGISTRY), delivery_mode=2)


def event(type_: str, /, **members: Any) -> bytes:
    """A message that an agency could make up."""
    said: dict[str, Any] = {"specversion": "1.0", "id": str(uuid4()), "source": "/x", "type": type_}
    said |= {"time": "2026-01-01T00:00:00Z", "datacontenttype": "application/json", "data": {}}
    return json.dumps(said | members).encode()


def answer(says: str = "completed", /, **members: Any) -> bytes:
    """A reply that an agency could make up."""
    said: dict[str, Any] = {
        "interactionid": str(uuid4()),
        "correlationid": str(uuid4()),
        "attempt": 1,
        "edit": 0,
        "step": "name",
    }
    return event(f"bus.task.{says}.v1", **(said | {"provider": REGISTRY, "kind": "task"} | members))


def no(reason: str) -> dict[str, Any]:
    return {"reason_code": reason, "text": {"en": "No", "ar": "لا"}}


def garbage(fleet: Fleet, ended: str) -> Mapping[str, Sequence[bytes]]:
    """Code of the failure that shows it -> what the thief sends. ``ended``: a request that has ended well."""
    with fleet.store() as store:
        request = store.request(ended)
    assert request is not None
    mine = next(step for step in request.steps.values() if step.agency == REGISTRY)
    about = {"correlationid": ended, "step": mine.key.step, "interactionid": request.interaction(mine.key)}
    far = 2**53 - 1
    start = {"provider": REGISTRY, "journalid": str(uuid4()), "journalseq": far}
    return {
        "invalid:not-utf8": [b"\xff\xfe nonsense"],
        "invalid:not-json": [b"", b"{"],
        "invalid:too-deep": [b"[" * 100_000],
        "invalid:too-large": [b"x" * 15_000_000],
        "invalid:wrong-provider": [answer(provider="tax_authority")],
        # It would let the agency choose when its own deadlines pass.
        "invalid:unvouched-sender": [event("bus.tick.v1", time="2099-01-01T00:00:00Z")],
        "invalid:unexpected-type": [
            event("bus.host.admitted.v1", **start),
            event("bus.request.submitted.v1"),
            event("bus.task.requested.v1", interactionid=str(uuid4()), attempt=1, provider=REGISTRY),
        ],
        "invalid:announcement": [event("bus.host.started.v1", **start, data={"startid": "x", "operations": 7})],
        "orphan": [answer()],
        "early": [answer(correlationid=ended), answer(correlationid=ended, step="unheard_of", item=far)],
        "contradiction": [answer("refused", **about, data=no("a"))],
    }


def test_what_a_stolen_password_of_an_agency_sends_is_shown_and_stops_nobody(fleet: Fleet) -> None:
    # Given a request that has ended well
    with Load(fleet) as load:
        load.wait_for(3)
    all_end(fleet, load)
    sent = garbage(fleet, load.accepted[0])
    before = {name: process.pid for name, process in fleet.processes.items()}

    # When all kinds of nonsense come beside the work of the day
    with Load(fleet) as load, agency_user(fleet) as amqp:
        amqp.confirm_delivery()
        for body in (body for bodies in sent.values() for body in bodies):
            amqp.basic_publish(replies(REGISTRY), replies(REGISTRY), body, PROPERTIES, mandatory=True)
        load.wait_for(10)
        outcomes = all_end(fleet, load)

    # Then nobody died of it, the work is done, and each kind shows once and counts
    assert set(outcomes) == {"completed"}
    wait_for("all of it is settled", lambda: not fleet.depths())
    assert {name: process.pid for name, process in fleet.processes.items() if process.poll() is None} == before
    shown = Counter[str]()
    for failure in fleet.failures():
        shown[str(failure["code"])] += int(str(failure["times"]))
    assert shown == {code: len(bodies) for code, bodies in sent.items()}
    assert_all_is_well(fleet)


def test_a_message_that_is_far_too_large_takes_no_more_room_than_a_large_one(fleet: Fleet) -> None:
    # Given one of 15 megabytes, as the test before has sent
    failure = fleet.wait_for_failure("invalid:too-large", agency=REGISTRY)
    # Then no more of it is kept than shows what it was
    shown = fleet.operator.failure_show(failure["failure"])
    assert shown["evidence_bytes"] == 256 * 1024 + 1


@pytest.mark.parametrize("channel", ["tasks", "control", "replies of another", "poison", "amq.direct", ""])
def test_an_agency_writes_into_its_own_replies_and_nowhere_else(fleet: Fleet, channel: str) -> None:
    own = {"tasks": tasks(REGISTRY), "control": control(REGISTRY), "replies of another": "replies.tax_authority"}
    name = own.get(channel, channel)
    with agency_user(fleet) as amqp:
        amqp.confirm_delivery()
        with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="403"):
            amqp.basic_publish(name, name or tasks(REGISTRY), b"{}", PROPERTIES, mandatory=True)


@pytest.mark.long
def test_a_flood_of_nonsense_from_one_agency_delays_the_others_by_seconds(fleet: Fleet) -> None:
    with agency_user(fleet) as amqp:
        for number in range(50_000):
            body = answer() if number % 2 else b"nonsense %d" % number
            amqp.basic_publish(replies(REGISTRY), replies(REGISTRY), body, PROPERTIES)
        with Load(fleet) as load:
            load.wait_for(20)
            assert set(all_end(fleet, load)) == {"completed"}
    wait_for("all of it is settled", lambda: not fleet.depths(), 100)
    assert fleet.is_alive


# --- who starts it wrongly --------------------------------------------------------------------------------------------


def started(fleet: Fleet, *roles: str, env: str | None = None, data: Path | None = None) -> tuple[int, str]:
    """`bus serve` with these roles, which ends by itself: its exit code, and what it says."""
    if env is not None:
        (fleet.workspace / "env" / "wrong.yaml").write_text(env, encoding="utf-8")
    where = ["--workspace", str(fleet.workspace), "--env", "test" if env is None else "wrong"]
    command = [sys.executable, "-m", "bus", "serve", *where, "--data", str(data or fleet.folder / "elsewhere")]
    told = [part for role in roles for part in ("--role", role)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BUS_")}
    done = subprocess.run(
        [*command, *told, "--port", "0", "--no-simulators"],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def changed(fleet: Fleet, old: str, new: str) -> str:
    """The environment with one thing wrong."""
    text = (fleet.workspace / "env" / "test.yaml").read_text(encoding="utf-8")
    assert old in text
    return text.replace(old, new)


def test_a_host_that_lacks_what_the_environment_promises_is_refused_with_the_place(fleet: Fleet) -> None:
    vault = fleet.workspace / "secrets"
    (vault / "folder").mkdir(exist_ok=True)
    (vault / "url").write_text("no address at all", encoding="ascii")
    role = f"agency:{REGISTRY}"
    for old, new, code in (
        (f"secrets/{REGISTRY}", "secrets/folder", "secret-missing"),
        ("timeout_s: 0.7", "timeout_s: {file: secrets/nowhere}", "secret-missing"),
        (f"{REGISTRY}: {{use: real,", f"{REGISTRY}: {{use: real, journal: {{url: {{file: secrets/url}}}},", "journal"),
    ):
        ended, said = started(fleet, role, env=changed(fleet, old, new))
        assert (ended, code in said, "Traceback" in said) == (2, True, False), said


@pytest.mark.long
def test_a_role_of_the_bus_without_its_store_or_its_secret_is_refused_with_the_mend(fleet: Fleet) -> None:
    bare = fleet.postgres.make_database("bare")
    for old, new, code, mend in (
        (fleet.store_url, bare, 2, "bus store migrate"),
        (fleet.store_url, f"{fleet.store_url}_no", 2, "store-refused"),
        ("secrets/installation", "secrets/nowhere", 2, "secret-missing"),
        ("secrets/installation", "secrets/bus", 2, "installation-secret-damaged"),
    ):
        ended, said = started(fleet, "gateway", env=changed(fleet, old, new))
        assert (ended, mend in said, "Traceback" in said) == (code, True, False), said


def test_a_journal_is_not_declared_restored_under_a_living_host(fleet: Fleet) -> None:
    before = fleet.known_journal()
    command = [sys.executable, "-m", "bus", "agency", "restore", REGISTRY, "--data", str(fleet.data)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, "data-in-use" in done.stderr, fleet.known_journal()) == (3, True, before)


def test_no_secret_is_told_to_whoever_looks_at_the_processes_or_the_log(fleet: Fleet) -> None:
    words = [file.read_text(encoding="utf-8") for file in (fleet.workspace / "secrets").iterdir() if file.is_file()]
    told = [Path(f"/proc/{process.pid}/cmdline").read_bytes().decode() for process in fleet.processes.values()]
    told.append(fleet.log.read_text(encoding="utf-8"))
    assert len(told) > 4
    assert not [word for word in words if any(word in text for text in told) and word != "admin"]


def test_the_whole_bus_in_one_process_works_over_the_same_services(fleet: Fleet) -> None:
    # Given no roles, and so all of them
    fleet.kill()
    (fleet.data / "url").unlink()
    fleet.process = fleet.spawn()
    wait_for("the address of the gateway", (fleet.data / "url").exists)
    with Load(fleet) as load:
        load.wait_for(20)
        load.stop()
        with fleet.store() as store:
            wait_for("the end of all", lambda: not store.totals()[RequestState.OPEN])
    assert not load.wrong
    # When it is told to stop while the broker is away, then it does
    fleet.rabbit.stop()
    try:
        assert fleet.terminate(within=40) == 0
    finally:
        fleet.rabbit.start()
        fleet.start()
    assert_all_is_well(fleet)


# --- a broker that cannot prove who it is -----------------------------------------------------------------------------

_AUTHORITY = """
[ca]
default_ca = own
[own]
database = index
serial = serial
new_certs_dir = .
default_md = sha256
policy = any
[any]
commonName = supplied
"""


def expired(folder: Path) -> tuple[Path, Path]:
    """A certificate for localhost that was good for a day, years ago, and its key."""
    (folder / "config").write_text(_AUTHORITY, encoding="ascii")
    (folder / "index").touch()
    (folder / "serial").write_text("01", encoding="ascii")
    (folder / "names").write_text("subjectAltName = DNS:localhost\n", encoding="ascii")
    ask = "req -newkey rsa:2048 -nodes -keyout key.pem -out asked.pem -subj /CN=localhost"
    sign = (
        "ca -batch -selfsign -config config -keyfile key.pem -in asked.pem -out made.pem -notext -extfile names"
        " -startdate 20200101000000Z -enddate 20200102000000Z"
    )
    for command in (ask, sign):
        subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True)
    return folder / "made.pem", folder / "key.pem"


def test_an_expired_certificate_is_told_as_what_it_is_and_at_once(tmp_path: Path) -> None:
    # Given a broker whose certificate has expired
    certificate, key = expired(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            accepted, _ = listening.accept()
            with accepted, suppress(OSError):
                context.wrap_socket(accepted, server_side=True).close()

        threading.Thread(target=serve, daemon=True).start()
        url = f"amqps://localhost:{listening.getsockname()[1]}/bus"
        broker = RabbitBroker(url, user="bus", password="geheim", ca=certificate)
        # When somebody connects
        with closing(broker), pytest.raises(BrokerUnavailableError, match="certificate has expired") as refused:
            broker.publisher()
    # Then a log, which holds no messages, says it too
    assert refused.value.code == "broker-certificate-refused"


# --- what the environment lacks ---------------------------------------------------------------------------------------

_BROKER = "broker: {url: 'amqp://h/bus', password: {env: BUS_WORD}}\n"


def environment(folder: Path, text: str) -> Workspace:
    root, _ = copy_of_repository(folder)
    file = root / "env" / "test.yaml"
    own = f"{REGISTRY}: {{use: simulator, broker_password: {{env: REGISTRY_WORD}}}}"
    there = file.read_text(encoding="utf-8").replace(f"{REGISTRY}: {{use: simulator}}", own)
    assert own in there
    file.write_text(f"{there}\n{text}", encoding="utf-8")
    return load_workspace(root, "test")


@pytest.mark.parametrize(
    ("text", "role", "codes"),
    [
        ("", "gateway", ["broker-missing", "store-missing"]),
        ("", f"agency:{REGISTRY}", ["broker-missing"]),
        (_BROKER, "relay", ["store-missing"]),
        (_BROKER, f"agency:{REGISTRY}", []),
    ],
)
def test_a_role_is_refused_without_what_it_shares_with_the_others(
    tmp_path: Path, text: str, role: str, codes: list[str]
) -> None:
    workspace = environment(tmp_path, text)
    if not codes:
        assert roles_of([role], workspace).agencies == (REGISTRY,)
        return
    with pytest.raises(ConfigurationError) as refused:
        roles_of([role], workspace)
    assert [fault.code for fault in refused.value.faults] == codes


def test_a_shared_store_without_a_shared_secret_is_refused(tmp_path: Path) -> None:
    workspace = environment(tmp_path, f"{_BROKER}store: {{url: 'postgresql://bus@db/bus'}}\n")
    with pytest.raises(ConfigurationError, match="the installation's secret is not"):
        secret_of(workspace, tmp_path / "data")


def test_the_hosts_of_an_agency_reach_the_broker_under_their_own_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUS_WORD", "of the bus")
    monkeypatch.setenv("REGISTRY_WORD", "of the registry")
    workspace = environment(tmp_path, _BROKER)
    seen = []
    for broker in (host_broker(workspace, REGISTRY), bus_broker(workspace)):
        with closing(broker):
            login = broker._connector.login  # type: ignore[attr-defined]  # noqa: SLF001 - what it would say
            seen.append((login.user, login.password))
    assert seen == [(host_user(REGISTRY), "of the registry"), ("bus", "of the bus")]


# --- what an environment says wrongly ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("broker: {url: 'amqp://[::1'}", "not-an-address"),
        ("store: {url: 'postgresql://[db'}", "not-an-address"),
        ("broker: {url: 7}", "not-an-address"),
        ("store: {url: 'postgresql://bus@db/bus?sslmode=require&password=geheim'}", "secret-in-clear"),
        ("store: {url: 'postgresql://bus:geheim@db/bus'}", "secret-in-clear"),
        ("store: {url: 'postgresql://bus:@db/bus'}", "secret-in-clear"),
    ],
)
def test_an_address_that_is_none_or_holds_a_password_is_a_fault_with_its_place(
    tmp_path: Path, text: str, code: str
) -> None:
    root, _ = copy_of_repository(tmp_path)
    file = root / "env" / "test.yaml"
    file.write_text(f"{file.read_text(encoding='utf-8')}\n{text}\n", encoding="utf-8")
    with pytest.raises(ConfigurationError) as refused:
        load_workspace(root, "test")
    found = next(fault for fault in refused.value.faults if fault.code == code)
    assert (found.file, found.line is not None, "geheim" in str(refused.value)) == ("env/test.yaml", True, False)
