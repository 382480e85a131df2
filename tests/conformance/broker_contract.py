"""What every broker promises, whatever stands behind it. A suite subclasses `BrokerContract` and gives the broker."""

from __future__ import annotations

import queue
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ClassVar, Protocol, TypeAlias, runtime_checkable

import pytest

from bus.errors import BrokerUnavailableError
from bus.message.channel import Channel, replies, tasks
from bus.ports import Broker, Confirmation, Consumer, Delivery, Outgoing

CONFIRMED = Confirmation.CONFIRMED
UNROUTABLE = Confirmation.UNROUTABLE

#: Longest wait, in milliseconds, for what must come; passing suites never use it up.
PATIENCE = 40_000
#: How long, in milliseconds, a suite listens for what must not come.
SILENCE = 100


#: What a batch that was posted is told.
Said: TypeAlias = tuple[Confirmation, ...] | None


@runtime_checkable
class Pausing(Protocol):
    """A consumer whose channels may be paused one by one."""

    def pause(self, channel: Channel) -> None: ...

    def resume(self, channel: Channel) -> None: ...


def outgoing(channel: Channel, body: bytes = b"{}", *, signature: str | None = None) -> Outgoing:
    return Outgoing(
        channel=channel,
        message_id=str(uuid.uuid4()),
        type="bus.task.requested.v1",
        correlation_id=str(uuid.uuid4()),
        body=body,
        signature=signature,
    )


def numbered(channel: Channel, count: int, *, of: str = "") -> list[Outgoing]:
    return [outgoing(channel, f"{of}{number:05}".encode()) for number in range(count)]


def note(notes: queue.Queue[tuple[int, Said]], number: int, said: Said) -> None:
    """Keep what a post was told, and which one it was."""
    notes.put((number, said))


def bodies(deliveries: Iterable[Delivery | Outgoing]) -> list[bytes]:
    return [delivery.body for delivery in deliveries]


def collect(consumer: Consumer, count: int) -> list[Delivery]:
    """Exactly so many deliveries, none of them acknowledged."""
    found: list[Delivery] = []
    until = time.monotonic() + PATIENCE / 1000
    while len(found) < count and time.monotonic() < until:
        found += consumer.collect(count - len(found), 1000)
    assert len(found) == count
    return found


def comes_to_hold(broker: Broker, channel: Channel, count: int) -> bool:
    """Whether so many wait in the channel before long: what a consumer gives back may take a moment to get there."""
    until = time.monotonic() + PATIENCE / 1000
    while broker.depth(channel) != count and time.monotonic() < until:
        threading.Event().wait(0.01)
    return broker.depth(channel) == count


def settle(consumer: Consumer, count: int) -> list[Delivery]:
    """Exactly so many deliveries, acknowledged batch by batch."""
    found: list[Delivery] = []
    while len(found) < count:
        batch = consumer.collect(min(50, count - len(found)), PATIENCE)
        assert batch, f"{len(found)} of {count} came"
        consumer.acknowledge(batch)
        found += batch
    return found


