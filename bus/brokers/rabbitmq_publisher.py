"""Publishes batches to RabbitMQ: many messages on the wire at once, each with a confirmation of its own.

What a broker says of a message comes in three ways: a return, before its ack, when nothing is bound; a nack, when the
channel is full; and a channel of AMQP that closes, when an exchange does not exist, or over a message that it takes in
no way. The last one takes all with it that was on the wire: it is published again, with the same ids, on a new one; one
by one, where the broker does not say which message it was.
"""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from typing import Any, Final

from bus.brokers.rabbitmq_flight import Batch, Flight, Settled
from bus.brokers.rabbitmq_frames import Encoder
from bus.brokers.rabbitmq_io import FAREWELL, IoThread
from bus.brokers.rabbitmq_link import NUMBER, Connector, Link, answer, fail, tell
from bus.brokers.rabbitmq_reading import Verdict, confirmations
from bus.errors import BrokerBusyError, BrokerUnavailableError
from bus.logs import bind
from bus.ports import Confirmation, Outgoing, Told

#: Messages handed over that are not confirmed yet, from which on no more are taken.
MOST_UNCONFIRMED: Final = 4_000

#: Seconds between two looks at the age of what is not confirmed.
_TICK = 0.5
#: An exchange that does not exist, and one that this user may not write to.
_NOT_FOUND, _REFUSED = 404, 403
#: Codes with which the broker closes a channel of AMQP over one message: too large, or a property that it minds.
_OF_ONE_MESSAGE = frozenset({311, 406})
#: What the broker says then, in part -> the word of the log, which takes no sentences.
_CAUSES = {"message size": "too-large", "CONTENT_TOO_LARGE": "too-large", "user_id": "other-sender"}
_EXCHANGE = re.compile(r"exchange '([^']*)'")
_RECONNECT = "What it was to publish waits where it was kept; connect anew."

_log = bind()


