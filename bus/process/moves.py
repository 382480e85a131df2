"""The verbs of the table: what each move does to one row. Those of doubt stand in `bus.process.look_up`."""

from __future__ import annotations

from typing import Any

from bus.message.reply import Completed, Effect, Failed, Refused, Reply, Returned
from bus.process.clock import STILL, decided_at, passed, renewed, resting, running
from bus.process.decision import TellReturned
from bus.process.draft import Draft
from bus.process.event import AnsweredByHand, Replied
from bus.process.planning import plan
from bus.process.retry import delay, doubling
from bus.process.state import Kind, StepKey, StepState
from bus.process.taking_back import can_leave_something, take_back

# --- ready and dispatched -------------------------------------------------------------------------------------------


def become_ready(draft: Draft, key: StepKey, *, renew: bool = False, **changes: Any) -> None:
    """The row may be dispatched and its clock runs; ``renew``: a person decided so, a used-up clock begins anew.

    A row for which no provider could be chosen waits for a person instead.
    """
    step = draft.step(key)
    if not step.agency and step.state is StepState.PARKED:
        # It was tried in vain; what a person saw of it stays before his eyes, once.
        draft.note(key, "step_parked")
        return
    if not step.agency:
        park(draft, key, "provider_unknown")
        return
    clock = renewed(draft, step) if renew else running(draft, step)
    fields = {**STILL, "state": StepState.READY, "reason": None, "asked": [], "left_behind": False, **clock, **changes}
    draft.change(key, "step_ready", **fields)


def again(draft: Draft, key: StepKey) -> None:
    """The task never arrived: a further attempt is wanted at once, which does not count as an automatic try."""
    step = draft.step(key)
    older_in_doubt = step.superseded is not None and step.superseded.doubtful
    effect = step.effect if older_in_doubt or step.effect is Effect.DONE else Effect.NONE
    become_ready(draft, key, attempt=step.attempt + 1, effect=effect)


def go(draft: Draft, key: StepKey) -> None:
    """The waiting for the next attempt is over; where the deadline is too, only its own timer may end the step."""
    if passed(draft, draft.step(key)):
        draft.change(key, "retry_too_late", next_at=None)
    else:
        become_ready(draft, key)


def dispatch(draft: Draft, key: StepKey, *, journal_id: str | None, task_id: int) -> None:
    """The task leaves for its provider; a desk's row appears, which sends nothing and so has no effect yet."""
    step = draft.step(key)
    sent = Effect.DONE if step.effect is Effect.DONE else Effect.UNKNOWN
    expires_at = draft.now + step.clock_left if step.clock_left is not None else step.expires_at
    # A new interaction has a first time of its own, unless nobody knows whether the one before it had an effect.
    in_doubt = step.superseded is not None and step.superseded.doubtful
    is_first = step.first_sent is None or (step.edit_unsent and not in_doubt)
    draft.change(
        key,
        "step_dispatched",
        state=StepState.DISPATCHED,
        effect=step.effect if step.desk else sent,
        reason=None,
        first_sent=draft.now if is_first else step.first_sent,
        sent_edit=max(step.edit, step.sent_edit or 0),
        journal_id=journal_id if is_first else step.journal_id,
        task_id=task_id,
        expires_at=expires_at,
        clock_left=None,
        answer_at=None if step.desk else draft.now + draft.settings.answer_within,
        deadline_at=decided_at(draft, step, expires_at),
    )


def hold(draft: Draft, key: StepKey, reason: str) -> None:
    """The dispatcher keeps it back for a reason that rests its clock."""
    step = draft.step(key)
    if step.expires_at is not None and not passed(draft, step):
        draft.change(key, "step_held", reason=reason, deadline_at=None, **resting(draft, step))


# --- ends -----------------------------------------------------------------------------------------------------------


def succeed(draft: Draft, key: StepKey, event: Replied | AnsweredByHand, **changes: Any) -> None:
    """The provider did it; in closing, or after the end, that is taken back."""
    fields = _answered(event) | {"effect": Effect.DONE, "reason": None, "left_behind": False} | changes
    if event.conditions:
        fields["conditions"] = dict(event.conditions)
    draft.change(key, "step_succeeded", **STILL, state=StepState.SUCCEEDED, **fields)
    plan(draft, event.rows)
    if not draft.open and key.kind is Kind.TASK:
        take_back(draft, key)


def refuse(draft: Draft, key: StepKey, event: Replied | AnsweredByHand) -> None:
    """The agency's lawful "no"."""
    if not isinstance(event.reply, Refused):
        raise TypeError(f"not a refusal: {type(event.reply).__name__}")
    fields = _answered(event) | {"effect": Effect.NONE, "reason": event.reply.reason_code}
    draft.change(key, "step_refused", **STILL, state=StepState.REFUSED, **fields)


def _answered(event: Replied | AnsweredByHand) -> dict[str, Any]:
    return {"asked": [], "output_id": event.payload_id, "output_digest": event.digest}


def refuse_by_bus(draft: Draft, key: StepKey, reason: str) -> None:
    """The bus itself ends the step as refused; counted apart from an agency's refusals."""
    fields = {"state": StepState.REFUSED, "effect": Effect.NONE, "reason": reason, "asked": []}
    draft.change(key, "step_refused", **STILL, **fields)


def skip(draft: Draft, key: StepKey, reason: str) -> None:
    """The step is not needed."""
    draft.change(key, "step_skipped", **STILL, state=StepState.SKIPPED, reason=reason, asked=[])


