"""A publisher tells each batch what became of it, and hangs on nothing, whatever the broker says and in what order."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from pika.exceptions import ChannelClosedByBroker  # type: ignore[import-untyped]

from bus.brokers import rabbitmq_publisher
from bus.brokers.rabbitmq_publisher import RabbitPublisher
from bus.message.channel import Channel, tasks
from bus.ports import Confirmation, Outgoing

TIMEOUT = 10.0
TOO_LARGE = "PRECONDITION_FAILED - message size 1210 is larger than configured max size 1000"
OTHER_SENDER = "PRECONDITION_FAILED - user_id property set to 'a' but authenticated user was 'b'"


class Loop:
    """The I/O thread: what is handed over is done at once, what is for later when the test says so."""

    def __init__(self) -> None:
        self.is_alive, self.is_here = True, True
        self.now = 0.0
        self._later: list[tuple[float, Callable[[], None]]] = []

    def call(self, work: Callable[[], None]) -> None:
        work()

    def later(self, seconds: float, work: Callable[[], None]) -> None:
        self._later.append((self.now + seconds, work))

    def gather(self, work: Callable[[], None]) -> None:
        work()

    def pass_time(self, seconds: float) -> None:
        until = self.now + seconds
        while due := sorted((at, place) for place, (at, _) in enumerate(self._later) if at <= until):
            self.now, place = due[0]
            self._later.pop(place)[1]()
        self.now = until


class Line:
    """A connection, and the channel of AMQP on it."""

    def __init__(self) -> None:
        self.is_open, self.is_closed = True, False
        self.params = SimpleNamespace(frame_max=131_072)
        self.node = ("host", 5672)
        self.cuts: list[str] = []
        self.sent: list[bytes] = []
        self.answers = True
        self.take: Any = None
        self.rest: Any = None

    def add_on_connection_blocked_callback(self, told: Callable[..., None]) -> None:
        self.block = partial(told, self, None)

    def add_on_connection_unblocked_callback(self, told: Callable[..., None]) -> None:
        self.unblock = partial(told, self, None)

    def channel(self, _number: int, on_open_callback: Callable[[Any], None]) -> None:
        if self.answers:
            on_open_callback(self)

    def add_on_close_callback(self, told: Callable[..., None]) -> None:
        self._closed = told

    def close_channel(self, code: int, text: str) -> None:
        """As the broker does."""
        self._closed(self, ChannelClosedByBroker(code, text))

    def add_on_return_callback(self, told: Callable[..., None]) -> None:
        self.bring_back = told

    def confirm_delivery(self, _told: Callable[..., None], callback: Callable[[Any], None]) -> None:
        callback(None)

    def emit(self, frames: bytes) -> None:
        self.sent.append(frames)

    def cut(self, why: str) -> None:
        self.cuts.append(why)


class Post:
    """A publisher over such a line."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.loop, self.line = Loop(), Line()
        clock = SimpleNamespace(monotonic=lambda: self.loop.now, time=lambda: 1_800_000_000.0)
        monkeypatch.setattr(rabbitmq_publisher, "time", clock)
        connector: Any = SimpleNamespace(
            io=self.loop,
            address="host",
            login=SimpleNamespace(user="bus"),
            shun=lambda _node: None,
            connect=lambda _purpose, _lost: self.line,
        )
        self.publisher = RabbitPublisher(connector, TIMEOUT, lambda _: None)
        self.told: list[tuple[Confirmation, ...] | None] = []

    def post(self, *channels: Channel) -> None:
        batch = [
            Outgoing(channel=channel, message_id=f"m{number}", type="t", correlation_id="c", body=b"{}")
            for number, channel in enumerate(channels)
        ]
        self.publisher.post(batch, self.told.append)


@pytest.fixture
def post(monkeypatch: pytest.MonkeyPatch) -> Post:
    return Post(monkeypatch)


@pytest.mark.parametrize(("text", "cause"), [(TOO_LARGE, "too-large"), (OTHER_SENDER, "other-sender"), ("?", "other")])
def test_a_message_that_is_taken_in_no_way_is_told_as_such_and_the_log_says_why(
    post: Post, capsys: pytest.CaptureFixture[str], text: str, cause: str
) -> None:
    post.post(tasks("a"))
    post.line.close_channel(406, text)

    assert post.told == [(Confirmation.UNACCEPTABLE,)]
    (line,) = [json.loads(one) for one in capsys.readouterr().err.splitlines()]
    assert (line["event"], line["channel"], line["message_id"]) == ("message_refused", "tasks.a", "m0")
    assert (line["status"], line["cause"]) == (406, cause)


def test_a_channel_that_is_never_opened_is_given_up_also_if_the_broker_was_blocked_meanwhile(post: Post) -> None:
    # Given a channel of AMQP that the broker closed, and a new one for which it gives no answer
    post.post(tasks("gone"))
    post.line.answers = False
    post.line.close_channel(404, "NOT_FOUND - no exchange 'tasks.gone' in vhost 'bus'")
    post.loop.pass_time(1)
    # When it was blocked for a moment
    post.line.block()
    post.line.unblock()
    post.post(tasks("a"))
    post.loop.pass_time(TIMEOUT + 1)
    # Then nobody waits for ever
    assert post.told == [(Confirmation.UNROUTABLE,)]
    assert post.line.cuts


def test_a_block_that_ends_in_time_costs_nothing(post: Post) -> None:
    post.line.block()
    post.loop.pass_time(TIMEOUT - 1)
    post.line.unblock()
    post.post(tasks("a"))
    post.loop.pass_time(TIMEOUT - 1)

    assert (len(post.line.sent), post.line.cuts) == (1, [])
