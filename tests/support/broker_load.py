"""Steady load on one channel of a broker, and what became of each message: everything confirmed must be collected."""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sized
from typing import Self

from bus.errors import BrokerUnavailableError
from bus.message.channel import Channel
from bus.ports import Broker, Confirmation, Consumer, Outgoing, Publisher

#: Messages that are published at once, and the seconds between two such batches: 200 messages a second.
_BATCH, _PAUSE = 20, 0.1
#: As many more count as flowing.
_FLOWING = 100
#: Milliseconds that a collector waits for something.
_WAIT = 500


class BrokerLoad:
    """A publisher that repeats what is not confirmed, and a consumer; each connects anew when it has to.

    They are two clients, as the two ends of a bus are.
    """

    def __init__(self, connect: Callable[[], Broker], channel: Channel) -> None:
        self._channel = channel
        self._sender, self._receiver = connect(), connect()
        self._attempted: set[str] = set()
        self._confirmed: set[str] = set()
        self._collected: Counter[str] = Counter()
        self._is_over = threading.Event()
        self._is_drained = threading.Event()
        #: Reconnections of the publisher and of the consumer.
        self.reconnections: Counter[str] = Counter()
        self._threads = [threading.Thread(target=self._publish), threading.Thread(target=self._collect)]

    def __enter__(self) -> Self:
        self._sender.apply([self._channel])
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._is_drained.set()
        for thread in self._threads:
            thread.join()
        self._sender.close()
        self._receiver.close()

    def wait_until_flowing(self, within: float) -> None:
        """Wait until more messages are confirmed, and more are collected."""
        self._wait_for_more("confirmed", self._confirmed, within)
        self._wait_for_more("collected", self._collected, within)

    def wait_until_confirmed(self, within: float) -> None:
        """Wait until more messages are confirmed."""
        self._wait_for_more("confirmed", self._confirmed, within)

    def stay(self, seconds: float) -> None:
        """Let the load run on."""
        self._is_over.wait(seconds)

    def finish(self, within: float) -> None:
        """End the publishing, collect what is left, and check: nothing confirmed is lost, and nothing was made up."""
        self._is_over.set()
        self._threads[0].join()
        until = time.monotonic() + within
        while self.lost() and time.monotonic() < until:
            time.sleep(0.05)
        assert not self.lost(), f"{len(self.lost())} of {len(self._confirmed)} confirmed messages are lost"
        assert set(self._collected) <= self._attempted
        assert self._confirmed

    def lost(self) -> set[str]:
        """Confirmed, and not collected so far."""
        return self._confirmed - set(self._collected)

    def _wait_for_more(self, what: str, messages: Sized, within: float) -> None:
        begun, before = time.monotonic(), len(messages)
        while len(messages) < before + _FLOWING:
            more = len(messages) - before
            assert time.monotonic() < begun + within, f"only {more} more messages {what} within {within:.0f} s"
            time.sleep(0.05)

    def _publish(self) -> None:
        publisher: Publisher | None = None
        batch = self._batch()
        while not self._is_over.is_set():
            try:
                publisher = publisher or self._sender.publisher()
                said = publisher.publish(batch)
            except BrokerUnavailableError:
                self.reconnections["publisher"] += 1
                _let_go(publisher)
                publisher = None
                self._is_over.wait(_PAUSE)
                continue  # the same batch, with the same ids
            sure = {one.message_id for one, of in zip(batch, said, strict=True) if of is Confirmation.CONFIRMED}
            self._confirmed |= sure
            batch = tuple(one for one in batch if one.message_id not in sure) or self._batch()
            self._is_over.wait(_PAUSE)
        _let_go(publisher)

    def _collect(self) -> None:
        consumer: Consumer | None = None
        while not self._is_drained.is_set():
            try:
                consumer = consumer or self._receiver.consumer([self._channel], 200)
                found = consumer.collect(100, _WAIT)
                self._collected.update(one.message_id for one in found if one.message_id)
                consumer.acknowledge(found)
            except BrokerUnavailableError:
                self.reconnections["consumer"] += 1
                _let_go(consumer)
                consumer = None
                self._is_drained.wait(_PAUSE)
        _let_go(consumer)

    def _batch(self) -> tuple[Outgoing, ...]:
        ids = [str(uuid.uuid4()) for _ in range(_BATCH)]
        self._attempted |= set(ids)
        return tuple(
            Outgoing(channel=self._channel, message_id=id, type="bus.tick.v1", correlation_id=id, body=b"{}")
            for id in ids
        )


def _let_go(connected: Publisher | Consumer | None) -> None:
    if connected is not None:
        connected.close()
