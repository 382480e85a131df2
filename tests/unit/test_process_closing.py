"""What the brain promises about what follows, about closing, and about the end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bus.message.instant import DAY, HOUR
from bus.message.reply import Completed, Effect, Failed, Refused
from bus.process.decision import FailureClosed, TellEnd
from bus.process.definition import Repeat
from bus.process.event import (
    AnsweredByHand,
    CancelAsked,
    Edited,
    EpochBegan,
    GaveUp,
    ReplayAsked,
    TerminateAsked,
    TimerFired,
    Unbuildable,
)
from bus.process.state import Kind, Request, RequestState, Step, StepKey, StepState
from tests.support.process_rows import (
    BACK,
    BY,
    MAIN,
    NOW,
    OTHER,
    REPLIES,
    REQUEST_ID,
    SERVICE,
    WORDS,
    back,
    decided,
    reply,
    request,
    row,
    seen,
    sent,
    service,
    states,
    step,
    submitted,
)

CLOSED = RequestState.CLOSING


# --- what follows -----------------------------------------------------------------------------------------------------


def _met(main: Step, **changes: Any) -> str:
    """The state of a step that needs the row."""
    definition = service(step("other"), step("main", **changes), step("next", needs=("main",)))
    waiting = Step(key=StepKey(step="next"), agency="agency_of_next")
    # Any fact makes the needs be judged again.
    return states(decided(request(main, waiting), EpochBegan(), definition).request)["next"]


def test_needs_are_met_by_an_optional_step_that_parked_after_its_deadline_only() -> None:
    late, early = row("parked", clock_left=0), row("parked", clock_left=HOUR)
    assert (_met(late, optional=True), _met(early, optional=True), _met(late)) == ("ready", "waiting", "waiting")


@pytest.mark.parametrize(
    ("state", "changes", "expected"),
    [
        ("succeeded", {}, "ready"),
        ("skipped", {}, "ready"),
        ("expired", {}, "ready"),
        ("refused", {"on_refused": "continue"}, "ready"),
        ("refused", {"optional": True}, "ready"),
        ("failed", {"optional": True}, "ready"),
        ("refused", {}, "cancelled"),
        ("failed", {}, "cancelled"),
        ("unknown", {"optional": True}, "waiting"),
    ],
)
def test_needs_are_met_or_the_request_closes(state: str, changes: dict[str, Any], expected: str) -> None:
    assert _met(row(state), **changes) == expected


def test_a_parked_optional_step_holds_up_the_end_of_its_request() -> None:
    definition = service(step("main", optional=True), step("other"))
    before = request(row("parked", clock_left=0))
    decision = decided(before, reply(before.steps[OTHER], REPLIES["completed"]), definition)
    assert decision.request.state is RequestState.OPEN
    given_up = decided(decision.request, GaveUp(step=MAIN, **BY), definition)
    assert given_up.request.state is RequestState.PARTIALLY_FULFILLED


@pytest.mark.parametrize(
    ("main", "changes", "outcome"),
    [
        (row("succeeded"), {}, "completed"),
        (row("skipped", reason="when"), {}, "completed"),
        (row("skipped", reason="skipped_by_hand"), {"optional": True}, "partially_fulfilled"),
        (row("refused"), {"on_refused": "continue"}, "partially_fulfilled"),
        (row("failed"), {"optional": True}, "partially_fulfilled"),
        (row("expired"), {}, "partially_fulfilled"),
        (row("refused"), {}, "rejected"),
        (row("failed"), {}, "failed"),
    ],
)
def test_the_outcome_says_whether_everything_was_fulfilled(main: Step, changes: dict[str, Any], outcome: str) -> None:
    before = request(main)
    definition = service(step("other"), step("main", **changes))
    found = decided(before, reply(before.steps[OTHER], REPLIES["completed"]), definition)
    assert found.request.state == outcome
    assert [send for send in found.sends if isinstance(send, TellEnd)] == [TellEnd(outcome=RequestState(outcome))]


def test_a_refusal_comes_before_a_failure() -> None:
    before = request(row("failed"), row("refused", StepKey(step="next")))
    definition = service(step("other"), step("main"), step("next"))
    found = decided(before, reply(before.steps[OTHER], REPLIES["completed"]), definition)
    assert found.request.state is RequestState.REJECTED


def test_leaving_parked_closes_the_failure_and_says_how() -> None:
    before = request(row("parked"))
    late = decided(before, reply(before.steps[MAIN], REPLIES["completed"]))
    assert late.failures == (FailureClosed(step=MAIN, how="answered late"),)
    by_hand = decided(before, GaveUp(step=MAIN, **BY), service(step("other"), step("main", optional=True)))
    assert by_hand.failures == (FailureClosed(step=MAIN, how="step_failed"),)


def test_a_task_that_cannot_be_built_waits_for_a_person_and_an_edit_of_it_never_collides() -> None:
    before = request(row("ready", edit=0, sent_edit=None, first_sent=None, superseded=None))
    parked = decided(before, Unbuildable(step=MAIN, payload_id=4))
    assert seen(before, parked) == "parked+F"
    assert parked.failures[0].step == MAIN
    assert decided(parked.request, Edited(step=MAIN, input_id=5, **BY)).request.steps[MAIN].edit == 1


# --- closing ----------------------------------------------------------------------------------------------------------

CHAIN = service(
    step("first", compensate=back(operation="first.undo.v1")),
    step("second", needs=("first",), compensate=back(operation="second.undo.v1")),
    step("third", needs=("second",), final=True),
)
FIRST, SECOND_, THIRD = StepKey(step="first"), StepKey(step="second"), StepKey(step="third")
FIRST_BACK, SECOND_BACK = FIRST._replace(kind=Kind.COMPENSATION), SECOND_._replace(kind=Kind.COMPENSATION)


def _chain(third: Step) -> Request:
    rows = {FIRST: row("succeeded", FIRST), SECOND_: row("succeeded", SECOND_), THIRD: third}
    return Request(id=REQUEST_ID, key=1, steps=rows, deadline_at=NOW + DAY)


def test_what_succeeded_is_taken_back_from_the_last_to_the_first() -> None:
    before = _chain(row("dispatched", THIRD))
    refused = decided(before, reply(before.steps[THIRD], REPLIES["refused"]), CHAIN).request
    assert (refused.state, refused.intended) == (CLOSED, RequestState.REJECTED)
    assert (states(refused)["second/compensation"], states(refused)["first/compensation"]) == ("ready", "waiting")
    found = refused
    for key in (SECOND_BACK, FIRST_BACK):
        away = sent(found, key, definition=CHAIN)
        assert away.state is CLOSED
        found = decided(away, reply(away.steps[key], REPLIES["completed"]), CHAIN).request
    assert found.state is RequestState.REJECTED


def test_nothing_is_taken_back_while_what_builds_on_it_is_under_way_or_in_doubt() -> None:
    before = _chain(row("dispatched", THIRD))
    before = replace(before, steps={**before.steps, THIRD: replace(before.steps[THIRD], sent_edit=None)})
    closing = decided(before, CancelAsked(**BY), CHAIN).request
    assert states(closing)["second/compensation"] == "waiting"
    parked = replace(closing, steps={**closing.steps, THIRD: row("parked", THIRD)})
    assert states(decided(parked, EpochBegan(), CHAIN).request)["second/compensation"] == "waiting"


def test_a_compensation_that_parks_holds_up_neither_the_others_nor_the_end_and_is_listed() -> None:
    rows = {
        FIRST: row("succeeded", FIRST),
        SECOND_: row("succeeded", SECOND_),
        THIRD: row("refused", THIRD),
        SECOND_BACK: row("dispatched", SECOND_BACK),
        FIRST_BACK: Step(key=FIRST_BACK, agency="agency_of_first"),
    }
    before = Request(id=REQUEST_ID, key=1, steps=rows, state=CLOSED, intended=RequestState.REJECTED)
    parked = decided(before, reply(rows[SECOND_BACK], REPLIES["permanent"]), CHAIN).request
    assert parked.steps[SECOND_BACK].left_behind
    assert states(parked)["first/compensation"] == "ready"
    by_hand = AnsweredByHand(step=FIRST_BACK, reply=Completed(data={}), payload_id=1, digest="d", **BY)
    ended = decided(parked, by_hand, CHAIN)
    assert ended.request.state is RequestState.REJECTED
    assert TellEnd(outcome=RequestState.REJECTED) in ended.sends
    again = decided(ended.request, ReplayAsked(step=SECOND_BACK, **BY), CHAIN).request
    assert (again.state, again.steps[SECOND_BACK].state) == (RequestState.REJECTED, StepState.READY)
    assert not again.steps[SECOND_BACK].left_behind


def test_a_request_whose_compensations_have_no_provider_ends_at_once_and_lists_each() -> None:
    # Given two steps that a person did by hand, since no provider could be chosen for them
    names = ("first", "second")
    definition = service(*(step(name, compensate=back()) for name in names), step("third"))
    done = [
        row("succeeded", StepKey(step=name), agency="", effect=Effect.DONE, output_id=1, output_digest="x")
        for name in names
    ]
    # When the request is cancelled, so that both are to be taken back
    steps = {one.key: one for one in (*done, row("waiting", StepKey(step="third")))}
    before = Request(id=REQUEST_ID, key=1, steps=steps, deadline_at=NOW + DAY)
    decision = decided(before, CancelAsked(**BY), definition)
    # Then nobody can be asked: both wait for a person, and neither holds up the other nor the end
    assert decision.request.state is RequestState.CANCELLED
    taken_back = [one for key, one in decision.request.steps.items() if key.kind is Kind.COMPENSATION]
    assert [(one.state, one.left_behind) for one in taken_back] == [(StepState.PARKED, True)] * 2


def test_the_deadline_of_a_compensation_counts_from_when_it_was_wanted() -> None:
    before = _chain(row("dispatched", THIRD))
    wanted = decided(before, reply(before.steps[THIRD], REPLIES["refused"]), CHAIN).request
    away = sent(wanted, SECOND_BACK, NOW + HOUR, CHAIN)
    later = decided(away, reply(away.steps[SECOND_BACK], REPLIES["completed"]), CHAIN, NOW + 2 * HOUR).request
    assert later.steps[FIRST_BACK].deadline_at == NOW + DAY


def test_a_completed_after_the_end_is_taken_back_and_told_nobody_twice() -> None:
    other = row("cancelled", OTHER)
    before = request(row("cancelled"), other, state=RequestState.CANCELLED, ended_at=NOW)
    decision = decided(before, reply(before.steps[MAIN], REPLIES["completed"]))
    assert decision.request.steps[BACK].state is StepState.READY
    assert decision.request.steps[MAIN].output_id == 77
    assert not [send for send in decision.sends if isinstance(send, TellEnd)]


def test_what_is_taken_back_already_is_not_taken_back_again() -> None:
    before = request(row("cancelled"), row("dispatched", BACK), state=CLOSED)
    decision = decided(before, reply(before.steps[MAIN], REPLIES["completed"]))
    assert decision.request.steps[BACK] == before.steps[BACK]


def test_what_cannot_be_taken_back_is_listed_unless_it_only_read() -> None:
    for kind, listed in (("queryable", True), ("safe", False)):
        definition = service(step("other"), step("main", needs=("other",), repeat=Repeat(kind=kind)))  # type: ignore[arg-type]
        found = decided(request(row("succeeded")), CancelAsked(**BY), definition).request
        assert found.steps[MAIN].left_behind is listed


def test_after_a_final_step_was_sent_nobody_can_cancel_also_not_after_an_edit_of_it() -> None:
    for third in (row("dispatched", THIRD), row("ready", THIRD, first_sent=None)):
        conflict = decided(_chain(third), CancelAsked(**BY), CHAIN).conflict
        assert conflict is not None
        assert conflict.code == "final-dispatched"


def test_a_second_cause_never_changes_what_closing_leads_to() -> None:
    closing = request(row("dispatched"), state=CLOSED)
    refused = decided(closing, reply(closing.steps[MAIN], REPLIES["refused"])).request
    assert (refused.state, refused.intended) == (CLOSED, RequestState.CANCELLED)
    conflict = decided(refused, CancelAsked(**BY)).conflict
    assert conflict is not None
    assert (conflict.code, conflict.state) == ("request-state", "closing")


def test_a_termination_ends_at_once_and_lists_what_may_be_left_and_what_is_not_taken_back_any_more() -> None:
    waiting = Step(key=BACK, agency="agency_of_main")
    before = request(row("succeeded"), waiting, state=CLOSED)
    decision = decided(before, TerminateAsked(**BY))
    assert decision.request.state is RequestState.CANCELLED
    assert {key for key, one in decision.request.steps.items() if one.left_behind} == {OTHER, BACK}
    assert [send for send in decision.sends if isinstance(send, TellEnd)] == [TellEnd(outcome=RequestState.CANCELLED)]


def test_a_parked_effect_that_is_done_is_not_forgotten_because_a_later_attempt_had_none() -> None:
    before = request(row("parked", effect=Effect.DONE), state=CLOSED)
    assert seen(before, decided(before, reply(before.steps[MAIN], REPLIES["permanent"]))) == "="


# --- the request's own deadline ---------------------------------------------------------------------------------------


def test_a_request_warns_when_most_of_its_time_is_over() -> None:
    found = submitted(service(step("a"))).request
    assert found.warn_at == NOW + 8 * DAY
    warned = decided(found, TimerFired(step=None, timer="warn", at=found.warn_at), service(step("a")))
    assert [fact.kind for fact in warned.facts] == ["deadline_near"]
    assert (warned.request.warn_at, len(warned.failures)) == (None, 1)


def test_a_passed_deadline_of_the_request_is_shown_and_changes_no_step() -> None:
    before = request(row("dispatched"), deadline_at=NOW)
    decision = decided(before, TimerFired(step=None, timer="deadline", at=NOW))
    assert (decision.request.state, decision.request.steps) == (RequestState.OPEN, before.steps)
    assert [failure.step for failure in decision.failures] == [None]
    assert decision.request.deadline_at is None


def test_a_request_that_expires_first_takes_back_what_was_done() -> None:
    definition = replace(SERVICE, on_deadline="expire")
    before = request(row("succeeded"), row("refused", OTHER), deadline_at=NOW)
    before = replace(before, steps={**before.steps, OTHER: row("dispatched", OTHER)})
    closing = decided(before, TimerFired(step=None, timer="deadline", at=NOW), definition).request
    assert (closing.state, closing.intended) == (CLOSED, RequestState.EXPIRED)
    assert BACK in closing.steps
    withdrawn = Failed(code="withdrawn", effect=Effect.NONE, retryable=False)
    rest = decided(closing, reply(closing.steps[OTHER], withdrawn), definition).request
    by_hand = AnsweredByHand(step=BACK, reply=Completed(data={}), payload_id=1, digest="d", **BY)
    assert decided(rest, by_hand, definition).request.state is RequestState.EXPIRED


# --- answers by hand --------------------------------------------------------------------------------------------------


def test_a_person_may_state_the_agencys_refusal() -> None:
    before = request(row("parked", effect=Effect.NONE))
    refusal = Refused(reason_code="no_such_person", text=WORDS)
    event = AnsweredByHand(step=MAIN, reply=refusal, payload_id=9, digest="d", **BY)
    definition = service(step("other"), step("main", on_refused="continue"))
    assert seen(before, decided(before, event, definition)) == "refused+X"


def test_nobody_states_by_hand_what_is_no_lasting_answer() -> None:
    event = AnsweredByHand(step=MAIN, reply=REPLIES["pending"], payload_id=9, digest="d", **BY)
    with pytest.raises(TypeError, match="not a refusal"):
        decided(request(row("parked")), event)
