"""Whose turn it is, where several processes share a store and only one at a time may do something."""

from __future__ import annotations

import time
from collections.abc import Callable
from uuid import uuid4

from bus.message.instant import Milliseconds
from bus.ports import Store


def _monotonic() -> Milliseconds:
    return time.monotonic_ns() // 1_000_000


class Turn:
    """One process's. It stays mine until I end it, or do not ask for so long that the others may take it."""

    def __init__(
        self, store: Store, what: str, lease: Milliseconds, monotonic: Callable[[], Milliseconds] = _monotonic
    ) -> None:
        """``what`` has one turn in the whole installation. What is done while it is mine takes half a lease at most."""
        self._store = store
        self._what = what
        self._lease = lease
        self._monotonic = monotonic
        #: Names this process; random.
        self._process = str(uuid4())
        #: Until when at least it is mine.
        self._until: Milliseconds = 0

    def is_mine(self) -> bool:
        """Whether it is, for half a lease from now at least; it is taken if nobody has it."""
        # Read before the store reads its own: so it ends here first.
        now = self._monotonic()
        if self._until - now < self._lease // 2:
            is_taken = self._store.take_turn(self._what, self._process, self._lease)
            self._until = now + self._lease if is_taken else 0
        return self._until > 0

    def end(self) -> None:
        """The others need not wait."""
        if self._until:
            self._until = 0
            self._store.end_turn(self._what, self._process)
