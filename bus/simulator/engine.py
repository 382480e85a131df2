"""The loop that every simulator runs: be up or down as told, and work in small steps."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from bus.message.instant import Instant
from bus.simulator.control import Armed, Control, Misbehaviour, wall_clock
from bus.simulator.ledger import Ledger
from bus.simulator.persons import Behaviour, Persons

#: The misbehaviour that each behaviour of a test person is; the others are answers, which each simulator words itself.
_OF_PERSONS = {
    Behaviour.LATE: Misbehaviour.ANSWER_LATE,
    Behaviour.EFFECT_THEN_TIMEOUT: Misbehaviour.EFFECT_THEN_TIMEOUT,
    Behaviour.MALFORMED_RECORD: Misbehaviour.HALF_ANSWER,
}


class Simulator(ABC):
    """A stand-in for one legacy system, in a folder of its own, run in a process of its own.

    The folder holds the system itself, ``ledger.db`` (see `Ledger`) and ``control.db`` (see `Control`). While it is
    down, connecting to the system really fails. A simulator may be killed at any time; a new one on the same folder
    goes on from there.
    """

    #: Folder name of the adapter; the agency of the test persons whom it misbehaves to.
    agency: ClassVar[str]
    #: Rest between two looks at its work.
    poll_s: ClassVar[float] = 0.004

    def __init__(
        self,
        folder: Path,
        persons: Persons,
        *,
        now: Callable[[], Instant] = wall_clock,
        outage_s: float = 30.0,
        late_s: float = 8.0,
    ) -> None:
        """``outage_s`` and ``late_s``: how long the test persons for it are met by an outage, or wait for an answer."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.persons = persons
        self.now = now
        self.outage_s = outage_s
        self.late_s = late_s
        self.ledger = Ledger(folder / "ledger.db")
        self.control = Control(folder / "control.db", now=now)

    @staticmethod
    @abstractmethod
    def settings(folder: Path) -> dict[str, Any]:
        """The adapter's settings by which it reaches the simulator of this folder."""

    @abstractmethod
    def come_up(self) -> None:
        """Make the system reachable; what it held before is still there."""

    @abstractmethod
    def go_down(self) -> None:
        """Make every attempt to connect fail, also if a killed run left the system reachable."""

    @abstractmethod
    def work(self, now: Instant) -> None:
        """Take a small step: what has come in, and what has fallen due."""

    def run(self, stop: Callable[[], bool]) -> None:
        """Simulate until ``stop()``; the system is left reachable or not, as it is, for the next run."""
        up: bool | None = None
        try:
            while not stop():
                down = self.control.outage(Misbehaviour.DOWN) is not None
                if up is not (not down):
                    self.go_down() if down else self.come_up()
                    up = not down
                if up:
                    self.work(self.now())
                time.sleep(self.poll_s)
        finally:
            self.close()

    def close(self) -> None:
        """Let go of every file."""
        self.control.close()

    def misbehaviour(self, operation: str, reference: str, about: Sequence[str]) -> Armed | None:
        """How to misbehave to this request: as armed, else as the listed person has it, else not at all."""
        if armed := self.control.take(operation, (reference, *about)):
            return armed
        behaviour = self.persons.behaviour(self.agency, about)
        if behaviour is Behaviour.DOWN_30_S and self.control.meet(reference):
            return self._of_person(Misbehaviour.DOWN, self.outage_s)
        return self._of_person(_OF_PERSONS[behaviour], self.late_s) if behaviour in _OF_PERSONS else None

    @staticmethod
    def _of_person(what: Misbehaviour, seconds: float) -> Armed:
        return Armed(id=0, what=what, operation="", about="", times=None, seconds=seconds, until=None)
