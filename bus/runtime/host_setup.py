"""What the parts of an agency host share: whom it serves and with what, and the pieces of work that wait in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

from bus.adapter import Adapter
from bus.catalog import OperationManifest
from bus.config import Settings
from bus.message.contract import Contracts
from bus.message.envelope import Envelope, Message
from bus.message.instant import Instant, Milliseconds
from bus.ports import Journal
from bus.receiver.gate import Terms
from bus.receiver.row import Row


@dataclass(frozen=True, kw_only=True)
class HostSetup:
    """One agency's host in one process."""

    agency: str
    #: Reaches what the environment uses; None if that is nothing.
    adapter: Adapter | None
    #: Takes the tasks that are tests; None: they are refused.
    simulator: Adapter | None
    operations: Mapping[str, OperationManifest]
    contracts: Contracts
    journal: Journal
    settings: Settings
    clock: Callable[[], Instant]
    #: Milliseconds of a clock that nobody can set.
    monotonic: Callable[[], Milliseconds]
    #: Names this process in leases; random.
    process: str

    @cached_property
    def terms(self) -> Mapping[str, Terms]:
        """The operations in the words of the receiver."""
        return {
            name: Terms(
                repeat=manifest.repeat.kind,
                window=manifest.repeat.window,
                absence_proof_after=manifest.repeat.absence_proof_after,
                timeout=manifest.timeout,
                lease=self.settings.lease,
            )
            for name, manifest in self.operations.items()
        }

    def system(self, *, test: bool) -> Adapter | None:
        """What a task is carried out with: a test can never reach a real system."""
        return self.simulator if test else self.adapter


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A received task that waits for its call."""

    row: Row
    message: Message
    #: A look-up has just proved that an earlier call left nothing.
    absent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """An interaction to be looked up, and whom to tell."""

    row: Row
    attempt: int
    to: Envelope
    #: The task that runs if nothing is found; None for a query.
    work: Work | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reread:
    """An interaction whose kept answer is to be translated again."""

    row: Row
    attempt: int
    to: Envelope
