"""Keys of rows: integers that grow with time, so that the index of a large table is written at its end."""

from __future__ import annotations

import threading
from collections.abc import Callable

from bus.message.instant import Instant

#: 2024-01-01T00:00:00Z: 41 bits of milliseconds from here last until September 2093.
ORIGIN: Instant = 1_704_067_200_000
#: Nodes are numbered from 0 to 1023.
NODES = 1 << 10

_COUNTER_BITS = 12
_NODE_BITS = 10
_COUNTER = (1 << _COUNTER_BITS) - 1
_LAST_SLOT = (1 << (41 + _COUNTER_BITS)) - 1


class Keys:
    """Positive 63-bit integers: 41 bits of milliseconds since `ORIGIN`, 10 bits of node, 12 bits of counter.

    Each key is greater than the one before it, also when the clock stands still or goes back: then the keys run
    ahead of it, 4096 for each millisecond. Two instances never give the same key if their nodes differ. One that
    takes over a node (a restart) passes the highest key of its forerunner as ``after``: else a clock set back
    between the two could give a key again. Any thread may ask.
    """

    def __init__(self, clock: Callable[[], Instant], node: int, *, after: int = 0) -> None:
        """``clock`` tells the time in milliseconds; ValueError if there is no such node."""
        if not 0 <= node < NODES:
            raise ValueError(f"node {node} is not between 0 and {NODES - 1}")
        self._clock = clock
        self._node = node << _COUNTER_BITS
        self._lock = threading.Lock()
        # A slot is a key without its node: milliseconds, then counter. The first one is in the millisecond behind
        # that of `after`, whose node may have been a greater one.
        self._last = ((after >> (_NODE_BITS + _COUNTER_BITS)) + 1 << _COUNTER_BITS) - 1

    def next(self) -> int:
        """One key; OverflowError as `take`."""
        with self._lock:
            return self._key(self._advance(1))

    def take(self, count: int) -> list[int]:
        """This many keys, ascending. OverflowError when the 41 bits of time are used up."""
        if count < 0:
            raise ValueError(f"cannot take {count} keys")
        with self._lock:
            first = self._advance(count)
        return [self._key(slot) for slot in range(first, first + count)]

    def _advance(self, count: int) -> int:
        """The first of so many slots, with the lock held."""
        first = max(self._last + 1, (self._clock() - ORIGIN) << _COUNTER_BITS)
        last = first + count - 1
        if last > _LAST_SLOT:
            raise OverflowError("keys are used up: the clock is past the year 2093")
        self._last = last
        return first

    def _key(self, slot: int) -> int:
        return (slot & ~_COUNTER) << _NODE_BITS | self._node | slot & _COUNTER


def key_at(instant: Instant) -> int:
    """The least key of that instant: keys below it are older."""
    return max(0, instant - ORIGIN) << (_COUNTER_BITS + _NODE_BITS)
