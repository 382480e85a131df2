"""Asks RabbitMQ what stands in it, and makes what is missing: one question at a time, on a connection of its own."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any, Final

from pika import exceptions, spec  # type: ignore[import-untyped]

from bus.brokers.rabbitmq_address import Node
from bus.brokers.rabbitmq_link import Connector, Link, answer, fail, tell
from bus.brokers.topology import Declaration, declaration
from bus.errors import BrokerUnavailableError, ConfigurationError, Fault
from bus.message.channel import POISON, Channel

_NOT_FOUND, _REFUSED, _OTHER_ARGUMENTS = 404, 403, 406
_QUEUE = re.compile(r"queue '([^']*)'")
_EPOCH: Final = "bus.epoch."
#: Channels that are made within the time of one answer: a cluster takes a good part of a second for each new queue.
_AT_ONCE: Final = 10

#: A question: it gets a channel of AMQP, and where its answer is to go.
Question = Callable[[Any, "Future[Any]"], None]


class NoAnswerError(Exception):
    """The broker closed the channel of AMQP in place of an answer."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code} {text}")
        self.code = code
        self.text = text


class _Line:
    """A connection, and the question that was asked on it last."""

    def __init__(self, connector: Connector, apart_from: Node | None = None) -> None:
        self.asked: Future[Any] = Future()
        self.link: Link = connector.connect("admin", self._lost, apart_from)

    def give_up(self) -> None:
        self.link.cut("No answer.")

    def _lost(self, error: BaseException) -> None:
        fail(self.asked, BrokerUnavailableError(f"The connection to the broker is gone ({type(error).__name__})."))


class RabbitAdmin:
    """Any thread may ask; one is answered after the other, each within ``timeout`` seconds."""

    def __init__(self, connector: Connector, replicas: int, timeout: float) -> None:
        self._connector = connector
        self._replicas = replicas
        self._timeout = timeout
        self._lock = threading.Lock()
        self._line: _Line | None = None

    def apply(self, channels: Collection[Channel]) -> None:
        """Make the channels, and the one for what is given up, which all others lead to.

        A user who may make nothing only looks: BrokerUnavailableError if one is missing. ConfigurationError if one is
        there and is another kind of thing.
        """
        if not channels:
            return
        names = (POISON, *(channel for channel in dict.fromkeys(channels) if channel != POISON))
        try:
            for start in range(0, len(names), _AT_ONCE):
                part = names[start : start + _AT_ONCE]
                self._ask(_declaring([declaration(name, self._replicas) for name in part]))
        except NoAnswerError as error:
            if error.code == _OTHER_ARGUMENTS:
                raise _other_arguments(error) from None
            if error.code != _REFUSED:
                raise self._unavailable(error) from None
            self._look_for(tuple(dict.fromkeys(channels)))

    def depth(self, channel: Channel) -> int:
        """How many messages wait; BrokerUnavailableError if there is no such channel."""
        try:
            frame = self._ask(_looking(channel))
        except NoAnswerError as error:
            raise self._unavailable(error) from None
        return int(frame.method.message_count)

    def first_waiting(self, channels: Sequence[Channel], apart_from: Node) -> Channel | None:
        """The first channel in which something waits; None also where that cannot be found out.

        Of a cluster another node than ``apart_from`` is asked where one answers: a node that is cut off from the
        others tells what it last knew.
        """
        if len(self._connector.address.nodes) == 1:
            return _first_waiting(self._ask, channels)
        with suppress(BrokerUnavailableError):  # that other node is away, which says nothing of ours
            return _first_waiting(partial(self._ask, apart_from=apart_from), channels)
        return None

    def has_epoch(self, epoch: str) -> bool:
        """Whether the mark of this epoch stands."""
        try:
            self._ask(_looking(_EPOCH + epoch))
        except NoAnswerError as error:
            if error.code == _NOT_FOUND:
                return False
            raise self._unavailable(error) from None
        return True

    def begin_epoch(self, epoch: str) -> None:
        """Make the mark: a durable queue that nothing leads to, gone with everything else when the broker is wiped."""
        arguments = {"x-queue-type": "quorum", "x-quorum-initial-group-size": self._replicas}

        def question(amqp: Any, told: Future[Any]) -> None:
            amqp.queue_declare(_EPOCH + epoch, durable=True, arguments=arguments, callback=partial(tell, told))

        try:
            self._ask(question)
        except NoAnswerError as error:
            raise self._unavailable(error) from None

    def close(self) -> None:
        """Let go of the connection."""
        with self._lock:
            line, self._line = self._line, None
        if line is not None:
            self._connector.io.call(line.link.leave)

    def _look_for(self, channels: Sequence[Channel]) -> None:
        for channel in channels:
            try:
                self._ask(_looking(channel))
            except NoAnswerError as error:
                if error.code == _REFUSED:
                    # Since RabbitMQ 4.3 looking needs the right to make. Whoever consumes or publishes will be told.
                    return
                if error.code != _NOT_FOUND:
                    raise self._unavailable(error) from None
                raise BrokerUnavailableError(
                    f"The bus has not made the channel {channel!r} yet, and this user may not make it.",
                    mend="Run `bus topology apply` on the side of the bus, or start the bus.",
                ) from None

    def _ask(self, question: Question, apart_from: Node | None = None) -> Any:
        io = self._connector.io
        with self._lock:
            line = self._line_to(apart_from)
            link, told = line.link, Future[Any]()
            line.asked = told
            io.call(lambda: _begin(link, question, told))
            try:
                return answer(told, self._timeout, str(self._connector.address), give_up=lambda: io.call(line.give_up))
            except BrokerUnavailableError:
                # It is gone or about to be cut off: the next question gets a new one.
                self._line = None
                self._connector.shun(link.node)
                raise

    def _line_to(self, apart_from: Node | None) -> _Line:
        """The line that stands, or a new one."""
        line = self._line
        if line is not None and line.link.is_open:
            if line.link.node != apart_from:
                return line
            self._connector.io.call(line.link.leave)
        self._line = None
        self._line = _Line(self._connector, apart_from)
        return self._line

    def _unavailable(self, error: NoAnswerError) -> BrokerUnavailableError:
        return BrokerUnavailableError(
            f"The broker at {self._connector.address} refused: {error}.",
            mend="See with `bus topology check` that every channel is there, and that this user has its rights.",
        )


