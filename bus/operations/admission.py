"""Whether something new may be accepted now: only admissions are throttled, never what settles what is there."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from bus.config import Settings
from bus.errors import TransientError
from bus.message.instant import Milliseconds
from bus.ports import Store
from bus.process.state import StepState

#: How long a look at the outbox counts.
_FRESH: Milliseconds = 1_000


def _monotonic() -> Milliseconds:
    return time.monotonic_ns() // 1_000_000


class Admission:
    """Looks now and then at how much waits for the broker. Any thread may ask."""

    def __init__(self, store: Store, settings: Settings, monotonic: Callable[[], Milliseconds] = _monotonic) -> None:
        self._store = store
        self._most = settings.outbox_most
        self._every = settings.tick_every
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._depth = 0
        self._looked_at: Milliseconds | None = None

    def check(self, consumer: str, submission_key: str) -> None:
        """TransientError while more waits for the broker than `Settings.outbox_most`.

        A submission that was accepted before is answered all the same: it adds nothing.
        """
        if self._waiting() <= self._most or self._store.submission_under(consumer, submission_key) is not None:
            return
        raise TransientError(
            "Too much waits for the broker: nothing new is accepted until some of it has left. Nothing is lost.",
            code="outbox-full",
            mend="Submit it again later with the same key.",
        )

    def _waiting(self) -> int:
        now = self._monotonic()
        with self._lock:
            if self._looked_at is not None and now - self._looked_at < _FRESH:
                return self._depth
            self._looked_at = now
        self._depth = self._store.outbox_depth() + (self._held_back() if self._is_deaf() else 0)
        return self._depth

    def _is_deaf(self) -> bool:
        """Whether no tick has come through the broker for several times as long as one should take.

        While nothing comes through, no host is known to be alive: what would be sent is held back in the store.
        """
        heard = [row.heard_at for row in self._store.agencies().values() if row.heard_at is not None]
        return bool(heard) and self._store.now() - max(heard) > 3 * self._every

    def _held_back(self) -> int:
        return sum(self._store.counts(StepState.READY).values())
