"""Whoever has a login may write what he likes into the headers of a message: it harms nobody who reads."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import pika  # type: ignore[import-untyped]
import pytest

from bus.brokers.rabbitmq import RabbitBroker
from bus.message.channel import POISON, Channel, replies
from tests.conformance.broker_contract import PATIENCE, bodies, comes_to_hold, numbered, settle
from tests.support.services import Vhost

#: A time beyond all calendars, and lists within lists, as AMQP writes them.
BEYOND = b"T" + b"\xff" * 8
NESTED = b"V"
for _ in range(2_000):
    NESTED = b"A" + struct.pack(">I", len(NESTED)) + NESTED


@pytest.fixture
def rabbit(vhost: Vhost) -> Iterator[RabbitBroker]:
    broker = RabbitBroker(vhost.url, user=vhost.user, password=vhost.password)
    yield broker
    broker.close()


@pytest.fixture
def channel(rabbit: RabbitBroker) -> Channel:
    rabbit.apply([replies("a")])
    return replies("a")


class Odd(pika.BasicProperties):  # type: ignore[misc]
    """Properties with one header that pika itself would not write."""

    def __init__(self, value: bytes) -> None:
        super().__init__()
        self._value = value

    def encode(self) -> list[bytes]:
        table = b"\x01x" + self._value
        return [struct.pack(">HI", 1 << 13, len(table)), table]


def say(vhost: Vhost, channel: Channel, *properties: Any) -> None:
    with pika.BlockingConnection(pika.URLParameters(vhost.url_with_user)) as foreign:
        amqp = foreign.channel()
        for each in properties:
            amqp.basic_publish(channel, channel, b"odd", each)


@pytest.mark.parametrize("value", [BEYOND, NESTED], ids=["a time beyond all calendars", "lists within lists"])
def test_headers_that_cannot_be_read_keep_nobody_from_the_messages_behind_them(
    rabbit: RabbitBroker, vhost: Vhost, channel: Channel, value: bytes
) -> None:
    # Given such a message, and others behind it
    say(vhost, channel, Odd(value))
    assert comes_to_hold(rabbit, channel, 1)
    rabbit.publisher().publish(numbered(channel, 5))
    # Then it comes with its body, at its place, and all others come over the same connection
    found = settle(rabbit.consumer([channel], 100), 6)
    assert bodies(found) == [b"odd", *bodies(numbered(channel, 5))]
    assert not any(one.redelivered for one in found)


def test_headers_that_cannot_be_read_are_read_without_in_the_channel_of_poison_too(
    rabbit: RabbitBroker, vhost: Vhost, channel: Channel
) -> None:
    assert channel
    say(vhost, POISON, Odd(BEYOND))
    (found,) = settle(rabbit.consumer([POISON], 10), 1)
    assert (found.body, found.died_in) == (b"odd", None)


def test_nobody_makes_a_message_suspicious_that_comes_for_the_first_time(
    rabbit: RabbitBroker, vhost: Vhost, channel: Channel
) -> None:
    # Given messages whose publisher says that many have died over them
    say(vhost, channel, *[pika.BasicProperties(headers={"x-delivery-count": 19})] * 10)
    assert comes_to_hold(rabbit, channel, 10)
    # Then they come together, as any others do
    consumer = rabbit.consumer([channel], 100)
    found = consumer.collect(10, PATIENCE)
    consumer.acknowledge(found)
    assert len(found) > 1