class BrokerContract:
    """The promises. ``broker`` is empty at the start of each test; channel names are new in each."""

    #: Who is told to have sent what this broker's own user published; None for a broker without users.
    sender: ClassVar[str | None] = None
    #: How often each of four consumers comes and goes, taking messages and giving them back.
    rounds: ClassVar[int] = 20

    @pytest.fixture
    def broker(self) -> Broker:
        raise NotImplementedError

    @pytest.fixture
    def channel(self, broker: Broker) -> Channel:
        channel = tasks(f"agency-{uuid.uuid4().hex[:8]}")
        broker.apply([channel])
        return channel

    @pytest.fixture
    def other(self, broker: Broker) -> Channel:
        channel = replies(f"agency-{uuid.uuid4().hex[:8]}")
        broker.apply([channel])
        return channel

    # --- publishing -------------------------------------------------------------------------------------------------

    def test_what_is_confirmed_can_be_collected(self, broker: Broker, channel: Channel) -> None:
        batch = numbered(channel, 3)

        told = broker.publisher().publish(batch)

        assert told == (CONFIRMED,) * 3
        assert bodies(collect(broker.consumer([channel], 10), 3)) == bodies(batch)

    def test_a_message_for_an_unknown_channel_is_told_unroutable_and_is_nowhere(self, broker: Broker) -> None:
        nowhere = tasks(f"nobody-{uuid.uuid4().hex[:8]}")
        publisher = broker.publisher()

        told = publisher.publish([outgoing(nowhere)])
        broker.apply([nowhere])

        assert told == (UNROUTABLE,)
        assert broker.depth(nowhere) == 0
        assert publisher.publish([outgoing(nowhere)]) == (CONFIRMED,)

    def test_each_message_of_a_batch_has_its_own_confirmation_in_its_place(
        self, broker: Broker, channel: Channel
    ) -> None:
        nowhere = tasks(f"nobody-{uuid.uuid4().hex[:8]}")
        where = [channel, nowhere, channel, channel, nowhere]
        batch = [outgoing(place, str(number).encode()) for number, place in enumerate(where)]

        told = broker.publisher().publish(batch)

        assert told == tuple(CONFIRMED if place == channel else UNROUTABLE for place in where)
        # A broker may bring twice what it had not confirmed yet when it found one to be unroutable.
        count = broker.depth(channel)
        assert set(bodies(collect(broker.consumer([channel], 10), count))) == {b"0", b"2", b"3"}

    def test_an_empty_batch_is_no_message(self, broker: Broker, channel: Channel) -> None:
        assert broker.publisher().publish([]) == ()
        assert broker.depth(channel) == 0

    @pytest.mark.parametrize(
        "body",
        [b"", b"\x00", bytes(range(256)), '{"اسم": "شركة النور"}'.encode(), b"\xff\xfe\r\n", bytes(range(256)) * 1024],
        ids=["empty", "nul", "every-byte", "arabic", "no-utf-8", "256-KiB"],
    )
    def test_the_body_comes_byte_for_byte(self, broker: Broker, channel: Channel, body: bytes) -> None:
        broker.publisher().publish([outgoing(channel, body)])

        (delivery,) = collect(broker.consumer([channel], 1), 1)

        assert delivery.body == body

    def test_a_delivery_names_the_user_whom_the_broker_vouches_for(self, broker: Broker, channel: Channel) -> None:
        broker.publisher().publish([outgoing(channel)])

        (delivery,) = collect(broker.consumer([channel], 1), 1)

        assert delivery.sender == self.sender

    def test_message_id_signature_and_channel_come_with_the_body(
        self, broker: Broker, channel: Channel, other: Channel
    ) -> None:
        signed, plain = outgoing(channel, signature="eyJhbGciOiJFZDI1NTE5In0..c2ln;0;"), outgoing(other)
        broker.publisher().publish([signed, plain])

        found = collect(broker.consumer([channel, other], 10), 2)

        assert {(each.channel, each.message_id, each.signature, each.redelivered) for each in found} == {
            (channel, signed.message_id, signed.signature, False),
            (other, plain.message_id, None, False),
        }

    # --- posting ----------------------------------------------------------------------------------------------------

    def test_what_is_posted_is_told_once_for_each_message_in_its_place(self, broker: Broker, channel: Channel) -> None:
        nowhere = tasks(f"nobody-{uuid.uuid4().hex[:8]}")
        told: queue.Queue[Said] = queue.Queue()

        broker.publisher().post([outgoing(place) for place in (channel, nowhere, channel)], told.put)

        assert told.get(timeout=PATIENCE / 1000) == (CONFIRMED, UNROUTABLE, CONFIRMED)
        assert told.empty()

    def test_posts_that_do_not_wait_for_each_other_are_each_told_and_keep_their_order(
        self, broker: Broker, channel: Channel
    ) -> None:
        batch = numbered(channel, 1000)
        publisher, consumer = broker.publisher(), broker.consumer([channel], 200)
        told: queue.Queue[tuple[int, Said]] = queue.Queue()

        for start in range(0, 1000, 100):
            publisher.post(batch[start : start + 100], partial(note, told, start))

        assert bodies(settle(consumer, 1000)) == bodies(batch)
        said = dict(told.get(timeout=PATIENCE / 1000) for _ in range(10))
        assert said == dict.fromkeys(range(0, 1000, 100), (CONFIRMED,) * 100)

    def test_an_empty_post_is_told_of_no_message(self, broker: Broker) -> None:
        told: queue.Queue[Said] = queue.Queue()

        broker.publisher().post([], told.put)

        assert told.get(timeout=PATIENCE / 1000) == ()

    def test_what_was_posted_is_told_before_its_publisher_is_closed(self, broker: Broker, channel: Channel) -> None:
        publisher = broker.publisher()
        told: list[Said] = []

        publisher.post(numbered(channel, 300), told.append)
        publisher.close()

        assert told == [(CONFIRMED,) * 300]
        assert broker.depth(channel) == 300

    def test_a_closed_publisher_takes_no_post_and_tells_nothing(self, broker: Broker, channel: Channel) -> None:
        publisher = broker.publisher()
        publisher.close()
        told: list[Said] = []

        with pytest.raises(BrokerUnavailableError):
            publisher.post([outgoing(channel)], told.append)

        assert told == []

    # --- collecting -------------------------------------------------------------------------------------------------

    def test_an_empty_channel_gives_an_empty_batch(self, broker: Broker, channel: Channel) -> None:
        assert broker.consumer([channel], 10).collect(10, 20) == ()

    def test_a_collect_without_wait_only_looks(self, broker: Broker, channel: Channel) -> None:
        assert broker.consumer([channel], 10).collect(10, 0) == ()

    def test_a_collect_gives_no_more_than_was_asked_for(self, broker: Broker, channel: Channel) -> None:
        broker.publisher().publish(numbered(channel, 10))
        consumer = broker.consumer([channel], 100)

        first = consumer.collect(4, PATIENCE)

        assert 0 < len(first) <= 4
        assert len(collect(consumer, 10 - len(first))) == 10 - len(first)

    def test_some_are_given_without_waiting_for_the_rest(self, broker: Broker, channel: Channel) -> None:
        # Given fewer than are asked for, a consumer that waited for the rest would run into the time-out of the test.
        broker.publisher().publish(numbered(channel, 3))
        consumer = broker.consumer([channel], 100)

        found = list(consumer.collect(100, 3_600_000))
        while len(found) < 3:
            found += consumer.collect(100, 3_600_000)

        assert len(found) == 3

    def test_a_waiting_consumer_is_woken_by_a_publish(self, broker: Broker, channel: Channel) -> None:
        consumer = broker.consumer([channel], 10)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(consumer.collect, 10, 3_600_000)

            broker.publisher().publish([outgoing(channel, b"wake")])

            assert bodies(waiting.result(PATIENCE / 1000)) == [b"wake"]

    def test_one_consumer_gets_a_channel_in_the_order_of_publishing(self, broker: Broker, channel: Channel) -> None:
        batch = numbered(channel, 500)
        publisher, consumer = broker.publisher(), broker.consumer([channel], 100)

        publisher.publish(batch[:200])
        publisher.publish(batch[200:])

        assert bodies(settle(consumer, 500)) == bodies(batch)

    def test_a_full_channel_does_not_starve_another(self, broker: Broker, channel: Channel, other: Channel) -> None:
        publisher, consumer = broker.publisher(), broker.consumer([channel, other], 20)
        publisher.publish(numbered(channel, 1000))
        publisher.publish([outgoing(other, b"small")])

        early = settle(consumer, 200)

        assert b"small" in bodies(early)

    def test_a_consumer_of_an_unknown_channel_is_refused(self, broker: Broker, channel: Channel) -> None:
        nowhere = tasks(f"nobody-{uuid.uuid4().hex[:8]}")

        with pytest.raises(BrokerUnavailableError, match=nowhere):
            broker.consumer([channel, nowhere], 10)

    def test_one_channel_can_be_paused_and_the_others_go_on(
        self, broker: Broker, channel: Channel, other: Channel
    ) -> None:
        publisher, consumer = broker.publisher(), broker.consumer([channel, other], 100)
        assert isinstance(consumer, Pausing)

        consumer.pause(channel)
        publisher.publish([*numbered(channel, 3), outgoing(other, b"goes on")])
        assert bodies(settle(consumer, 1)) == [b"goes on"]
        assert consumer.collect(10, SILENCE) == ()

        consumer.resume(channel)
        assert bodies(settle(consumer, 3)) == bodies(numbered(channel, 3))

    # --- acknowledging ----------------------------------------------------------------------------------------------

    def test_what_was_not_acknowledged_comes_again_after_close_and_says_so(
        self, broker: Broker, channel: Channel
    ) -> None:
        batch = numbered(channel, 10)
        broker.publisher().publish(batch)
        first = broker.consumer([channel], 100)
        held = collect(first, 10)

        first.acknowledge(held[:4])
        first.close()

        again = collect(broker.consumer([channel], 100), 6)
        assert sorted(bodies(again)) == bodies(held[4:])
        assert all(delivery.redelivered for delivery in again)
        assert {each.message_id for each in again} == {each.message_id for each in held[4:]}

    def test_what_comes_again_is_byte_for_byte_what_came(self, broker: Broker, channel: Channel) -> None:
        sent = outgoing(channel, bytes(range(256)), signature="sig;0;")
        broker.publisher().publish([sent])
        for _ in range(3):
            consumer = broker.consumer([channel], 1)
            (delivery,) = collect(consumer, 1)
            consumer.close()

            assert (delivery.body, delivery.message_id, delivery.signature) == (
                sent.body,
                sent.message_id,
                sent.signature,
            )

    def test_what_was_acknowledged_never_comes_again(self, broker: Broker, channel: Channel) -> None:
        broker.publisher().publish(numbered(channel, 50))
        first = broker.consumer([channel], 100)
        settle(first, 50)

        first.close()

        assert broker.consumer([channel], 100).collect(10, SILENCE) == ()
        assert comes_to_hold(broker, channel, 0)

    def test_acknowledging_twice_is_acknowledging_once(self, broker: Broker, channel: Channel) -> None:
        broker.publisher().publish(numbered(channel, 2))
        consumer = broker.consumer([channel], 2)
        first, second = collect(consumer, 2)

        consumer.acknowledge([first])
        consumer.acknowledge([first])
        consumer.close()

        assert bodies(collect(broker.consumer([channel], 2), 1)) == [second.body]

    def test_a_delivery_that_came_to_another_consumer_cannot_be_acknowledged(
        self, broker: Broker, channel: Channel, other: Channel
    ) -> None:
        broker.publisher().publish([outgoing(channel, b"mine"), outgoing(other, b"yours")])
        mine, yours = broker.consumer([channel], 10), broker.consumer([other], 10)
        collect(mine, 1)
        theirs = collect(yours, 1)
        yours.close()

        mine.acknowledge(theirs)
        mine.close()

        again = collect(broker.consumer([channel, other], 10), 2)
        assert sorted(bodies(again)) == [b"mine", b"yours"]

    def test_no_more_than_prefetch_are_held_unacknowledged(self, broker: Broker, channel: Channel) -> None:
        broker.publisher().publish(numbered(channel, 20))
        consumer = broker.consumer([channel], 5)

        held = collect(consumer, 5)
        assert consumer.collect(10, SILENCE) == ()

        consumer.acknowledge(held[:2])
        more = collect(consumer, 2)
        assert consumer.collect(10, SILENCE) == ()
        assert bodies(held + more) == bodies(numbered(channel, 7))

    def test_what_one_consumer_holds_does_not_stop_another(self, broker: Broker, channel: Channel) -> None:
        broker.publisher().publish(numbered(channel, 10))
        slow, quick = broker.consumer([channel], 3), broker.consumer([channel], 100)

        held = collect(slow, 3)

        assert len(settle(quick, 7)) == 7
        assert len(held) == 3

    # --- many at once -----------------------------------------------------------------------------------------------

    def test_two_consumers_share_a_channel_and_nothing_comes_twice(self, broker: Broker, channel: Channel) -> None:
        batch = numbered(channel, 2000)
        left = Countdown(len(batch))
        consumers = [broker.consumer([channel], 50) for _ in range(2)]
        with ThreadPoolExecutor(2) as pool:
            shares = [pool.submit(work, consumer, left) for consumer in consumers]

            broker.publisher().publish(batch)

            found = [body for share in shares for body in share.result(PATIENCE / 1000)]

        assert Counter(found) == Counter(bodies(batch))

    def test_many_publish_at_once_and_each_keeps_its_order(self, broker: Broker, channel: Channel) -> None:
        batches = [numbered(channel, 500, of=name) for name in "abcd"]
        consumer = broker.consumer([channel], 200)

        def publish(batch: Sequence[Outgoing]) -> set[Confirmation]:
            publisher = broker.publisher()
            told = {each for start in range(0, 500, 50) for each in publisher.publish(batch[start : start + 50])}
            publisher.close()
            return told

        with ThreadPoolExecutor(4) as pool:
            told = list(pool.map(publish, batches))
            found = bodies(settle(consumer, 2000))

        assert told == [{CONFIRMED}] * 4
        for batch in batches:
            name = batch[0].body[:1]
            assert [body for body in found if body[:1] == name] == bodies(batch)

    def test_closing_and_making_channels_at_once_loses_nothing(self, broker: Broker, channel: Channel) -> None:
        broker.publisher().publish(numbered(channel, 200))

        def come_and_go(name: str) -> None:
            for number in range(self.rounds):
                broker.apply([tasks(f"{name}{number}")])
                consumer = broker.consumer([channel], 10)
                consumer.collect(10, 0)
                consumer.close()

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(come_and_go, "abcd"))

        again = settle(broker.consumer([channel], 100), 200)
        assert sorted(bodies(again)) == bodies(numbered(channel, 200))

    # --- channels, epochs, ends -------------------------------------------------------------------------------------

    def test_depth_counts_what_waits_and_not_what_is_held(self, broker: Broker, channel: Channel) -> None:
        broker.publisher().publish(numbered(channel, 5))
        assert broker.depth(channel) == 5

        consumer = broker.consumer([channel], 2)
        collect(consumer, 2)
        assert comes_to_hold(broker, channel, 3)

        consumer.close()
        assert comes_to_hold(broker, channel, 5)

    def test_the_depth_of_an_unknown_channel_is_not_known(self, broker: Broker) -> None:
        with pytest.raises(BrokerUnavailableError):
            broker.depth(tasks(f"nobody-{uuid.uuid4().hex[:8]}"))

    def test_applying_again_leaves_what_is_there(self, broker: Broker, channel: Channel) -> None:
        broker.publisher().publish(numbered(channel, 3))
        consumer = broker.consumer([channel], 1)
        collect(consumer, 1)

        broker.apply([channel])

        assert comes_to_hold(broker, channel, 2)
        consumer.close()
        assert comes_to_hold(broker, channel, 3)

    def test_an_epoch_is_known_once_it_began(self, broker: Broker) -> None:
        old, new = str(uuid.uuid4()), str(uuid.uuid4())

        broker.begin_epoch(new)

        assert broker.has_epoch(new)
        assert not broker.has_epoch(old)

    def test_whoever_closed_takes_and_gives_nothing(self, broker: Broker, channel: Channel) -> None:
        publisher, consumer = broker.publisher(), broker.consumer([channel], 1)
        for end in (publisher, consumer):
            end.close()
            end.close()

        with pytest.raises(BrokerUnavailableError):
            publisher.publish([outgoing(channel)])
        with pytest.raises(BrokerUnavailableError):
            consumer.collect(1, 0)
        assert broker.depth(channel) == 0

    def test_a_closed_broker_closes_whoever_used_it(self, broker: Broker, channel: Channel) -> None:
        publisher, consumer = broker.publisher(), broker.consumer([channel], 1)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(consumer.collect, 1, 3_600_000)

            broker.close()
            broker.close()

            with pytest.raises(BrokerUnavailableError):
                waiting.result(PATIENCE / 1000)
        uses: list[Callable[[], object]] = [
            lambda: publisher.publish([outgoing(channel)]),
            lambda: publisher.post([outgoing(channel)], lambda _said: None),
            broker.publisher,
            lambda: broker.consumer([channel], 1),
            lambda: broker.apply([channel]),
            lambda: broker.depth(channel),
            lambda: broker.has_epoch("gone"),
            lambda: broker.begin_epoch("new"),
        ]
        for use in uses:
            with pytest.raises(BrokerUnavailableError):
                use()


class Countdown:
    """How many messages several consumers still have to settle between them."""

    def __init__(self, left: int) -> None:
        self._left = left
        self._lock = threading.Lock()

    def take(self, count: int) -> None:
        with self._lock:
            self._left -= count

    @property
    def over(self) -> bool:
        return self._left <= 0


def work(consumer: Consumer, left: Countdown) -> list[bytes]:
    """What one of several consumers settled until nothing was left for any of them."""
    found: list[bytes] = []
    until = time.monotonic() + PATIENCE / 1000
    while not left.over and time.monotonic() < until:
        batch = consumer.collect(20, 20)
        consumer.acknowledge(batch)
        left.take(len(batch))
        found += bodies(batch)
    return found
