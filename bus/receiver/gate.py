"""The gate of effects: what trying an operation again may do, and whether a call may begin at all."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Literal, TypeAlias

from bus.message.instant import Instant, Milliseconds
from bus.message.quick import changed
from bus.message.reply import Completed, Effect, Failed, Pending, Refused, Reply, Returned, Unknown
from bus.receiver.failure import failed
from bus.receiver.row import Row, State, has_begun

RepeatKind: TypeAlias = Literal["safe", "idempotent", "queryable", "natural_key", "at_most_once"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What an operation allows, as its adapter's manifest declares it, with the times of this host."""

    repeat: RepeatKind
    #: ``idempotent``: how long the legacy system keeps our key.
    window: Milliseconds = 0
    #: ``queryable``: how long after the call "not there" begins to count.
    absence_proof_after: Milliseconds = 0
    #: How long a call may take.
    timeout: Milliseconds
    #: How long a lease outlives the time-out of its call.
    lease: Milliseconds

    @property
    def proof_after(self) -> Milliseconds:
        """Before this has passed since the last call, that call may still be under way: absence proves nothing."""
        return max(self.absence_proof_after, self.timeout + self.lease)

    @property
    def can_look_up(self) -> bool:
        """Whether the adapter can ask the legacy system about an effect without causing one."""
        return self.repeat in {"queryable", "natural_key"}


class Gate(Enum):
    """What may be done about an interaction that may already have happened."""

    RUN = "run"
    LOOK_UP = "look_up"
    UNKNOWN = "unknown"


def gate(terms: Terms | None, row: Row, now: Instant) -> Gate:
    """Whether an interaction with unknown effect may run again; without terms (not offered here) nobody knows."""
    match terms.repeat if terms else "at_most_once":
        case "safe":
            return Gate.RUN
        case "idempotent" if terms and row.begun_at is not None:
            # The key must still be there when the second call ends, counted from the first that may have used it. One
            # still to come was noted before the clock was set back: it was not earlier than the task was sent.
            first = row.begun_at if row.begun_at <= now else min(row.first_sent, now)
            return Gate.RUN if now + terms.timeout <= first + terms.window else Gate.UNKNOWN
        case "queryable" | "natural_key":
            return Gate.LOOK_UP
        case _:
            return Gate.UNKNOWN


def begin(
    row: Row, terms: Terms | None, now: Instant, *, late_margin: Milliseconds, connected: bool, absent: bool = False
) -> Gate | Reply:
    """Whether the call of a received interaction may begin now, or what is answered instead.

    ``connected``: there is a system for it (the real one, or a simulator for a test). ``absent``: a look-up has just
    proved that an earlier call left nothing.
    """
    if terms is None:
        return honest(failed("no_operation"), row, terms)
    if not connected:
        return honest(failed("no_simulator" if row.test else "no_system"), row, terms)
    late = row.expires_at is not None and now > row.expires_at - late_margin
    if absent or not has_begun(row):
        return failed("too_late") if late else Gate.RUN
    verdict = gate(terms, row, now)
    return honest(failed("too_late"), row, terms) if late and verdict is Gate.RUN else verdict


def absence_counts(row: Row, terms: Terms, now: Instant) -> bool:
    """Whether "not there" proves that nothing happened: no call of ours can still be under way."""
    return row.called_at is None or now >= row.called_at + terms.proof_after


def anchored(row: Row, now: Instant) -> Row:
    """The row whose call began now at the latest: one still to come was noted on a clock that was set back since.

    Otherwise no absence would be believed until this clock has caught up with the old one.
    """
    return replace(row, called_at=now) if row.called_at is not None and row.called_at > now else row


def honest(reply: Reply, row: Row, terms: Terms | None) -> Reply:
    """The reply as far as it can be true of the whole interaction, of which ``row`` is what was known before.

    A failure whose effect is unknown is `Unknown`. A failure without effect speaks of one call only: where an earlier
    one may have had an effect, nobody knows, unless the operation cannot have any.
    """
    if not isinstance(reply, Failed) or reply.effect is Effect.DONE:
        return reply
    if reply.effect is Effect.UNKNOWN:
        return Unknown()
    safe = terms is not None and terms.repeat == "safe"
    return Unknown() if has_begun(row) and not safe else reply


def settled(row: Row, reply: Reply, *, attempt: int, now: Instant) -> Row:
    """The row once this reply is recorded as the answer to this attempt."""
    state, effect = _standing(reply)
    changes = {
        "state": state,
        "effect": effect,
        "attempt": max(attempt, row.attempt),
        "process": "",
        "lease_until": 0,
        "changed_at": now,
    }
    return changed(row, changes)


def _standing(reply: Reply) -> tuple[State, Effect]:
    match reply:
        case Completed():
            return State.COMPLETED, Effect.DONE
        case Refused():
            return State.REFUSED, Effect.NONE
        case Returned():
            return State.RETURNED, Effect.NONE
        case Pending():
            return State.PENDING, Effect.UNKNOWN
        case Failed(effect=Effect.NONE):
            return State.FAILED, Effect.NONE
        case Failed(effect=Effect.DONE):
            return State.UNREADABLE, Effect.DONE
        case _:
            return State.UNKNOWN, Effect.UNKNOWN
