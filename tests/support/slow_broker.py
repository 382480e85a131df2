"""A process manager whose broker a test makes mute, busy or lost, and whose clock it moves."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from bus.errors import BrokerUnavailableError
from bus.ports import Confirmation, Outgoing, Publisher, Told
from bus.runtime.process_manager import ProcessManager
from tests.support.runtime_rig import A, RuntimeRig, runtime


class SlowBroker:
    """Gives publishers over a real broker, which a test makes mute, busy or lost, and counts them."""

    def __init__(self, rig: RuntimeRig) -> None:
        self.rig = rig
        #: While it is clear, nothing is confirmed.
        self.confirms = threading.Event()
        self.confirms.set()
        self.made: list[SlowPublisher] = []
        self.posted = 0
        #: Raised in place of the next connection, or in place of the next post.
        self.no_connection: BrokerUnavailableError | None = None
        self.no_post: BrokerUnavailableError | None = None
        self.before_post: Callable[[], None] = lambda: None

    def publisher(self) -> Publisher:
        if self.no_connection is not None:
            raise self.no_connection
        self.made.append(SlowPublisher(self, self.rig.broker.publisher()))
        return self.made[-1]


class SlowPublisher:
    def __init__(self, broker: SlowBroker, publisher: Publisher) -> None:
        self.broker = broker
        self.publisher = publisher
        self.unsaid: list[tuple[Told, tuple[Confirmation, ...]]] = []
        self.is_closed = False

    def publish(self, batch: Sequence[Outgoing]) -> tuple[Confirmation, ...]:
        return self.publisher.publish(batch)

    def post(self, batch: Sequence[Outgoing], told: Told) -> None:
        self.broker.posted += 1
        self.broker.before_post()
        if self.broker.no_post is not None:
            raise self.broker.no_post
        said = self.publisher.publish(batch)
        if self.broker.confirms.is_set():
            told(said)
        else:
            self.unsaid.append((told, said))

    def say(self, *, lost: bool = False) -> None:
        """Say what was held back, or that the connection is gone."""
        for told, said in self.unsaid:
            told(None if lost else said)
        self.unsaid = []

    def close(self) -> None:
        """As RabbitMQ's: what is confirmed while it waits a little is told."""
        if not self.is_closed:
            self.is_closed = True
            self.say()
            self.publisher.close()


class Clock:
    """A monotonic clock that a test moves."""

    now = 0

    def __call__(self) -> int:
        return self.now


@contextmanager
def admitted(folder: Path) -> Iterator[RuntimeRig]:
    """A runtime in which the hosts of one agency are admitted."""
    with runtime(folder) as made:
        made.admit(A)
        made.manager.flush()
        yield made


@contextmanager
def slow(rig: RuntimeRig) -> Iterator[tuple[SlowBroker, ProcessManager, Clock]]:
    broker, clock = SlowBroker(rig), Clock()
    manager = ProcessManager(
        store=rig.store,
        publisher=broker.publisher,
        tools=rig.parts.tools,
        dispatcher=rig.parts.dispatcher,
        monotonic=clock,
    )
    with closing(manager):
        yield broker, manager, clock
