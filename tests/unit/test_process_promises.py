"""What the brain promises beyond single cells: clocks, doubt, edits, desks, closing, and the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from bus.audit.fact import chain
from bus.config import Settings
from bus.message.instant import DAY, HOUR, MINUTE, SECOND, Instant
from bus.message.reply import Completed, Effect, Failed, Refused, Unknown
from bus.process.decide import accept
from bus.process.decision import CloseDesk, Decision, FailureClosed, ResendTask, SendQuery, TellEnd
from bus.process.definition import Backoff, Condition, Definition, Path, Repeat
from bus.process.event import (
    AnsweredByHand,
    CancelAsked,
    Dispatched,
    Edited,
    EpochBegan,
    GaveUp,
    Held,
    ReplayAsked,
    Submitted,
    Supplemented,
    TerminateAsked,
    TimerFired,
    Unbuildable,
)
from bus.process.retry import delay, doubling
from bus.process.state import Kind, Request, RequestState, Step, StepKey, StepState, Superseded
from tests.support.process_rows import (
    BACK,
    MAIN,
    NOW,
    OTHER,
    REPLIES,
    REQUEST_ID,
    SERVICE,
    SETTINGS,
    WORDS,
    back,
    decided,
    reply,
    request,
    row,
    seen,
    service,
    step,
)

CLOSED = RequestState.CLOSING
BY: Mapping[str, Any] = {"actor": "operator-1", "reason": "asked by phone"}


def submitted(definition: Definition, conditions: Mapping[str, bool] | None = None) -> Decision:
    """A new request for a service."""
    event = Submitted(
        request_id=REQUEST_ID,
        key=1,
        consumer="portal",
        service="try.v1",
        revision="r",
        purpose="trying",
        data_id=1,
        message_id="submission",
        conditions=conditions or {},
        fields=("id",),
    )
    return accept(event, NOW, definition)


def sent(before: Request, key: StepKey = MAIN, now: Instant = NOW, definition: Definition = SERVICE) -> Request:
    """The request once a ready row was dispatched."""
    leaves = Dispatched(step=key, journal_id="journal", task_id=3, message_id="task", fields=("id",))
    return decided(before, leaves, definition, now).request


def timer(of: Step, name: Any, at: Instant, *, alive: bool = True) -> TimerFired:
    """The row's timer, due."""
    return TimerFired(step=of.key, timer=name, at=at, edit=of.edit, attempt=of.attempt, alive=alive)


def states(of: Request) -> dict[str, str]:
    """The states of all rows; compensations as ``step/compensation``."""
    return {
        key.step if key.kind is Kind.TASK else f"{key.step}/compensation": one.state.value
        for key, one in of.steps.items()
    }


# --- acceptance -------------------------------------------------------------------------------------------------------


def test_steps_that_need_nothing_are_ready_at_once_and_their_clock_runs() -> None:
    found = submitted(service(step("a"), step("b", needs=("a",), deadline=None))).request
    assert states(found) == {"a": "ready", "b": "waiting"}
    assert found.steps[StepKey(step="a")].deadline_at == NOW + DAY
    assert found.steps[StepKey(step="b")].expires_at is None


def test_a_step_without_a_deadline_of_its_own_has_what_is_left_of_the_request() -> None:
    found = submitted(service(step("a", deadline=None))).request
    assert found.steps[StepKey(step="a")].expires_at == found.deadline_at == NOW + 10 * DAY


def test_a_condition_that_does_not_hold_skips_a_step_and_what_needs_it_goes_on() -> None:
    when = Condition(path=Path(root="request", step="", members=("premises",)))
    definition = service(step("a", when=when), step("b", needs=("a",)))
    assert states(submitted(definition, {"a": False}).request) == {"a": "skipped", "b": "ready"}


def test_a_request_of_which_nothing_is_needed_is_completed_at_once_with_one_result() -> None:
    when = Condition(path=Path(root="request", step="", members=("premises",)))
    decision = submitted(service(step("a", when=when)), {"a": False})
    assert decision.request.state is RequestState.COMPLETED
    assert decision.sends == (TellEnd(outcome=RequestState.COMPLETED),)