class RabbitPublisher:
    """One connection. What is written here below the line is done on the I/O thread alone."""

    def __init__(self, connector: Connector, timeout: float, forget: Callable[[RabbitPublisher], None]) -> None:
        self._io: IoThread = connector.io
        self._timeout = timeout
        self._forget = forget
        self._where = str(connector.address)
        #: Guards what both sides touch: the next five.
        self._lock = threading.Lock()
        self._handed: deque[Batch] = deque()
        self._is_woken = False
        self._unconfirmed = 0
        self._is_blocked = False
        self._fault: BrokerUnavailableError | None = None
        self._is_closed = False
        self._gone = threading.Event()

        self._flight = Flight()
        self._is_ticking = False
        self._is_leaving = False
        #: Since when nothing can go out, because the broker is blocked or a channel of AMQP is being opened.
        self._held_since: float | None = None
        self._amqp: Any = None

        self._ready: Future[None] = Future()
        self._shun = connector.shun
        self._link: Link = connector.connect("publisher", self._lost)
        self._io.call(self._begin)
        answer(self._ready, timeout, self._where, give_up=lambda: self._io.call(lambda: self._link.cut("No answer.")))
        self._encoder = Encoder(number=NUMBER, user=connector.login.user, frame_max=self._link.params.frame_max)

    def publish(self, batch: Sequence[Outgoing]) -> tuple[Confirmation, ...]:
        """One confirmation for each message, same order; a large batch goes out as confirmations come in.

        BrokerUnavailableError: none of it is known to be stored, though some of it may be.
        """
        if not batch:
            return ()
        said: list[tuple[Confirmation, ...] | None] = []
        done = threading.Event()

        def told(confirmations: tuple[Confirmation, ...] | None) -> None:
            said.append(confirmations)
            done.set()

        self._hand_over(batch, told, most=None)
        # The I/O thread bounds this; it is looked after only in case that it died.
        while not done.wait(self._timeout):
            if not self._io.is_alive:
                raise BrokerUnavailableError("The broker is closed.", mend="Make a new one.")
        if said[0] is None:
            raise self._fault or self._lost_error()
        return said[0]

    def post(self, batch: Sequence[Outgoing], told: Told) -> None:
        """Hand over and do not wait; ``told`` is called on the I/O thread."""
        if not batch:
            told(())
            return
        self._hand_over(batch, told, most=MOST_UNCONFIRMED)

    def close(self) -> None:
        """Wait a little for what is not confirmed yet, then let go of the connection. A second time does nothing."""
        with self._lock:
            was_closed, self._is_closed = self._is_closed, True
        if not was_closed:
            self._io.call(self._leave)
        if not self._io.is_here:
            self._gone.wait(2 * FAREWELL + 1)
        self._forget(self)

    def _hand_over(self, batch: Sequence[Outgoing], told: Told, *, most: int | None) -> None:
        seconds = int(time.time())
        count = len(batch)
        # Encoded by whoever hands it over: what cannot be encoded is his fault, and not that of the connection.
        handed = Batch(
            channels=[message.channel for message in batch],
            message_ids=[message.message_id for message in batch],
            frames=[self._encoder.encode(message, seconds) for message in batch],
            said=[None] * count,
            left=count,
            told=told,
        )
        with self._lock:
            self._check_open(most)
            self._handed.append(handed)
            self._unconfirmed += count
            was_woken, self._is_woken = self._is_woken, True
        if not was_woken:
            self._io.call(self._take_over)

    def _check_open(self, most: int | None) -> None:
        if self._is_closed:
            raise BrokerUnavailableError("This publisher is closed.", mend="Ask the broker for a new one.")
        if self._fault is not None:
            raise self._lost_error() from self._fault
        if self._is_blocked:
            raise BrokerBusyError(
                f"The broker at {self._where} takes nothing at present: its memory or its disk is nearly full.",
                mend="Free memory or disk there; publishing goes on by itself.",
            )
        if most is not None and self._unconfirmed >= most:
            raise BrokerBusyError(
                f"{self._unconfirmed} messages are not confirmed yet.", mend="Leave the next ones where they are kept."
            )

    def _lost_error(self) -> BrokerUnavailableError:
        return BrokerUnavailableError(f"The connection to the broker at {self._where} is gone.", mend=_RECONNECT)

    # --- on the I/O thread: opening ------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._link.add_on_connection_blocked_callback(lambda _link, _frame: self._set_blocked(is_blocked=True))
        self._link.add_on_connection_unblocked_callback(lambda _link, _frame: self._set_blocked(is_blocked=False))
        self._open_channel()

    def _open_channel(self) -> None:
        if self._link.is_open:
            self._link.channel(NUMBER, on_open_callback=self._select)

    def _select(self, amqp: Any) -> None:
        amqp.add_on_close_callback(self._channel_closed)
        amqp.add_on_return_callback(self._returned)
        self._link.take, self._link.rest = self._take_verdicts, self._rest
        amqp.confirm_delivery(self._confirmed, callback=lambda _frame: self._selected(amqp))

    def _selected(self, amqp: Any) -> None:
        self._amqp = amqp
        self._held_since = None
        tell(self._ready, None)
        self._send()

    # --- on the I/O thread: sending ------------------------------------------------------------------------------

    def _take_over(self) -> None:
        with self._lock:
            batches = tuple(self._handed)
            self._handed.clear()
            self._is_woken = False
            fault = self._fault
        if fault is not None:
            self._tell_lost(batches)
            return
        for batch in batches:
            self._flight.add(batch)
        self._send()
        self._tick_later()

    def _send(self) -> None:
        if self._amqp is None or self._is_blocked or not self._link.is_open:
            return
        if frames := self._flight.send(time.monotonic()):
            self._link.emit(frames)

    # --- on the I/O thread: what the broker says -------------------------------------------------------------------

    def _take_verdicts(self, buffer: bytes) -> int:
        verdicts, taken = confirmations(buffer, NUMBER)
        if verdicts:
            self._judge(verdicts)
        return taken

    def _rest(self) -> None:
        # Confirmations come one by one, and the next ones may well be read together.
        self._io.gather(_nothing)

    def _confirmed(self, frame: Any) -> None:
        """One of those that pika has read."""
        method = frame.method
        self._judge([Verdict(method.delivery_tag, method.multiple, method.NAME == "Basic.Ack")])

    def _judge(self, verdicts: Iterable[Verdict]) -> None:
        self._settle(self._flight.judge(verdicts))
        self._send()

    def _returned(self, _amqp: Any, method: Any, properties: Any, _body: bytes) -> None:
        self._flight.returned(properties.message_id, method.routing_key)

    def _settle(self, settled: Settled) -> None:
        with self._lock:
            self._unconfirmed -= settled.number
            is_idle = not self._unconfirmed
        for batch in settled.ended:
            _tell(batch.told, tuple(one for one in batch.said if one is not None))
        if is_idle and self._is_leaving:
            self._say_goodbye()

    def _channel_closed(self, _amqp: Any, reason: Any) -> None:
        # From here on nothing goes out, until there is a new one.
        self._amqp = None
        if self._fault is not None or not self._link.is_open:
            return
        code, text = getattr(reason, "reply_code", 0), str(getattr(reason, "reply_text", ""))
        found = _EXCHANGE.search(text)
        if code in {_NOT_FOUND, _REFUSED} and found is not None and self._flight.has(found[1]):
            says = Confirmation.UNROUTABLE if code == _NOT_FOUND else Confirmation.REFUSED
            settled = self._flight.set_aside(found[1], says)
        elif code in _OF_ONE_MESSAGE and self._flight:
            settled = self._single_out(code, text)
        else:
            self._link.cut(f"The broker closed the channel: {code}.")
            return
        self._held_since = time.monotonic()
        self._settle(settled)
        # The number of the old one is free only once pika is through with this.
        self._io.later(0, self._open_channel)
        self._tick_later()

    def _single_out(self, code: int, text: str) -> Settled:
        refused, settled = self._flight.single_out()
        if refused is not None:
            batch, index = refused
            _log.error(
                "message_refused", channel=batch.channels[index], message_id=batch.message_ids[index], status=code,
                cause=next((cause for part, cause in _CAUSES.items() if part in text), "other"),
            )  # fmt: skip
        return settled

    def _set_blocked(self, *, is_blocked: bool) -> None:
        with self._lock:
            self._is_blocked = is_blocked
        # While a channel of AMQP is being opened, nothing can go out yet.
        is_held = is_blocked or self._amqp is None
        self._held_since = time.monotonic() if is_held else None
        if is_blocked:
            self._tick_later()
        else:
            self._send()

    # --- on the I/O thread: patience and ends ----------------------------------------------------------------------

    def _tick_later(self) -> None:
        if not self._is_ticking and (self._flight or self._flight.waits):
            self._is_ticking = True
            self._io.later(_TICK, self._tick)

    def _tick(self) -> None:
        self._is_ticking = False
        oldest = self._flight.oldest()
        since = [] if oldest is None else [oldest]
        if self._held_since is not None and self._flight.waits:
            since.append(self._held_since)
        if since and time.monotonic() - min(since) > self._timeout:
            _log.warning("publish_unconfirmed", count=len(self._flight))
            self._shun(self._link.node)
            self._link.cut(f"The broker did not confirm within {self._timeout:g} s.")
        self._tick_later()

    def _leave(self) -> None:
        self._is_leaving = True
        with self._lock:
            is_idle = not self._unconfirmed or self._fault is not None
        if is_idle or self._is_blocked:
            self._say_goodbye()
        else:
            self._io.later(min(FAREWELL, self._timeout), self._say_goodbye)

    def _say_goodbye(self) -> None:
        if self._link.is_closed:
            self._gone.set()
        elif self._is_blocked:
            # It reads nothing at present, not even a goodbye.
            self._link.cut("It is closed.")
        else:
            self._link.leave()

    def _lost(self, error: BaseException) -> None:
        fault = BrokerUnavailableError(
            f"The connection to the broker at {self._where} is gone ({type(error).__name__}).", mend=_RECONNECT
        )
        with self._lock:
            self._fault = fault
            handed = tuple(self._handed)
            self._handed.clear()
            self._unconfirmed = 0
        fail(self._ready, fault)
        self._tell_lost((*self._flight.lost(), *handed))
        self._gone.set()

    def _tell_lost(self, batches: Iterable[Batch]) -> None:
        for batch in batches:
            _tell(batch.told, None)


def _nothing() -> None:
    """There is nothing to be done but to let more come."""


def _tell(told: Told, confirmations: tuple[Confirmation, ...] | None) -> None:
    try:
        told(confirmations)
    except Exception as error:  # noqa: BLE001
        # It is not the connection's fault, and the other batches must be told too.
        _log.error("unexpected_error", error=error)
