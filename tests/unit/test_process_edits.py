"""What the brain promises about edits, and about desks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bus.message.instant import HOUR
from bus.message.reply import Effect, Failed
from bus.process.decision import CloseDesk, SendQuery
from bus.process.event import (
    CancelAsked,
    Edited,
    EpochBegan,
    Replied,
    TerminateAsked,
    Unbuildable,
)
from bus.process.state import Request, RequestState, StepState, Superseded
from tests.support.process_rows import (
    BY,
    MAIN,
    NOW,
    REPLIES,
    back,
    decided,
    reply,
    request,
    row,
    seen,
    sent,
    service,
    step,
    timer,
)

CLOSED = RequestState.CLOSING


# --- edits ------------------------------------------------------------------------------------------------------------


def _edited_in_doubt() -> Request:
    """An edit on its way that supersedes an interaction of which nobody knows whether it had an effect."""
    parked = row("parked", edit=0, sent_edit=0, attempt=4, superseded=None, input_id=11, journal_id="lost journal")
    return decided(request(parked), Edited(step=MAIN, input_id=12, **BY)).request


def test_an_edit_is_a_new_interaction_that_names_the_one_it_supersedes() -> None:
    main = _edited_in_doubt().steps[MAIN]
    assert (main.state, main.edit, main.attempt, main.input_id) == (StepState.READY, 1, 1, 12)
    assert main.superseded == Superseded(edit=0, attempt=4, input_id=11, doubtful=True)


def test_while_the_older_effect_is_unknown_the_task_names_the_journal_that_would_know_it() -> None:
    main = sent(_edited_in_doubt()).steps[MAIN]
    assert (main.journal_id, main.first_sent) == ("lost journal", NOW - HOUR)


def test_an_edit_of_what_had_no_effect_begins_in_the_journal_of_today() -> None:
    before = request(row("parked", effect=Effect.NONE, journal_id="lost journal"))
    main = sent(decided(before, Edited(step=MAIN, input_id=12, **BY)).request).steps[MAIN]
    assert (main.journal_id, main.first_sent) == ("journal", NOW)


def test_an_edit_that_came_too_late_is_void_and_the_older_interaction_is_asked() -> None:
    before = sent(_edited_in_doubt())
    too_late = Failed(code="superseded_too_late", effect=Effect.DONE, retryable=False)
    decision = decided(before, reply(before.steps[MAIN], too_late))
    main = decision.request.steps[MAIN]
    assert (main.state, main.edit, main.attempt, main.input_id) == (StepState.UNKNOWN, 0, 4, 11)
    assert SendQuery(step=MAIN) in decision.sends


def test_a_number_that_the_provider_has_seen_is_never_used_for_another_edit() -> None:
    before = sent(_edited_in_doubt())
    too_late = Failed(code="superseded_too_late", effect=Effect.UNKNOWN, retryable=False)
    void = decided(before, reply(before.steps[MAIN], too_late)).request
    parked = replace(void, steps={**void.steps, MAIN: replace(void.steps[MAIN], state=StepState.PARKED)})
    again = decided(parked, Edited(step=MAIN, input_id=13, **BY)).request.steps[MAIN]
    assert again.edit == 2
    assert again.superseded is not None
    assert again.superseded.edit == 0


def test_an_edit_that_never_arrived_leaves_the_older_interaction_as_unknown_as_before() -> None:
    before = sent(_edited_in_doubt())
    closing = replace(before, state=CLOSED, intended=RequestState.CANCELLED)
    withdrawn = Failed(code="withdrawn", effect=Effect.NONE, retryable=False)
    main = decided(closing, reply(closing.steps[MAIN], withdrawn)).request.steps[MAIN]
    assert (main.state, main.edit, main.effect) == (StepState.UNKNOWN, 0, Effect.UNKNOWN)


def test_closing_asks_about_the_older_interaction_where_the_edit_never_left() -> None:
    decision = decided(_edited_in_doubt(), CancelAsked(**BY))
    main = decision.request.steps[MAIN]
    assert (main.state, main.edit) == (StepState.UNKNOWN, 0)
    assert SendQuery(step=MAIN) in decision.sends


def test_two_interactions_in_doubt_cannot_be_superseded_by_one_edit() -> None:
    unsure = sent(_edited_in_doubt())
    main = replace(unsure.steps[MAIN], state=StepState.PARKED)
    parked = replace(unsure, steps={**unsure.steps, MAIN: main})
    conflict = decided(parked, Edited(step=MAIN, input_id=13, **BY)).conflict
    assert conflict is not None
    assert conflict.code == "effect"


def test_a_provider_that_ran_the_edit_has_given_up_what_it_supersedes() -> None:
    before = sent(_edited_in_doubt())
    main = decided(before, reply(before.steps[MAIN], REPLIES["permanent"])).request.steps[MAIN]
    assert (main.state, main.effect) == (StepState.PARKED, Effect.NONE)
    assert main.superseded is not None
    assert not main.superseded.doubtful


def test_an_older_interaction_that_is_in_doubt_after_all_is_the_one_that_is_asked_about() -> None:
    # Given a step that was withdrawn, then edited, and whose edit could not be built
    withdrawn = decided(request(row("dispatched", edit=0, sent_edit=0, superseded=None)), _withdrawn()).request
    edited = decided(withdrawn, Edited(step=MAIN, input_id=12, **BY)).request
    parked = decided(edited, Unbuildable(step=MAIN, payload_id=9)).request
    # When its provider says of the older interaction that it does not know what became of it
    unsure = decided(parked, reply(parked.steps[MAIN], REPLIES["unknown"], edit=0)).request
    assert unsure.steps[MAIN].effect is Effect.UNKNOWN
    # Then closing asks about that one, in the journal that would know
    closing = decided(unsure, CancelAsked(**BY))
    main = closing.request.steps[MAIN]
    assert (main.edit, main.journal_id) == (0, "journal")
    assert SendQuery(step=MAIN) in closing.sends


def _withdrawn() -> Replied:
    return reply(row("dispatched", edit=0), REPLIES["withdrawn"])


def test_a_greater_attempt_number_of_the_older_edit_is_not_early() -> None:
    before = request(row("dispatched", attempt=1))
    answer = reply(before.steps[MAIN], REPLIES["completed"], edit=0, attempt=5)
    assert seen(before, decided(before, answer)) == "parked/done+F"


def test_a_store_that_was_restored_believes_an_answer_to_an_attempt_it_does_not_know() -> None:
    before = request(row("dispatched"))
    main = before.steps[MAIN]
    assert seen(before, decided(before, reply(main, REPLIES["completed"], attempt=9))) == "succeeded/done"


@pytest.mark.parametrize(
    ("state", "kind", "expected"),
    [
        ("dispatched", "retryable", "retrying/none"),
        ("dispatched", "unknown", "unknown+Q"),
        ("dispatched", "pending", "pending"),
        ("pending", "permanent", "parked/none+F"),
        ("unknown", "returned", "returned/none+T"),
    ],
)
def test_a_row_that_waits_takes_up_the_attempt_that_the_restored_store_has_forgotten(
    state: str, kind: str, expected: str
) -> None:
    # Given a row at its second attempt, and the journal's word on the ninth
    before = request(row(state))
    answer = reply(before.steps[MAIN], REPLIES[kind], attempt=9)
    # When it is decided
    decision = decided(before, answer)
    # Then it counts as if it had been awaited, and the next attempt is a greater one than any that ran
    assert seen(before, decision) == expected
    assert decision.request.steps[MAIN].attempt == (10 if kind == "retryable" else 9)


def test_an_attempt_that_no_forgetting_explains_is_shown_and_moves_nothing() -> None:
    before = request(row("dispatched"))
    decision = decided(before, reply(before.steps[MAIN], REPLIES["permanent"], attempt=2**40))
    assert seen(before, decision) == "=+F"
    assert decision.request.steps == before.steps


def test_a_row_that_waits_for_a_person_takes_up_no_other_attempt() -> None:
    before = request(row("parked"))
    assert seen(before, decided(before, reply(before.steps[MAIN], REPLIES["retryable"], attempt=3))) == "=+F"


def test_a_reply_of_another_agency_settles_nothing() -> None:
    before = request(row("dispatched"))
    decision = decided(before, reply(before.steps[MAIN], REPLIES["completed"], provider="agency_of_nobody"))
    assert decision.request.steps == before.steps
    assert [failure.step for failure in decision.failures] == [None]


# --- desks ------------------------------------------------------------------------------------------------------------

DESK = service(step("other"), step("main", needs=("other",), desk=True, compensate=back()))


def test_nothing_is_sent_to_a_desk_so_its_effect_stays_none_and_no_answer_is_missed() -> None:
    main = sent(request(row("ready", desk=True)), definition=DESK).steps[MAIN]
    assert (main.state, main.effect, main.answer_at) == (StepState.DISPATCHED, Effect.NONE, None)
    assert main.deadline_at == main.expires_at


def test_the_deadline_of_a_desk_step_ends_it_at_once_and_takes_it_from_the_clerks() -> None:
    main = row("dispatched", desk=True, effect=Effect.NONE, expires_at=NOW, deadline_at=NOW)
    before = request(main)
    decision = decided(before, timer(main, "deadline", NOW), DESK)
    assert seen(before, decision) == "parked+F"
    assert CloseDesk(step=MAIN, reason="step_parked") in decision.sends


@pytest.mark.parametrize("event", [CancelAsked(**BY), TerminateAsked(**BY)])
def test_closing_takes_a_desk_step_from_the_clerks_and_cancels_it(event: CancelAsked | TerminateAsked) -> None:
    before = request(row("dispatched", desk=True, effect=Effect.NONE))
    decision = decided(before, event, DESK)
    assert seen(before, decision) == "cancelled"
    assert CloseDesk(step=MAIN, reason="step_cancelled") in decision.sends


def test_a_new_epoch_sends_nothing_about_a_desk() -> None:
    before = request(row("dispatched", desk=True, effect=Effect.NONE))
    assert seen(before, decided(before, EpochBegan(), DESK)) == "."


@pytest.mark.parametrize("kind", ["completed", "refused", "returned"])
def test_a_clerk_who_answers_keeps_his_row(kind: str) -> None:
    before = request(row("dispatched", desk=True, effect=Effect.NONE))
    decision = decided(before, reply(before.steps[MAIN], REPLIES[kind], actor="clerk-7"), DESK)
    assert not [send for send in decision.sends if isinstance(send, CloseDesk)]


@pytest.mark.parametrize("kind", ["pending", "unknown"])
def test_nobody_is_in_doubt_about_a_desk(kind: str) -> None:
    before = request(row("dispatched", desk=True, effect=Effect.NONE))
    assert seen(before, decided(before, reply(before.steps[MAIN], REPLIES[kind]), DESK)) == "="
