"""The state of a request and of its steps: values that only facts change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from bus.audit.fact import GENESIS
from bus.message.identity import interaction_id
from bus.message.instant import Instant, Milliseconds
from bus.message.quick import quick
from bus.message.reply import Effect


class StepState(StrEnum):
    """Where one interaction stands."""

    WAITING = "waiting"
    READY = "ready"
    DISPATCHED = "dispatched"
    RETURNED = "returned"
    PENDING = "pending"
    RETRYING = "retrying"
    UNKNOWN = "unknown"
    PARKED = "parked"
    SUCCEEDED = "succeeded"
    REFUSED = "refused"
    SKIPPED = "skipped"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class RequestState(StrEnum):
    """Open and closing requests are alive; the other six are outcomes and never change again."""

    OPEN = "open"
    CLOSING = "closing"
    COMPLETED = "completed"
    PARTIALLY_FULFILLED = "partially_fulfilled"
    REJECTED = "rejected"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class Kind(StrEnum):
    """Whether an interaction asks for a step's effect or takes it back."""

    TASK = "task"
    COMPENSATION = "compensation"


FINAL = frozenset(
    {
        StepState.SUCCEEDED,
        StepState.REFUSED,
        StepState.SKIPPED,
        StepState.FAILED,
        StepState.EXPIRED,
        StepState.CANCELLED,
    }
)
#: States in which a sent interaction waits for its provider.
AWAITING = frozenset({StepState.DISPATCHED, StepState.PENDING, StepState.UNKNOWN})
ALIVE = frozenset({RequestState.OPEN, RequestState.CLOSING})
OUTCOMES = frozenset(RequestState) - ALIVE


class StepKey(NamedTuple):
    """Names one row of a request: the step, its item (None unless ``for_each``), and what is wanted of it."""

    step: str
    #: Zero-based index of a ``for_each`` item; None for a step without items.
    item: int | None = None
    kind: Kind = Kind.TASK


@dataclass(frozen=True, slots=True, kw_only=True)
class Superseded:
    """The interaction that an edit replaces: the one that counts again if the edit proves void."""

    edit: int
    attempt: int
    #: Payload id of its data, if a person had set it.
    input_id: int | None = None
    #: It may have had an effect, and no reply has yet shown that the provider gave it up for the edit.
    doubtful: bool = False


@quick
@dataclass(frozen=True, kw_only=True)
class Step:
    """One interaction of a request. Times are instants; a timer that is None does not run."""

    key: StepKey
    state: StepState = StepState.WAITING
    effect: Effect = Effect.NONE
    #: Raised by a person's edit only.
    edit: int = 0
    #: What the current edit replaces; None before the first edit.
    superseded: Superseded | None = None
    #: Raised when a further try is wanted.
    attempt: int = 1
    #: Automatic tries that failed since a person last acted.
    tries: int = 0
    #: Look-ups sent since it became unknown or pending.
    asks: int = 0
    #: Look-ups answered "unknown" since it became unknown.
    answered: int = 0
    #: How often this attempt's bytes were sent again.
    resends: int = 0
    #: Why it is parked, refused, failed, skipped or returned.
    reason: str | None = None
    #: The result lists it: an effect may exist that nobody takes back.
    left_behind: bool = False
    first_sent: Instant | None = None
    #: The greatest edit that was ever dispatched.
    sent_edit: int | None = None
    #: The journal under which the current interaction was first dispatched; like ``first_sent`` it stays that of the
    #: superseded one while nobody knows whether that had an effect.
    journal_id: str | None = None
    #: Payload ids: data set by a person; bytes of the task last sent; bytes of the reply that settled it.
    input_id: int | None = None
    task_id: int | None = None
    output_id: int | None = None
    #: Digest of the settling reply's data: the same again is a duplicate.
    output_digest: str | None = None
    #: The step's deadline while its clock runs; ``clock_left`` while it rests.
    expires_at: Instant | None = None
    clock_left: Milliseconds | None = None
    answer_at: Instant | None = None
    ask_at: Instant | None = None
    next_at: Instant | None = None
    deadline_at: Instant | None = None
    until_at: Instant | None = None
    #: What the applicant must bring, as JSON pointers into the task's data, while returned.
    asked: tuple[str, ...] = ()
    #: Who last moved it by hand, and when it last moved.
    changed_by: str | None = None
    changed_at: Instant | None = None
    #: Who provides it, for the dispatcher; and whether that is a desk, to which nothing is sent.
    agency: str = ""
    desk: bool = False

    @property
    def ever_sent(self) -> bool:
        """Whether any attempt was ever handed to the provider."""
        return self.sent_edit is not None

    @property
    def edit_unsent(self) -> bool:
        """Whether the current edit was never handed to the provider."""
        return self.sent_edit is None or self.sent_edit < self.edit

    @property
    def timers(self) -> tuple[Instant, ...]:
        """The instants at which something may be due."""
        times = (self.answer_at, self.ask_at, self.next_at, self.deadline_at, self.until_at)
        return tuple(time for time in times if time is not None)


@quick
@dataclass(frozen=True, kw_only=True)
class Request:
    """One accepted submission and all that became of it. ``version`` is the number of its facts."""

    id: str
    #: The store's own key: time-ordered, small.
    key: int
    consumer: str = ""
    service: str = ""
    revision: str = ""
    purpose: str = ""
    #: Goes to simulators in every environment and counts in no statistic.
    test: bool = False
    #: Payload id of the submitted data.
    data_id: int = 0
    state: RequestState = RequestState.OPEN
    #: The outcome that closing leads to.
    intended: RequestState | None = None
    version: int = 0
    #: Hash of the last fact.
    head: str = GENESIS
    accepted_at: Instant = 0
    ended_at: Instant | None = None
    deadline_at: Instant | None = None
    warn_at: Instant | None = None
    #: The ``when`` conditions that are decided so far.
    conditions: Mapping[str, bool] = field(default_factory=dict)
    steps: Mapping[StepKey, Step] = field(default_factory=dict)

    @property
    def due(self) -> Instant | None:
        """The earliest timer of the request and its steps."""
        times = [time for step in self.steps.values() for time in step.timers]
        times += [time for time in (self.deadline_at, self.warn_at) if time is not None]
        return min(times, default=None)

    @property
    def parked(self) -> bool:
        """Whether a step of this living request waits for a person."""
        return self.state in ALIVE and any(step.state is StepState.PARKED for step in self.steps.values())

    @property
    def waiting_for(self) -> str | None:
        """``applicant``, ``operator``, ``agency``, or None once it has ended."""
        if self.state not in ALIVE:
            return None
        states = {step.state for step in self.steps.values()}
        if StepState.RETURNED in states:
            return "applicant"
        return "operator" if StepState.PARKED in states else "agency"

    def interaction(self, key: StepKey) -> str:
        """The interaction id of a row as it stands now."""
        return interaction_id(self.id, key.step, key.item, key.kind, self.steps[key].edit)
