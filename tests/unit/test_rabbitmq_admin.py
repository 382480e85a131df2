"""Who asks the broker is told the truth of why there is no answer, however much he asks for at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from pika.exceptions import ChannelClosedByBroker, StreamLostError  # type: ignore[import-untyped]

from bus.brokers.rabbitmq_address import Node
from bus.brokers.rabbitmq_admin import RabbitAdmin
from bus.errors import BrokerUnavailableError
from bus.message.channel import Channel, tasks


class Amqp:
    """A channel of AMQP that answers at once, as its broker does."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self.is_open = True
        self.said: list[tuple[str, Any]] = []

    def add_on_close_callback(self, told: Callable[..., None]) -> None:
        self.closed = told

    def exchange_declare(self, name: str, *_: object, callback: Callable[..., None], **__: object) -> None:
        self.said.append(("exchange", name))
        callback(None)

    def queue_declare(
        self,
        name: str,
        *,
        callback: Callable[..., None],
        passive: bool = False,
        durable: bool = True,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        self.said.append(("queue", (name, passive, durable, arguments is None)))
        if self._broker.ends is not None and passive:
            self._broker.ends(self)
        else:
            callback(SimpleNamespace(method=SimpleNamespace(message_count=0)))

    def queue_bind(self, name: str, *_: object, callback: Callable[..., None], **__: object) -> None:
        self.said.append(("bind", name))
        callback(None)

    def close(self) -> None:
        self.is_open = False


class Broker:
    """What an admin connects to; the I/O thread is the test's own."""

    address = SimpleNamespace(nodes=(("host", 1),))

    def __init__(self) -> None:
        self.io = SimpleNamespace(call=lambda work: work())
        self.asked: list[Amqp] = []
        self.shunned: list[Node] = []
        #: What happens to a question in place of its answer.
        self.ends: Callable[[Amqp], None] | None = None

    def connect(self, _purpose: str, lost: Callable[[BaseException], None], _apart_from: Node | None = None) -> Any:
        def channel(on_open_callback: Callable[[Amqp], None]) -> None:
            self.asked.append(Amqp(self))
            on_open_callback(self.asked[-1])

        self.lost = lost
        loop = SimpleNamespace(add_callback_threadsafe=lambda work: work())
        return SimpleNamespace(is_open=True, node=("host", 1), ioloop=loop, channel=channel, leave=lambda: None)

    def shun(self, node: Node) -> None:
        self.shunned.append(node)


@pytest.fixture
def broker() -> Broker:
    return Broker()


def admin_of(broker: Any) -> RabbitAdmin:
    return RabbitAdmin(broker, 1, 1.0)


def test_a_connection_that_is_lost_in_the_middle_of_a_question_is_no_refusal(broker: Broker) -> None:
    def lose(amqp: Amqp) -> None:
        # As pika tells it: the channel of AMQP first.
        amqp.closed(amqp, StreamLostError("gone"))
        broker.lost(StreamLostError("gone"))

    broker.ends = lose
    with pytest.raises(BrokerUnavailableError, match="connection to the broker is gone"):
        admin_of(broker).depth(tasks("a"))
    assert broker.shunned == [("host", 1)]


def test_a_question_that_the_broker_refuses_is_told_with_its_words(broker: Broker) -> None:
    broker.ends = lambda amqp: amqp.closed(amqp, ChannelClosedByBroker(404, "NOT_FOUND"))
    with pytest.raises(BrokerUnavailableError, match="refused: 404 NOT_FOUND"):
        admin_of(broker).depth(tasks("a"))


def test_many_channels_are_made_part_by_part_each_within_the_time_of_an_answer(broker: Broker) -> None:
    channels: list[Channel] = [tasks(f"a{number}") for number in range(35)]
    admin_of(broker).apply(channels)

    made = [[name for what, name in amqp.said if what == "bind"] for amqp in broker.asked]
    assert [name for part in made for name in part] == ["poison", *channels]
    assert max(map(len, made)) <= 10
