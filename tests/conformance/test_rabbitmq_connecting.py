"""How RabbitMQ is reached: its address, its nodes, and what is told where nobody answers or the login is refused."""

from __future__ import annotations

import socket
import traceback

import pytest

from bus.brokers.rabbitmq import Patience, RabbitBroker
from bus.brokers.rabbitmq_address import parse
from bus.errors import BrokerUnavailableError, ConfigurationError
from bus.message.channel import POISON
from tests.conformance.broker_contract import CONFIRMED, outgoing
from tests.conformance.rabbitmq_rig import new_channel
from tests.support.services import Vhost

# --- the address ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "nodes", "vhost", "is_tls"),
    [
        ("amqp://broker", (("broker", 5672),), "bus", False),
        ("amqps://broker/", (("broker", 5671),), "bus", True),
        ("amqp://broker:5000/other", (("broker", 5000),), "other", False),
        ("amqp://a:1, b:2,c/bus", (("a", 1), ("b", 2), ("c", 5672)), "bus", False),
        ("amqp://[::1]:5673,[fe80::1]/%2F", (("::1", 5673), ("fe80::1", 5672)), "/", False),
    ],
)
def test_a_url_names_one_node_or_several(
    url: str, nodes: tuple[tuple[str, int], ...], vhost: str, *, is_tls: bool
) -> None:
    address = parse(url)

    assert (address.nodes, address.vhost, address.is_tls) == (nodes, vhost, is_tls)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "broker:5672",
        "http://broker",
        "amqp://",
        "amqp://bus:secret@broker",
        "amqp://broker:secret/bus",
        "amqp://broker:0",
        "amqp://broker,,other",
        "amqp://[::1",
        "amqp://broker/bus?password=secret",
    ],
)
def test_a_url_that_cannot_be_used_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigurationError, match="broker-url") as refused:
        RabbitBroker(url, user="bus", password="p")

    assert "secret" not in str(refused.value)


# --- connecting -------------------------------------------------------------------------------------------------------


def test_a_broker_that_is_not_there_is_told_within_seconds() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        broker = RabbitBroker(f"amqp://127.0.0.1:{taken.getsockname()[1]}/bus", user="bus", password="secret")

        for use in (broker.publisher, lambda: broker.consumer([POISON], 1), lambda: broker.depth(POISON)):
            with pytest.raises(BrokerUnavailableError, match=r"127\.0\.0\.1"):
                use()

        broker.close()


def test_a_server_that_says_nothing_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"amqp://127.0.0.1:{mute.getsockname()[1]}/bus"
        broker = RabbitBroker(url, user="bus", password="secret", patience=Patience(timeout=500))

        with pytest.raises(BrokerUnavailableError):
            broker.publisher()

        broker.close()


def test_of_several_nodes_one_that_answers_is_enough(vhost: Vhost) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        dead = f"127.0.0.1:{taken.getsockname()[1]}"
        url = vhost.url.replace("amqp://", f"amqp://{dead},")
        broker = RabbitBroker(url, user=vhost.user, password=vhost.password)
        channel = new_channel(broker)

        told = [broker.publisher().publish([outgoing(channel)]) for _ in range(5)]

        assert told == [(CONFIRMED,)] * 5
        broker.close()


@pytest.mark.parametrize("vhost_exists", [True, False])
def test_a_login_that_is_refused_is_told_without_the_password(vhost: Vhost, *, vhost_exists: bool) -> None:
    url = vhost.url if vhost_exists else vhost.url + "-not-there"
    broker = RabbitBroker(url, user=vhost.user, password="a-secret" if vhost_exists else vhost.password)

    with pytest.raises(BrokerUnavailableError, match=f"{vhost.user!r} in") as refused:
        broker.publisher()

    assert "virtual host" in refused.value.mend
    told = "".join(traceback.TracebackException.from_exception(refused.value, capture_locals=True).format())
    assert "a-secret" not in told.replace("'a-secret' if", "")
    broker.close()
