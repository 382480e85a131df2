"""RabbitMQ keeps the promises of every broker, in both releases; and those that only a broker with users can give."""

from __future__ import annotations

import secrets
import socket
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from types import SimpleNamespace
from typing import Any, ClassVar
from urllib.parse import urlsplit

import pika  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika import frame, spec

from bus.brokers import rabbitmq_consumer
from bus.brokers.rabbitmq import Patience, RabbitBroker
from bus.brokers.rabbitmq_address import parse
from bus.brokers.rabbitmq_consumer import RabbitConsumer
from bus.brokers.rabbitmq_frames import Encoder
from bus.brokers.rabbitmq_tags import Tags
from bus.errors import BrokerBusyError, BrokerUnavailableError, ConfigurationError
from bus.message.channel import POISON, Channel, control, replies, tasks
from bus.ports import Broker, Confirmation, Delivery, Outgoing
from tests.conformance.broker_contract import (
    CONFIRMED,
    PATIENCE,
    SILENCE,
    UNROUTABLE,
    BrokerContract,
    bodies,
    collect,
    comes_to_hold,
    numbered,
    outgoing,
    settle,
)
from tests.support.proxy import proxy
from tests.support.services import Vhost


def broker_of(vhost: Vhost, **settings: Any) -> RabbitBroker:
    return RabbitBroker(vhost.url, user=vhost.user, password=vhost.password, **settings)


@pytest.fixture
def rabbit(vhost: Vhost) -> Iterator[RabbitBroker]:
    broker = broker_of(vhost)
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


# --- tags of deliveries -----------------------------------------------------------------------------------------------


SOME = st.sets(st.integers(1, 12))


@given(steps=st.lists(st.tuples(SOME, SOME), max_size=20))
def test_every_delivery_is_settled_once_and_none_before_its_time(steps: list[tuple[set[int], set[int]]]) -> None:
    # Given a broker that refuses a tag which it does not know (any more), as RabbitMQ does
    tags, every = Tags(), set(range(1, 13))
    known, meant = set(every), set[int]()
    for tag in every:
        tags.came(tag, 0.0)

    for given_back, acknowledged in [*steps, (set[int](), every)]:
        assert set(tags.give_back(given_back)) == given_back & known
        known -= given_back
        up_to, alone = tags.settle(acknowledged)
        meant |= given_back | acknowledged

        assert not up_to or up_to in known
        known -= set(range(1, up_to + 1))
        assert known.issuperset(alone)
        known -= set(alone)
        assert known == every - meant

    assert len(tags) == 0


def test_one_word_settles_all_that_is_settled_from_the_first_on() -> None:
    tags = Tags()
    for tag in range(1, 7):
        tags.came(tag, 0.0)

    assert tags.settle([3, 2]) == (0, [2, 3])
    assert tags.settle([1]) == (1, [])
    assert tags.settle([4, 5]) == (5, [])


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

    assert told == tuple(Confirmation.REFUSED if message.message_id in bad else CONFIRMED for message in batch)
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


# --- consuming --------------------------------------------------------------------------------------------------------


def test_a_consumer_whose_channel_is_deleted_is_told(rabbit: RabbitBroker, vhost: Vhost) -> None:
    channel = new_channel(rabbit)
    rabbit.publisher().publish(numbered(channel, 3))
    consumer = rabbit.consumer([channel], 1)
    collect(consumer, 1)

    vhost.admin.ask("DELETE", f"/api/queues/{vhost.name}/{channel}")

    with pytest.raises(BrokerUnavailableError):
        consumer.collect(1, PATIENCE)
    consumer.close()


def test_what_the_bus_published_is_read_without_pika_but_for_what_is_cut_in_two(
    rabbit: RabbitBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = new_channel(rabbit)
    rabbit.publisher().publish(numbered(channel, 1000))
    by_pika: list[object] = []
    came = RabbitConsumer._came  # noqa: SLF001

    def note(self: RabbitConsumer, *told: Any) -> None:
        by_pika.append(told)
        came(self, *told)

    monkeypatch.setattr(RabbitConsumer, "_came", note)

    found = collect(rabbit.consumer([channel], 1000), 1000)

    assert bodies(found) == bodies(numbered(channel, 1000))
    assert len(by_pika) < 200


def test_tags_of_a_connection_that_is_gone_are_passed_over(rabbit: RabbitBroker) -> None:
    channel = new_channel(rabbit)
    rabbit.publisher().publish(numbered(channel, 4))
    first = rabbit.consumer([channel], 2)
    stale = collect(first, 2)
    first.close()
    second = rabbit.consumer([channel], 4)
    collect(second, 4)

    second.acknowledge(stale)
    first.acknowledge(stale)
    second.close()

    eventually(lambda: rabbit.depth(channel) == 4)


def test_acknowledging_in_any_order_settles_just_that(rabbit: RabbitBroker) -> None:
    channel = new_channel(rabbit)
    rabbit.publisher().publish(numbered(channel, 10))
    consumer = rabbit.consumer([channel], 10)
    held = collect(consumer, 10)

    for places in ((3,), (1, 5), (0,), (2,), (9, 8), (4,), (3, 4)):
        consumer.acknowledge([held[place] for place in places])
    consumer.close()

    assert bodies(settle(rabbit.consumer([channel], 10), 2)) == bodies([held[6], held[7]])
    assert comes_to_hold(rabbit, channel, 0)


def test_the_age_of_what_is_held_is_that_of_the_oldest(rabbit: RabbitBroker) -> None:
    channel = new_channel(rabbit)
    consumer = rabbit.consumer([channel], 10)
    assert consumer.age() == 0
    rabbit.publisher().publish([outgoing(channel)])
    eventually(lambda: consumer.age() > 0)
    held = collect(consumer, 1)
    eventually(lambda: consumer.age() >= 200)

    rabbit.publisher().publish([outgoing(channel)])
    held += collect(consumer, 1)
    assert consumer.age() >= 200
    consumer.acknowledge(held[:1])
    eventually(lambda: consumer.age() < 200)
    consumer.acknowledge(held[1:])

    eventually(lambda: consumer.age() == 0)


def test_closing_ten_times_makes_no_message_suspicious(rabbit: RabbitBroker) -> None:
    channel = new_channel(rabbit)
    rabbit.publisher().publish(numbered(channel, 50))
    for _ in range(10):
        consumer = rabbit.consumer([channel], 50)
        collect(consumer, 20)
        consumer.close()

    assert len(rabbit.consumer([channel], 50).collect(50, PATIENCE)) > 1
    assert rabbit.depth(POISON) == 0


def test_what_came_while_its_channel_was_paused_comes_first_when_it_goes_on(rabbit: RabbitBroker) -> None:
    channel = new_channel(rabbit)
    publisher, consumer = rabbit.publisher(), rabbit.consumer([channel], 4)
    publisher.publish(numbered(channel, 8))
    held = collect(consumer, 1)

    for _ in range(5):
        consumer.pause(channel)
        assert consumer.collect(10, 20) == ()
        consumer.resume(channel)

    held += collect(consumer, 3)
    consumer.acknowledge(held)
    assert bodies([*held, *settle(consumer, 4)]) == bodies(numbered(channel, 8))


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
