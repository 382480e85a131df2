"""A broker for the demo that loses replies on purpose, as brokers do when their disk dies."""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence

from bus.message.channel import Channel
from bus.message.envelope import MessageType
from bus.ports import Broker, Confirmation, Consumer, Outgoing, Publisher, Told


class LosingBroker:
    """Confirms everything; what is armed for a channel is lost once."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._lock = threading.Lock()
        self._armed: set[tuple[Channel, str]] = set()

    def lose_next(self, channel: Channel, kind: MessageType) -> None:
        """The next message of this type on the channel is confirmed and gone."""
        with self._lock:
            self._armed.add((channel, kind))

    def keeps(self, message: Outgoing) -> bool:
        """Whether the message gets through."""
        with self._lock:
            armed = (message.channel, message.type)
            if armed in self._armed:
                self._armed.remove(armed)
                return False
        return True

    @property
    def volatile(self) -> bool:
        """As the broker behind it."""
        return self._broker.volatile

    def apply(self, channels: Collection[Channel]) -> None:
        """As the broker behind it."""
        self._broker.apply(channels)

    def has_epoch(self, epoch: str) -> bool:
        """As the broker behind it."""
        return self._broker.has_epoch(epoch)

    def begin_epoch(self, epoch: str) -> None:
        """As the broker behind it."""
        self._broker.begin_epoch(epoch)

    def depth(self, channel: Channel) -> int:
        """As the broker behind it."""
        return self._broker.depth(channel)

    def consumer(self, channels: Collection[Channel], prefetch: int) -> Consumer:
        """As the broker behind it."""
        return self._broker.consumer(channels, prefetch)

    def publisher(self) -> Publisher:
        """One that loses what is armed."""
        return _LosingPublisher(self, self._broker.publisher())

    def close(self) -> None:
        """As the broker behind it."""
        self._broker.close()


class _LosingPublisher:
    def __init__(self, broker: LosingBroker, publisher: Publisher) -> None:
        self._broker = broker
        self._publisher = publisher

    def publish(self, batch: Sequence[Outgoing]) -> tuple[Confirmation, ...]:
        kept = [self._broker.keeps(message) for message in batch]
        sent = iter(self._publisher.publish([message for message, keep in zip(batch, kept, strict=True) if keep]))
        return tuple(next(sent) if keep else Confirmation.CONFIRMED for keep in kept)

    def post(self, batch: Sequence[Outgoing], told: Told) -> None:
        told(self.publish(batch))

    def close(self) -> None:
        self._publisher.close()
