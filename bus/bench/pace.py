"""When a loader begins requests, and what it heard of them: the same accounting for every contender.

A closed loop keeps a window of requests in flight; an open loop begins them at a fixed rate, whatever is answered.

Of a closed loop the latencies of all that ended within the measured time count. Of an open loop those of all that were
planned within it count, however late they began and ended: a load that falls behind would hide just those.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bus.bench.report import BenchError

#: Seconds within which everything that was begun has ended.
DRAIN_WITHIN = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a loader is to do."""

    #: Most requests in flight.
    window: int
    #: Seconds that count.
    seconds: float
    #: Seconds before those, in which caches fill and batches find their size.
    warm: float = 1.0
    #: Requests a second; None: the next one when there is room in the window.
    rate: float | None = None
    #: Makes the ids of this load its own.
    prefix: str = "load"
    #: Where the loader connects to, by name: addresses, folders.
    where: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What a load came to. Everything that was begun has ended, or there would be no such value."""

    #: Seconds that counted.
    took: float
    #: Requests that ended within them.
    counted: int
    #: Requests that ended at all, before and after included.
    ended: int
    #: Ends that were heard more than once: at least once is what every contender promises.
    repeated: int
    #: Milliseconds from the moment at which a request was to begin to its end, of those that count for it (see above).
    latencies: Sequence[float]

    @property
    def speed(self) -> float:
        """Requests a second."""
        return self.counted / self.took if self.took else 0.0

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Ran:
        """The other side of `dataclasses.asdict`."""
        return cls(**content)


class Pace:
    """The book of one load. Instants are seconds of one monotonic clock."""

    def __init__(self, order: Order, now: float) -> None:
        self._order = order
        self._begun_at = now
        self._from = now + order.warm
        self._until = self._from + order.seconds
        #: How many an open loop begins in all, those of the warm-up included.
        self._planned = math.ceil((order.warm + order.seconds) * (order.rate or 0.0))
        self._in_flight: dict[str, float] = {}
        self._begun = 0
        self._ended = 0
        self._counted = 0
        self._repeated = 0
        # Eight bytes each: a loader that runs for long must not grow by its own book.
        self._latencies = array("d")

    def wanted(self, now: float) -> int:
        """How many requests are to begin now; after the end of the time those that were planned before it."""
        room = self._order.window - len(self._in_flight)
        if self._order.rate is None:
            return max(0, room) if now < self._until else 0
        planned = min(self._planned, int((now - self._begun_at) * self._order.rate) + 1)
        return max(0, min(room, planned - self._begun))

    def begin(self, count: int, now: float) -> list[str]:
        """Ids for so many requests that begin now.

        An open loop counts from the moment that was planned: a loader that is late makes no request look quick.
        """
        ids = [f"{self._order.prefix}-{number}" for number in range(self._begun, self._begun + count)]
        for number, id_ in enumerate(ids, self._begun):
            rate = self._order.rate
            self._in_flight[id_] = now if rate is None else self._begun_at + number / rate
        self._begun += count
        return ids

    def end(self, ids: Iterable[str], now: float) -> None:
        """These have ended."""
        for id_ in ids:
            begun = self._in_flight.pop(id_, None)
            if begun is None:
                self._repeated += 1
                continue
            self._ended += 1
            self._counted += self._is_within(now)
            if self._is_within(now if self._order.rate is None else begun):
                self._latencies.append((now - begun) * 1000)

    def is_over(self, now: float) -> bool:
        """Whether the time is up, all that was planned is begun, and nothing is in flight.

        BenchError if something never ends.
        """
        if now < self._until:
            return False
        if self._in_flight and now > self._until + DRAIN_WITHIN:
            some = ", ".join(list(self._in_flight)[:3])
            raise BenchError(f"{len(self._in_flight)} of {self._begun} requests did not end; the first: {some}")
        return not self._in_flight and not self.wanted(now)

    def ran(self) -> Ran:
        """What it came to."""
        return Ran(
            took=self._order.seconds,
            counted=self._counted,
            ended=self._ended,
            repeated=self._repeated,
            latencies=self._latencies.tolist(),
        )

    def _is_within(self, instant: float) -> bool:
        """Whether it lies in the measured time."""
        return self._from <= instant < self._until
