"""What follows the end of all subscriptions follows when nothing more can come, and never before."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from bus.brokers.rabbitmq_subscriptions import Subscriptions
from bus.message.channel import Channel, tasks

A, B = tasks("a"), tasks("b")


class Amqp:
    """A channel of AMQP that answers when the test says so, in its order."""

    def __init__(self) -> None:
        self.is_open = True
        #: Names of subscriptions that pika knows, and of those that are to end, with whom to tell.
        self.known: list[str] = []
        self._ending: list[tuple[str, Callable[[Any], None]]] = []

    def basic_qos(self, *, prefetch_count: int, callback: Callable[[Any], None]) -> None:
        assert prefetch_count
        callback(None)

    def basic_consume(self, _queue: str, _came: object, *, consumer_tag: str, callback: Callable[[Any], None]) -> None:
        self.known.append(consumer_tag)
        callback(None)

    def _rpc(self, method: Any, ended: Callable[[Any], None], _replies: object) -> None:
        self._ending.append((method.consumer_tag, ended))

    def _cleanup_consumer_ref(self, name: str) -> None:
        self.known.remove(name)

    def end_next(self) -> None:
        """The broker says of the next one that it has ended."""
        name, ended = self._ending.pop(0)
        ended(SimpleNamespace(method=SimpleNamespace(consumer_tag=name)))

    @property
    def asked(self) -> int:
        return len(self._ending)


class Desk:
    """Subscriptions to two channels, and what followed."""

    def __init__(self) -> None:
        self.amqp = Amqp()
        self.paused: set[Channel] = set()
        self.done: list[str] = []
        self.subscriptions = Subscriptions(
            (A, B),
            is_over=lambda: False,
            is_paused=self.paused.__contains__,
            came=lambda *_: None,
            stands=lambda: None,
        )
        self.subscriptions.begin(self.amqp)
        self.subscriptions.start(10, lambda: None)

    def end_all(self, name: str) -> None:
        self.subscriptions.end_all(lambda: self.done.append(name))


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_it_follows_once_when_the_last_one_has_ended(desk: Desk) -> None:
    desk.end_all("then")
    desk.amqp.end_next()
    assert desk.done == []
    desk.amqp.end_next()
    assert (desk.done, dict(desk.subscriptions.names)) == (["then"], {})


def test_who_ends_it_while_another_end_is_under_way_waits_for_that_too(desk: Desk) -> None:
    # Given subscriptions that are about to end, and the consumer closes meanwhile
    desk.end_all("isolate")
    desk.amqp.end_next()
    desk.end_all("close")
    # Then it does not let go before the last of them has ended
    assert desk.done == []
    desk.amqp.end_next()
    assert (desk.done, desk.amqp.asked) == (["close"], 0)


def test_what_may_still_come_of_a_channel_that_was_paused_just_now_is_waited_for(desk: Desk) -> None:
    for channel in (A, B):
        desk.paused.add(channel)
        desk.subscriptions.unsubscribe(channel)
    desk.end_all("close")
    assert desk.done == []
    desk.amqp.end_next()
    desk.amqp.end_next()
    assert desk.done == ["close"]


def test_of_what_has_ended_nothing_is_kept_however_often_a_channel_is_paused(desk: Desk) -> None:
    for _ in range(50):
        desk.paused.add(A)
        desk.subscriptions.unsubscribe(A)
        desk.amqp.end_next()
        desk.paused.clear()
        desk.subscriptions.subscribe(A)
    assert (len(desk.amqp.known), len(desk.subscriptions.names)) == (2, 2)
