"""What a process manager tells the others of itself: that it is there, and up to when it has settled what it was given.

A tick that came through a channel proves that what was sent before it was handed to some process manager; it proves
that it was settled only once every one of them has settled what it held when the tick came.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from uuid import uuid4

from bus.config import Settings
from bus.message.instant import Milliseconds
from bus.ports import Consumer, Store


def _monotonic() -> Milliseconds:
    return time.monotonic_ns() // 1_000_000


class Presence:
    """One process manager's. One thread at a time."""

    def __init__(self, store: Store, settings: Settings, monotonic: Callable[[], Milliseconds] = _monotonic) -> None:
        self._store = store
        self._every = max(1, settings.tick_every // 4)
        self._monotonic = monotonic
        self._next: Milliseconds | None = None
        #: Names this process; random.
        self.process = str(uuid4())

    def tell(self, consumer: Consumer | None) -> None:
        """Say it if it is time; before anything is consumed, with None."""
        if self._next is not None and self._monotonic() < self._next:
            return
        # Read before the age: what came in between makes the age greater than it was.
        now = self._store.now()
        self._store.be_present(self.process, now - (consumer.age() if consumer else 0))
        self._next = self._monotonic() + self._every

    def leave(self) -> None:
        """Nothing is held any more."""
        self._next = None
        self._store.leave(self.process)
