"""What the journal of an agency host keeps of each interaction, and when a missing row is evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from bus.message.instant import Instant
from bus.message.quick import quick
from bus.message.reply import Effect

#: Above every attempt: a tombstone that no attempt outlives.
FOR_EVER = 2**53


class State(StrEnum):
    """Where an interaction stands at this host."""

    #: Nothing was run, and attempts up to `Row.dead` never will be.
    TOMBSTONE = "tombstone"
    #: Taken over from the broker; waits for its turn (again, where the effect is unknown).
    RECEIVED = "received"
    #: An intent is committed and no result: it may or may not have happened.
    BEGUN = "begun"
    #: The call was given up, or its answer told nothing.
    UNKNOWN = "unknown"
    PENDING = "pending"
    COMPLETED = "completed"
    REFUSED = "refused"
    RETURNED = "returned"
    #: Failed with effect none: nothing happened.
    FAILED = "failed"
    #: Failed with effect done: it happened and the answer cannot be used; the raw answer is kept.
    UNREADABLE = "unreadable"


#: The agency has answered for good.
SETTLED = frozenset({State.COMPLETED, State.REFUSED})


@quick
@dataclass(frozen=True, kw_only=True)
class Row:
    """One interaction: ids, states and times only; task, raw answer and reply are kept beside it."""

    interaction_id: str
    operation: str
    #: Short form of the interaction id, as it stands in the legacy system.
    reference: str
    test: bool
    state: State
    #: The greatest attempt that was received or answered.
    attempt: int
    #: What is known of the effect over all attempts.
    effect: Effect
    #: SHA-256 of the task's data; None where only a query or a withdrawal was seen.
    data_hash: bytes | None = None
    #: Attempts up to this one never run.
    dead: int = 0
    #: Why: ``withdrawn``, ``never_seen``, ``superseded``, ``superseded_too_late``.
    dead_code: str = ""
    #: The interaction that this one was to replace.
    supersedes: str | None = None
    #: When the bus first sent it, by the bus's clock.
    first_sent: Instant
    #: When the bus stops waiting for this attempt.
    expires_at: Instant | None = None
    #: The journal's number of the latest intent; 0 where there was none.
    intent: int = 0
    #: SHA-256 of the native request of that intent.
    request_hash: bytes | None = None
    #: The process that holds the lease, and until when by the wall clock.
    process: str = ""
    lease_until: Instant = 0
    #: The earliest and the latest instant at which a call may have begun; None while there was none.
    begun_at: Instant | None = None
    called_at: Instant | None = None
    #: When this row was written.
    changed_at: Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalIdentity:
    """Which journal this is; a missing row is evidence only in the journal that would hold it."""

    journal_id: str
    #: Grows with every transaction that writes.
    seq: int
    #: Interactions that were first sent before this may have been pruned.
    oldest: Instant = 0

    def would_hold(self, journal_id: str, first_sent: Instant) -> bool:
        """Whether an interaction first sent then, under that journal, would have a row here had it been seen."""
        return journal_id == self.journal_id and first_sent >= self.oldest


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """The interactions that an edit replaces: the one before it, the one before that, down to the first."""

    rows: tuple[Row, ...] = ()
    #: The next one, of which this journal has no row.
    missing: str | None = None


def chain(interaction_id: str | None, rows: Mapping[str, Row]) -> Chain:
    """The chain that begins at an interaction, as far as ``rows`` has it."""
    links: list[Row] = []
    while interaction_id is not None and interaction_id in rows and rows[interaction_id] not in links:
        links.append(rows[interaction_id])
        interaction_id = links[-1].supersedes
    known = interaction_id is None or interaction_id in rows
    return Chain(rows=tuple(links), missing=None if known else interaction_id)


def is_live(row: Row, now: Instant) -> bool:
    """Whether a process works on it: its lease has not run out.

    One that begins later than now by more than its length was taken before the clock was set back, or on a clock that
    no two hosts of one agency may be apart: it is over.
    """
    if row.state is not State.BEGUN or row.lease_until <= now:
        return False
    return row.called_at is None or row.called_at - (row.lease_until - row.called_at) <= now


def has_begun(row: Row) -> bool:
    """Whether a call may have been made for it at any time without a result that says what came of it."""
    return row.effect is Effect.UNKNOWN
