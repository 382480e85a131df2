"""An agency host over the embedded broker: what it answers, what it never does twice, and how it comes back."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bus.errors import StoreUnavailableError
from bus.journals.sqlite import SqliteJournal
from bus.logs import bind
from bus.message import channel
from bus.message.envelope import MessageType
from bus.message.instant import DAY, HOUR
from bus.message.reply import Completed, Effect, Failed, Pending, Refused, Returned, Unknown
from bus.ports import Delivery, Outgoing
from bus.process.definition import RepeatKind
from bus.runtime.host_intake import sort, take
from bus.runtime.host_sweep import FORGET_AT_ONCE
from tests.support.host_rig import AGENCY, NOW, SETTINGS, UNWRITABLE, LandOffice, Legacy, Rig, other_uuid


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path)
    rig.start()
    yield rig
    rig.legacy.released.set()
    rig.host.close()
    rig.journal.close()


def code_of(reply: object) -> tuple[str, Effect]:
    assert isinstance(reply, Failed), reply
    return reply.code, reply.effect


# --- admission ------------------------------------------------------------------------------------------------------


def test_a_host_takes_no_task_before_the_bus_has_admitted_it(tmp_path: Path) -> None:
    # Given a host that has announced itself and heard nothing
    rig = Rig(tmp_path)
    rig.host.open()
    rig.send(rig.task())
    rig.send(rig.query("other"), on=channel.control(AGENCY))
    for _ in range(3):
        rig.host.step()
    # Then tasks and questions wait
    assert rig.legacy.calls == []
    assert rig.broker.depth(channel.tasks(AGENCY)) == 1
    # When the bus admits it, both are answered
    rig.settle()
    assert rig.host.is_admitted
    kinds = [message.envelope.type for message in rig.heard]
    assert kinds[0] == MessageType.HOST_STARTED
    assert {MessageType.TASK_COMPLETED, MessageType.TASK_FAILED} <= set(kinds)
    rig.host.close()
    rig.journal.close()


def test_an_admission_of_another_start_does_not_admit_this_one(tmp_path: Path) -> None:
    # Given a host that announces itself again before the admission of its first start has come
    rig = Rig(tmp_path)
    rig.host.open()
    rig.hear()
    rig.host.announce()
    # When that admission comes
    rig.host.step()
    admitted_by_the_first = rig.host.is_admitted
    rig.settle()
    # Then it is that of the second start that counts
    assert (admitted_by_the_first, rig.host.is_admitted) == (False, True)
    rig.host.close()
    rig.journal.close()


def test_a_host_says_that_it_is_alive_and_how_far_its_journal_has_come(rig: Rig) -> None:
    rig.ask(rig.task())
    rig.now += 1_000
    rig.settle()
    last = rig.heard[-1].envelope
    assert last.type == MessageType.HOST_ALIVE
    assert (last.journalid, last.journalseq) == (rig.identity().journal_id, rig.identity().seq)


def test_an_older_copy_of_the_journal_is_noticed_and_runs_nothing_again(rig: Rig, tmp_path: Path) -> None:
    # Given a copy of the journal, then an effect of which the bus has heard
    copy = tmp_path / "copy.db"
    rig.send(rig.task("saved", do="raise"))
    rig.settle()
    rig.journal._connection.execute("VACUUM INTO ?", (str(copy),))  # noqa: SLF001
    before = rig.identity()
    rig.ask(rig.task())
    # When the copy takes the journal's place
    rig.host.close()
    rig.journal.close()
    shutil.copy(copy, rig.path)
    for leftover in rig.path.parent.glob("journal.db-*"):
        leftover.unlink()
    rig.journal = SqliteJournal(rig.path)
    rig.host = rig.new_host()
    rig.start()
    # Then the host has announced a new journal, and the redelivered task is not run a second time
    assert rig.identity().journal_id != before.journal_id
    assert rig.answers(rig.task(journalid=before.journal_id)) == [Unknown()]
    assert rig.legacy.effects(rig.interaction()) == 1


def test_of_two_hosts_that_share_a_journal_each_task_is_run_by_one(rig: Rig) -> None:
    # Given a second host of the agency, over the same file
    journal = SqliteJournal(rig.path)
    second = rig.new_host(journal)
    second.open()
    for _ in range(5):
        rig.host.step()
        second.step()
        rig.hear()
    # The channel is shared: whoever of the two is handed the admission, both know of it
    assert second.is_admitted
    # When tasks come, each of them twice
    tasks = [rig.task(f"plot_{number}") for number in range(20)]
    rig.send(*tasks, *tasks)
    while not (rig.host.is_idle and second.is_idle and len(rig.legacy.ledger) >= 20):
        rig.host.step()
        second.step()
    rig.hear()
    # Then each has one effect and is answered
    assert [rig.legacy.effects(rig.interaction(f"plot_{number}")) for number in range(20)] == [1] * 20
    answered = {m.envelope.interactionid for m in rig.heard if m.envelope.type == MessageType.TASK_COMPLETED}
    assert len(answered) == 20
    second.close()
    journal.close()


# --- answers --------------------------------------------------------------------------------------------------------


def test_a_reply_names_its_task_its_journal_and_nothing_of_the_person(rig: Rig) -> None:
    task = rig.task(test=None, sequence=3)
    (reply,) = rig.ask(task)
    envelope, asked = reply.envelope, task.envelope
    assert envelope.source == f"/agency/{AGENCY}"
    assert envelope.causationid == asked.id
    for name in (
        "correlationid",
        "interactionid",
        "edit",
        "attempt",
        "service",
        "step",
        "kind",
        "provider",
        "operation",
    ):
        assert getattr(envelope, name) == getattr(asked, name), name
    assert envelope.journalid == rig.identity().journal_id
    assert 0 < (envelope.journalseq or 0) <= rig.identity().seq


def test_the_recorded_reply_comes_again_byte_for_byte_whatever_the_attempt(rig: Rig) -> None:
    (first,) = rig.ask(rig.task())
    again = rig.ask(rig.task(), rig.task(attempt=5), rig.query(attempt=6))
    assert {message.body for message in again} == {first.body}
    assert rig.legacy.effects(rig.interaction()) == 1


@pytest.mark.parametrize(
    ("do", "reply"),
    [("refuse", Refused), ("return", Returned), ("later", Pending), ("busy", Failed), ("raise", Unknown)],
)
def test_every_kind_of_answer_reaches_the_bus(rig: Rig, do: str, reply: type) -> None:
    assert [type(one) for one in rig.answers(rig.task(do=do))] == [reply]


@pytest.mark.parametrize("do", ["garbage", "bad_output", "too_large"])
def test_an_answer_that_cannot_be_used_is_a_failure_with_effect_done(rig: Rig, do: str) -> None:
    (reply,) = rig.answers(rig.task(do=do))
    assert code_of(reply) == ("answer_unreadable", Effect.DONE)


def test_an_unreadable_answer_is_translated_again_and_never_called_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.answers(rig.task(do="garbage"))
    (still,) = rig.answers(rig.task(do="garbage", attempt=2))
    assert code_of(still) == ("answer_unreadable", Effect.DONE)
    # When the translator is mended
    monkeypatch.setattr(
        LandOffice, "read", lambda _self, _operation, raw: tuple(Completed(data={"number": "7"}) for _ in raw)
    )
    assert rig.answers(rig.task(do="garbage", attempt=3)) == [Completed(data={"number": "7"})]
    assert len(rig.legacy.calls) == 1


@pytest.mark.parametrize(("do", "code"), [("unpreparable", "prepare_failed"), ("down", "unavailable")])
def test_what_never_left_the_host_has_no_effect(rig: Rig, do: str, code: str) -> None:
    (reply,) = rig.answers(rig.task(do=do))
    assert code_of(reply) == (code, Effect.NONE)


def test_what_no_call_could_change_goes_back_to_the_applicant_without_a_call(rig: Rig) -> None:
    # Given a task that the legacy system could never take, and a good one beside it
    replies = rig.answers(rig.task("plot", do="unwritable"), rig.task("deed", do="succeed"))
    # Then the applicant is asked, the good one is done, and only that one was sent
    assert {type(reply) for reply in replies} == {Returned, Completed}
    assert UNWRITABLE in replies
    assert len(rig.legacy.calls) == 1


def test_data_that_breaks_the_contract_is_not_sent(rig: Rig) -> None:
    bad = rig.message(MessageType.TASK_REQUESTED, "plot", kind="safe", data={"wrong": 1})
    (reply,) = rig.answers(bad)
    assert code_of(reply) == ("invalid_input", Effect.NONE)
    assert rig.legacy.calls == []


def test_an_operation_that_is_not_offered_is_refused(rig: Rig) -> None:
    (reply,) = rig.answers(rig.task(operation="deed.burn.v1"))
    assert code_of(reply) == ("no_operation", Effect.NONE)


def test_a_test_never_reaches_the_real_system(rig: Rig) -> None:
    (reply,) = rig.answers(rig.task(test=True))
    assert code_of(reply) == ("no_simulator", Effect.NONE)
    assert rig.legacy.calls == []


def test_a_test_goes_to_the_simulator(tmp_path: Path) -> None:
    rig, simulated = Rig(tmp_path), Legacy()
    rig.simulator = LandOffice(simulated)
    rig.host = rig.new_host()
    rig.start()
    (reply,) = rig.ask(rig.task(test=True))
    assert reply.envelope.test is True
    assert (len(simulated.ledger), len(rig.legacy.ledger)) == (1, 0)
    rig.host.close()
    rig.journal.close()


def test_nothing_begins_when_too_little_time_is_left(rig: Rig) -> None:
    (reply,) = rig.answers(rig.task(expirytime=NOW + 999))
    assert code_of(reply) == ("too_late", Effect.NONE)
    assert rig.answers(rig.task("b", expirytime=NOW + 1_000)) == [Completed(data={"number": rig.legacy.ledger[0]})]


def test_one_bad_task_does_not_sink_its_batch(rig: Rig) -> None:
    steps = [f"plot_{number}" for number in range(9)]
    wishes = ["unpreparable" if number == 4 else "garbage" if number == 7 else "succeed" for number in range(9)]
    replies = rig.answers(*(rig.task(step, do=do) for step, do in zip(steps, wishes, strict=True)))
    kinds = sorted(type(reply).__name__ for reply in replies)
    assert kinds == ["Completed"] * 7 + ["Failed"] * 2


def test_an_answer_of_the_wrong_length_makes_every_item_of_the_call_unknown(rig: Rig) -> None:
    replies = rig.answers(rig.task("a"), rig.task("b", do="short"))
    assert replies == [Unknown(), Unknown()]


def test_what_cannot_be_understood_keeps_its_bytes_and_harms_nobody(rig: Rig) -> None:
    publisher = rig.broker.publisher()
    to = channel.tasks(AGENCY)
    publisher.publish([Outgoing(channel=to, message_id="x", type="t", correlation_id="", body=b"\xff not json")])
    other = rig.task("elsewhere", provider="somebody_else")
    assert [type(reply) for reply in rig.answers(other, rig.task())] == [Completed]
    assert {(one.code, one.body) for one in rig.journal.invalid(10)} >= {("wrong-provider", other.body)}
    assert b"\xff not json" in {one.body for one in rig.journal.invalid(10)}
    assert rig.broker.depth(to) == 0
    publisher.close()


# --- doubt ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["idempotent", "at_most_once"])
def test_an_exception_after_the_first_byte_is_unknown_and_never_none(rig: Rig, kind: RepeatKind) -> None:
    assert rig.answers(rig.task(kind=kind, do="raise")) == [Unknown()]
    assert rig.answers(rig.query(kind=kind)) == [Unknown()]
    assert rig.answers(rig.withdrawal(kind=kind)) == [Unknown()]


def test_a_safe_operation_that_fails_has_no_effect(rig: Rig) -> None:
    (reply,) = rig.answers(rig.task(kind="safe", do="raise"))
    assert code_of(reply) == ("call_failed", Effect.NONE)


def test_each_telling_of_doubt_is_a_message_of_its_own(rig: Rig) -> None:
    told = [*rig.ask(rig.task(do="raise")), *rig.ask(rig.query()), *rig.ask(rig.query(attempt=2))]
    assert len({message.envelope.id for message in told}) == 3
    assert [message.envelope.attempt for message in told] == [1, 1, 2]


@pytest.mark.parametrize("kind", ["queryable", "natural_key"])
def test_a_look_up_finds_what_happened(rig: Rig, kind: RepeatKind) -> None:
    rig.answers(rig.task(kind=kind, do="raise"))
    assert [type(one) for one in rig.answers(rig.query(kind=kind))] == [Completed]
    assert len(rig.legacy.calls) == 1


def test_absence_counts_only_after_its_time(rig: Rig) -> None:
    rig.answers(rig.task(kind="queryable", do="raise_before"))
    assert rig.answers(rig.query(kind="queryable")) == [Pending()]
    rig.now += 2_000
    (reply,) = rig.answers(rig.query(kind="queryable"))
    assert code_of(reply) == ("absent", Effect.NONE)
    # The same attempt does not run any more; a greater one does.
    assert code_of(rig.answers(rig.task(kind="queryable", do="raise_before"))[0]) == ("absent", Effect.NONE)
    assert rig.answers(rig.task(kind="queryable", do="raise_before", attempt=2)) == [Unknown()]


def test_a_greater_attempt_looks_first_and_runs_only_what_is_absent(rig: Rig) -> None:
    rig.answers(rig.task("done", kind="queryable", do="raise"))
    rig.answers(rig.task("lost", kind="queryable", do="raise_before"))
    rig.now += 2_000
    rig.answers(
        rig.task("done", kind="queryable", do="raise", attempt=2),
        rig.task("lost", kind="queryable", do="raise_before", attempt=2),
    )
    assert rig.legacy.calls.count(rig.legacy.ledger[0]) == 1
    assert len(rig.legacy.calls) == 3


def test_a_look_up_that_cannot_tell_leaves_it_unknown(rig: Rig) -> None:
    rig.answers(rig.task(kind="queryable", do="raise"))
    rig.legacy.is_down = True
    assert rig.answers(rig.query(kind="queryable")) == [Unknown()]


def test_a_query_for_what_never_came_makes_sure_that_it_never_runs(rig: Rig) -> None:
    (reply,) = rig.answers(rig.query())
    assert code_of(reply) == ("never_seen", Effect.NONE)
    assert code_of(rig.answers(rig.task())[0]) == ("withdrawn", Effect.NONE)
    assert rig.legacy.calls == []
    assert [type(one) for one in rig.answers(rig.task(attempt=2))] == [Completed]


def test_a_withdrawal_that_overtakes_its_task_stops_it(rig: Rig) -> None:
    assert code_of(rig.answers(rig.withdrawal())[0]) == ("withdrawn", Effect.NONE)
    assert code_of(rig.answers(rig.task())[0]) == ("withdrawn", Effect.NONE)
    assert rig.legacy.calls == []


def test_an_edit_runs_only_where_the_old_task_left_nothing(rig: Rig) -> None:
    rig.answers(rig.task("free", do="busy"))
    rig.answers(rig.task("taken", do="raise"))
    (free,) = rig.answers(rig.task("free", edit=1, supersedes=rig.interaction("free")))
    assert isinstance(free, Completed)
    taken = rig.answers(rig.task("taken", edit=1, supersedes=rig.interaction("taken")))
    assert code_of(taken[0]) == ("superseded_too_late", Effect.UNKNOWN)
    assert taken[1:] == [Unknown()]
    # The old one never runs any more
    assert code_of(rig.answers(rig.task("free", do="busy", attempt=2))[0]) == ("withdrawn", Effect.NONE)


def test_an_applicant_may_mend_what_was_returned_and_nobody_else_may_change_data(rig: Rig) -> None:
    rig.answers(rig.task("returned", do="return"), rig.task("done"))
    assert [type(one) for one in rig.answers(rig.task("returned", attempt=2))] == [Completed]
    assert code_of(rig.answers(rig.task("done", do="busy", attempt=2))[0]) == ("interaction_reused", Effect.DONE)


def test_a_task_of_another_journal_is_no_proof_of_absence(rig: Rig) -> None:
    lost = other_uuid("lost journal")
    assert rig.answers(rig.task(journalid=lost)) == [Unknown()]
    assert rig.answers(rig.query("b", journalid=lost)) == [Unknown()]
    assert rig.legacy.calls == []
    # An operation that may be repeated is
    assert [type(one) for one in rig.answers(rig.task("c", kind="idempotent", journalid=lost))] == [Completed]


def test_an_answer_that_comes_later_settles_what_was_pending(rig: Rig) -> None:
    rig.answers(rig.task(do="later"))
    reference = rig.legacy.ledger[0]
    assert rig.answers(rig.query(attempt=3)) == [Pending()]
    rig.legacy.later = [(reference, f'["{reference}", "succeed"]'.encode()), ("NOBODYS", b"[]")]
    rig.now += 1_000
    assert [type(one) for one in rig.answers()] == [Completed]
    assert rig.answers(rig.query()) == [Completed(data={"number": reference})]
    # However often it is handed over
    rig.now += 1_000
    assert rig.answers() == []
    assert [one.code for one in rig.journal.invalid(10)] == ["unmatched"]


# --- calls that hang ------------------------------------------------------------------------------------------------


def test_questions_are_answered_while_a_call_hangs_and_its_time_out_is_unknown(rig: Rig) -> None:
    # Given a call that does not come back
    rig.send(rig.task("slow", do="hang"))
    while not rig.legacy.ledger:
        rig.host.step()
    # Then the host still answers
    rig.send(rig.query("other"))
    before = len(rig.heard)
    while len(rig.heard) == before:
        rig.host.step()
        rig.hear()
    assert rig.heard[-1].envelope.type == MessageType.TASK_FAILED
    # And after the time-out nobody knows
    rig.now += 501
    assert rig.answers() == [Unknown()]
    # And another task is served
    assert [type(one) for one in rig.answers(rig.task("next"))] == [Completed]
    # When the answer comes after all, it is told
    rig.legacy.released.set()
    while not any(m.envelope.type == MessageType.TASK_COMPLETED and m.envelope.step == "slow" for m in rig.heard):
        rig.host.step()
        rig.hear()
    assert rig.legacy.effects(rig.interaction("slow")) == 1


# --- its whole life -------------------------------------------------------------------------------------------------


def test_a_reply_whose_confirmation_was_lost_is_sent_again_as_the_same_bytes(tmp_path: Path) -> None:
    # Given a host that dies before it has recorded that the broker took its reply
    rig = Rig(tmp_path)
    rig.start()
    rig.send(rig.task())
    while not rig.journal.outbox(1):
        rig.host.step()
    # When it starts again
    rig.restart()
    # Then the reply leaves once more, the outbox is empty, and nothing ran again
    sent = [message for message in rig.heard if message.envelope.step]
    assert len(sent) == 2
    assert sent[0].body == sent[1].body
    assert rig.journal.outbox(1) == ()
    assert rig.legacy.effects(rig.interaction()) == 1
    rig.host.close()
    rig.journal.close()


def test_what_was_received_and_not_begun_is_run_by_the_next_life(tmp_path: Path) -> None:
    # Given a host that dies right after it took a task over: the broker has forgotten it
    rig = Rig(tmp_path)
    rig.start()
    batch = sort([Delivery(tag=1, channel=channel.tasks(AGENCY), body=rig.task().body)], AGENCY, NOW, bind())
    take(rig.host._setup, batch, ())  # noqa: SLF001
    assert rig.legacy.calls == []
    # When it starts again
    rig.restart()
    # Then the task is run, once
    assert [m.envelope.type for m in rig.heard if m.envelope.step] == [MessageType.TASK_COMPLETED]
    assert rig.legacy.effects(rig.interaction()) == 1
    rig.host.close()
    rig.journal.close()


def test_a_task_that_the_journal_could_not_take_stays_with_the_broker(tmp_path: Path) -> None:
    # Given a host whose journal can no longer be written
    rig = Rig(tmp_path)
    rig.start()
    task = rig.task()
    rig.journal.close()
    # When a task comes
    rig.send(task)
    with pytest.raises(StoreUnavailableError):
        rig.host.step()
    # Then the broker still has it, and the next life answers it
    rig.restart()
    assert [m.envelope.type for m in rig.heard if m.envelope.step] == [MessageType.TASK_COMPLETED]
    rig.host.close()
    rig.journal.close()


def test_a_host_told_to_stop_finishes_its_call_and_leaves_the_rest_for_later(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    stop = threading.Event()
    life = threading.Thread(target=rig.host.run, args=(stop,))
    life.start()
    rig.send(*(rig.task(f"plot_{number}") for number in range(30)))
    while sum(m.envelope.type == MessageType.TASK_COMPLETED for m in rig.heard) < 30:
        rig.hear()
    stop.set()
    life.join(10)
    assert not life.is_alive()
    assert rig.journal.outbox(1) == ()
    assert len(rig.legacy.ledger) == 30
    rig.journal.close()


def test_an_interaction_first_sent_before_the_pruned_past_is_not_run(rig: Rig) -> None:
    rig.ask(rig.task())
    rig.journal.prune(NOW + 1)
    assert rig.answers(rig.task()) == [Unknown()]
    assert rig.legacy.effects(rig.interaction()) == 1


def test_a_journal_forgets_once_a_day_what_was_answered_and_is_old(rig: Rig) -> None:
    # Given an answer and a doubt of long ago, and an answer of late
    rig.ask(rig.task("old"))
    rig.ask(rig.task("doubt", do="raise"))
    rig.now += SETTINGS.keep_journal + 1
    rig.ask(rig.task("late", firstsent=rig.now, expirytime=rig.now + HOUR))

    def kept() -> set[str]:
        names = {rig.interaction(name): name for name in ("old", "doubt", "late", "day")}
        with rig.journal.transaction() as transaction:
            return {names[id_] for id_ in transaction.load(names)}

    # Then at the next sweep the old answer is gone, and nothing else
    sweep(rig)
    assert kept() == {"doubt", "late"}
    # And what becomes old within the day waits for the next
    rig.ask(rig.task("day", firstsent=rig.now - SETTINGS.keep_journal - 1, expirytime=rig.now + HOUR))
    sweep(rig)
    assert "day" in kept()
    rig.now += DAY
    sweep(rig)
    assert "day" not in kept()


def test_what_is_too_much_to_forget_at_once_is_forgotten_at_the_next_sweeps(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a journal with more to forget than one sweep takes
    counts, asked = [FORGET_AT_ONCE, FORGET_AT_ONCE + 7, 3], []

    def prune(before: int, most: int) -> int:
        asked.append((before, most))
        return counts.pop(0)

    monkeypatch.setattr(rig.journal, "prune", prune)
    # When a day has passed, and several sweeps
    rig.now += DAY
    for _ in range(5):
        sweep(rig)
    # Then it was asked until there was less than that
    assert counts == []
    assert {most for _, most in asked} == {FORGET_AT_ONCE}
    assert all(before <= rig.now - SETTINGS.keep_journal for before, _ in asked)


def sweep(rig: Rig) -> None:
    rig.now += SETTINGS.lease
    rig.settle()
