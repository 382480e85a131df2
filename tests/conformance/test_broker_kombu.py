"""The embedded broker keeps the promises of every broker, and closes the gaps of kombu's memory transport."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from kombu.transport import memory

from bus.brokers.kombu import KombuBroker
from bus.errors import ConfigurationError
from bus.message.channel import REQUESTS, replies
from bus.ports import Broker
from tests.conformance.broker_contract import SILENCE, BrokerContract, Pausing, bodies, collect, numbered, outgoing


class TestKombuBroker(BrokerContract):
    @pytest.fixture
    def broker(self) -> Iterator[Broker]:
        broker = KombuBroker()
        yield broker
        broker.close()

    def test_it_is_volatile_so_each_start_is_a_new_epoch(self, broker: Broker) -> None:
        broker.begin_epoch("e1")

        assert broker.volatile
        assert not KombuBroker().has_epoch("e1")

    def test_two_brokers_in_one_process_share_no_channel(self, broker: Broker) -> None:
        other = KombuBroker()
        broker.apply([REQUESTS])
        other.apply([REQUESTS])

        broker.publisher().publish([outgoing(REQUESTS)])
        other.close()

        assert broker.depth(REQUESTS) == 1
        assert len(collect(broker.consumer([REQUESTS], 1), 1)) == 1

    def test_a_closed_broker_leaves_no_queue_in_the_process(self) -> None:
        before = set(memory.Channel.queues)
        broker = KombuBroker()
        broker.apply([REQUESTS])
        broker.publisher().publish(numbered(REQUESTS, 10))
        consumer = broker.consumer([REQUESTS], 5)
        collect(consumer, 5)

        broker.close()

        assert set(memory.Channel.queues) == before

    def test_what_is_put_back_keeps_its_order_and_stands_behind_what_waits(self, broker: Broker) -> None:
        broker.apply([REQUESTS])
        broker.publisher().publish(numbered(REQUESTS, 6))
        first = broker.consumer([REQUESTS], 3)
        collect(first, 3)

        first.close()

        again = bodies(collect(broker.consumer([REQUESTS], 10), 6))
        assert again == bodies(numbered(REQUESTS, 6)[3:] + numbered(REQUESTS, 6)[:3])

    def test_what_one_consumer_puts_back_wakes_another(self, broker: Broker) -> None:
        broker.apply([REQUESTS])
        broker.publisher().publish([outgoing(REQUESTS, b"again")])
        first, second = broker.consumer([REQUESTS], 1), broker.consumer([REQUESTS], 1)
        collect(first, 1)
        found: list[bytes] = []
        waiting = threading.Thread(target=lambda: found.extend(bodies(second.collect(1, 3_600_000))))
        waiting.start()

        first.close()

        waiting.join(10)
        assert found == [b"again"]

    def test_a_resumed_channel_wakes_its_consumer(self, broker: Broker) -> None:
        broker.apply([REQUESTS])
        consumer = broker.consumer([REQUESTS], 1)
        assert isinstance(consumer, Pausing)
        consumer.pause(REQUESTS)
        broker.publisher().publish([outgoing(REQUESTS, b"later")])
        found: list[bytes] = []
        waiting = threading.Thread(target=lambda: found.extend(bodies(consumer.collect(1, 3_600_000))))
        waiting.start()

        consumer.resume(REQUESTS)

        waiting.join(10)
        assert found == [b"later"]

    def test_full_channels_take_turns_one_message_each(self, broker: Broker) -> None:
        channels = [replies(name) for name in "abc"]
        broker.apply(channels)
        broker.publisher().publish([message for channel in channels for message in numbered(channel, 20)])
        consumer = broker.consumer(channels, 100)

        found = [*consumer.collect(1, 0), *consumer.collect(1, 0), *consumer.collect(10, 0), *consumer.collect(48, 0)]

        assert [delivery.channel for delivery in found] == channels * 20

    def test_a_consumer_that_waits_does_not_look_again_and_again(
        self, broker: Broker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        broker.apply([REQUESTS, replies("a")])
        consumer = broker.consumer([REQUESTS, replies("a")], 10)
        assert isinstance(consumer, Pausing)
        looks: list[str] = []
        look: Any = memory.Channel._get  # noqa: SLF001  # counted, not replaced

        def counted(channel: memory.Channel, queue: str, timeout: float | None = None) -> object:
            looks.append(queue)
            return look(channel, queue, timeout)

        monkeypatch.setattr(memory.Channel, "_get", counted)
        consumer.pause(REQUESTS)
        broker.publisher().publish([outgoing(REQUESTS)])

        assert consumer.collect(10, SILENCE) == ()

        assert 1 <= len(looks) <= 3

    def test_a_channel_made_while_a_connection_closes_waits_for_it(self, broker: Broker) -> None:
        # A closing connection of kombu walks through all queues of the process, and a new one would break its walk.
        maker = threading.Thread(target=broker.apply, args=([REQUESTS],))

        class Walked(queue.Queue[object]):
            def empty(self) -> bool:
                maker.start()
                maker.join(0.2)
                return True

        consumer = broker.consumer([], 1)
        memory.Channel.queues["walked"] = Walked()
        try:
            consumer.close()
        finally:
            del memory.Channel.queues["walked"]

        maker.join()
        assert broker.depth(REQUESTS) == 0

    @pytest.mark.parametrize("url", ["redis://localhost", "amqp://localhost", "filesystem://", "", "memory"])
    def test_a_transport_that_did_not_pass_the_suite_is_refused(self, url: str) -> None:
        with pytest.raises(ConfigurationError, match="unknown-transport"):
            KombuBroker(url)

    def test_a_consumer_that_could_never_collect_is_refused(self, broker: Broker) -> None:
        broker.apply([REQUESTS])

        with pytest.raises(ValueError, match="prefetch 0"):
            broker.consumer([REQUESTS], 0)