def cancel(draft: Draft, key: StepKey) -> None:
    """Nothing happened and nothing will."""
    draft.change(key, "step_cancelled", **STILL, state=StepState.CANCELLED, effect=Effect.NONE, asked=[])


def cancel_behind(draft: Draft, key: StepKey) -> None:
    """Ended at once by a termination: what may exist is listed."""
    # A compensation that does not run leaves the effect that it was to take back.
    behind = draft.step(key).effect is not Effect.NONE or key.kind is Kind.COMPENSATION
    draft.change(key, "step_cancelled", **STILL, state=StepState.CANCELLED, left_behind=behind, asked=[])


def fail(draft: Draft, key: StepKey, reason: str, effect: Effect | None = None) -> None:
    """The step ends without the agency's answer; an effect that may exist is listed or taken back."""
    effect = draft.step(key).effect if effect is None else effect
    in_doubt = effect is Effect.UNKNOWN and can_leave_something(draft, key)
    behind = in_doubt or key.kind is Kind.COMPENSATION
    ended = {"state": StepState.FAILED, "effect": effect, "reason": reason, "left_behind": behind, "asked": []}
    draft.change(key, "step_failed", **STILL, **ended)
    if effect is Effect.DONE and key.kind is Kind.TASK:
        take_back(draft, key)


def park(draft: Draft, key: StepKey, reason: str, effect: Effect | None = None, **changes: Any) -> None:
    """A person must look: the clock rests and a failure opens. A parked compensation holds up nothing: it is listed."""
    step = draft.step(key)
    clock = resting(draft, step)
    fields = {"effect": step.effect if effect is None else effect, "left_behind": key.kind is Kind.COMPENSATION}
    fields |= {"reason": reason, "asked": [], **clock, **changes}
    draft.change(key, "step_parked", **STILL, state=StepState.PARKED, **fields)
    draft.open_failure(key, reason)


def exhausted(draft: Draft, key: StepKey, reason: str) -> None:
    """No automatic try is left, or none can help (``on_exhausted``)."""
    if key.kind is Kind.TASK and draft.defined(key).on_exhausted == "fail":
        fail(draft, key, reason, Effect.NONE)
    else:
        park(draft, key, reason, Effect.NONE)


def end(draft: Draft, key: StepKey) -> None:
    """The deadline is over and nothing happened (``on_deadline``)."""
    rule = draft.defined(key).on_deadline if key.kind is Kind.TASK else "park"
    if rule == "refuse":
        refuse_by_bus(draft, key, "deadline")
    elif rule == "continue":
        draft.change(key, "step_expired", **STILL, state=StepState.EXPIRED, effect=Effect.NONE, reason="deadline")
    else:
        # Nothing is left of its clock, also where the provider found it too late to begin.
        park(draft, key, "deadline", Effect.NONE, expires_at=None, clock_left=0)


# --- not yet --------------------------------------------------------------------------------------------------------


def retry(draft: Draft, key: StepKey, reply: Failed, *, counts: bool = True) -> None:
    """A later attempt, or none if the tries are used; ``busy`` uses none."""
    step, backoff = draft.step(key), draft.backoff(key)
    tries = step.tries + counts
    if tries >= backoff.attempts:
        exhausted(draft, key, "exhausted")
        return
    attempt = step.attempt + 1
    wait = delay(backoff, draft.request.interaction(key), attempt)
    if reply.retry_after is not None:
        # A busy agency names its time itself; nobody makes us hammer.
        wait = max(reply.retry_after, wait if counts else backoff.first)
    draft.change(
        key,
        "step_retrying",
        **{**STILL, "next_at": draft.now + wait, "deadline_at": step.expires_at},
        state=StepState.RETRYING,
        effect=Effect.NONE,
        attempt=attempt,
        tries=tries,
        reason=reply.code,
    )


def give_back(draft: Draft, key: StepKey, event: Replied, reply: Returned) -> None:
    """Something is missing that only the applicant can bring; the clock rests."""
    step = draft.step(key)
    until = draft.now + (reply.within or draft.settings.returned_within)
    draft.change(
        key,
        "step_returned",
        **{**STILL, "until_at": until},
        state=StepState.RETURNED,
        effect=Effect.NONE,
        reason=reply.needs[0].reason_code if reply.needs else None,
        asked=[need.pointer for need in reply.needs],
        **resting(draft, step),
    )
    draft.send(TellReturned(step=key, payload_id=event.payload_id, until=until))


def pend(draft: Draft, key: StepKey) -> None:
    """The agency will answer later; it is asked again after growing intervals, until the deadline."""
    step = draft.step(key)
    if step.state is StepState.UNKNOWN and step.deadline_at is None and passed(draft, step):
        park(draft, key, "deadline")
        return
    asks = step.asks if step.state is StepState.PENDING else 0
    ask_at = draft.now + doubling(draft.settings.ask_again, asks, draft.settings.ask_most)
    fields = {**STILL, "asks": asks, "ask_at": ask_at, "deadline_at": step.deadline_at}
    effect = Effect.DONE if step.effect is Effect.DONE else Effect.UNKNOWN
    draft.change(key, "step_pending", **fields, state=StepState.PENDING, effect=effect)


def effect_of(reply: Reply) -> Effect:
    """What a reply says about the legacy system."""
    match reply:
        case Completed():
            return Effect.DONE
        case Refused() | Returned():
            return Effect.NONE
        case Failed():
            return reply.effect
        case _:
            return Effect.UNKNOWN
