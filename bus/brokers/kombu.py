"""The embedded broker: queues in the memory of this process, by kombu. When the process ends, they are gone.

What kombu's memory transport leaves open is done here:

- it takes a message for any queue, and makes the queue: a publish looks first whether the channel was applied;
- it forgets unacknowledged messages when a connection closes: a consumer keeps its own, and puts them back;
- its queues belong to the process, not to the connection: each broker gives its own a prefix, and removes them;
- it polls: a publish rings the consumers of the channel instead, so that nobody waits longer than he must.
"""

from __future__ import annotations

import itertools
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Final

from kombu.connection import Connection

from bus.errors import BrokerUnavailableError, ConfigurationError, Fault
from bus.message.channel import Channel
from bus.message.instant import Milliseconds
from bus.message.signature import HEADER
from bus.ports import Confirmation, Delivery, Outgoing, Told

#: The transports that pass the contract suite of brokers.
TRANSPORTS: Final = frozenset({"memory"})

_CONTENT_TYPE = "application/cloudevents+json"
_REDELIVERED = "redelivered"

#: kombu says that it is typed, but its functions are not.
_CONNECTION: Final[Any] = Connection
#: The queues of all connections stand in one table, which kombu walks through when it closes a channel.
_TABLE: Final = threading.Lock()


class KombuBroker:
    """The broker port over kombu. Two of them in one process share nothing. Any thread may ask it."""

    def __init__(self, url: str = "memory://") -> None:
        """ConfigurationError unless the transport of ``url`` is in `TRANSPORTS`."""
        transport, mark, _ = url.partition("://")
        # Without the mark kombu takes the word for a host and speaks AMQP to it.
        if not mark or transport not in TRANSPORTS:
            raise ConfigurationError((_unknown_transport(transport),))
        self._lock = threading.RLock()
        self._queues = _Queues(url)
        self._epochs: set[str] = set()
        self._open: set[_Publisher | _Consumer] = set()
        self._closed = False

    @property
    def volatile(self) -> bool:
        """True: each start is a new epoch."""
        return True

    def apply(self, channels: Collection[Channel]) -> None:
        """Make the channels exist; those that do already are left as they are."""
        with self._lock:
            self._check_open()
            self._queues.apply(channels)

    def has_epoch(self, epoch: str) -> bool:
        """Whether the epoch began in this broker."""
        with self._lock:
            self._check_open()
            return epoch in self._epochs

    def begin_epoch(self, epoch: str) -> None:
        """Leave the mark of a new epoch."""
        with self._lock:
            self._check_open()
            self._epochs.add(epoch)

    def depth(self, channel: Channel) -> int:
        """How many messages wait in the channel; BrokerUnavailableError if it does not exist."""
        with self._lock:
            self._check_open()
            return self._queues.depth(channel)

    def publisher(self) -> _Publisher:
        """A publisher with a connection of its own."""
        with self._lock:
            self._check_open()
            publisher = _Publisher(self._queues, self._forget)
            self._open.add(publisher)
            return publisher

    def consumer(self, channels: Collection[Channel], prefetch: int) -> _Consumer:
        """A consumer with a connection of its own; BrokerUnavailableError if a channel does not exist."""
        if prefetch < 1:
            raise ValueError(f"a consumer with prefetch {prefetch} would never collect")
        with self._lock:
            self._check_open()
            consumer = _Consumer(self._queues, channels, prefetch, self._forget)
            self._open.add(consumer)
            return consumer

    def close(self) -> None:
        """Close what is left open and forget every message. A second time does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            for user in tuple(self._open):
                user.close()
            self._queues.close()

    def _check_open(self) -> None:
        if self._closed:
            raise BrokerUnavailableError("The broker is closed.", mend="Make a new one; what was in it is gone.")

    def _forget(self, user: _Publisher | _Consumer) -> None:
        with self._lock:
            self._open.discard(user)


class _Publisher:
    def __init__(self, queues: _Queues, on_close: Callable[[_Publisher], None]) -> None:
        self._queues = queues
        self._on_close = on_close
        self._connection, self._channel = queues.connect()
        self._lock = threading.Lock()
        self._closed = False

    def publish(self, batch: Sequence[Outgoing]) -> tuple[Confirmation, ...]:
        """CONFIRMED: it is in the queue. UNROUTABLE: its channel was never applied."""
        with self._lock:
            if self._closed:
                raise BrokerUnavailableError("This publisher is closed.", mend="Ask the broker for a new one.")
            told = tuple(map(self._put, batch))
        self._queues.ring({message.channel for message in batch})
        return told

    def post(self, batch: Sequence[Outgoing], told: Told) -> None:
        """Nothing here takes long: it is done, and told, at once."""
        told(self.publish(batch))

    def _put(self, message: Outgoing) -> Confirmation:
        queue = self._queues.name(message.channel)
        if queue is None:
            return Confirmation.UNROUTABLE
        raw = self._channel.prepare_message(
            message.body,
            content_type=_CONTENT_TYPE,
            headers={} if message.signature is None else {HEADER: message.signature},
            properties={
                "message_id": message.message_id,
                "correlation_id": message.correlation_id,
                "type": message.type,
            },
        )
        self._channel.basic_publish(raw, exchange="", routing_key=queue)
        return Confirmation.CONFIRMED

    def close(self) -> None:
        """Let go of the connection. A second time does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            with _TABLE:
                self._connection.close()
        self._on_close(self)


