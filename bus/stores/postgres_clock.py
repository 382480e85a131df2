"""The clock of the database, told without asking it each time."""

from __future__ import annotations

import threading
import time

from bus.message.instant import SECOND, Instant, Milliseconds

#: How often it is measured anew.
EVERY: Milliseconds = 5 * SECOND
#: A difference that is no more than this comes from measuring; a larger one from somebody who set the clock.
APART: Milliseconds = SECOND


class DatabaseClock:
    """The database's time on the monotonic clock of this machine. Any thread may ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: What the database's clock is ahead of the monotonic one, and when that was measured.
        self._ahead: float = 0
        self._measured: float | None = None
        self._last: Instant = 0

    def is_old(self) -> bool:
        """Whether it should be measured again."""
        return self._measured is None or monotonic() - self._measured > EVERY

    def measured(self, asked: float, told: float) -> None:
        """The database told this time, in milliseconds; it was asked at that monotonic time and has just answered."""
        answered = monotonic()
        with self._lock:
            # It read its clock somewhere between: half-way is wrong by half the time at most.
            self._ahead = told - (asked + answered) / 2
            self._measured = answered

    def now(self) -> Instant:
        """The time; it stands still rather than go back a little."""
        with self._lock:
            now = int(monotonic() + self._ahead)
            if not now <= self._last <= now + APART:
                self._last = now
            return self._last


def monotonic() -> float:
    """Milliseconds on the clock that nobody sets."""
    return time.monotonic_ns() / 1_000_000
