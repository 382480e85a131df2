"""Roles beside each other: what is acknowledged when, what a restored store lets out, and how much may wait."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import pytest

from bus.bench import fanout
from bus.bootstrap import running
from bus.errors import BrokerUnavailableError, ConflictError, TransientError
from bus.message.channel import POISON, replies
from bus.message.envelope import MessageType
from bus.operations.admission import Admission
from bus.ports import Act, Consumer, Delivery, Incoming, JournalChanges, JournalReply, Mode, Outgoing
from bus.process.event import CancelAsked
from bus.process.state import StepState
from bus.receiver.announcement import Alive, Started, alive_message, started_message
from bus.receiver.row import JournalIdentity
from bus.runtime.dispatcher import Dispatcher
from bus.runtime.poison import PoisonConsumer
from bus.runtime.process_manager import ProcessManager
from bus.runtime.reconcile import Reconciler, open_for_work
from tests.support import host_rig
from tests.support.runtime_rig import A, B, RuntimeRig, runtime
from tests.support.slow_broker import Clock, admitted
from tests.support.waiting import wait_for


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[RuntimeRig]:
    with admitted(tmp_path) as made:
        yield made


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
    admission.check(fanout.CONSUMER, "one", set)
    with pytest.raises(TransientError, match="Too much waits"):
        admission.check(fanout.CONSUMER, "two", set)


def test_what_is_held_back_because_nothing_comes_through_the_broker_counts_as_waiting(rig: RuntimeRig) -> None:
    # Given steps that wait in the store for agencies without a host
    rig.tick()
    rig.submit("one")
    rig.manager.flush()
    clock = Clock()
    admission = Admission(rig.store, replace(rig.settings, outbox_most=1), clock)
    admission.check(fanout.CONSUMER, "two", set)
    # When no tick has come for long, then they are there because the broker is away
    rig.pass_time(4 * rig.settings.tick_every)
    clock.now += 2_000
    with pytest.raises(TransientError, match="Too much waits"):
        admission.check(fanout.CONSUMER, "two", set)


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
