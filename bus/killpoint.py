"""Named places where a test may have the process die, as if the machine had lost its power there.

Two ways to arm a point, both from outside the process; without them `reach` costs one look at a module variable.

- ``BUS_KILL_AT=name[:n],...`` in the environment at start: dies when the point is reached for the n-th time.
- ``BUS_KILL_DIR=folder``: a file of that name in the folder (its text is n, empty means 1) arms the point. The file is
  gone before the process dies, so the point does not fire again after the restart, and of several processes that
  share the folder only one dies. `arm` writes such a file.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal, get_args

from bus.errors import ConfigurationError, Fault

KillPoint = Literal[
    # The gateway wrote the request and has not answered yet.
    "gateway.committed",
    # A batch with replies was collected and nothing was done with it.
    "consumer.collected",
    # The process manager: a request was decided; its replies are forgotten by the broker; what it sends is handed to
    # the broker; known to be there. (Ticks and signs of life pass these points without being counted.)
    "process.committed",
    "process.acknowledged",
    "process.published",
    "process.confirmed",
    # The host: task in the journal; forgotten by the broker; intent in the journal.
    "host.received",
    "host.acknowledged",
    "host.intended",
    # The call returned and its answer is in no row; the answer is read; the result is in the journal.
    "host.called",
    "host.read",
    "host.recorded",
    # The host's reply: handed to the broker; known to be there.
    "host.published",
    "host.confirmed",
    # The timekeeper found what is due and has decided nothing.
    "timekeeper.due",
    # A clerk's answer was decided and the clerk not told.
    "desk.committed",
    # The relay: rows leased; rows handed to the broker.
    "relay.claimed",
    "relay.published",
]

POINTS: Final[frozenset[str]] = frozenset(get_args(KillPoint))


def reach(point: KillPoint) -> None:
    """The process is here now: it dies at once if a test armed this point."""
    if _WATCH is not None:
        _WATCH.reach(point)


def arm(folder: Path, point: KillPoint, time: int = 1) -> None:
    """Arm a point for the processes that were started with ``BUS_KILL_DIR=folder``: the next one dies there.

    ``time`` counts what one process reaches from now on: 1 is the next time.
    """
    faults = _faults_of(point, str(time))
    if faults:
        raise ConfigurationError(faults)
    # Never half a file in sight of a running process.
    draft = folder / f".{point}.{os.getpid()}"
    draft.write_text(str(time), encoding="ascii")
    draft.replace(folder / point)


def parse(text: str) -> dict[str, int]:
    """``a:1,b:2`` as points and times; ConfigurationError with every fault of it."""
    armed: dict[str, int] = {}
    faults: list[Fault] = []
    for entry in filter(None, (part.strip() for part in text.split(","))):
        point, _, time = entry.partition(":")
        found = _faults_of(point, time)
        if point in armed:
            found += (Fault(code="duplicate-kill-point", message=f"The kill point {point!r} is armed twice."),)
        faults += found
        if not found:
            armed[point] = int(time or "1")
    if faults:
        raise ConfigurationError(tuple(faults))
    return armed


def _faults_of(point: str, time: str) -> tuple[Fault, ...]:
    faults = []
    if point not in POINTS:
        known = ", ".join(sorted(POINTS))
        faults.append(
            Fault(
                code="unknown-kill-point",
                message=f"There is no kill point {point!r}.",
                mend=f"The points are: {known}.",
            )
        )
    if time and not (time.isascii() and time.isdigit() and int(time) > 0):
        faults.append(
            Fault(
                code="bad-kill-time",
                message=f"The kill point {point!r} has the time {time!r}.",
                mend="Say 1 for the first time, 2 for the second.",
            )
        )
    return tuple(faults)


class _Watch:
    """What is armed, and how often each point was reached. Any thread may ask."""

    def __init__(self, armed: Mapping[str, int], folder: Path | None) -> None:
        self._armed = armed
        self._folder = folder
        self._reached: Counter[str] = Counter()
        #: Times reached since the file of the point was first seen.
        self._since: Counter[str] = Counter()
        self._lock = threading.Lock()

    def reach(self, point: KillPoint) -> None:
        with self._lock:
            self._reached[point] += 1
            if self._reached[point] == self._armed.get(point) or self._file_says_now(point):
                os.kill(os.getpid(), signal.SIGKILL)

    def _file_says_now(self, point: KillPoint) -> bool:
        if self._folder is None:
            return False
        file = self._folder / point
        try:
            time = file.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            self._since.pop(point, None)
            return False
        if faults := _faults_of(point, time):
            raise ConfigurationError(faults)
        self._since[point] += 1
        if self._since[point] < int(time or "1"):
            return False
        try:
            file.unlink()
        except FileNotFoundError:
            # Another process took it.
            return False
        return True


def _watch(environment: Mapping[str, str]) -> _Watch | None:
    at = environment.get("BUS_KILL_AT", "")
    place = environment.get("BUS_KILL_DIR", "")
    if not at and not place:
        return None
    armed = parse(at)
    folder = Path(place) if place else None
    if folder is not None:
        _check(folder)
    return _Watch(armed, folder)


def _check(folder: Path) -> None:
    """A folder that is not there, or a misspelt file, would let a test pass that killed nothing."""
    if not folder.is_dir():
        missing = Fault(code="no-kill-folder", message=f"BUS_KILL_DIR names {folder}, which is no folder.")
        raise ConfigurationError((missing,))
    names = sorted(file.name for file in folder.iterdir() if not file.name.startswith("."))
    faults = tuple(fault for name in names for fault in _faults_of(name, ""))
    if faults:
        raise ConfigurationError(faults)


_WATCH: Final = _watch(os.environ)