def test_only_the_first_fact_of_a_decision_names_the_message_and_its_fields() -> None:
    facts = submitted(service(step("a"), step("b"))).facts
    assert [(fact.kind, fact.fields, fact.message_id) for fact in facts] == [
        ("accepted", ("id",), "submission"),
        ("step_ready", (), None),
        ("step_ready", (), None),
    ]
    assert (facts[0].consumer, facts[0].purpose) == ("portal", "trying")


def test_facts_are_values_that_canonical_json_can_seal() -> None:
    before = request(row("parked"))
    edited = decided(before, Edited(step=MAIN, input_id=5, **BY))
    assert len({fact.hash for fact in chain(edited.facts, before.head)}) == len(edited.facts)


# --- clocks -----------------------------------------------------------------------------------------------------------


def test_the_clock_of_a_step_that_is_held_back_rests_until_it_leaves() -> None:
    before = request(row("ready", expires_at=NOW + HOUR, deadline_at=NOW + HOUR))
    held = decided(before, Held(step=MAIN, reason="breaker")).request
    assert (held.steps[MAIN].deadline_at, held.steps[MAIN].clock_left) == (None, HOUR)
    assert decided(held, Held(step=MAIN, reason="paused")).facts == ()
    left = sent(held, now=NOW + 5 * DAY).steps[MAIN]
    assert left.expires_at == NOW + 5 * DAY + HOUR
    assert left.deadline_at == NOW + 5 * DAY + HOUR + SETTINGS.deadline_grace


def test_the_clock_of_a_returned_step_rests_until_the_applicant_has_answered() -> None:
    before = request(row("dispatched"))
    asked = decided(before, reply(before.steps[MAIN], REPLIES["returned"])).request
    assert (asked.steps[MAIN].deadline_at, asked.waiting_for) == (None, "applicant")
    answer = Supplemented(step=MAIN, attempt=2, input_id=5, actor="applicant")
    again = decided(asked, answer, now=NOW + 20 * DAY).request.steps[MAIN]
    assert (again.state, again.attempt, again.input_id) == (StepState.READY, 3, 5)
    assert again.deadline_at == NOW + 20 * DAY + HOUR


def test_a_supplement_for_another_attempt_is_a_conflict() -> None:
    before = request(row("returned"))
    conflict = decided(before, Supplemented(step=MAIN, attempt=1, input_id=5, actor="applicant")).conflict
    assert conflict is not None
    assert (conflict.code, conflict.state) == ("step-state", "returned")


def test_a_step_that_its_deadline_parked_has_a_fresh_clock_when_a_person_replays_it() -> None:
    before = request(row("ready", expires_at=NOW, deadline_at=NOW))
    parked = decided(before, timer(before.steps[MAIN], "deadline", NOW)).request
    assert (parked.steps[MAIN].reason, parked.steps[MAIN].clock_left) == ("deadline", 0)
    again = decided(parked, ReplayAsked(step=MAIN, **BY), now=NOW + 3 * DAY).request.steps[MAIN]
    assert (again.state, again.deadline_at) == (StepState.READY, NOW + 4 * DAY)


def test_a_retry_that_comes_due_after_the_deadline_neither_renews_the_clock_nor_ends_the_step() -> None:
    before = request(row("retrying", next_at=NOW - HOUR, expires_at=NOW - 1, deadline_at=NOW - 1))
    after = decided(before, timer(before.steps[MAIN], "next", NOW - HOUR)).request.steps[MAIN]
    assert (after.state, after.next_at, after.deadline_at) == (StepState.RETRYING, None, NOW - 1)


def test_never_seen_after_the_deadline_is_what_the_deadline_does() -> None:
    definition = service(step("other"), step("main", needs=("other",), on_deadline="continue", optional=True))
    before = request(row("unknown", expires_at=NOW - 1))
    never = Failed(code="never_seen", effect=Effect.NONE, retryable=True)
    assert seen(before, decided(before, reply(before.steps[MAIN], never), definition)) == "expired/none"


def test_what_the_deadline_refuses_has_no_effect_and_says_so() -> None:
    definition = service(step("other"), step("main", needs=("other",), on_deadline="refuse", on_refused="continue"))
    before = request(row("dispatched"))
    too_late = Failed(code="too_late", effect=Effect.NONE, retryable=False)
    after = decided(before, reply(before.steps[MAIN], too_late), definition).request.steps[MAIN]
    assert (after.state, after.effect, after.reason) == (StepState.REFUSED, Effect.NONE, "deadline")


