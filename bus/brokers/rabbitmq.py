"""The broker for many machines: RabbitMQ, by pika. Quorum queues, confirmed publishing, one I/O thread a process."""

from __future__ import annotations

import threading
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bus.brokers.rabbitmq_address import Login, parse
from bus.brokers.rabbitmq_admin import RabbitAdmin
from bus.brokers.rabbitmq_consumer import RabbitConsumer
from bus.brokers.rabbitmq_io import IoThread
from bus.brokers.rabbitmq_link import Connector
from bus.brokers.rabbitmq_publisher import RabbitPublisher
from bus.errors import BrokerUnavailableError
from bus.message.channel import Channel
from bus.message.instant import SECOND, Milliseconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a broker is waited for."""

    #: For a confirmation, and for any other answer.
    timeout: Milliseconds = 10 * SECOND
    #: Between signs of life, in whole seconds; a connection without any for so long and five seconds more is gone.
    heartbeat: Milliseconds = 10 * SECOND
    #: Silence after which a consumer asks whether something waits.
    watch: Milliseconds = 20 * SECOND


PATIENCE: Final = Patience()


class RabbitBroker:
    """The broker port over RabbitMQ. Any thread may ask it; it connects when it is asked, and again when it must."""

    def __init__(
        self,
        url: str,
        *,
        user: str,
        password: str,
        ca: Path | None = None,
        name: str = "bus",
        replicas: int = 1,
        patience: Patience = PATIENCE,
    ) -> None:
        """``url`` like ``amqp://host1,host2/bus``, without user and password; ConfigurationError if it is not.

        ``ca``: PEM file of the authorities that vouch for an amqps:// broker, in place of the system's.
        ``replicas``: nodes that keep a copy of each channel.
        """
        address = parse(url)
        login = Login(
            user=user,
            password=password,
            ca=ca,
            name=name,
            heartbeat=max(1, patience.heartbeat // SECOND),
            timeout=patience.timeout / SECOND,
        )
        self._timeout = login.timeout
        self._watch = patience.watch
        self._io = IoThread(name)
        try:
            self._connector = Connector(self._io, address, login)
        except BaseException:
            self._io.stop()
            raise
        self._admin = RabbitAdmin(self._connector, replicas, self._timeout)
        self._lock = threading.Lock()
        self._open: set[RabbitPublisher | RabbitConsumer] = set()
        self._is_closed = False

    @property
    def volatile(self) -> bool:
        """False: its queues are on disk."""
        return False

    def apply(self, channels: Collection[Channel]) -> None:
        """Make the channels exist; those that do already are left as they are."""
        self._check_open()
        self._admin.apply(channels)

    def has_epoch(self, epoch: str) -> bool:
        """Whether this broker still knows the epoch: False means that it was wiped."""
        self._check_open()
        return self._admin.has_epoch(epoch)

    def begin_epoch(self, epoch: str) -> None:
        """Leave the mark of a new epoch."""
        self._check_open()
        self._admin.begin_epoch(epoch)

    def depth(self, channel: Channel) -> int:
        """How many messages wait in the channel; BrokerUnavailableError if it does not exist."""
        self._check_open()
        return self._admin.depth(channel)

    def publisher(self) -> RabbitPublisher:
        """A publisher with a connection of its own; BrokerUnavailableError when none stands within seconds."""
        self._check_open()
        publisher = RabbitPublisher(self._connector, self._timeout, self._forget)
        self._remember(publisher)
        return publisher

    def consumer(self, channels: Collection[Channel], prefetch: int) -> RabbitConsumer:
        """A consumer with a connection of its own, and ``prefetch`` messages at most from each channel.

        BrokerUnavailableError if a channel does not exist, or no connection stands within seconds.
        """
        if prefetch < 1:
            raise ValueError(f"a consumer with prefetch {prefetch} would never collect")
        self._check_open()
        consumer = RabbitConsumer(
            self._connector,
            channels,
            prefetch,
            timeout=self._timeout,
            watch=self._watch,
            first_waiting=self._admin.first_waiting,
            forget=self._forget,
        )
        self._remember(consumer)
        return consumer

    def close(self) -> None:
        """Close what is left open, each within seconds. A second time does nothing."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            left = tuple(self._open)
        for each in left:
            each.close()
        self._admin.close()
        self._io.stop()

    def _check_open(self) -> None:
        if self._is_closed:
            raise BrokerUnavailableError("The broker is closed.", mend="Make a new one.")

    def _remember(self, user: RabbitPublisher | RabbitConsumer) -> None:
        with self._lock:
            self._open.add(user)
            is_closed = self._is_closed
        if is_closed:
            user.close()

    def _forget(self, user: RabbitPublisher | RabbitConsumer) -> None:
        with self._lock:
            self._open.discard(user)
