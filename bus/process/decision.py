"""What follows from an event: facts, things to send, failures to show; or a conflict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from bus.audit.fact import Fact
from bus.message.instant import Instant
from bus.process.state import Request, RequestState, StepKey


@dataclass(frozen=True, slots=True, kw_only=True)
class SendQuery:
    """Ask the provider what became of an interaction; never runs an effect."""

    step: StepKey


@dataclass(frozen=True, slots=True, kw_only=True)
class SendWithdrawal:
    """Advise the provider not to begin."""

    step: StepKey


@dataclass(frozen=True, slots=True, kw_only=True)
class ResendTask:
    """Send the stored bytes of the current attempt again."""

    step: StepKey


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseDesk:
    """Take the row away from the clerks."""

    step: StepKey
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TellReturned:
    """Tell the consumer what the applicant must bring (``bus.request.returned.v1``)."""

    step: StepKey
    #: The reply that asks for it.
    payload_id: int
    until: Instant | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TellEnd:
    """Give the consumer the one result of the request."""

    outcome: RequestState


Send: TypeAlias = SendQuery | SendWithdrawal | ResendTask | CloseDesk | TellReturned | TellEnd


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureOpened:
    """One thing that a person must see."""

    #: None for a failure of the request itself.
    step: StepKey | None
    code: str
    #: Evidence: the payload that caused it.
    payload_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureClosed:
    """All open failures of this row are over."""

    #: None for the failures of the request itself.
    step: StepKey | None
    how: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """The command does not fit any more: what the row is now, who moved it last, and when."""

    #: ``step-state``, ``request-state``, ``final-dispatched``, ``no-such-step``, ``not-optional``, ``effect``.
    code: str
    state: str
    changed_by: str | None
    changed_at: Instant | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The request after the event, and everything that must be written and sent with it."""

    request: Request
    facts: tuple[Fact, ...] = ()
    sends: tuple[Send, ...] = ()
    failures: tuple[FailureOpened | FailureClosed, ...] = ()
    conflict: Conflict | None = None
