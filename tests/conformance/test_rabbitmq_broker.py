"""RabbitMQ keeps the promises of every broker, in both releases; and those that only a broker with users can give."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import ClassVar

import pika  # type: ignore[import-untyped]
import pytest

from bus.brokers.rabbitmq import RabbitBroker
from bus.errors import BrokerUnavailableError, ConfigurationError
from bus.message.channel import POISON, control, replies, tasks
from bus.ports import Broker, Confirmation
from tests.conformance.broker_contract import CONFIRMED, BrokerContract, bodies, collect, outgoing, settle
from tests.conformance.rabbitmq_rig import broker_of, host, new_channel, rabbit
from tests.support.services import Vhost

__all__ = ["host", "rabbit"]  # fixtures


class TestRabbit4(BrokerContract):
    sender: ClassVar[str | None] = "guest"

    @pytest.fixture
    def broker(self, class_vhost: Vhost) -> Iterator[Broker]:
        broker = broker_of(class_vhost)
        yield broker
        broker.close()

    def test_it_keeps_what_is_in_it(self, broker: Broker) -> None:
        assert not broker.volatile


class TestOldRabbit(BrokerContract):
    sender: ClassVar[str | None] = "guest"
    # Before RabbitMQ 4.3 whatever is given back counts as a delivery that failed, and after twenty it is poison.
    rounds: ClassVar[int] = 4

    @pytest.fixture
    def broker(self, old_vhost: Vhost) -> Iterator[Broker]:
        broker = broker_of(old_vhost)
        yield broker
        broker.close()


# --- what stands in the broker ----------------------------------------------------------------------------------------


def test_a_channel_is_a_quorum_queue_that_leads_to_poison(rabbit: RabbitBroker, vhost: Vhost) -> None:
    channel = new_channel(rabbit)

    found = vhost.admin.ask("GET", f"/api/queues/{vhost.name}")

    arguments = {each["name"]: each["arguments"] for each in found}
    assert arguments.keys() == {channel, POISON}
    assert {each["x-queue-type"] for each in arguments.values()} == {"quorum"}
    assert arguments[channel]["x-dead-letter-exchange"] == POISON


def test_a_channel_that_is_another_kind_of_thing_is_told_with_its_name_and_the_mend(
    rabbit: RabbitBroker, vhost: Vhost
) -> None:
    channel = tasks("classic")
    vhost.admin.ask("PUT", f"/api/queues/{vhost.name}/{channel}", {"durable": True})

    with pytest.raises(ConfigurationError, match=channel) as differs:
        rabbit.apply([tasks("a"), channel, tasks("z")])

    assert "topology check" in str(differs.value)
    rabbit.apply([tasks("z")])
    assert rabbit.depth(tasks("z")) == 0


def test_an_epoch_is_known_to_every_connection_to_the_same_broker(rabbit: RabbitBroker, vhost: Vhost) -> None:
    epoch = str(uuid.uuid4())
    rabbit.begin_epoch(epoch)
    rabbit.begin_epoch(epoch)
    other = broker_of(vhost)

    assert other.has_epoch(epoch)
    vhost.admin.ask("DELETE", f"/api/queues/{vhost.name}/bus.epoch.{epoch}")
    assert not other.has_epoch(epoch)

    other.close()


def test_questions_go_on_after_one_that_the_broker_refused(rabbit: RabbitBroker) -> None:
    channel = new_channel(rabbit)
    for _ in range(3):
        with pytest.raises(BrokerUnavailableError):
            rabbit.depth(tasks("nobody"))
        assert rabbit.depth(channel) == 0


# --- users ------------------------------------------------------------------------------------------------------------


def test_a_user_who_may_make_nothing_applies_what_is_there(host: RabbitBroker, rabbit: RabbitBroker) -> None:
    host.apply([tasks("a"), control("a"), replies("a")])

    rabbit.publisher().publish([outgoing(tasks("a"), b"do")])
    assert bodies(settle(host.consumer([tasks("a"), control("a")], 10), 1)) == [b"do"]
    assert host.publisher().publish([outgoing(replies("a"))]) == (CONFIRMED,)


def test_a_reply_names_the_agencys_user_as_its_sender(host: RabbitBroker, rabbit: RabbitBroker, vhost: Vhost) -> None:
    host.publisher().publish([outgoing(replies("a"))])

    (delivery,) = collect(rabbit.consumer([replies("a")], 1), 1)

    assert delivery.sender == f"agency.{vhost.name}"


def test_whom_the_broker_does_not_vouch_for_has_no_name(rabbit: RabbitBroker, vhost: Vhost) -> None:
    channel = new_channel(rabbit)
    with pika.BlockingConnection(pika.URLParameters(vhost.url_with_user)) as foreign:
        foreign.channel().basic_publish(channel, channel, b"{}", pika.BasicProperties(message_id="m"))

    (delivery,) = collect(rabbit.consumer([channel], 1), 1)

    assert (delivery.sender, delivery.message_id, delivery.signature) == ("", "m", None)


def test_a_channel_that_may_not_be_written_to_is_refused_and_the_others_flow(
    host: RabbitBroker, rabbit: RabbitBroker
) -> None:
    publisher = host.publisher()

    told = publisher.publish([outgoing(replies("a")), outgoing(replies("b")), outgoing(replies("a"))])

    assert told == (CONFIRMED, Confirmation.REFUSED, CONFIRMED)
    assert rabbit.depth(replies("b")) == 0
    assert publisher.publish([outgoing(replies("a"))]) == (CONFIRMED,)


def test_a_channel_that_may_not_be_read_is_told_by_name(host: RabbitBroker) -> None:
    with pytest.raises(BrokerUnavailableError, match=r"tasks\.b"):
        host.consumer([tasks("b")], 1)
