"""What RabbitMQ itself tells of one turn: what it was given, confirmed, brought and was told to forget."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Event
from typing import Any, Final

import httpx

from bus.bench.services import RabbitAdmin

#: RabbitMQ's names of what it counts -> ours.
_COUNTED: Final = {
    "publish": "published",
    "confirm": "confirmed",
    "deliver": "delivered",
    "ack": "acknowledged",
    "redeliver": "redelivered",
}
_EVERY: Final = 1.0
#: RabbitMQ gathers its figures every five seconds: only when they stand for longer has it told all.
_STANDS: Final = 6.0
#: Seconds for that; ticks and signs of life have ended with the programs that send them.
_SETTLE: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerFigures:
    """Of one turn, its programs' start and end included."""

    #: Name -> messages, of `_COUNTED`.
    messages: Mapping[str, int]
    #: Most messages that one queue held when RabbitMQ looked, ready or unacknowledged.
    most_queued: int
    #: Most bytes of memory that the node had in use.
    most_memory: int


class Listening:
    """Looks at RabbitMQ while a turn runs; `figures` are there when the turn and RabbitMQ's own counting are over."""

    def __init__(self, admin: RabbitAdmin) -> None:
        self._admin = admin
        self._stop = Event()
        self._most_queued = 0
        self._most_memory = 0
        self.figures: BrokerFigures | None = None

    @contextmanager
    def during(self) -> Iterator[Listening]:
        """Listen for the time of the ``with``."""
        before = self._settled()
        with ThreadPoolExecutor(1) as pool:
            looking = pool.submit(self._look)
            try:
                yield self
            finally:
                self._stop.set()
            looking.result()
        after = self._settled()
        self.figures = BrokerFigures(
            messages={name: after[name] - before[name] for name in _COUNTED.values()},
            most_queued=self._most_queued,
            most_memory=self._most_memory,
        )

    def _look(self) -> None:
        while not self._stop.wait(_EVERY):
            # On a machine that is busy one look may be missed. The names are asked for because RabbitMQ writes what has
            # no member at all as a list.
            with suppress(httpx.TransportError):
                queues = self._admin.ask("GET", "/api/queues?columns=name,messages")
                self._most_queued = max([self._most_queued, *(queue.get("messages", 0) for queue in queues)])
                nodes = self._admin.ask("GET", "/api/nodes?columns=name,mem_used")
                self._most_memory = max(self._most_memory, sum(node.get("mem_used", 0) for node in nodes))

    def _settled(self) -> dict[str, int]:
        """All that it ever counted, once that has stood still for longer than it gathers."""
        until, counted, since = time.monotonic() + _SETTLE, self._counted(), time.monotonic()
        while time.monotonic() < min(until, since + _STANDS):
            time.sleep(_EVERY)
            again = self._counted()
            if again != counted:
                counted, since = again, time.monotonic()
        return counted

    def _counted(self) -> dict[str, int]:
        # Where it has counted nothing lately it says so with an empty list.
        told: Mapping[str, Any] = self._admin.ask("GET", "/api/overview").get("message_stats") or {}
        return {ours: int(told.get(theirs, 0)) for theirs, ours in _COUNTED.items()}
