"""The table by which a host decides about tasks, queries and withdrawals, row by row."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bus.message.identity import reference
from bus.message.reply import Completed, Effect, Failed, Pending, Refused, Reply, Returned, Unknown
from bus.message.text import Text
from bus.receiver.ask import Ask, Asked
from bus.receiver.failure import CODES, failed
from bus.receiver.gate import Gate, RepeatKind, Terms, absence_counts, begin, gate, honest, settled
from bus.receiver.inquire import answer_query, answer_withdrawal
from bus.receiver.judge import judge
from bus.receiver.row import FOR_EVER, Chain, JournalIdentity, Row, State, chain
from bus.receiver.verdict import (
    NOTHING,
    Action,
    AnswerAnew,
    BuildAgain,
    LookUpFirst,
    ReadAgain,
    Run,
    SendRecorded,
    Verdict,
)

NOW = 1_800_000_000_000
ID, OLD = "0b0e7d1e-0000-8000-8000-000000000001", "0b0e7d1e-0000-8000-8000-000000000002"
JOURNAL = JournalIdentity(journal_id="here", seq=5, oldest=NOW - 1_000_000)
HASH, OTHER = b"\x01" * 32, b"\x02" * 32
EFFECT = {
    State.BEGUN: Effect.UNKNOWN,
    State.UNKNOWN: Effect.UNKNOWN,
    State.PENDING: Effect.UNKNOWN,
    State.COMPLETED: Effect.DONE,
    State.UNREADABLE: Effect.DONE,
}


def terms(kind: RepeatKind = "at_most_once") -> Terms:
    return Terms(repeat=kind, window=10_000, absence_proof_after=5_000, timeout=1_000, lease=500)


def asked(ask: Ask = Ask.TASK, attempt: int = 1, **more: Any) -> Asked:
    values: dict[str, Any] = {
        "ask": ask,
        "interaction_id": ID,
        "attempt": attempt,
        "operation": "deed.enter.v1",
        "journal_id": "here",
        "first_sent": NOW - 1_000,
        "data_hash": HASH if ask is Ask.TASK else None,
    }
    return Asked(**{**values, **more})


def row(state: State, **more: Any) -> Row:
    values: dict[str, Any] = {
        "interaction_id": ID,
        "operation": "deed.enter.v1",
        "reference": reference(ID),
        "test": False,
        "state": state,
        "attempt": 2,
        "effect": EFFECT.get(state, Effect.NONE),
        "data_hash": HASH,
        "first_sent": NOW - 1_000,
        "begun_at": NOW - 500,
        "called_at": NOW - 500,
        "changed_at": NOW - 400,
    }
    return Row(**{**values, **more})


def told(verdict: Verdict) -> Reply:
    (action,) = verdict.actions
    assert isinstance(action, AnswerAnew), action
    return action.reply


def code_of(reply: Reply) -> tuple[str, Effect]:
    assert isinstance(reply, Failed), reply
    return reply.code, reply.effect


def tasked(attempt: int, known: Row | None, kind: RepeatKind = "at_most_once", **more: Any) -> Verdict:
    return judge(asked(attempt=attempt, **more), known, Chain(), JOURNAL, NOW, terms(kind))


def queried(attempt: int, known: Row | None, kind: RepeatKind = "at_most_once", **more: Any) -> Verdict:
    return answer_query(asked(Ask.QUERY, attempt, **more), known, JOURNAL, NOW, terms(kind))


def withdrawn(attempt: int, known: Row | None, kind: RepeatKind = "at_most_once", **more: Any) -> Verdict:
    return answer_withdrawal(asked(Ask.WITHDRAWAL, attempt, **more), known, JOURNAL, NOW, terms(kind))


# --- tasks ----------------------------------------------------------------------------------------------------------


def test_a_task_that_was_never_seen_runs() -> None:
    verdict = tasked(1, None)
    (new,) = verdict.rows
    assert verdict.actions == (Run(row=new),)
    assert (new.state, new.effect, new.attempt) == (State.RECEIVED, Effect.NONE, 1)


@pytest.mark.parametrize("more", [{"journal_id": "elsewhere"}, {"first_sent": JOURNAL.oldest - 1}])
def test_a_missing_row_is_no_evidence_in_a_journal_that_would_not_hold_it(more: dict[str, Any]) -> None:
    (new,) = tasked(1, None, **more).rows
    assert new.effect is Effect.UNKNOWN
    assert new.called_at == NOW
    (asked_about,) = queried(1, None, **more).rows
    assert (asked_about.state, asked_about.effect) == (State.UNKNOWN, Effect.UNKNOWN)


@pytest.mark.parametrize(
    ("state", "attempt", "action"),
    [
        (State.RECEIVED, 2, None),
        (State.RECEIVED, 1, None),
        (State.RECEIVED, 3, Run),
        (State.COMPLETED, 1, SendRecorded),
        (State.COMPLETED, 3, SendRecorded),
        (State.REFUSED, 3, SendRecorded),
        (State.FAILED, 2, SendRecorded),
        (State.FAILED, 3, Run),
        (State.RETURNED, 2, SendRecorded),
        (State.RETURNED, 3, Run),
        (State.UNREADABLE, 2, BuildAgain),
        (State.UNREADABLE, 3, ReadAgain),
        (State.PENDING, 3, AnswerAnew),
        (State.BEGUN, 2, AnswerAnew),
        (State.UNKNOWN, 3, AnswerAnew),
    ],
)
def test_a_task_meets_what_the_journal_says(state: State, attempt: int, action: type[Action] | None) -> None:
    verdict = tasked(attempt, row(state))
    assert [type(one) for one in verdict.actions] == ([action] if action else [])


def test_a_greater_attempt_of_something_begun_goes_through_the_gate() -> None:
    for kind, action in (("safe", Run), ("idempotent", Run), ("queryable", Run), ("at_most_once", AnswerAnew)):
        verdict = tasked(3, row(State.UNKNOWN), kind)  # type: ignore[arg-type]
        assert [type(one) for one in verdict.actions] == [action], kind
        (changed,) = verdict.rows
        # What may have happened stays known, and the attempt is remembered.
        assert (changed.effect, changed.attempt) == (Effect.UNKNOWN, 3)


@pytest.mark.parametrize("kind", ["safe", "idempotent", "queryable", "at_most_once"])
def test_the_same_attempt_of_something_begun_is_unknown_and_never_runs(kind: RepeatKind) -> None:
    for state in (State.BEGUN, State.UNKNOWN):
        verdict = tasked(2, row(state), kind)
        assert (verdict.rows, told(verdict)) == ((), Unknown())


def test_what_a_living_process_works_on_is_left_to_it() -> None:
    live = row(State.BEGUN, lease_until=NOW + 1)
    assert tasked(3, live, "safe") == queried(3, live, "queryable") == withdrawn(3, live) == NOTHING


def test_pending_and_unknown_are_told_for_the_attempt_that_was_asked() -> None:
    assert tasked(7, row(State.PENDING)).actions == (AnswerAnew(interaction_id=ID, attempt=7, reply=Pending()),)
    assert tasked(1, row(State.UNKNOWN)).actions == (AnswerAnew(interaction_id=ID, attempt=1, reply=Unknown()),)


@pytest.mark.parametrize("state", list(State))
def test_other_data_never_runs_except_what_was_returned(state: State) -> None:
    known = row(state)
    verdict = tasked(3, known, data_hash=OTHER)
    if state is State.RETURNED:
        assert [type(action) for action in verdict.actions] == [Run]
        assert verdict.rows[0].data_hash == OTHER
    else:
        effect = Effect.UNKNOWN if state is State.RECEIVED else known.effect
        assert code_of(told(verdict)) == ("interaction_reused", effect)


# --- queries and withdrawals ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ask", "code"), [(queried, "never_seen"), (withdrawn, "withdrawn")])
def test_what_was_never_seen_is_made_never_to_run(ask: Any, code: str) -> None:
    verdict = ask(3, None)
    (tombstone,) = verdict.rows
    assert code_of(told(verdict)) == (code, Effect.NONE)
    for attempt in (1, 2, 3):
        assert code_of(told(tasked(attempt, tombstone))) == ("withdrawn", Effect.NONE)
    (again,) = tasked(4, tombstone).actions
    assert isinstance(again, Run)


def test_a_query_asked_again_is_answered_again_for_its_attempt() -> None:
    (tombstone,) = queried(1, None).rows
    assert code_of(told(queried(1, tombstone))) == ("never_seen", Effect.NONE)
    (raised,) = queried(5, tombstone).rows
    assert raised.dead == 5


@pytest.mark.parametrize(
    ("state", "attempt", "action"),
    [
        (State.RECEIVED, 2, None),
        (State.COMPLETED, 5, SendRecorded),
        (State.REFUSED, 5, SendRecorded),
        (State.FAILED, 2, SendRecorded),
        (State.RETURNED, 2, SendRecorded),
        (State.PENDING, 5, AnswerAnew),
        (State.UNREADABLE, 1, ReadAgain),
        (State.BEGUN, 2, AnswerAnew),
        (State.UNKNOWN, 2, AnswerAnew),
    ],
)
def test_a_query_meets_what_the_journal_says(state: State, attempt: int, action: type[Action] | None) -> None:
    verdict = queried(attempt, row(state))
    assert [type(one) for one in verdict.actions] == ([action] if action else [])
    assert not any(isinstance(one, Run) for one in verdict.actions)


@pytest.mark.parametrize("kind", ["queryable", "natural_key"])
def test_what_may_have_happened_is_looked_up_where_that_is_possible(kind: RepeatKind) -> None:
    (action,) = queried(3, row(State.BEGUN), kind).actions
    assert action == LookUpFirst(row=row(State.BEGUN), attempt=3)


@pytest.mark.parametrize("state", [State.FAILED, State.RETURNED])
def test_an_attempt_after_a_failed_one_that_never_came_is_ended_too(state: State) -> None:
    for ask, code in ((queried, "never_seen"), (withdrawn, "withdrawn")):
        verdict = ask(3, row(state))
        assert code_of(told(verdict)) == (code, Effect.NONE)
        (ended,) = verdict.rows
        assert code_of(told(tasked(3, ended))) == ("withdrawn", Effect.NONE)
        assert [type(action) for action in tasked(4, ended).actions] == [Run]


def test_a_withdrawal_ends_what_waits_and_has_not_begun() -> None:
    verdict = withdrawn(2, row(State.RECEIVED))
    assert code_of(told(verdict)) == ("withdrawn", Effect.NONE)
    assert verdict.rows[0].state is State.TOMBSTONE


def test_a_late_withdrawal_of_an_older_attempt_does_not_end_the_newer_one() -> None:
    verdict = withdrawn(1, row(State.RECEIVED))
    assert code_of(told(verdict)) == ("withdrawn", Effect.NONE)
    assert verdict.rows[0].state is State.RECEIVED


def test_a_withdrawal_never_says_none_of_what_may_have_happened() -> None:
    waiting_again = row(State.RECEIVED, effect=Effect.UNKNOWN)
    verdict = withdrawn(2, waiting_again)
    assert told(verdict) == Unknown()
    assert verdict.rows[0].state is State.UNKNOWN
    assert told(withdrawn(2, row(State.UNKNOWN))) == Unknown()
    # A late one, about an older attempt, is answered by the run that waits.
    assert withdrawn(1, waiting_again) == NOTHING


# --- edits ----------------------------------------------------------------------------------------------------------


def edited(old: Row | None, known: Row | None = None, **more: Any) -> Verdict:
    older = Chain(rows=(old,)) if old else Chain(missing=OLD)
    return judge(asked(supersedes=OLD, **more), known, older, JOURNAL, NOW, terms())


@pytest.mark.parametrize("state", [None, State.TOMBSTONE, State.RECEIVED, State.FAILED, State.RETURNED, State.REFUSED])
def test_an_edit_ends_an_old_task_without_effect_and_runs(state: State | None) -> None:
    verdict = edited(row(state, interaction_id=OLD) if state else None)
    tombstone, new = verdict.rows
    assert (tombstone.interaction_id, tombstone.state, tombstone.dead) == (OLD, State.TOMBSTONE, FOR_EVER)
    assert verdict.actions == (Run(row=new),)


@pytest.mark.parametrize(
    ("state", "again"),
    [
        (State.BEGUN, AnswerAnew),
        (State.UNKNOWN, AnswerAnew),
        (State.PENDING, AnswerAnew),
        (State.COMPLETED, SendRecorded),
        (State.UNREADABLE, BuildAgain),
    ],
)
def test_an_edit_of_what_may_have_happened_is_void_and_the_old_answer_is_told(
    state: State, again: type[Action]
) -> None:
    old = row(state, interaction_id=OLD)
    verdict = edited(old)
    first, second = verdict.actions
    assert isinstance(first, AnswerAnew)
    assert code_of(first.reply) == ("superseded_too_late", old.effect)
    assert type(second) is again
    (void,) = verdict.rows
    # Redelivered it says the same, and it never runs
    assert code_of(edited(old, void).actions[0].reply) == ("superseded_too_late", old.effect)  # type: ignore[union-attr]


def test_an_edit_of_an_edit_that_came_too_late_is_judged_by_the_first_task() -> None:
    first = row(State.COMPLETED, interaction_id="first")
    void = row(State.TOMBSTONE, interaction_id=OLD, dead=1, dead_code="superseded_too_late", supersedes="first")
    older = chain(OLD, {"first": first, OLD: void})
    assert older == Chain(rows=(void, first))
    verdict = judge(asked(supersedes=OLD), None, older, JOURNAL, NOW, terms())
    assert not any(isinstance(action, Run) for action in verdict.actions)


def test_an_edit_in_a_journal_that_would_not_hold_the_old_task_never_runs() -> None:
    assert not any(isinstance(action, Run) for action in edited(None, journal_id="elsewhere").actions)


# --- the gate -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("safe", Gate.RUN),
        ("idempotent", Gate.RUN),
        ("queryable", Gate.LOOK_UP),
        ("natural_key", Gate.LOOK_UP),
        ("at_most_once", Gate.UNKNOWN),
    ],
)
def test_the_gate_opens_as_the_manifest_says(kind: RepeatKind, expected: Gate) -> None:
    assert gate(terms(kind), row(State.UNKNOWN), NOW) is expected


def test_the_window_of_our_key_must_outlast_the_new_call() -> None:
    known = row(State.UNKNOWN, begun_at=NOW)
    assert gate(terms("idempotent"), known, NOW + 9_000) is Gate.RUN
    assert gate(terms("idempotent"), known, NOW + 9_001) is Gate.UNKNOWN


def test_a_first_call_still_to_come_was_noted_on_another_clock_and_the_window_counts_from_the_task() -> None:
    known = row(State.UNKNOWN, begun_at=NOW + 3_600_000, first_sent=NOW - 9_500)
    assert gate(terms("idempotent"), known, NOW - 500) is Gate.RUN
    assert gate(terms("idempotent"), known, NOW) is Gate.UNKNOWN


def test_an_operation_that_is_not_offered_is_never_repeated() -> None:
    assert gate(None, row(State.UNKNOWN), NOW) is Gate.UNKNOWN


def test_absence_proves_nothing_while_a_call_may_be_under_way() -> None:
    known = row(State.UNKNOWN, called_at=NOW)
    assert not absence_counts(known, terms("queryable"), NOW + 4_999)
    assert absence_counts(known, terms("queryable"), NOW + 5_000)
    # A natural key declares no time: then it is the call's own.
    hasty = Terms(repeat="natural_key", timeout=1_000, lease=500)
    assert not absence_counts(known, hasty, NOW + 1_499)
    assert absence_counts(known, hasty, NOW + 1_500)


def start(known: Row, *, now: int = NOW, connected: bool = True, kind: RepeatKind = "at_most_once") -> Gate | Reply:
    return begin(known, terms(kind), now, late_margin=60_000, connected=connected)


def test_no_call_begins_within_the_margin_before_its_expiry() -> None:
    known = row(State.RECEIVED, expires_at=NOW + 60_000)
    assert start(known) is Gate.RUN
    late = start(known, now=NOW + 1)
    assert not isinstance(late, Gate)
    assert code_of(late) == ("too_late", Effect.NONE)
    # What may have happened is not said to have no effect for being late, and may still be looked up.
    doubtful = replace(known, effect=Effect.UNKNOWN)
    assert start(doubtful, now=NOW + 1, kind="idempotent") == Unknown()
    assert start(doubtful, now=NOW + 1, kind="queryable") is Gate.LOOK_UP


def test_a_task_without_a_system_does_not_begin() -> None:
    for test, code in ((True, "no_simulator"), (False, "no_system")):
        reply = start(row(State.RECEIVED, test=test), connected=False)
        assert not isinstance(reply, Gate)
        assert code_of(reply) == (code, Effect.NONE)


# --- answers --------------------------------------------------------------------------------------------------------

_TEXT = Text(en="No.", ar="لا.")
_BUSY = Failed(code="busy", effect=Effect.NONE, retryable=True)


@pytest.mark.parametrize(
    ("reply", "state", "effect"),
    [
        (Completed(data={}), State.COMPLETED, Effect.DONE),
        (Refused(reason_code="no", text=_TEXT), State.REFUSED, Effect.NONE),
        (Returned(needs=()), State.RETURNED, Effect.NONE),
        (Pending(), State.PENDING, Effect.UNKNOWN),
        (_BUSY, State.FAILED, Effect.NONE),
        (replace(_BUSY, effect=Effect.DONE), State.UNREADABLE, Effect.DONE),
        (replace(_BUSY, effect=Effect.UNKNOWN), State.UNKNOWN, Effect.UNKNOWN),
        (Unknown(), State.UNKNOWN, Effect.UNKNOWN),
    ],
)
def test_a_reply_settles_its_row_and_ends_the_lease(reply: Reply, state: State, effect: Effect) -> None:
    after = settled(row(State.BEGUN, lease_until=NOW + 9, process="p"), reply, attempt=1, now=NOW)
    assert (after.state, after.effect, after.process, after.lease_until) == (state, effect, "", 0)
    assert after.attempt == 2


def test_a_failure_without_effect_is_unknown_where_an_earlier_call_may_have_had_one() -> None:
    doubtful, fresh = row(State.RECEIVED, effect=Effect.UNKNOWN), row(State.RECEIVED)
    assert honest(_BUSY, doubtful, terms("idempotent")) == Unknown()
    assert honest(_BUSY, doubtful, terms("safe")) == _BUSY
    assert honest(_BUSY, fresh, terms()) == _BUSY
    assert honest(replace(_BUSY, effect=Effect.UNKNOWN), fresh, terms()) == Unknown()
    done = replace(_BUSY, effect=Effect.DONE)
    assert honest(done, doubtful, terms()) == done


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_failure_of_the_host_tells_its_reason_in_both_languages(code: str) -> None:
    text = failed(code).text
    assert text.en.isascii()
    assert text.en.endswith(".")
    assert any("\u0600" <= letter <= "\u06ff" for letter in text.ar)
