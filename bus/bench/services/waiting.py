"""Waiting for a service by looking, with a bound; and what is said when it does not come."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from bus.errors import BusError

T = TypeVar("T")

#: Seconds between two looks.
_LOOK = 0.05
#: Characters of a log that an error quotes.
_TAIL = 6_000


class ServiceError(BusError):
    """A service could not be found, started, or brought into the state that was asked for."""

    code = "service"


def tail(log: Path) -> str:
    """The end of a log, for the text of an error."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    return f"\n--- the end of {log} ---\n{text[-_TAIL:]}" if text else f"\n{log} is empty."


def wait_until(what: str, look: Callable[[], T | None], *, within: float, log: Path, alive: Callable[[], bool]) -> T:
    """The first thing that ``look`` sees. ServiceError with the log's end if it does not come, or the program dies."""
    until = time.monotonic() + within
    while True:
        lives = alive()
        seen = look()
        if seen:
            return seen
        if not lives:
            raise ServiceError(f"{what}: the program ended instead.{tail(log)}")
        if time.monotonic() > until:
            raise ServiceError(f"{what}: not within {within:.0f} s.{tail(log)}")
        time.sleep(_LOOK)
