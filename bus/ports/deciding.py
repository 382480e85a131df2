"""Deciding a batch of events: what goes in, and the fate of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from bus.ports.rows import Payload, Received, Submission
from bus.process.decision import Conflict
from bus.process.event import Event
from bus.process.state import Request, StepKey


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskAnswer:
    """A clerk's answer counts only while the row is open, or claimed by this clerk, for this attempt."""

    clerk: str
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """One event for one request, with the bytes that are written beside it."""

    request_id: str
    event: Event
    payloads: tuple[Payload, ...] = ()
    #: Identity of the received message; None for what was not received (timers, commands).
    received: Received | None = None
    #: With a `Submitted` event only.
    submission: Submission | None = None
    #: With a `Replied` only: the row that the message says it answers.
    step: StepKey | None = None
    #: With a clerk's `Replied` only.
    desk: DeskAnswer | None = None


class Fate(StrEnum):
    """What became of one incoming event."""

    APPLIED = "applied"
    #: Received before, byte for byte; or the same submission again.
    DUPLICATE = "duplicate"
    #: No such request.
    ORPHAN = "orphan"
    #: It does not fit any more; nothing was written.
    CONFLICT = "conflict"
    #: The code could not decide it: kept and shown as a failure, and its neighbours were decided.
    BROKEN = "broken"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """The fate of one incoming event, and the request as it is after it."""

    fate: Fate
    request: Request | None = None
    conflict: Conflict | None = None


class Decider(Protocol):
    """Decides a batch in one transaction and hands what it sends to the broker after the commit."""

    def decide(self, batch: Sequence[Incoming]) -> tuple[Decided, ...]:
        """One fate for each, same order. StoreUnavailableError: nothing of the batch happened."""