def test_a_completed_after_the_bus_itself_refused_is_taken_back_and_contradicts_nobody() -> None:
    before = request(row("refused", reason="deadline", output_id=None, output_digest=None))
    assert seen(before, decided(before, reply(before.steps[MAIN], REPLIES["completed"]))) == "=/done+C"


def test_an_agency_that_is_busy_names_its_time_and_uses_no_try() -> None:
    before = request(row("dispatched", tries=7, attempt=900))
    busy = Failed(code="busy", effect=Effect.NONE, retryable=True, retry_after=10 * MINUTE)
    after = decided(before, reply(before.steps[MAIN], busy)).request.steps[MAIN]
    assert (after.state, after.tries, after.next_at) == (StepState.RETRYING, 7, NOW + 10 * MINUTE)


def test_the_wait_for_the_next_attempt_lies_between_half_and_the_whole_and_never_overflows() -> None:
    backoff = Backoff(attempts=8, first=5 * SECOND, factor=3.0, most=HOUR)
    assert 2_500 <= delay(backoff, "i", 2) <= 5_000
    assert 7_500 <= delay(backoff, "i", 3) <= 15_000
    assert HOUR // 2 <= delay(backoff, "i", 100_000) <= HOUR
    assert (delay(backoff, "i", 2), doubling(MINUTE, 3, DAY)) == (delay(backoff, "i", 2), 8 * MINUTE)


# --- doubt ------------------------------------------------------------------------------------------------------------


def _unsure(repeat: Repeat, **changes: Any) -> tuple[Request, Definition]:
    definition = service(step("other"), step("main", needs=("other",), repeat=repeat, backoff=Backoff(attempts=3)))
    return request(row("unknown", **{"asks": 1, "answer_at": NOW + HOUR, "ask_at": NOW + HOUR} | changes)), definition


def test_who_enters_doubt_is_asked_once_at_once() -> None:
    before = request(row("dispatched"))
    decision = decided(before, reply(before.steps[MAIN], Unknown()))
    assert decision.sends == (SendQuery(step=MAIN),)
    assert decision.request.steps[MAIN].asks == 1


@pytest.mark.parametrize(
    ("repeat", "state"),
    [
        (Repeat(kind="safe"), "ready"),
        (Repeat(kind="idempotent", window=2 * HOUR), "ready"),
        (Repeat(kind="idempotent", window=HOUR), "unknown"),
        (Repeat(kind="queryable"), "unknown"),
        (Repeat(kind="natural_key"), "unknown"),
        (Repeat(kind="at_most_once"), "parked"),
    ],
)
def test_a_look_up_that_cannot_tell_is_followed_by_what_trying_again_may_do(repeat: Repeat, state: str) -> None:
    before, definition = _unsure(repeat)
    after = decided(before, reply(before.steps[MAIN], Unknown()), definition).request.steps[MAIN]
    assert after.state == state
    assert after.attempt == (3 if state == "ready" else 2)


def test_only_an_open_request_runs_a_safe_operation_again() -> None:
    before, definition = _unsure(Repeat(kind="safe"))
    closing = replace(before, state=CLOSED, intended=RequestState.CANCELLED)
    assert decided(closing, reply(before.steps[MAIN], Unknown()), definition).request.steps[MAIN].state == "unknown"


def test_a_safe_operation_that_never_tells_parks_when_its_tries_are_used() -> None:
    before, definition = _unsure(Repeat(kind="safe"), tries=2)
    assert seen(before, decided(before, reply(before.steps[MAIN], Unknown()), definition)) == "parked+F"


def test_look_ups_are_sent_as_often_as_there_are_attempts_then_a_person_must_decide() -> None:
    before, definition = _unsure(Repeat(kind="queryable"), asks=2, ask_at=NOW)
    third = decided(before, timer(before.steps[MAIN], "ask", NOW), definition)
    assert third.sends == (SendQuery(step=MAIN),)
    again = third.request.steps[MAIN]
    assert again.ask_at is not None
    fourth = decided(third.request, timer(again, "ask", again.ask_at), definition, again.ask_at)
    assert (fourth.sends, fourth.request.steps[MAIN].state) == ((), StepState.PARKED)


