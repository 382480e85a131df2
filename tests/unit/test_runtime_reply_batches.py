"""How replies come together in batches: a transaction costs much the same however little it settles."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any, cast

from bus.config import Settings
from bus.message.channel import replies
from bus.message.key import Keys
from bus.ports import Consumer, Delivery
from bus.runtime.hosts import Hosts
from bus.runtime.process_manager import ProcessManager
from bus.runtime.replies import ReplyConsumer

#: Settled like any other delivery, and needs no request.
MESSAGE = Delivery(tag=0, channel=replies("tax_authority"), body=b"no message")


class _Manager:
    """Settles at once."""

    def settle(self, batch: Sequence[Any], before: Callable[[Any], None]) -> tuple[Any, ...]:
        del before
        return tuple(batch)


class _Trickle:
    """So many messages, one after the other, from the first look on."""

    def __init__(self, count: int, seconds_apart: float) -> None:
        self._left = count
        self._apart = seconds_apart
        self._begun = 0.0
        self._handed = 0
        self.batches: list[int] = []

    @property
    def is_over(self) -> bool:
        return not self._left

    def collect(self, most: int, wait: int) -> tuple[Delivery, ...]:
        self._begun = self._begun or time.monotonic()
        until = time.monotonic() + wait / 1_000
        while not (there := self._there(most)) and time.monotonic() < until:
            time.sleep(self._apart / 10)
        self._left -= there
        self._handed += there
        self.batches += [there] if there else []
        return (MESSAGE,) * there

    def _there(self, most: int) -> int:
        come = int((time.monotonic() - self._begun) / self._apart) + 1 if self._apart else self._left + self._handed
        return min(most, self._left, come - self._handed)

    def acknowledge(self, deliveries: Collection[Delivery]) -> None:
        pass

    def close(self) -> None:
        pass


def _run(trickle: _Trickle, settings: Settings) -> float:
    """Seconds until all were settled."""
    keys = Keys(lambda: 0, 0)
    manager = cast("ProcessManager", _Manager())
    consumer = ReplyConsumer(lambda: cast("Consumer", trickle), manager, Hosts(keys), keys, settings)
    begun = time.monotonic()
    consumer.run(lambda: trickle.is_over)
    return time.monotonic() - begun


def test_what_trickles_in_is_settled_in_few_batches() -> None:
    trickle = _Trickle(60, seconds_apart=0.003)

    _run(trickle, Settings(batch_most=100, batch_wait=45))

    assert sum(trickle.batches) == 60
    assert len(trickle.batches) < 12


def test_where_more_waits_than_a_batch_holds_the_next_one_follows_at_once() -> None:
    trickle = _Trickle(100, seconds_apart=0)

    took = _run(trickle, Settings(batch_most=10, batch_wait=1_000))

    assert trickle.batches == [10] * 10
    assert took < 5


def test_a_batch_waits_no_longer_to_fill_than_a_consumer_looks_for_messages() -> None:
    trickle = _Trickle(2, seconds_apart=0.05)

    took = _run(trickle, Settings(batch_most=100, batch_wait=864_000_000))

    assert sum(trickle.batches) == 2
    assert took < 5


def test_a_batch_that_waits_to_fill_is_woken_by_the_end() -> None:
    # Given a consumer that is told to stop while its batch waits to fill
    stop, keys, trickle = threading.Event(), Keys(lambda: 0, 0), _Trickle(1, seconds_apart=0)
    consumer = ReplyConsumer(
        lambda: cast("Consumer", trickle), cast("ProcessManager", _Manager()), Hosts(keys), keys, Settings()
    )
    waits: list[float] = []

    def rest(seconds: float) -> None:
        waits.append(seconds)
        stop.set()

    # When it runs with a rest that hears of it
    consumer.run(stop.is_set, rest)
    # Then that is all it waits with
    assert waits == [Settings().batch_wait / 1_000]
