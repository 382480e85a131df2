"""RabbitMQ as the suites of conformance use it: a broker on a vhost of its own, and an agency's user beside it."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bus.brokers.rabbitmq import Patience, RabbitBroker
from bus.message.channel import Channel, control, replies, tasks
from tests.conformance.broker_contract import PATIENCE
from tests.support.services import Vhost


def broker_of(vhost: Vhost, **settings: Any) -> RabbitBroker:
    return RabbitBroker(vhost.url, user=vhost.user, password=vhost.password, **settings)


@pytest.fixture
def rabbit(vhost: Vhost) -> Iterator[RabbitBroker]:
    broker = broker_of(vhost)
    yield broker
    broker.close()


@pytest.fixture
def host(vhost: Vhost, rabbit: RabbitBroker) -> Iterator[RabbitBroker]:
    """The broker as an agency's host may use it."""
    rabbit.apply([tasks("a"), control("a"), replies("a"), tasks("b"), replies("b")])
    vhost.admin.make_user(
        f"agency.{vhost.name}",
        "pw",
        vhost=vhost.name,
        configure="^$",
        write=r"^replies\.a$",
        read=r"^(tasks|control)\.a$",
    )
    broker = RabbitBroker(vhost.url, user=f"agency.{vhost.name}", password="pw", patience=Patience(watch=200))
    yield broker
    broker.close()


def new_channel(broker: RabbitBroker) -> Channel:
    channel = tasks(f"agency-{secrets.token_hex(4)}")
    broker.apply([channel])
    return channel


def eventually(true: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE / 1000
    while not true():
        assert time.monotonic() < until
        threading.Event().wait(0.02)
