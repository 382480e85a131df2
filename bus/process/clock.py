"""A step's clock: it starts at its first ready, rests where nobody can hurry, and is renewed by people only."""

from __future__ import annotations

from typing import Any

from bus.message.instant import Instant
from bus.process.draft import Draft
from bus.process.state import Kind, Step, StepKey

#: No timer runs and no look-up is under way.
STILL: dict[str, Any] = {
    "answer_at": None,
    "ask_at": None,
    "next_at": None,
    "deadline_at": None,
    "until_at": None,
    "asks": 0,
    "answered": 0,
    "resends": 0,
}


def resting(draft: Draft, step: Step) -> dict[str, Any]:
    """The clock stands still: keep what is left of it."""
    if step.expires_at is None:
        return {}
    return {"expires_at": None, "clock_left": max(0, step.expires_at - draft.now)}


def running(draft: Draft, step: Step) -> dict[str, Any]:
    """The clock runs: on, from where it rested, or from its beginning. A used-up one stays used up."""
    if step.expires_at is not None:
        return {"deadline_at": step.expires_at}
    left = step.clock_left
    expires_at = _beginning(draft, step.key) if left is None else draft.now + left
    return {"expires_at": expires_at, "clock_left": None, "deadline_at": expires_at}


def renewed(draft: Draft, step: Step) -> dict[str, Any]:
    """The clock runs because a person wants the step tried: a used-up one begins anew."""
    if passed(draft, step) or step.clock_left == 0:
        expires_at = _beginning(draft, step.key)
        return {"expires_at": expires_at, "clock_left": None, "deadline_at": expires_at}
    return running(draft, step)


def passed(draft: Draft, step: Step) -> bool:
    """Whether the step's deadline is over."""
    return step.expires_at is not None and draft.now >= step.expires_at


def decided_at(draft: Draft, step: Step, expires_at: Instant | None) -> Instant | None:
    """When the bus decides that a sent step expired: some time after it, for answers on their way; a desk's at once."""
    if expires_at is None or step.desk:
        return expires_at
    return expires_at + draft.settings.deadline_grace


def _beginning(draft: Draft, key: StepKey) -> Instant | None:
    own = draft.own_deadline(key)
    if own is not None:
        return draft.now + own
    of_request = draft.request.deadline_at if key.kind is Kind.TASK else None
    return of_request if of_request is not None and of_request > draft.now else None
