"""Messages over which processes die come alone, and a connection that brings nothing of what waits is given up."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import pika  # type: ignore[import-untyped]
import pytest

from bus.brokers import rabbitmq_consumer
from bus.brokers.rabbitmq import Patience, RabbitBroker
from bus.errors import BrokerUnavailableError
from bus.message.channel import POISON, Channel, tasks
from bus.ports import Delivery
from tests.conformance.broker_contract import PATIENCE, SILENCE, bodies, collect, numbered, outgoing, settle
from tests.conformance.rabbitmq_rig import broker_of, eventually, host, new_channel, rabbit
from tests.support.proxy import proxy
from tests.support.services import Vhost

__all__ = ["host", "rabbit"]  # fixtures


def is_gone(connection: Any) -> bool:
    with suppress(pika.exceptions.AMQPError):
        connection.process_data_events(0.1)
    return bool(connection.is_closed)


def die_over(broker: RabbitBroker, vhost: Vhost, channel: Channel, times: int, prefetch: int = 50) -> None:
    """Take messages and lose the connection, as a process does that is killed over one of them."""
    url = urlsplit(vhost.url_with_user)
    for _ in range(times):
        with proxy(f"{url.hostname}:{url.port}") as network:
            through = vhost.url_with_user.replace(f":{url.port}/", f":{network.port}/")
            dying = pika.BlockingConnection(pika.URLParameters(through))
            amqp = dying.channel()
            amqp.basic_qos(prefetch_count=prefetch)
            for taken, _message in enumerate(amqp.consume(channel), start=1):
                if taken == prefetch:
                    break
            network.reset()
            eventually(partial(is_gone, dying))
        eventually(lambda: broker.depth(channel) >= prefetch)


@pytest.mark.parametrize("place", ["vhost", "old_vhost"])
def test_what_the_broker_gave_up_says_in_which_channel_whatever_its_publisher_wrote(
    request: pytest.FixtureRequest, place: str
) -> None:
    # Given messages whose publisher says that they died elsewhere, and one that is plain
    where: Vhost = request.getfixturevalue(place)
    with closing(broker_of(where)) as broker:
        channel = new_channel(broker)
        elsewhere = dict.fromkeys(("x-last-death-queue", "x-first-death-queue"), "replies.other")
        death = {"queue": "replies.other", "reason": "rejected", "count": 1, "exchange": "", "routing-keys": [""]}
        connection = pika.BlockingConnection(pika.URLParameters(where.url_with_user))
        amqp = connection.channel()
        for headers in (elsewhere, {**elsewhere, "x-death": [death]}, {"x-death": "nonsense"}, None):
            amqp.basic_publish(channel, channel, b"deadly", pika.BasicProperties(headers=headers))
        # When the broker gives them up
        eventually(lambda: broker.depth(channel) == 4)
        for _ in range(4):
            method, _properties, _body = amqp.basic_get(channel)
            amqp.basic_reject(method.delivery_tag, requeue=False)
        connection.close()
        eventually(lambda: broker.depth(POISON) == 4)
        # Then each says where
        found = settle(broker.consumer([POISON], 10), 4)
    assert [(one.body, one.died_in) for one in found] == [(b"deadly", channel)] * 4


def test_after_three_deaths_messages_come_alone_until_enough_were_innocent(rabbit: RabbitBroker, vhost: Vhost) -> None:
    # Given five messages over which somebody died three times, and forty behind them
    channel = new_channel(rabbit)
    rabbit.publisher().publish(numbered(channel, 5))
    die_over(rabbit, vhost, channel, 3, prefetch=5)
    rabbit.publisher().publish(numbered(channel, 40, of="innocent"))
    consumer = rabbit.consumer([channel], 100)

    # When they are collected, acknowledged one batch at a time
    sizes: list[int] = []
    found: list[Delivery] = []
    while len(found) < 45:
        batch = consumer.collect(10, PATIENCE)
        assert batch
        sizes.append(len(batch))
        found += batch
        consumer.acknowledge(batch)

    # Then the suspicious ones and the next twenty came alone, in order, and what is left came together
    assert bodies(found) == bodies(numbered(channel, 5)) + bodies(numbered(channel, 40, of="innocent"))
    assert set(sizes[:25]) == {1}
    assert max(sizes[25:]) > 1
    assert rabbit.depth(POISON) == 0


def test_in_isolation_nothing_more_comes_while_one_is_worked_on(rabbit: RabbitBroker, vhost: Vhost) -> None:
    channel, other = new_channel(rabbit), new_channel(rabbit)
    rabbit.publisher().publish([*numbered(channel, 5), *numbered(other, 5)])
    die_over(rabbit, vhost, channel, 3, prefetch=5)
    consumer = rabbit.consumer([channel, other], 100)
    first = collect(consumer, 1)
    while first[0].channel != channel:
        consumer.acknowledge(first)
        first = collect(consumer, 1)

    assert consumer.collect(10, SILENCE) == ()

    consumer.acknowledge(first)
    assert len(consumer.collect(10, PATIENCE)) == 1


def test_isolation_ends_when_its_channel_stays_empty(
    rabbit: RabbitBroker, vhost: Vhost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rabbitmq_consumer, "QUIET", 0.2)
    channel = new_channel(rabbit)
    rabbit.publisher().publish(numbered(channel, 1))
    die_over(rabbit, vhost, channel, 3, prefetch=1)
    consumer = rabbit.consumer([channel], 100)
    settle(consumer, 1)

    def come_together() -> bool:
        rabbit.publisher().publish(numbered(channel, 5))
        found = [consumer.collect(10, PATIENCE)]
        consumer.acknowledge(found[0])
        while sum(map(len, found)) < 5:
            found.append(consumer.collect(10, PATIENCE))
            consumer.acknowledge(found[-1])
        assert consumer.collect(1, 400) == ()
        return len(found[0]) > 1

    eventually(come_together)


@contextmanager
def served_alone(vhost: Vhost, channel: Channel) -> Iterator[None]:
    """A channel whose broker brings everything to one consumer alone, who takes no more, while three messages wait."""
    arguments = {"x-queue-type": "quorum", "x-single-active-consumer": True}
    vhost.admin.ask("PUT", f"/api/queues/{vhost.name}/{channel}", {"durable": True, "arguments": arguments})
    with pika.BlockingConnection(pika.URLParameters(vhost.url_with_user)) as greedy:
        amqp = greedy.channel()
        amqp.basic_qos(prefetch_count=1)
        amqp.basic_consume(channel, lambda *_: None)
        for _ in range(3):
            amqp.basic_publish("", channel, b"{}")
        yield


def test_a_connection_that_brings_nothing_of_what_waits_is_given_up(vhost: Vhost) -> None:
    channel = tasks("single")
    with served_alone(vhost, channel):
        watched = broker_of(vhost, patience=Patience(watch=300))
        consumer = watched.consumer([channel], 10)

        with pytest.raises(BrokerUnavailableError, match=channel):
            consumer.collect(10, 3_600_000)

        with pytest.raises(BrokerUnavailableError, match="closed"):
            consumer.collect(10, 0)
        watched.close()


def test_a_channel_that_brings_nothing_of_what_waits_is_noticed_while_others_go_on(
    vhost: Vhost, rabbit: RabbitBroker
) -> None:
    stuck, lively = tasks("single"), new_channel(rabbit)
    publisher = rabbit.publisher()
    with served_alone(vhost, stuck):
        watched = broker_of(vhost, patience=Patience(watch=1_000))
        consumer = watched.consumer([stuck, lively], 10)

        def go_on() -> None:
            until = time.monotonic() + 20
            while time.monotonic() < until:
                publisher.publish([outgoing(lively)])
                consumer.acknowledge(consumer.collect(10, PATIENCE))

        with pytest.raises(BrokerUnavailableError, match=stuck):
            go_on()
        watched.close()


def test_silence_is_no_alarm_while_nothing_waits(host: RabbitBroker, vhost: Vhost, rabbit: RabbitBroker) -> None:
    channel = new_channel(rabbit)
    watched = broker_of(vhost, patience=Patience(watch=100))
    silent, of_host = watched.consumer([channel], 10), host.consumer([tasks("a")], 10)

    assert silent.collect(10, 1000) == ()
    assert of_host.collect(10, 1000) == ()

    rabbit.publisher().publish([outgoing(channel), outgoing(tasks("a"))])
    assert len(silent.collect(10, PATIENCE)) == 1
    assert len(of_host.collect(10, PATIENCE)) == 1
    watched.close()


def test_a_full_prefetch_or_a_pause_is_no_reason_to_give_up(rabbit: RabbitBroker, vhost: Vhost) -> None:
    channel, other = new_channel(rabbit), new_channel(rabbit)
    watched = broker_of(vhost, patience=Patience(watch=100))
    full, paused = watched.consumer([channel], 5), watched.consumer([other], 50)
    paused.pause(other)
    rabbit.publisher().publish([*numbered(channel, 20), *numbered(other, 20)])
    collect(full, 5)

    assert full.collect(10, 1500) == ()
    assert paused.collect(10, 1500) == ()
    watched.close()
