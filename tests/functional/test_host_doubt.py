"""What a host tells of a call that may have had its effect, how it looks, and what it never does twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bus.message.envelope import MessageType
from bus.message.reply import Completed, Effect, Pending, Unknown
from bus.process.definition import RepeatKind
from tests.support.host_rig import Rig, code_of, other_uuid, started


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with started(tmp_path) as rig:
        yield rig


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


def test_residual_risk_a_task_from_before_an_edit_that_comes_again_after_the_journal_was_lost_is_done(
    rig: Rig, tmp_path: Path
) -> None:
    # Given a task that failed, whose edit by a person was carried out
    rig.legacy.is_down = True
    failed = rig.task(kind="idempotent")
    rig.ask(failed)
    rig.legacy.is_down = False
    edited = rig.task(kind="idempotent", edit=1, supersedes=rig.interaction())
    assert [type(reply) for reply in rig.answers(edited)] == [Completed]
    # When the journal is lost, and the broker brings a message that was acknowledged long ago
    (tmp_path / "again").mkdir()
    after = Rig(tmp_path / "again", legacy=rig.legacy)
    after.start()
    after.ask(failed)
    # Then nothing tells it from one that is to be tried again with its own key
    assert (rig.legacy.effects(rig.interaction()), rig.legacy.effects(rig.interaction(edit=1))) == (1, 1)
    after.host.close()
    after.journal.close()
