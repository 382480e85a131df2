"""What is consumed from RabbitMQ: every delivery is settled once, in any order, and what is held has an age."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.brokers.rabbitmq import RabbitBroker
from bus.brokers.rabbitmq_consumer import RabbitConsumer
from bus.brokers.rabbitmq_tags import Tags
from bus.errors import BrokerUnavailableError
from bus.message.channel import POISON
from tests.conformance.broker_contract import PATIENCE, bodies, collect, comes_to_hold, numbered, outgoing, settle
from tests.conformance.rabbitmq_rig import eventually, new_channel, rabbit
from tests.support.services import Vhost

__all__ = ["rabbit"]  # a fixture


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