def _first_waiting(ask: Callable[[Question], Any], channels: Sequence[Channel]) -> Channel | None:
    return next((channel for channel in channels if _waits(ask, channel)), None)


def _waits(ask: Callable[[Question], Any], channel: Channel) -> bool:
    """A user who may make nothing may not ask for the depth either, but he may take a message, and give it back."""
    try:
        return bool(ask(_looking(channel)).method.message_count)
    except NoAnswerError as error:
        if error.code != _REFUSED:
            return False
    try:
        return bool(ask(_taking(channel)))
    except NoAnswerError:
        return False


def _begin(link: Link, question: Question, told: Future[Any]) -> None:
    def closed(_amqp: Any, reason: Any) -> None:
        # One that went down with the connection is told by that.
        if isinstance(reason, exceptions.ChannelClosedByBroker):
            fail(told, NoAnswerError(reason.reply_code, reason.reply_text))

    def opened(amqp: Any) -> None:
        amqp.add_on_close_callback(closed)
        # Whoever asked may be the one who ends it, when he gives up; only the I/O thread may close.
        told.add_done_callback(lambda _told: link.ioloop.add_callback_threadsafe(partial(_close, amqp)))
        question(amqp, told)

    if told.done():
        return
    if link.is_open:
        link.channel(on_open_callback=opened)
    else:
        fail(told, BrokerUnavailableError("The connection to the broker is gone."))


def _close(amqp: Any) -> None:
    if amqp.is_open:
        amqp.close()


def _looking(queue: str) -> Question:
    def question(amqp: Any, told: Future[Any]) -> None:
        amqp.queue_declare(queue, passive=True, callback=partial(tell, told))

    return question


def _taking(queue: str) -> Question:
    def question(amqp: Any, told: Future[Any]) -> None:
        # The channel of AMQP closes after the answer, and the message goes back.
        amqp.basic_get(queue, callback=lambda *_message: tell(told, value=True))
        amqp.add_callback(lambda _frame: tell(told, value=False), [spec.Basic.GetEmpty])

    return question


def _declaring(declarations: Sequence[Declaration]) -> Question:
    def question(amqp: Any, told: Future[Any]) -> None:
        # pika sends the next when the one before is answered; one that is refused closes the channel of AMQP.
        for each in declarations:
            amqp.exchange_declare(each.name, "direct", durable=True, callback=_nothing)
            amqp.queue_declare(each.name, durable=True, arguments=dict(each.arguments), callback=_nothing)
            is_last = each is declarations[-1]
            callback = partial(tell, told) if is_last else _nothing
            amqp.queue_bind(each.name, each.name, routing_key=each.name, callback=callback)

    return question


def _nothing(_frame: Any) -> None:
    """Wait for the answer, and do nothing with it."""


def _other_arguments(error: NoAnswerError) -> ConfigurationError:
    found = _QUEUE.search(error.text)
    name = found[1] if found else "one of its queues"
    fault = Fault(
        code="topology-differs",
        message=f"The queue {name!r} stands in the broker with other arguments than the bus gives it: {error.text}.",
        mend="See `bus topology check`; drain and delete the queue, and apply again.",
    )
    return ConfigurationError((fault,))
