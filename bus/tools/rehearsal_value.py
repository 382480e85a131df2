"""What goes into a rehearsal and what comes out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bus.audit.fact import Fact
from bus.config import Settings
from bus.errors import Fault
from bus.message.contract import Contracts
from bus.message.envelope import Message
from bus.message.instant import Milliseconds
from bus.message.reply import Data
from bus.process.definition import Definition
from bus.process.state import ALIVE, Request
from bus.tools.rehearsal_answer import Answers
from bus.tools.rehearsal_sample import Samples


@dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """What is rehearsed."""

    definition: Definition
    contracts: Contracts
    samples: Samples
    consumer: str
    purpose: str
    data: Data
    answers: Answers
    settings: Settings = field(default_factory=Settings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Emitted:
    """One message that the bus would send, or lay on a desk."""

    at: Milliseconds
    #: A channel; ``desk.<agency>`` for what clerks find on their desk, which is sent nowhere.
    channel: str
    message: Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One thing that a person at the bus would see."""

    at: Milliseconds
    #: The row, or "" for the request itself.
    row: str
    code: str
    #: Why a task could not be built.
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """All that would happen. Times are milliseconds since the submission."""

    request: Request
    timeline: tuple[tuple[Milliseconds, Fact], ...]
    messages: tuple[Emitted, ...]
    #: Agency -> operation -> pointers to the fields that it would see.
    disclosures: Mapping[str, Mapping[str, tuple[str, ...]]]
    failures: tuple[Shown, ...]
    #: What the consumer gets at the end, or None where there is no end.
    result: Data | None
    #: The rows for which a person must do something, with the reason.
    parked: tuple[tuple[str, str], ...]
    #: Answers that the author gave and that nobody asked for.
    unused: tuple[str, ...]

    @property
    def is_over(self) -> bool:
        """Whether the request got its one outcome, without a person's help."""
        return self.request.state not in ALIVE
