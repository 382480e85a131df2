"""Waiting for what must happen, with an end that says how things stand."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

#: Seconds within which anything that a test waits for has happened, also on a busy machine.
PATIENCE = 40.0
#: Seconds between two looks.
_LOOK = 0.02

T = TypeVar("T")


class StuckError(AssertionError):
    """Something that must happen did not; the text says what, and how things stand."""


def wait_for(what: str, look: Callable[[], T | None], within: float = PATIENCE) -> T:
    """The first thing that ``look`` sees; a StuckError after ``within`` seconds without any."""
    end = time.monotonic() + within
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() > end:
            raise StuckError(f"not seen within {within:.0f} s: {what}")
        time.sleep(_LOOK)
