"""A provider's reply: which row it belongs to, and which cell of the table it meets."""

from __future__ import annotations

from functools import lru_cache

from bus.message.identity import interaction_id
from bus.message.reply import Completed, Effect, Failed, Pending, Refused, Reply, Returned, Unknown
from bus.process import clock
from bus.process.draft import Draft
from bus.process.event import Replied
from bus.process.reply_verb import VERBS, note_superseded
from bus.process.state import AWAITING, Kind, Request, Step, StepKey, StepState
from bus.process.table import (
    CODES,
    REPLIES_CLOSING,
    REPLIES_COMPENSATION,
    REPLIES_OLDER,
    REPLIES_OLDER_COMPENSATION,
    REPLIES_OPEN,
    Table,
)

#: Codes that hold whatever effect they state; the others speak of nothing having happened, and hold only then.
_ANY_EFFECT = frozenset({"interaction_reused", "answer_unreadable", "superseded_too_late"})
#: Codes with which a provider says that it never looked at the edit, nor at what the edit supersedes.
_NEVER_LOOKED = frozenset({"withdrawn", "never_seen"})

#: No store that was restored has forgotten more attempts of one interaction; beyond this somebody counts wrong.
_MOST_FORGOTTEN = 100

#: The same few ids are asked for again with every reply of a request.
_interaction_id = lru_cache(maxsize=4_096)(interaction_id)


def replied(draft: Draft, event: Replied) -> None:
    """Settle, count, show or ignore one reply, as the table says."""
    found = answered_row(draft.request, event)
    if found is None:
        draft.note(None, "early")
        draft.open_failure(None, "early")
        return
    key, edit = found
    verb = _verb(draft, draft.step(key), edit, event)
    if verb not in VERBS:
        raise LookupError(f"the table names an unknown verb: {verb}")
    VERBS[verb](draft, key, event)


def answered_row(request: Request, event: Replied) -> tuple[StepKey, int] | None:
    """The row and the edit that a reply answers, by interaction and provider alone: the rest may be wrong."""
    for key, step in request.steps.items():
        if step.agency == event.provider:
            for edit in range(max(step.edit, step.sent_edit or 0), -1, -1):
                if _interaction_id(request.id, key.step, key.item, key.kind.value, edit) == event.interaction_id:
                    return key, edit
    return None


def counts_now(request: Request, event: Replied) -> bool:
    """Whether a reply that has come before counts now: its row waits for just this, so that it did not count then.

    A store that went back hears answers to what it has yet to ask, and keeps them. Once it asks, it hears them again.
    """
    found = answered_row(request, event)
    if found is None:
        return False
    key, edit = found
    step, reply = request.steps[key], event.reply
    if step.state not in AWAITING or step.desk or edit != step.edit:
        return False
    if isinstance(reply, Completed | Refused):
        return True
    # The others leave the row waiting as it was, and count each time.
    moves_on = isinstance(reply, Returned) or (isinstance(reply, Failed) and reply.effect is not Effect.UNKNOWN)
    return moves_on and event.attempt >= step.attempt


def _verb(draft: Draft, step: Step, edit: int, event: Replied) -> str:
    if step.sent_edit is None or edit > step.sent_edit:
        return "early"
    older = REPLIES_OLDER_COMPENSATION if step.key.kind is Kind.COMPENSATION else REPLIES_OLDER
    # What the bus itself refused (too late, not supplemented) is no answer of the agency: its own may still come.
    by_bus = step.state is StepState.REFUSED and step.output_id is None
    state = StepState.EXPIRED if by_bus else step.state
    if edit != step.edit:
        return older[state, _older_column(event.reply, "edit_")]
    if event.attempt < step.attempt:
        return older[state, _older_column(event.reply, "")]
    if event.attempt > step.attempt:
        # The store was restored to before that attempt: an answer settles all the same.
        if isinstance(event.reply, Completed | Refused):
            return older[state, _older_column(event.reply, "")]
        if not _catches_up(step, event.attempt):
            return "early"
        draft.change(step.key, "caught_up", attempt=event.attempt)
        step = draft.step(step.key)
    note_superseded(draft, step, event.reply, _NEVER_LOOKED)
    verb = _of_code(draft, step, event.reply) or _table(draft, step.key)[state, _column(event.reply)]
    return older[state, _older_column(event.reply, "")] if verb == "older" else verb


def _catches_up(step: Step, attempt: int) -> bool:
    """Whether the row takes the attempt of a reply as its own: it waits for its provider, whose journal knows better.

    Otherwise it would ask for ever about an attempt which the journal has left behind.
    """
    return step.state in AWAITING and not step.desk and attempt - step.attempt <= _MOST_FORGOTTEN


def _of_code(draft: Draft, step: Step, reply: Reply) -> str | None:
    """The verb of a step that waits for its provider, where the reply itself decides more than its kind."""
    if step.desk and (isinstance(reply, Pending) or _column(reply) == "unknown"):
        # A clerk has the row, or answers it: nothing was sent that one could be in doubt about.
        return "evidence"
    closing = not draft.open and step.key.kind is Kind.TASK
    if step.state is StepState.PARKED and step.effect is Effect.DONE and isinstance(reply, Failed | Returned):
        return "evidence"
    if not isinstance(reply, Failed):
        return None
    if reply.code in _NEVER_LOOKED and step.superseded is not None and step.superseded.doubtful:
        return _of_older_in_doubt(draft, step, reply)
    if reply.code == "superseded_too_late" and step.state in AWAITING | {StepState.PARKED}:
        return "void_edit" if step.superseded is not None else "park_stated"
    holds = reply.effect is Effect.NONE or reply.code in _ANY_EFFECT
    return CODES[reply.code][closing] if holds and step.state in AWAITING and reply.code in CODES else None


def _of_older_in_doubt(draft: Draft, step: Step, reply: Failed) -> str | None:
    """The edit was never looked at, so that what it was to supersede is as unknown as before."""
    if step.state is StepState.PARKED and draft.open:
        return "evidence"
    if step.state not in AWAITING | {StepState.PARKED}:
        return None
    once_more = draft.open and reply.code == "never_seen" and not clock.passed(draft, step)
    return "again_or_end" if once_more else "void_edit"


def _table(draft: Draft, key: StepKey) -> Table:
    if key.kind is Kind.COMPENSATION:
        return REPLIES_COMPENSATION
    return REPLIES_OPEN if draft.open else REPLIES_CLOSING


def _column(reply: Reply) -> str:
    match reply:
        case Completed():
            return "completed"
        case Refused():
            return "refused"
        case Returned():
            return "returned"
        case Pending():
            return "pending"
        case Unknown() | Failed(effect=Effect.UNKNOWN):
            return "unknown"
        case Failed(effect=Effect.DONE):
            return "done"
        case Failed(code="withdrawn"):
            return "withdrawn"
        case Failed():
            return "retryable" if reply.retryable else "permanent"


def _older_column(reply: Reply, prefix: str) -> str:
    match reply:
        case Completed():
            return f"{prefix}completed"
        case Refused():
            return f"{prefix}refused"
        case _:
            return f"{prefix}other"
