"""CPU time of groups of processes: what a request costs, and whom."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import TypeAlias

import psutil

#: The processes of a group as they are now: some come and go.
Pids: TypeAlias = Callable[[], Iterable[int]]


class Meter:
    """Reads how much CPU time each group has used since it was made."""

    def __init__(self, groups: Mapping[str, Pids]) -> None:
        self._groups = groups
        self._before = self._read()

    def spent(self) -> dict[str, float]:
        """Group -> seconds of CPU, user and system, all its processes together."""
        return {name: now - self._before[name] for name, now in self._read().items()}

    def _read(self) -> dict[str, float]:
        return {name: sum(map(_cpu, pids())) for name, pids in self._groups.items()}


def resident(pids: Iterable[int]) -> int:
    """Bytes of memory that these processes have in use together; a page that several share counts once among them.

    Where the system does not tell who shares what, a shared page counts for each.
    """
    return sum(_resident(pid) for pid in pids)


def _cpu(pid: int) -> float:
    """A process and those of its children that have ended: theirs would be lost otherwise."""
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system + times.children_user + times.children_system)


def _resident(pid: int) -> int:
    try:
        process = psutil.Process(pid)
        with suppress(psutil.AccessDenied, AttributeError):
            return int(process.memory_full_info().pss)
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0
