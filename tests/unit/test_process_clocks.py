"""What the brain promises about acceptance, clocks and doubt."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bus.audit.fact import chain
from bus.config import Settings
from bus.message.instant import DAY, HOUR, MINUTE, SECOND
from bus.message.reply import Effect, Failed, Unknown
from bus.process.decision import ResendTask, SendQuery, TellEnd
from bus.process.definition import Backoff, Condition, Definition, Path, Repeat
from bus.process.event import (
    Edited,
    EpochBegan,
    Held,
    ReplayAsked,
    Supplemented,
)
from bus.process.retry import delay, doubling
from bus.process.state import Request, RequestState, StepKey, StepState
from tests.support.process_rows import (
    BY,
    MAIN,
    NOW,
    REPLIES,
    SETTINGS,
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
    timer,
)

CLOSED = RequestState.CLOSING


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
