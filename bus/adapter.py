"""The one file that the author of an adapter imports: what an adapter is, and what it may answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from bus.errors import AgencyUnavailableError
from bus.message.reply import (
    Completed,
    Data,
    Effect,
    Failed,
    Need,
    Pending,
    Refused,
    Reply,
    Returned,
    Unknown,
)
from bus.message.text import Text

__all__ = [
    "Absent",
    "Adapter",
    "AgencyUnavailableError",
    "Completed",
    "Data",
    "Declined",
    "Effect",
    "Failed",
    "Found",
    "LookUp",
    "Need",
    "Pending",
    "Refused",
    "Reply",
    "Returned",
    "Task",
    "Text",
    "Unknown",
    "Unsure",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What the bus asks for: one wanted effect."""

    #: Short form of the interaction id, 16 signs of A-Z2-7: write it into the legacy record wherever a field allows.
    reference: str
    #: Obeys the input contract of the operation.
    data: Data


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The look-up found the effect; ``raw`` is what the legacy system says of it, as ``call`` would have answered."""

    raw: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Absent:
    """The legacy system says that there is no such effect at this moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsure:
    """The look-up could not tell (the system is down, or a hit that does not carry our reference)."""


LookUp: TypeAlias = Found | Absent | Unsure

#: What no call could change: the agency's "no", or what the applicant must correct first.
Declined: TypeAlias = Refused | Returned


class Adapter(ABC):
    """One agency's translator and its only door to the legacy system.

    Everything is a batch: answers have the length and order of what was asked. ``prepare`` and ``read`` are pure
    (they may run again at any time); ``call`` and ``look_up`` are the only I/O. The host journals around ``call`` and
    calls it once for each attempt: an exception, a time-out or an answer of the wrong length makes every item of
    that call *unknown*, except `AgencyUnavailableError`, which promises that no byte was sent.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        """Keep the settings (already checked against ``settings.schema.json``); open nothing yet."""
        self.settings = settings

    @abstractmethod
    def prepare(self, operation: str, tasks: Sequence[Task]) -> tuple[bytes | Declined, ...]:
        """The native form of each task, as bytes: what will be sent, and what the journal hashes as the intent.

        A task that the legacy system could never take as it is (a letter that its code page lacks) is answered here,
        without a call. An exception parks it for an operator.
        """

    @abstractmethod
    def call(self, operation: str, native: Sequence[bytes]) -> tuple[bytes, ...]:
        """Send the native requests; the raw answer to each. Must return within the operation's time-out."""

    @abstractmethod
    def read(self, operation: str, raw: Sequence[bytes]) -> tuple[Reply, ...]:
        """What each raw answer means. An exception means that the answers cannot be read; the raw bytes are kept."""

    def look_up(self, operation: str, references: Sequence[str]) -> tuple[LookUp, ...]:
        """Whether the effects with these references exist; never causes one. Only for operations that declare it."""
        return tuple(Unsure() for _ in references)

    def collect(self) -> tuple[tuple[str, bytes], ...]:
        """Raw answers that came since for tasks that were ``pending``: (reference, raw) pairs."""
        return ()

    def close(self) -> None:
        """Let go of connections; called once at the end."""
