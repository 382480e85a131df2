"""What the brain makes of a message that the broker gave up, and of a store that was restored."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bus.message.instant import HOUR, MINUTE
from bus.message.reply import Effect, Failed
from bus.process.decide import decide
from bus.process.decision import Decision, FailureOpened, ResendTask, SendQuery, SendWithdrawal
from bus.process.event import AskedAgain, CancelAsked, EpochBegan, Event, Poisoned
from bus.process.state import Request, RequestState, Step, StepState
from tests.support.process_rows import (
    BY,
    MAIN,
    NOW,
    OTHER,
    SERVICE,
    SETTINGS,
    decided,
    reply,
    request,
    row,
    seen,
    timer,
)

CLOSED = RequestState.CLOSING


def given_up(of: Step, *, attempt: int | None = None, edit: int | None = None) -> Poisoned:
    """The broker's word on a message of the row's current attempt."""
    return Poisoned(
        step=of.key,
        edit=of.edit if edit is None else edit,
        attempt=of.attempt if attempt is None else attempt,
        payload_id=5,
    )


def test_a_task_that_the_broker_gave_up_is_sent_once_more_and_then_a_person_is_asked() -> None:
    # Given a task on its way, of which hosts died until the broker gave it up
    before = request(row("dispatched"))
    # When the broker says so
    first = decided(before, given_up(before.steps[MAIN]))
    # Then the same bytes are sent again, and whoever looks sees why
    assert first.sends == (ResendTask(step=MAIN),)
    assert [fact.kind for fact in first.facts] == ["poisoned", "resent"]
    assert first.request.steps[MAIN].reason == "poison"
    # And when it says so again, the step waits for a person, who is shown the bytes
    second = decided(first.request, given_up(first.request.steps[MAIN]))
    assert second.sends == ()
    assert second.failures == (FailureOpened(step=MAIN, code="poison", payload_id=5),)
    main = second.request.steps[MAIN]
    assert (main.state, main.reason, main.effect) == (StepState.PARKED, "poison", Effect.UNKNOWN)


def test_a_further_attempt_may_be_given_up_once_itself() -> None:
    before = request(row("retrying", reason="poison", next_at=NOW))
    ready = decided(before, timer(before.steps[MAIN], "next", NOW)).request
    assert ready.steps[MAIN].reason is None


@pytest.mark.parametrize("attempt", [1, 3])
def test_another_attempt_than_the_current_one_is_nothing(attempt: int) -> None:
    before = request(row("dispatched"))
    assert decided(before, given_up(before.steps[MAIN], attempt=attempt)).facts == ()


def test_another_edit_than_the_current_one_is_nothing() -> None:
    before = request(row("dispatched"))
    assert decided(before, given_up(before.steps[MAIN], edit=0)).facts == ()


def test_a_row_that_the_request_does_not_have_is_nothing() -> None:
    before = request(row("dispatched"))
    stranger = replace(given_up(before.steps[MAIN]), step=MAIN._replace(step="nowhere"))
    assert decided(before, stranger).facts == ()


def test_a_task_that_would_come_too_late_is_not_sent_again() -> None:
    before = request(row("dispatched", expires_at=NOW + SETTINGS.late_margin))
    decision = decided(before, given_up(before.steps[MAIN]))
    assert decision.sends == ()
    assert [fact.kind for fact in decision.facts] == ["poisoned", "resend_too_late"]


def test_a_desk_has_no_messages_that_could_be_given_up() -> None:
    before = request(row("dispatched", desk=True, effect=Effect.NONE))
    assert decided(before, given_up(before.steps[MAIN])).facts == ()


# --- a restored store -------------------------------------------------------------------------------------------------


def asking(before: Request, event: Event) -> Decision:
    """As a store decides that was restored and not opened yet."""
    return decide(before, event, NOW, SERVICE, SETTINGS, asks_only=True)


def test_a_restored_store_asks_about_every_interaction_that_was_sent_and_about_no_other() -> None:
    # A refused or failed one would begin closing, which asks about more.
    states = [state for state in StepState if state not in {StepState.REFUSED, StepState.FAILED}]
    rows = {state: row(state, MAIN._replace(item=index)) for index, state in enumerate(states)}
    before = request(*rows.values())
    decision = asking(before, AskedAgain())
    asked = [rows[StepState.DISPATCHED].key, rows[StepState.PENDING].key, rows[StepState.UNKNOWN].key]
    assert decision.sends == tuple(SendQuery(step=key) for key in (OTHER, *asked))
    assert {step.key for step in decision.request.steps.values() if step.answer_at is not None} == {OTHER, *asked}


def test_what_was_not_answered_is_asked_again_and_the_rest_left_in_peace() -> None:
    late = row("unknown", MAIN._replace(item=1), answer_at=NOW)
    soon = row("unknown", MAIN._replace(item=2), answer_at=NOW + MINUTE)
    told = row("pending", MAIN._replace(item=3), answer_at=None)
    decision = asking(request(late, soon, told), AskedAgain(overdue=True))
    assert decision.sends == (SendQuery(step=late.key),)


@pytest.mark.parametrize("event", [EpochBegan(), AskedAgain()])
@pytest.mark.parametrize("state", [RequestState.OPEN, CLOSED])
def test_a_new_epoch_sends_no_task_and_no_withdrawal_while_the_store_asks_only(
    event: Event, state: RequestState
) -> None:
    decision = asking(request(row("dispatched"), state=state), event)
    assert {type(send) for send in decision.sends} == {SendQuery}
    assert {fact.kind for fact in decision.facts} == {"queried"}


def test_an_answer_that_does_not_come_leads_to_a_look_up_while_the_store_asks_only() -> None:
    before = request(row("dispatched", answer_at=NOW))
    decision = asking(before, timer(before.steps[MAIN], "answer", NOW))
    assert decision.sends == (SendQuery(step=MAIN),)


def test_closing_that_begins_while_the_store_asks_only_withdraws_nothing_yet() -> None:
    # Given two steps that were sent, and a store that was restored
    before = request(row("unknown"), row("dispatched", OTHER))
    # When closing begins
    closing = asking(before, CancelAsked(**BY))
    # Then each is looked up once, and none withdrawn
    assert sorted(send.step.step for send in closing.sends if isinstance(send, SendQuery)) == ["main", "other"]
    assert not [send for send in closing.sends if isinstance(send, SendWithdrawal)]
    # And once it is open, the withdrawal leaves when the answer does not come
    other = closing.request.steps[OTHER]
    assert other.answer_at is not None
    later = decided(closing.request, timer(other, "answer", other.answer_at), now=NOW + 2 * HOUR)
    assert SendWithdrawal(step=OTHER) in later.sends


def test_what_a_journal_never_saw_is_ready_again_with_a_greater_attempt() -> None:
    asked = asking(request(row("dispatched")), AskedAgain()).request
    never_seen = Failed(code="never_seen", effect=Effect.NONE, retryable=False)
    assert seen(asked, decided(asked, reply(asked.steps[MAIN], never_seen))) == "ready/none"
