"""What can happen to a request: replies, timers, the dispatcher's acts, and what people do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from bus.message.instant import Instant
from bus.message.quick import quick
from bus.message.reply import Reply
from bus.process.rows import NewRow
from bus.process.state import StepKey

Timer: TypeAlias = Literal["answer", "ask", "next", "deadline", "until", "warn"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """A consumer's submission was understood and is allowed; it becomes a request."""

    request_id: str
    #: The store's key for the new request.
    key: int
    consumer: str
    service: str
    revision: str
    purpose: str
    #: Payload id of the data.
    data_id: int
    message_id: str
    conditions: Mapping[str, bool] = field(default_factory=dict)
    #: The rows that the request decides, of steps with items or with a chosen provider.
    rows: tuple[NewRow, ...] = ()
    #: Names of the submitted fields.
    fields: tuple[str, ...] = ()
    actor: str | None = None
    test: bool = False


@quick
@dataclass(frozen=True, kw_only=True)
class Replied:
    """A provider's reply arrived (also a clerk's answer); matched by interaction id and provider alone."""

    interaction_id: str
    provider: str
    attempt: int
    reply: Reply
    message_id: str
    #: Payload id of the reply's exact bytes.
    payload_id: int
    #: Digest of its data, to tell a duplicate from a contradiction.
    digest: str
    #: ``when`` conditions that this reply's data decides.
    conditions: Mapping[str, bool] = field(default_factory=dict)
    #: The rows that this reply's data decides, of steps with items or with a chosen provider.
    rows: tuple[NewRow, ...] = ()
    #: Names of the fields that were disclosed.
    fields: tuple[str, ...] = ()
    #: The clerk, for a desk.
    actor: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TimerFired:
    """A timer column was due. It counts only if the row still has exactly this timer."""

    #: None for the request's own timers.
    step: StepKey | None
    timer: Timer
    at: Instant
    edit: int = 0
    attempt: int = 0
    #: Whether the provider's host is alive: nothing is sent again to a dead one.
    alive: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatched:
    """The dispatcher hands a ready step to its provider."""

    step: StepKey
    #: The journal of the admitted host; None for a desk.
    journal_id: str | None
    #: Payload id and message id of the task's bytes, built in this transaction.
    task_id: int
    message_id: str
    #: Names of the fields that the task discloses to the provider.
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """The dispatcher keeps a ready step back and its clock rests: breaker open, agency paused or closed."""

    step: StepKey
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unbuildable:
    """The task's data does not obey the operation's input contract; nothing was sent."""

    step: StepKey
    payload_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochBegan:
    """The broker was wiped: whatever was under way there is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedAgain:
    """The store was restored: what became of each sent interaction is asked of its provider, whatever it was before."""

    #: Only those whose last look-up was not answered in time.
    overdue: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Poisoned:
    """The broker gave a message to a provider up: too many hosts died of it. It counts for this attempt only."""

    step: StepKey
    edit: int
    attempt: int
    #: Payload id of its exact bytes.
    payload_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Supplemented:
    """The applicant brought what was asked; ``input_id`` is the payload of the whole patched data."""

    step: StepKey
    attempt: int
    input_id: int
    actor: str
    #: Pointers to the fields that were brought.
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GaveUp:
    """A person ends a step that cannot be done, with a reason."""

    step: StepKey
    actor: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayAsked:
    """A person wants the step tried again."""

    step: StepKey
    actor: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Edited:
    """A person changed the task's data: a new interaction that supersedes the old one."""

    step: StepKey
    input_id: int
    actor: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweredByHand:
    """A person states the agency's answer: completed or refused, with a reason."""

    step: StepKey
    reply: Reply
    payload_id: int
    digest: str
    actor: str
    reason: str
    conditions: Mapping[str, bool] = field(default_factory=dict)
    rows: tuple[NewRow, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SkipAsked:
    """A person skips an optional step."""

    step: StepKey
    actor: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelAsked:
    """The consumer takes the request back."""

    actor: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TerminateAsked:
    """A privileged person ends the request at once; what may be left behind is listed."""

    actor: str
    reason: str


StepCommand: TypeAlias = Supplemented | GaveUp | ReplayAsked | Edited | AnsweredByHand | SkipAsked
Event: TypeAlias = (
    Submitted
    | Replied
    | TimerFired
    | Dispatched
    | Held
    | Unbuildable
    | EpochBegan
    | AskedAgain
    | Poisoned
    | StepCommand
    | CancelAsked
    | TerminateAsked
)
