"""What comes through a reply channel: nothing is dropped, nothing counts twice, and nothing is half-done."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from bus.bench import fanout
from bus.errors import BrokerUnavailableError, StaleVersionError
from bus.message.channel import replies, tasks
from bus.message.envelope import Envelope, MessageType, decode, encode
from bus.message.reply import Completed
from bus.ports import Decided, Fate, Incoming, Payload, Publisher
from bus.process.event import EpochBegan, Replied
from bus.process.state import RequestState, StepKey
from bus.receiver.announcement import Alive, alive_message
from bus.runtime.epoch import connect
from bus.runtime.process_manager import ProcessManager
from bus.runtime.relay import Relay
from bus.runtime.work import Work
from tests.support.runtime_rig import AGENCIES, A, B, RuntimeRig, runtime


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[RuntimeRig]:
    with runtime(tmp_path) as made:
        made.admit(*AGENCIES)
        yield made


def state(rig: RuntimeRig, request: str, name: str = A) -> str:
    return rig.step(request, name).state.value


def test_what_cannot_be_understood_is_shown_with_its_bytes_and_its_neighbours_count(rig: RuntimeRig) -> None:
    # Given a reply among bytes that are no message, a message that belongs elsewhere, an announcement that lacks
    # its start, and a reply in the name of another agency
    (request,) = rig.submit("one")
    (task,) = rig.tasks(A)
    (stranger,) = rig.tasks(B)
    elsewhere = encode(Envelope(id=str(uuid4()), source="/x", type=MessageType.HOST_ADMITTED), {})
    unsaid = encode(Envelope(id=str(uuid4()), source="/x", type=MessageType.HOST_STARTED, provider=A), {})
    bad = [b"\xff not a message", elsewhere.body, unsaid.body, rig.reply(stranger).body]
    for body in bad:
        rig.say_bytes(A, body)
    # When they are settled in one batch
    rig.answer(rig.reply(task))
    # Then the reply counts, each of the others is shown as it came, and nothing is left in the channel
    assert state(rig, request) == "succeeded"
    assert state(rig, request, B) == "dispatched"
    assert [rig.evidence(failure) for failure in rig.failures()] == bad
    assert {failure.agency for failure in rig.failures()} == {A}
    assert all(code.startswith("invalid:") for code in rig.codes())
    assert rig.broker.depth(replies(A)) == 0


@pytest.mark.parametrize("lost", [None, "5f0e8a3c-1111-8111-8111-111111111111"])
def test_a_reply_for_no_known_request_is_kept_with_its_bytes_and_shown_once(rig: RuntimeRig, lost: str | None) -> None:
    # Given a reply that names another request, or none
    rig.submit("one")
    (task,) = rig.tasks(A)
    orphan = rig.reply(task, correlationid=lost)
    # When it comes twice
    rig.answer(orphan)
    rig.answer(orphan)
    # Then
    (failure,) = rig.failures()
    assert (failure.code, failure.request_id, rig.evidence(failure)) == ("orphan", lost, orphan.body)


@pytest.mark.parametrize("hidden", [{}, {"step": None}, {"step": "agency_b"}])
def test_an_answer_that_breaks_the_contract_never_succeeds_whatever_it_says_of_its_step(
    rig: RuntimeRig, hidden: dict[str, str | None]
) -> None:
    (request,) = rig.submit("one")
    (task,) = rig.tasks(A)
    rig.answer(rig.reply(task, Completed(data={"id": "7"}), **hidden))
    assert (state(rig, request), rig.codes()) == ("parked", ["answer_unreadable"])


def test_a_reply_that_comes_twice_counts_once(rig: RuntimeRig) -> None:
    # Given a reply, twice in one batch and once more later
    (request,) = rig.submit("one")
    (task,) = rig.tasks(A)
    reply = rig.reply(task)
    rig.answer(reply, reply)
    version = rig.request(request).version
    rig.answer(reply)
    # Then
    assert rig.request(request).version == version
    assert [fact.kind for fact in rig.store.facts(request)].count("step_succeeded") == 1


def test_two_replies_for_one_request_in_one_batch_both_count(rig: RuntimeRig) -> None:
    (request,) = rig.submit("one")
    rig.answer(*(rig.reply(task) for name in AGENCIES for task in rig.tasks(name)))
    assert rig.request(request).state is RequestState.COMPLETED
    assert rig.store.recount() == ()
    # and the one result is made of all answers, also of those that came last
    ((_, body),) = rig.store.results(fanout.CONSUMER, after=0, most=10)
    result = (decode(body).data or {})["result"]
    assert result == dict.fromkeys(AGENCIES, fanout.submission(1)["id"])


def test_the_bytes_of_a_reply_belong_to_its_request(rig: RuntimeRig) -> None:
    # Else erasing a request would leave what agencies answered.
    (request,) = rig.submit("one")
    (task,) = rig.tasks(A)
    rig.answer(rig.reply(task))
    ((owner,),) = rig.sql("SELECT request_key FROM payload WHERE id = ?", rig.step(request).output_id)
    assert owner == rig.request(request).key


def test_a_reply_that_breaks_the_code_is_kept_and_leaves_nothing_half_done(rig: RuntimeRig) -> None:
    # Given two requests that wait for their last reply, and the data of one is no record any more
    broken, sound = rig.submit("broken", "sound")
    for name in AGENCIES[1:]:
        rig.answer(*(rig.reply(task) for task in rig.tasks(name)))
    rig.sql("UPDATE payload SET bytes = x'5b' WHERE id = ?", rig.step(broken, B).output_id)
    before = rig.request(broken)
    # When both come in one batch
    answers = [rig.reply(task) for task in rig.tasks(A)]
    rig.answer(*answers)
    # Then the one is as it was, its reply is shown with its bytes, and the other has ended
    assert rig.request(broken) == before
    (failure,) = rig.failures()
    assert failure.code == "undecidable"
    assert rig.evidence(failure) in {answer.body for answer in answers}
    assert rig.request(sound).state is RequestState.COMPLETED
    assert [row for row in rig.store.recount() if "payload" not in row] == []


def test_a_reply_for_a_request_whose_definition_is_lost_is_kept_and_its_neighbours_count(rig: RuntimeRig) -> None:
    # Given two requests, and nobody knows the definition of one any more
    lost, sound = rig.submit("lost", "sound")
    rig.sql("UPDATE request SET revision = 'gone' WHERE id = ?", lost)
    # When replies come for both
    rig.answer(*(rig.reply(task) for task in rig.tasks(A)))
    # Then
    assert (state(rig, lost), state(rig, sound)) == ("dispatched", "succeeded")
    assert [(failure.code, failure.request_id) for failure in rig.failures()] == [("definition_missing", lost)]


def test_a_batch_that_breaks_the_code_is_halved_until_the_culprit_is_alone(tmp_path: Path) -> None:
    # Given an agency's row that nobody can count on with, beside other agencies
    with runtime(tmp_path) as rig:
        rig.admit(*AGENCIES)
        (request,) = rig.submit("one")
        answers = [rig.reply(rig.tasks(name)[0]) for name in AGENCIES]
        rig.sql("UPDATE agency SET journal_seq = 'x' WHERE agency = ?", A)
        # When their replies come in one batch
        for answer in answers:
            rig.say(answer.envelope.provider or "", answer)
        rig.settle()
        # Then all others count, and the one is kept
        assert [state(rig, request, name) for name in AGENCIES[1:]] == ["succeeded"] * 3
        assert (state(rig, request), rig.codes()) == ("dispatched", ["undecidable"])
        assert [rig.evidence(failure) for failure in rig.failures()] == [answers[0].body]


# --- submissions ---------------------------------------------------------------------------------------------------


def test_the_same_submission_twice_in_one_batch_is_one_request(rig: RuntimeRig) -> None:
    other = rig.incoming("key", {"id": "8", "note": "other"})
    fates = rig.decide(rig.incoming("key"), rig.incoming("key"), other)
    assert [decided.fate for decided in fates] == [Fate.APPLIED, Fate.DUPLICATE, Fate.CONFLICT]
    assert sum(rig.store.totals().values()) == 1
    assert rig.store.recount() == ()


def test_the_same_submission_from_many_threads_is_one_request(rig: RuntimeRig) -> None:
    # Given eight gateways that are given the same submission in the same moment
    begin, fates = threading.Barrier(8), list[Decided]()

    def submit() -> None:
        begin.wait()
        fates.extend(rig.decide(rig.incoming("key")))

    threads = [threading.Thread(target=submit) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Then one of them made it, and all know the same request
    assert sorted(decided.fate for decided in fates) == [Fate.APPLIED] + [Fate.DUPLICATE] * 7
    assert len({decided.request.id for decided in fates if decided.request}) == 1


def test_a_batch_that_met_a_newer_version_is_decided_again_on_what_is_true_now(rig: RuntimeRig) -> None:
    # Given somebody who moves the request between our reading and our writing, once
    (request,) = rig.submit("one")
    (task,) = rig.tasks(A)
    seen: list[int] = []

    def overtaken(work: Work) -> None:
        seen.append(work.now)
        if len(seen) == 1:
            raise StaleVersionError

    # When a reply is decided
    key = StepKey(step=A)
    replied = Replied(
        interaction_id=rig.request(request).interaction(key),
        provider=A,
        attempt=1,
        reply=Completed(data=task.data or {}),
        message_id=str(uuid4()),
        payload_id=(payload := Payload(id=rig.parts.tools.keys.next(), request_key=None, bytes=task.body)).id,
        digest="0" * 64,
    )
    (decided,) = rig.manager.settle([Incoming(request_id=request, event=replied, payloads=(payload,))], overtaken)
    # Then it counts, once
    assert (decided.fate, len(seen), state(rig, request)) == (Fate.APPLIED, 2, "succeeded")
    assert rig.store.recount() == ()


# --- hosts -----------------------------------------------------------------------------------------------------------


def test_a_host_that_keeps_knocking_with_a_second_journal_is_one_failure_and_gets_no_answer(rig: RuntimeRig) -> None:
    other = str(uuid4())
    for _ in range(3):
        rig.admit(A, journal=other)
    assert rig.codes() == ["second_journal"]
    assert rig.agency().journal_id == rig.journals[A]


def test_a_sign_of_life_keeps_the_host_alive(rig: RuntimeRig) -> None:
    rig.pass_time(rig.settings.dead_after)
    sign = Alive(agency=A, start_id="s", journal_id=rig.journals[A], seq=12)
    rig.answer(alive_message(sign, id=str(uuid4()), now=rig.store.now()))
    assert rig.agency().journal_seq == 12
    assert state(rig, rig.submit("one")[0]) == "dispatched"


# --- outbox ----------------------------------------------------------------------------------------------------------


def test_what_a_dead_process_left_in_the_outbox_is_published_as_those_bytes(rig: RuntimeRig) -> None:
    # Given a process that commits and cannot publish, and then is gone
    def away() -> Publisher:
        raise BrokerUnavailableError

    mute = ProcessManager(store=rig.store, publisher=away, tools=rig.parts.tools, dispatcher=rig.parts.dispatcher)
    rig.manager.flush()
    mute.decide([rig.incoming("one")])
    assert (rig.tasks(A), rig.store.outbox_depth()) == ([], 4)
    # When the relay finds its rows at the next start
    rig.relay.drain(lambda: False)
    # Then the agency has the stored bytes, and the outbox is empty
    (task,) = rig.tasks(A)
    step = rig.step(task.envelope.correlationid or "")
    assert rig.store.payloads([step.task_id or 0]) == {step.task_id: task.body}
    assert rig.store.outbox_depth() == 0


def test_rows_that_were_confirmed_and_not_deleted_are_sent_again_as_the_same_bytes(rig: RuntimeRig) -> None:
    # Given a process that died between the broker's confirmation and the deletion
    rig.manager.flush()
    rig.submit("one")
    (first,) = rig.tasks(A)
    assert rig.store.outbox_depth() == 4
    again = ProcessManager(
        store=rig.store, publisher=rig.broker.publisher, tools=rig.parts.tools, dispatcher=rig.parts.dispatcher
    )
    relay = Relay(rig.store, rig.broker, again, rig.parts.tools.keys, rig.settings)
    # When another one starts
    relay.drain(lambda: False)
    # Then
    (second,) = rig.tasks(A)
    assert second.body == first.body
    assert rig.store.outbox_depth() == 0
    again.close()


def test_the_relay_leaves_young_rows_to_the_process_that_wrote_them(rig: RuntimeRig) -> None:
    rig.submit("one")
    rig.tasks(A)
    assert rig.relay.step() == 0
    assert rig.tasks(A) == []


def test_a_channel_that_takes_nothing_is_made_again_shown_once_and_delays_no_other(tmp_path: Path) -> None:
    # Given a broker that has lost the channel of one agency
    with runtime(tmp_path) as rig:
        rig.admit(*AGENCIES)
        rig.submit("before")
        names = rig.broker._queues._names  # type: ignore[attr-defined]  # noqa: SLF001 - an accident of the broker
        del names[tasks(A)]
        rig.submit("one", "two")
        assert len(rig.tasks(B)) == 3
        # When the relay comes by
        rig.relay.step()
        rig.relay.step()
        # Then it is shown once, and what waited arrives
        assert [(failure.code, failure.agency) for failure in rig.failures()] == [("channel_refuses", A)]
        rig.relay.drain(lambda: False)
        assert len(rig.tasks(A)) == 3


# --- epochs ----------------------------------------------------------------------------------------------------------


def test_a_wiped_broker_gets_every_task_that_was_under_way_again_as_the_same_bytes(rig: RuntimeRig) -> None:
    # Given a store that knows an epoch which the broker has forgotten, and more requests than one batch
    rig.store.save_epoch("forgotten")
    rig.submit("one", "two", "three")
    before = {task.envelope.id: task.body for task in rig.tasks(A)}
    assert len(before) == 3
    # When the bus connects
    assert connect(rig.broker, rig.store, rig.manager, AGENCIES)
    # Then each comes again, and the broker knows the epoch from now on
    assert {task.envelope.id: task.body for task in rig.tasks(A)} == before
    assert not connect(rig.broker, rig.store, rig.manager, AGENCIES)


def test_an_epoch_changes_nothing_of_an_ended_request(rig: RuntimeRig) -> None:
    (request,) = rig.submit("one")
    rig.answer(*(rig.reply(task) for name in AGENCIES for task in rig.tasks(name)))
    before = rig.request(request)
    rig.decide(Incoming(request_id=request, event=EpochBegan()))
    assert rig.request(request) == before