def test_past_its_deadline_a_doubtful_step_waits_for_one_look_up_and_then_parks() -> None:
    before, definition = _unsure(Repeat(kind="queryable"), expires_at=NOW - 3 * MINUTE, deadline_at=NOW)
    waits = decided(before, timer(before.steps[MAIN], "deadline", NOW), definition).request
    assert (waits.steps[MAIN].state, waits.steps[MAIN].deadline_at) == (StepState.UNKNOWN, None)
    assert seen(waits, decided(waits, reply(waits.steps[MAIN], Unknown()), definition)) == "parked+F"
    assert seen(waits, decided(waits, reply(waits.steps[MAIN], REPLIES["pending"]), definition)) == "parked+F"


def test_a_person_who_replays_what_is_unknown_has_it_looked_up_and_never_run() -> None:
    before = request(row("parked"))
    decision = decided(before, ReplayAsked(step=MAIN, **BY))
    assert (decision.sends, decision.request.steps[MAIN].attempt) == ((SendQuery(step=MAIN),), 2)


def test_what_is_known_to_be_done_stays_known_through_another_attempt() -> None:
    before = request(row("parked", effect=Effect.DONE))
    ready = decided(before, ReplayAsked(step=MAIN, **BY)).request
    assert sent(ready).steps[MAIN].effect is Effect.DONE


def test_an_unanswered_task_is_sent_again_after_doubling_waits_up_to_their_own_limit() -> None:
    settings = Settings(answer_within=MINUTE, answer_most=3 * MINUTE, ask_most=DAY)
    now, found, waits = NOW, request(row("dispatched", answer_at=NOW, expires_at=None)), []
    for _ in range(4):
        main = found.steps[MAIN]
        decision = decided(found, timer(main, "answer", now), now=now, settings=settings)
        assert decision.sends == (ResendTask(step=MAIN),)
        found = decision.request
        at = found.steps[MAIN].answer_at
        assert at is not None
        waits.append(at - now)
        now = at
    assert waits == [2 * MINUTE, 3 * MINUTE, 3 * MINUTE, 3 * MINUTE]


def test_nothing_is_sent_again_to_a_dead_host() -> None:
    before = request(row("dispatched", answer_at=NOW))
    decision = decided(before, timer(before.steps[MAIN], "answer", NOW, alive=False))
    assert (decision.sends, decision.request.steps[MAIN].answer_at) == ((), NOW + 2 * SETTINGS.answer_within)


def test_nothing_is_sent_again_so_late_that_it_could_not_begin() -> None:
    before = request(row("dispatched", expires_at=NOW + SETTINGS.late_margin))
    assert ResendTask(step=MAIN) not in decided(before, EpochBegan()).sends
    earlier = request(row("dispatched", expires_at=NOW + SETTINGS.late_margin + 1))
    assert ResendTask(step=MAIN) in decided(earlier, EpochBegan()).sends


def test_a_timer_that_the_row_does_not_have_any_more_is_nothing() -> None:
    before = request(row("dispatched", answer_at=NOW))
    main = before.steps[MAIN]
    for stale in (
        timer(main, "answer", NOW - 1),
        timer(replace(main, attempt=1), "answer", NOW),
        timer(replace(main, edit=0), "answer", NOW),
        timer(main, "ask", NOW),
    ):
        assert decided(before, stale).facts == ()


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


def test_a_greater_attempt_number_of_the_older_edit_is_not_early() -> None:
    before = request(row("dispatched", attempt=1))
    answer = reply(before.steps[MAIN], REPLIES["completed"], edit=0, attempt=5)
    assert seen(before, decided(before, answer)) == "parked/done+F"


def test_a_store_that_was_restored_believes_an_answer_to_an_attempt_it_does_not_know() -> None:
    before = request(row("dispatched"))
    main = before.steps[MAIN]
    assert seen(before, decided(before, reply(main, REPLIES["completed"], attempt=9))) == "succeeded/done"
    assert seen(before, decided(before, reply(main, REPLIES["permanent"], attempt=9))) == "=+F"


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
FIRST_BACK, SECOND_BACK = replace(FIRST, kind=Kind.COMPENSATION), replace(SECOND_, kind=Kind.COMPENSATION)


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
