"""The yardstick ``ceiling``: the same messages by hand, on pika alone: no store, no contract, no audit.

Three programs. A loader puts a request into ``requests``; the coordinator makes four tasks of it and counts the
replies, in its memory; a worker answers the four agencies' queues; the coordinator's result goes back to the loader.
That is ten messages for each request. ``direct`` leaves out two: the loader is its own coordinator.

Everything is durable and confirmed, and nothing waits for a confirm: an incoming message is acknowledged, many at a
time, once everything that was published for it is confirmed.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import Any, Final

import pika  # type: ignore[import-untyped]

from bus.bench.fanout import AGENCIES
from bus.bench.orders import obey
from bus.bench.pace import Order, Pace, Ran

#: pika has no types.
_PIKA: Final[Any] = pika
REQUESTS, RESULTS, REPLIES = "requests", "results", "replies"
TASKS = tuple(f"tasks.{agency}" for agency in AGENCIES)
QUEUES = (REQUESTS, RESULTS, REPLIES, *TASKS)
#: As large as a message of the bus.
_BODY = b"x" * 1200
#: Seconds between two looks at the pace.
_TICK = 0.001


class Station:
    """One connection: reads queues, publishes with pipelined confirms, acknowledges what is done."""

    def __init__(
        self, url: str, reads: Sequence[str], prefetch: int, read: Callable[[Station, int, str, str], None]
    ) -> None:
        """``read`` is called with each message: this station, tag, queue and correlation id."""
        self._reads, self._prefetch, self._read = reads, prefetch, read
        self.opened: Callable[[], None] = lambda: None
        self.connection: Any = _PIKA.SelectConnection(
            _PIKA.URLParameters(url),
            on_open_callback=lambda connection: connection.channel(on_open_callback=self._on_channel),
            on_open_error_callback=self._broken,
            on_close_callback=self._broken,
        )
        self._channel: Any = None
        self._published = 0
        #: Tag of what was published -> tag of what it was published for, 0 for nothing.
        self._unconfirmed: dict[int, int] = {}
        #: Tags that came, in order, and for each of them how much is not confirmed yet.
        self._came: deque[int] = deque()
        self._left: dict[int, int] = {}
        self._is_flushing = False

    def run(self) -> None:
        """Until the connection ends or the loop is stopped."""
        self.connection.ioloop.start()

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        """Call it on the connection's loop."""
        self.connection.ioloop.call_later(seconds, act)

    def stop(self) -> None:
        """Leave `run`."""
        self.connection.ioloop.stop()

    def publish(self, queue: str, id_: str, incoming: int = 0) -> None:
        """One message, on account of an ``incoming`` one."""
        properties = _PIKA.BasicProperties(
            content_type="application/cloudevents+json",
            delivery_mode=2,
            correlation_id=id_,
            message_id=id_,
            timestamp=int(time.time()),
            type=queue,
        )
        self._channel.basic_publish("", queue, _BODY, properties, mandatory=True)
        self._published += 1
        self._unconfirmed[self._published] = incoming
        if incoming:
            self._left[incoming] += 1

    def _on_channel(self, channel: Any) -> None:
        self._channel = channel
        channel.add_on_return_callback(self._broken)
        channel.basic_qos(prefetch_count=self._prefetch)
        channel.confirm_delivery(self._on_confirm, callback=lambda _: self._consume())

    def _consume(self) -> None:
        for queue in self._reads:
            self._channel.basic_consume(queue, self._on_message)
        self.opened()

    def _on_message(self, _channel: Any, method: Any, properties: Any, _body: bytes) -> None:
        tag = method.delivery_tag
        self._came.append(tag)
        self._left[tag] = 0
        self._read(self, tag, method.routing_key, properties.correlation_id)
        self._soon()

    def _on_confirm(self, frame: Any) -> None:
        said = frame.method
        if not isinstance(said, _PIKA.spec.Basic.Ack):
            self._broken(said)
        last = said.delivery_tag
        # They stand in their order: what comes after the last one is not looked at.
        for tag in list(takewhile(lambda tag: tag <= last, self._unconfirmed)) if said.multiple else [last]:
            incoming = self._unconfirmed.pop(tag)
            if incoming:
                self._left[incoming] -= 1
        self._soon()

    def _soon(self) -> None:
        if not self._is_flushing:
            self._is_flushing = True
            self.later(0, self._acknowledge)

    def _acknowledge(self) -> None:
        self._is_flushing = False
        last = 0
        while self._came and not self._left[self._came[0]]:
            last = self._came.popleft()
            del self._left[last]
        if last:
            self._channel.basic_ack(last, multiple=True)

    def _broken(self, *what: Any) -> None:
        raise ConnectionError(f"the yardstick lost its broker: {what}")


class Counting:
    """Counts the replies of each request, in memory."""

    def __init__(self) -> None:
        self._heard: dict[str, int] = {}

    def is_whole(self, id_: str) -> bool:
        """Whether this reply was the last one."""
        count = self._heard.pop(id_, 0) + 1
        if count < len(TASKS):
            self._heard[id_] = count
            return False
        return True


def work(url: str) -> None:
    """Answer the tasks of all agencies, for ever."""
    Station(url, TASKS, 400, lambda station, tag, _, id_: station.publish(REPLIES, id_, tag)).run()


def coordinate(url: str) -> None:
    """Make tasks of requests and results of replies, for ever."""
    counting = Counting()

    def read(station: Station, tag: int, queue: str, id_: str) -> None:
        if queue == REQUESTS:
            for task in TASKS:
                station.publish(task, id_, tag)
        elif counting.is_whole(id_):
            station.publish(RESULTS, id_, tag)

    Station(url, (REQUESTS, REPLIES), 500, read).run()


class _Load:
    """The loader on the loop of its connection."""

    def __init__(self, order: Order) -> None:
        self._is_direct = order.where.get("direct") == "yes"
        self._counting = Counting()
        self._pace = Pace(order, time.perf_counter())
        self._station = Station(order.where["url"], (REPLIES if self._is_direct else RESULTS,), 500, self._read)
        self._station.opened = self._station.stop
        self._station.run()

    def run(self, order: Order) -> Ran:
        self._pace = Pace(order, time.perf_counter())
        self._station.later(0, self._tick)
        self._station.run()
        return self._pace.ran()

    def _tick(self) -> None:
        now = time.perf_counter()
        if self._pace.is_over(now):
            self._station.stop()
            return
        self._begin(now)
        self._station.later(_TICK, self._tick)

    def _begin(self, now: float) -> None:
        for id_ in self._pace.begin(self._pace.wanted(now), now):
            for queue in TASKS if self._is_direct else (REQUESTS,):
                self._station.publish(queue, id_)

    def _read(self, _station: Station, _tag: int, _queue: str, id_: str) -> None:
        if not self._is_direct or self._counting.is_whole(id_):
            now = time.perf_counter()
            self._pace.end((id_,), now)
            self._begin(now)


def _main(role: str, url: str = "") -> None:
    match role:
        case "work":
            work(url)
        case "coordinate":
            coordinate(url)
        case "load":
            obey(lambda order: _Load(order).run)


if __name__ == "__main__":
    _main(*sys.argv[1:])
