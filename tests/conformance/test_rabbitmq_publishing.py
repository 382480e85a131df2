"""What is published to RabbitMQ: the bytes that leave, and a message that cannot be taken never stops the others."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pika  # type: ignore[import-untyped]
import pytest
from pika import frame, spec

from bus.brokers.rabbitmq import RabbitBroker
from bus.brokers.rabbitmq_frames import Encoder
from bus.errors import BrokerBusyError
from bus.message.channel import tasks
from bus.ports import Confirmation, Outgoing
from tests.conformance.broker_contract import CONFIRMED, PATIENCE, UNROUTABLE, bodies, numbered, outgoing, settle
from tests.conformance.rabbitmq_rig import eventually, new_channel, rabbit
from tests.support.services import Vhost

__all__ = ["rabbit"]  # a fixture


# --- the frames of a publish ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("signature", [None, "", "eyJhbGciOiJFZDI1NTE5In0..c2ln;0;", "توقيع"])
@pytest.mark.parametrize("size", [0, 1, 4088, 4089, 100_000])
def test_a_publish_has_the_bytes_that_pika_would_send(signature: str | None, size: int) -> None:
    message = outgoing(tasks("civil_registry"), b"x" * size, signature=signature)

    ours = Encoder(number=7, user="agency.civil_registry", frame_max=4096).encode(message, 1_800_000_000)

    assert ours == frames_of_pika(message, 1_800_000_000, user="agency.civil_registry", number=7, most=4088)


def frames_of_pika(message: Outgoing, seconds: int, *, user: str, number: int, most: int) -> bytes:
    properties = pika.BasicProperties(
        content_type="application/cloudevents+json",
        headers=None if message.signature is None else {"signature": message.signature},
        delivery_mode=2,
        correlation_id=message.correlation_id,
        message_id=message.message_id,
        timestamp=seconds,
        type=message.type,
        user_id=user,
    )
    method = spec.Basic.Publish(exchange=message.channel, routing_key=message.channel, mandatory=True)
    frames = [frame.Method(number, method), frame.Header(number, len(message.body), properties)]
    frames += [frame.Body(number, message.body[start : start + most]) for start in range(0, len(message.body), most)]
    return b"".join(each.marshal() for each in frames)


def test_an_id_that_amqp_has_no_room_for_is_refused_and_its_publisher_goes_on(rabbit: RabbitBroker) -> None:
    channel = new_channel(rabbit)
    publisher = rabbit.publisher()
    long = Outgoing(channel=channel, message_id="م" * 128, type="bus.tick.v1", correlation_id="c", body=b"{}")

    with pytest.raises(ValueError, match="255"):
        publisher.publish([long])

    assert publisher.publish([outgoing(channel)]) == (CONFIRMED,)


# --- publishing -------------------------------------------------------------------------------------------------------


def test_messages_for_a_missing_channel_never_stop_the_others(rabbit: RabbitBroker) -> None:
    here, nowhere = new_channel(rabbit), tasks("nobody")
    batch = [outgoing(nowhere if number % 7 == 3 else here, f"{number:05}".encode()) for number in range(1500)]

    told = rabbit.publisher().publish(batch)

    assert told == tuple(UNROUTABLE if message.channel == nowhere else CONFIRMED for message in batch)
    count = rabbit.depth(here)
    found = list(dict.fromkeys(bodies(settle(rabbit.consumer([here], 500), count))))
    assert found == [message.body for message in batch if message.channel == here]


def test_a_message_that_nothing_is_bound_for_is_unroutable_and_no_other_is(rabbit: RabbitBroker, vhost: Vhost) -> None:
    loose, bound = new_channel(rabbit), new_channel(rabbit)
    where = f"{vhost.name}/e/{loose}/q/{loose}"
    vhost.admin.ask("DELETE", f"/api/bindings/{where}/{loose}")

    told = rabbit.publisher().publish([outgoing(loose if number % 3 else bound) for number in range(900)])

    assert told == tuple(UNROUTABLE if number % 3 else CONFIRMED for number in range(900))


def test_a_full_channel_refuses_and_the_others_flow(rabbit: RabbitBroker, vhost: Vhost) -> None:
    full, free = new_channel(rabbit), new_channel(rabbit)
    policy = {"pattern": f"^{full}$", "definition": {"max-length": 5}, "apply-to": "queues"}
    vhost.admin.ask("PUT", f"/api/policies/{vhost.name}/full", policy)
    publisher = rabbit.publisher()

    eventually(lambda: Confirmation.REFUSED in publisher.publish(numbered(full, 100)))
    told = publisher.publish([outgoing(full if number % 2 else free) for number in range(200)])

    assert told == tuple(Confirmation.REFUSED if number % 2 else CONFIRMED for number in range(200))


def test_a_message_that_the_broker_takes_in_no_way_is_refused_and_all_others_flow(
    rabbit: RabbitBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given two messages that name another sender, for which RabbitMQ closes the channel of AMQP without naming them
    channel = new_channel(rabbit)
    publisher = rabbit.publisher()
    honest, liar = publisher._encoder, Encoder(number=1, user="somebody", frame_max=131_072)  # noqa: SLF001
    batch = numbered(channel, 300)
    bad = {batch[7].message_id, batch[250].message_id}

    def encode(message: Outgoing, seconds: int) -> bytes:
        return (liar if message.message_id in bad else honest).encode(message, seconds)

    monkeypatch.setattr(publisher, "_encoder", SimpleNamespace(encode=encode))

    told = publisher.publish(batch)

    assert told == tuple(Confirmation.UNACCEPTABLE if message.message_id in bad else CONFIRMED for message in batch)
    count = rabbit.depth(channel)
    found = list(dict.fromkeys(bodies(settle(rabbit.consumer([channel], 500), count))))
    assert found == [message.body for message in batch if message.message_id not in bad]
    assert publisher.publish([outgoing(channel)]) == (CONFIRMED,)


def test_a_batch_far_larger_than_the_window_goes_out_whole(rabbit: RabbitBroker) -> None:
    channel = new_channel(rabbit)

    told = rabbit.publisher().publish(numbered(channel, 6000))

    assert told == (CONFIRMED,) * 6000
    assert rabbit.depth(channel) == 6000


def test_whoever_posts_faster_than_is_confirmed_is_stopped_and_may_go_on_later(rabbit: RabbitBroker) -> None:
    channel = new_channel(rabbit)
    publisher = rabbit.publisher()
    told: list[object] = []

    def hold_up(said: object) -> None:
        told.append(said)
        go_on.wait(PATIENCE / 1000)

    go_on = threading.Event()
    publisher.post([outgoing(channel)], hold_up)
    eventually(lambda: bool(told))
    for _ in range(40):
        publisher.post(numbered(channel, 100), told.append)
    with pytest.raises(BrokerBusyError, match="not confirmed"):
        publisher.post([outgoing(channel)], told.append)
    go_on.set()

    eventually(lambda: len(told) == 41)
    assert publisher.publish([outgoing(channel)]) == (CONFIRMED,)


def test_whoever_fails_when_he_is_told_harms_nobody_else(rabbit: RabbitBroker) -> None:
    channel = new_channel(rabbit)
    publisher = rabbit.publisher()

    def fail(_said: object) -> None:
        raise RuntimeError("not the publisher's fault")

    publisher.post([outgoing(channel)], fail)

    assert publisher.publish([outgoing(channel)]) == (CONFIRMED,)
