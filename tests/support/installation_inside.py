"""An installation inside the test's own process, whose broker and clocks obey the test."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Self

from bus import bootstrap
from bus.bootstrap import Parts, assemble, embedded_broker, hosting, load_workspace, open_store, running
from bus.client import Client
from bus.gateway.server import serving
from bus.message.channel import Channel
from bus.message.envelope import MessageType
from bus.message.instant import Milliseconds
from bus.operations.caller import Role, mint_token
from bus.ports import Broker, Confirmation, Consumer, Delivery, Outgoing, Publisher, Told
from bus.runtime.host import AgencyHost
from bus.stores.sqlite import SqliteStore
from tests.support.demo_workspace import QUERYABLE, REGISTRY
from tests.support.installation import Installation

#: What a meddler must leave alone, or nobody would be admitted and no deadline could ever be decided.
_SIGNS = {MessageType.TICK, MessageType.HOST_ALIVE, MessageType.HOST_STARTED, MessageType.HOST_ADMITTED}


class MeddlingBroker:
    """Confirms everything at once, and lets a test decide when, how often and in which order it arrives.

    Ticks, announcements and signs of life pass untouched.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._lock = threading.Lock()
        self._held: list[Outgoing] = []
        #: How often each message arrives.
        self.copies = 1
        #: Whether messages wait for `release`.
        self.holds = False
        #: How many messages went through or wait.
        self.seen = 0
        #: Told of deliveries right before they are acknowledged.
        self.before_acknowledging: Callable[[Collection[Delivery]], None] = lambda _: None

    def release(self, *, backwards: bool = False) -> int:
        """Let everything that waits arrive; how much that was."""
        with self._lock:
            held, self._held = self._held, []
        if backwards:
            held.reverse()
        with closing(self._broker.publisher()) as publisher:
            publisher.publish(held)
        return len(held)

    @property
    def held(self) -> int:
        """How many messages wait."""
        with self._lock:
            return len(self._held)

    def taken(self, batch: Sequence[Outgoing]) -> list[Outgoing]:
        """What arrives now of a batch."""
        passing: list[Outgoing] = []
        with self._lock:
            for message in batch:
                if message.type in _SIGNS:
                    passing.append(message)
                    continue
                self.seen += 1
                copies = [message] * self.copies
                (self._held if self.holds else passing).extend(copies)
        return passing

    @property
    def volatile(self) -> bool:
        return self._broker.volatile

    def apply(self, channels: Collection[Channel]) -> None:
        self._broker.apply(channels)

    def has_epoch(self, epoch: str) -> bool:
        return self._broker.has_epoch(epoch)

    def begin_epoch(self, epoch: str) -> None:
        self._broker.begin_epoch(epoch)

    def depth(self, channel: Channel) -> int:
        return self._broker.depth(channel)

    def consumer(self, channels: Collection[Channel], prefetch: int) -> Consumer:
        return _WatchedConsumer(self, self._broker.consumer(channels, prefetch))

    def publisher(self) -> Publisher:
        return _MeddlingPublisher(self, self._broker.publisher())

    def close(self) -> None:
        self._broker.close()


class _MeddlingPublisher:
    def __init__(self, broker: MeddlingBroker, publisher: Publisher) -> None:
        self._broker = broker
        self._publisher = publisher

    def publish(self, batch: Sequence[Outgoing]) -> tuple[Confirmation, ...]:
        passing = self._broker.taken(batch)
        if passing:
            self._publisher.publish(passing)
        return (Confirmation.CONFIRMED,) * len(batch)

    def post(self, batch: Sequence[Outgoing], told: Told) -> None:
        told(self.publish(batch))

    def close(self) -> None:
        self._publisher.close()


class _WatchedConsumer:
    def __init__(self, broker: MeddlingBroker, consumer: Consumer) -> None:
        self._broker = broker
        self._consumer = consumer

    def collect(self, most: int, wait: Milliseconds) -> tuple[Delivery, ...]:
        return self._consumer.collect(most, wait)

    def acknowledge(self, deliveries: Collection[Delivery]) -> None:
        self._broker.before_acknowledging(deliveries)
        self._consumer.acknowledge(deliveries)

    def age(self) -> Milliseconds:
        return self._consumer.age()

    def pause(self, channel: Channel) -> None:
        self._consumer.pause(channel)

    def resume(self, channel: Channel) -> None:
        self._consumer.resume(channel)

    def close(self) -> None:
        self._consumer.close()


class InsideInstallation(Installation):
    """The same installation without a process of its own: its life is that of the ``with``, and nothing kills it."""

    def __init__(self, folder: Path, *, repeat: str = QUERYABLE) -> None:
        super().__init__(folder, repeat=repeat)
        self.broker = MeddlingBroker(embedded_broker())
        self.bus_store: SqliteStore = open_store(self.data)
        self._stack = ExitStack()
        self._address = ""
        self._token = ""
        self._asked: dict[str | None, Client] = {}

    def __enter__(self) -> Self:
        read = load_workspace(self.workspace, "test")
        parts: Parts = assemble(read, self.data, store=self.bus_store, broker=self.broker)
        self._stack.callback(self.kill_registry)
        self.start_registry()
        self._stack.enter_context(running(parts, hosts=False))
        self._stack.enter_context(self.hosted_over(self.data))
        self._address = self._stack.enter_context(serving(parts.context))
        self._token = mint_token(parts.store, "test", Role.ADMIN)
        return self

    def __exit__(self, *_: object) -> None:
        for client in self._asked.values():
            client.close()
        self._stack.close()

    @contextmanager
    def hosted_over(self, data: Path) -> Iterator[AgencyHost]:
        """A host of the registry beside the bus, with the journal of that folder."""
        read = load_workspace(self.workspace, "test")
        stop = threading.Event()
        with hosting(read, data, REGISTRY, self.broker, clock=self.now) as host:
            thread = threading.Thread(target=host.run, args=(stop,), name="host", daemon=True)
            thread.start()
            try:
                yield host
            finally:
                stop.set()
                thread.join(10)

    def now(self) -> Milliseconds:
        """The simulated clock of bus and host."""
        return bootstrap.wall_clock() + self.bus_store.offset

    def advance(self, milliseconds: Milliseconds) -> None:
        """Everybody's clock jumps ahead."""
        self.bus_store.offset += milliseconds

    @property
    def is_alive(self) -> bool:
        return True

    def client(self, agency: str | None) -> Client:
        if agency not in self._asked:
            self._asked[agency] = Client(self._address, self._token, agency=agency)
        return self._asked[agency]