class _Consumer:
    def __init__(
        self, queues: _Queues, channels: Collection[Channel], prefetch: int, on_close: Callable[[_Consumer], None]
    ) -> None:
        self._queues = queues
        self._names = {channel: queues.known(channel) for channel in channels}
        self._prefetch = prefetch
        self._on_close = on_close
        self._connection, self._channel = queues.connect()
        #: In the order in which they are asked next; a paused channel is not among them.
        self._turns = list(self._names)
        #: Tag -> what was collected and is not acknowledged, and since when: kept here alone, kombu would keep it
        #: for nothing.
        self._held: dict[int, tuple[Channel, Any, float]] = {}
        self._lock = threading.Lock()
        self._closed = False
        #: Rings when something may have come.
        self._bell = threading.Event()
        queues.listen(self._names, self._bell)

    def collect(self, most: int, wait: Milliseconds) -> tuple[Delivery, ...]:
        """Up to ``most``, one from each channel in turn, and never more than ``prefetch`` unacknowledged ones."""
        until = time.monotonic() + wait / 1000
        while True:
            # Silenced before the look: whatever comes after the look rings again.
            self._bell.clear()
            with self._lock:
                if self._closed:
                    raise BrokerUnavailableError("This consumer is closed.", mend="Ask the broker for a new one.")
                deliveries = self._take(min(most, self._prefetch - len(self._held)))
            left = until - time.monotonic()
            if deliveries or left <= 0:
                return deliveries
            self._bell.wait(left)

    def acknowledge(self, deliveries: Collection[Delivery]) -> None:
        """The broker forgets these. One that this consumer does not hold (any more) is passed over."""
        with self._lock:
            for delivery in deliveries:
                self._held.pop(delivery.tag, None)

    def age(self) -> Milliseconds:
        """How long the oldest delivery has been held; what is not collected stays in its queue."""
        with self._lock:
            oldest = next((since for _, _, since in self._held.values()), None)
        return 0 if oldest is None else int((time.monotonic() - oldest) * 1000)

    def pause(self, channel: Channel) -> None:
        """Collect nothing from this channel until it is resumed."""
        with self._lock:
            self._turns = [other for other in self._turns if other != channel]

    def resume(self, channel: Channel) -> None:
        """Collect from this channel again."""
        with self._lock:
            if channel in self._names and channel not in self._turns:
                self._turns.append(channel)
        self._bell.set()

    def close(self) -> None:
        """Unacknowledged messages go to the end of their channels, in order. A second time does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            for channel, message, _ in self._held.values():
                message.headers[_REDELIVERED] = True
                self._channel.basic_publish(message.serializable(), exchange="", routing_key=self._names[channel])
            self._held.clear()
            with _TABLE:
                self._connection.close()
        self._bell.set()
        self._queues.leave(self._names, self._bell)
        self._on_close(self)

    def _take(self, most: int) -> tuple[Delivery, ...]:
        deliveries: list[Delivery] = []
        # A channel that is found empty is not asked again in this call.
        turns = deque(self._turns)
        while turns and len(deliveries) < most:
            channel = turns.popleft()
            message = self._channel.basic_get(self._names[channel], no_ack=True)
            if message is not None:
                deliveries.append(self._hold(channel, message))
                turns.append(channel)
        if deliveries:
            # The next call begins behind the channel that came last.
            after = self._turns.index(deliveries[-1].channel) + 1
            self._turns = self._turns[after:] + self._turns[:after]
        return tuple(deliveries)

    def _hold(self, channel: Channel, message: Any) -> Delivery:
        tag = self._queues.next_tag()
        self._held[tag] = (channel, message, time.monotonic())
        return Delivery(
            tag=tag,
            channel=channel,
            body=message.body,
            message_id=message.properties.get("message_id"),
            redelivered=_REDELIVERED in message.headers,
            signature=message.headers.get(HEADER),
        )


class _Queues:
    """The queues of one broker, and who is to be woken when something comes into one."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._prefix = f"{uuid.uuid4().hex}."
        self._lock = threading.Lock()
        self._connection, self._channel = self.connect()
        #: Both are replaced, never changed: publishers read them without a lock.
        self._names: dict[Channel, str] = {}
        self._bells: dict[Channel, tuple[threading.Event, ...]] = {}
        self._tags = itertools.count(1)

    def connect(self) -> tuple[Any, Any]:
        """A connection and a channel of kombu. Bodies stay the bytes that they are, in place of base 64."""
        connection = _CONNECTION(self._url, transport_options={"body_encoding": None})
        return connection, connection.channel()

    def apply(self, channels: Iterable[Channel]) -> None:
        made = {channel: self._prefix + channel for channel in channels if channel not in self._names}
        with _TABLE:
            for queue in made.values():
                self._channel.queue_declare(queue)
        self._names = {**self._names, **made}

    def name(self, channel: Channel) -> str | None:
        """The queue of the channel; None if it was never applied."""
        return self._names.get(channel)

    def known(self, channel: Channel) -> str:
        """The queue of the channel; BrokerUnavailableError if it was never applied."""
        queue = self._names.get(channel)
        if queue is None:
            raise BrokerUnavailableError(f"The channel {channel!r} does not exist.", mend="Apply the channels first.")
        return queue

    def depth(self, channel: Channel) -> int:
        return int(self._channel.queue_declare(self.known(channel), passive=True).message_count)

    def next_tag(self) -> int:
        """Unique in the broker: a consumer handed the delivery of another cannot take it for one of its own."""
        return next(self._tags)

    def listen(self, channels: Iterable[Channel], bell: threading.Event) -> None:
        with self._lock:
            self._bells = {**self._bells, **{channel: (*self._bells.get(channel, ()), bell) for channel in channels}}

    def leave(self, channels: Collection[Channel], bell: threading.Event) -> None:
        """Stop listening; the others are rung, for what was put back."""
        with self._lock:
            others = {
                channel: tuple(other for other in self._bells[channel] if other is not bell) for channel in channels
            }
            self._bells = {**self._bells, **others}
        self.ring(channels)

    def ring(self, channels: Iterable[Channel]) -> None:
        for channel in channels:
            for bell in self._bells.get(channel, ()):
                bell.set()

    def close(self) -> None:
        with _TABLE:
            for queue in self._names.values():
                # `queue_delete` passes over a queue without bindings, and the default exchange makes none.
                self._channel.queues.pop(queue, None)
            self._connection.close()
        self._names = {}


def _unknown_transport(transport: str) -> Fault:
    return Fault(
        code="unknown-transport",
        message=f"The embedded broker has no transport {transport!r}.",
        mend=f"It has: {', '.join(f'{name}://' for name in sorted(TRANSPORTS))}.",
    )
