"""Collects batches from RabbitMQ.

The I/O thread puts what comes onto a shelf, burst by burst, and wakes whoever collects once for each burst. Three
things need more than that: a channel that is paused, a message that keeps killing whoever works on it (isolation), and
a channel from which nothing comes although something waits there (the watchdog).
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any, Final

from bus.brokers.rabbitmq_frames import ack
from bus.brokers.rabbitmq_io import FAREWELL, IoThread
from bus.brokers.rabbitmq_link import NUMBER, Connector, Link, answer, fail, tell
from bus.brokers.rabbitmq_reading import Arrival
from bus.brokers.rabbitmq_reading import deliveries as read_deliveries
from bus.brokers.rabbitmq_shelf import RECONNECT, Shelf
from bus.brokers.rabbitmq_subscriptions import Subscriptions
from bus.brokers.rabbitmq_tags import Tags
from bus.brokers.rabbitmq_watchdog import FirstWaiting, Watchdog
from bus.errors import BrokerUnavailableError
from bus.logs import bind
from bus.message.channel import POISON, Channel
from bus.message.instant import Milliseconds
from bus.message.signature import HEADER
from bus.message.strict_json import MOST_BYTES
from bus.ports import Delivery

#: Deliveries of one message that ended badly, from which on messages are handed out one by one.
SUSPICIOUS: Final = 3
#: Innocent messages in a row after which they come in batches again.
INNOCENT: Final = 20
#: Seconds without a message after which isolation ends too.
QUIET: Final = 5.0

_COUNT = "x-delivery-count"
#: A list; the broker writes its own first, whatever the publisher wrote there.
_DEATHS = "x-death"
#: A tag of ours is the number of its consumer, then what the broker calls the delivery.
_SHIFT = 40
_MASK = (1 << _SHIFT) - 1
_NUMBERS: Final = itertools.count(1)

_log = bind()


class RabbitConsumer:
    """One connection. What is written here below the line is done on the I/O thread alone."""

    def __init__(
        self,
        connector: Connector,
        channels: Collection[Channel],
        prefetch: int,
        *,
        timeout: float,
        watch: Milliseconds,
        first_waiting: FirstWaiting,
        forget: Callable[[RabbitConsumer], None],
    ) -> None:
        self._io: IoThread = connector.io
        self._prefetch = prefetch
        self._timeout = timeout
        self._forget = forget
        self._where = str(connector.address)
        self._prefix = next(_NUMBERS) << _SHIFT
        self._channels = tuple(dict.fromkeys(channels))
        self._shelf = Shelf(self._channels)
        self._watchdog = Watchdog(self._channels, watch / 1000, first_waiting)
        self._tags = Tags()
        self._gone = threading.Event()

        self._amqp: Any = None
        self._burst: list[Delivery] = []
        self._burst_began = 0.0
        self._is_gathering = False
        self._subscriptions = Subscriptions(
            self._channels,
            is_over=lambda: self._shelf.is_over,
            is_paused=self._shelf.is_paused,
            came=self._came,
            stands=lambda: tell(self._ready, None),
        )
        self._streak = 0
        #: Whether what comes now, before the subscriptions have ended, is to be given back.
        self._is_giving_back = False

        self._ready: Future[None] = Future()
        self._shun = connector.shun
        self._link: Link = connector.connect("consumer", self._lost)
        self._io.call(self._open)
        answer(self._ready, timeout, self._where, give_up=lambda: self._io.call(lambda: self._link.cut("No answer.")))

    def collect(self, most: int, wait: Milliseconds) -> tuple[Delivery, ...]:
        """What is there, up to ``most``; in isolation one, and the next when that is acknowledged."""
        until = time.monotonic() + wait / 1000
        while True:
            if time.monotonic() >= self._watchdog.look_at:
                self._look()
            taken = self._shelf.collect(most, min(until, self._watchdog.look_at))
            if taken or time.monotonic() >= until:
                return taken

    def acknowledge(self, deliveries: Collection[Delivery]) -> None:
        """The broker may forget these; one that this consumer does not hold (any more) is passed over."""
        prefix = self._prefix
        tags = [delivery.tag for delivery in deliveries if delivery.tag & ~_MASK == prefix]
        if tags:
            self._shelf.acknowledged(tags)
            self._io.call(partial(self._settle, [tag & _MASK for tag in tags]))

    def age(self) -> Milliseconds:
        """How long the oldest delivery has been here, collected or not, and unacknowledged; 0 without any."""
        since = self._tags.oldest()
        return 0 if since is None else int((time.monotonic() - since) * 1000)

    def pause(self, channel: Channel) -> None:
        """Collect nothing from this channel until it is resumed; what came already waits here."""
        if self._shelf.pause(channel):
            self._io.call(lambda: self._subscriptions.unsubscribe(channel))

    def resume(self, channel: Channel) -> None:
        """Collect from this channel again."""
        if self._shelf.resume(channel):
            self._watchdog.heard(channel, time.monotonic())
            self._io.call(lambda: self._subscriptions.subscribe(channel))

    def close(self) -> None:
        """Stop. Acknowledgements leave before it returns; the rest goes back. A second time does nothing."""
        if self._shelf.close():
            self._io.call(self._leave)
        if not self._io.is_here:
            self._gone.wait(2 * FAREWELL + 1)
        self._forget(self)

    def _look(self) -> None:
        """Raise if something waits in a channel, twice, and there is no reason why it does not come."""
        self._shelf.check_open()
        stuck = self._watchdog.look(self._link.node, self._is_excused)
        if stuck is not None:
            _log.warning("nothing_delivered", channel=stuck)
            self._shun(self._link.node)
            self.close()
            raise BrokerUnavailableError(
                f"Messages wait in {stuck!r}, and the broker brings none of them to this consumer.", mend=RECONNECT
            )

    def _is_excused(self, channel: Channel) -> bool:
        """Whether there is a reason on this side why the channel brings nothing."""
        oldest = self._tags.oldest()
        # Nothing of what is held can be this channel's if all of it came later.
        is_full = (
            len(self._tags) >= self._prefetch and oldest is not None and oldest <= self._watchdog.heard_at(channel)
        )
        return is_full or self._shelf.is_paused(channel) or self._shelf.is_isolated

    # --- on the I/O thread: subscriptions ------------------------------------------------------------------------

    def _open(self) -> None:
        if self._link.is_open:
            self._link.channel(NUMBER, on_open_callback=self._begin)

    def _begin(self, amqp: Any) -> None:
        self._amqp = amqp
        self._subscriptions.begin(amqp)
        self._link.take, self._link.rest = self._take, self._gather
        amqp.add_on_close_callback(self._channel_closed)
        amqp.add_on_cancel_callback(lambda _frame: self._link.cut("The broker ended a subscription."))
        self._start(self._prefetch)

    def _start(self, prefetch: int) -> None:
        self._subscriptions.start(prefetch, began=self._listen)

    def _listen(self) -> None:
        now = time.monotonic()
        for channel in self._channels:
            self._watchdog.heard(channel, now)

    def _end_all(self, then: Callable[[], None]) -> None:
        """End all subscriptions; then, when nothing more can come, do what follows."""
        self._io.later(self._timeout, partial(self._end_in_time, then))
        self._subscriptions.end_all(then)

    def _end_in_time(self, then: Callable[[], None]) -> None:
        if self._subscriptions.is_waiting_for(then):
            self._link.cut("The broker did not end the subscriptions in time.")

    # --- on the I/O thread: what comes ---------------------------------------------------------------------------

    def _take(self, buffer: bytes) -> int:
        arrivals, taken = read_deliveries(buffer, NUMBER, self._subscriptions.names)
        for arrival in arrivals:
            if self._shelf.is_isolated:
                self._suspect(0)
            self._hold(arrival, None)
        return taken

    def _came(self, channel: Channel, _amqp: Any, method: Any, properties: Any, body: bytes) -> None:
        """One of those that pika has read."""
        headers = properties.headers or {}
        if headers or self._shelf.is_isolated:
            # Its publisher may write what he likes there; but nobody has died over what comes for the first time.
            self._suspect(headers.get(_COUNT, 0) if method.redelivered else 0)
        signature = headers.get(HEADER)
        user = properties.user_id or ""
        # What is no UTF-8 pika leaves as bytes.
        message_id = properties.message_id if isinstance(properties.message_id, str) else None
        arrival = Arrival(channel, method.delivery_tag, method.redelivered, message_id, user, body)
        died_in = _died_in(headers) if channel == POISON else None
        self._hold(arrival, signature if isinstance(signature, str) else None, died_in)

    def _hold(self, arrival: Arrival, signature: str | None, died_in: Channel | None = None) -> None:
        channel, tag, redelivered, message_id, user, body = arrival
        if not self._burst:
            self._burst_began = time.monotonic()
        self._tags.came(tag, self._burst_began)
        self._watchdog.heard(channel, self._burst_began)
        self._burst.append(
            Delivery(
                tag=self._prefix + tag,
                channel=channel,
                # What is longer is refused whatever it is, and many of that kind must not take all memory there is.
                body=body[: MOST_BYTES + 1],
                message_id=message_id,
                redelivered=redelivered,
                signature=signature,
                sender=user,
                died_in=died_in,
            )
        )

    def _gather(self) -> None:
        """What has just come goes to the collector together with what comes within a moment."""
        if self._burst and not self._is_gathering:
            self._is_gathering = True
            self._io.gather(self._ring)

    def _ring(self) -> None:
        self._is_gathering = False
        if not self._is_giving_back:
            burst, self._burst = self._burst, []
            self._shelf.put(burst)

    # --- on the I/O thread: isolation ------------------------------------------------------------------------------

    def _suspect(self, count: Any) -> None:
        if isinstance(count, int) and count >= SUSPICIOUS:
            self._streak = 0
            if not self._shelf.is_isolated and not self._subscriptions.is_busy:
                self._isolate(count)
        elif self._shelf.is_isolated and not self._is_giving_back:
            self._streak += 1
            if self._streak >= INNOCENT and not self._subscriptions.is_busy:
                self._rejoin()

    def _isolate(self, count: int) -> None:
        """Somebody died over a message again and again: from now on one at a time, so that it falls alone."""
        _log.warning("isolation_began", count=count)
        self._is_giving_back = True
        self._end_all(partial(self._give_back, self._shelf.isolate()))
        self._io.later(QUIET, self._end_if_quiet)

    def _give_back(self, back: list[Delivery]) -> None:
        back = [*back, *self._burst, *self._shelf.give_back()]
        self._burst, self._is_giving_back = [], False
        # Oldest first: so a quorum queue brings them again in their order, and no failure of theirs is counted.
        for tag in self._tags.give_back(one.tag & _MASK for one in back):
            self._amqp.basic_nack(tag, requeue=True)
        self._start(1)

    def _end_if_quiet(self) -> None:
        if not self._shelf.is_isolated or self._shelf.is_over:
            return
        if not self._tags and time.monotonic() - self._shelf.collected_at >= QUIET and not self._subscriptions.is_busy:
            self._rejoin()
        else:
            self._io.later(QUIET / 5, self._end_if_quiet)

    def _rejoin(self) -> None:
        def start() -> None:
            self._shelf.rejoin()
            self._start(self._prefetch)

        _log.info("isolation_ended")
        self._end_all(start)

    # --- on the I/O thread: acknowledging, ends --------------------------------------------------------------------

    def _settle(self, tags: Iterable[int]) -> None:
        if self._shelf.is_lost or not self._amqp.is_open:
            return
        up_to, alone = self._tags.settle(tags)
        frames = [ack(NUMBER, tag) for tag in alone]
        if up_to:
            frames.insert(0, ack(NUMBER, up_to, multiple=True))
        if frames:
            self._link.emit(b"".join(frames))

    def _leave(self) -> None:
        if self._link.is_closed or self._amqp is None or not self._amqp.is_open:
            self._say_goodbye()
            return
        # Sent back one by one they count as failures nowhere; lost with the connection they would.
        self._io.later(FAREWELL, lambda: self._link.cut("It did not say goodbye."))
        self._end_all(self._let_go)

    def _let_go(self) -> None:
        if self._tags and self._amqp.is_open:
            self._amqp.basic_nack(0, multiple=True, requeue=True)
            self._tags.clear()
        self._say_goodbye()

    def _say_goodbye(self) -> None:
        if self._link.is_closed:
            self._gone.set()
        else:
            self._link.leave()

    def _channel_closed(self, _amqp: Any, reason: Any) -> None:
        fail(self._ready, _no_channel(reason, self._where))
        if self._link.is_open and not self._shelf.is_closed:
            self._link.cut("The broker closed the channel.")

    def _lost(self, error: BaseException) -> None:
        fault = BrokerUnavailableError(
            f"The connection to the broker at {self._where} is gone ({type(error).__name__}).", mend=RECONNECT
        )
        self._burst = []
        self._shelf.fail(fault)
        fail(self._ready, fault)
        self._gone.set()


def _no_channel(reason: Any, where: str) -> BrokerUnavailableError:
    code, text = getattr(reason, "reply_code", 0), str(getattr(reason, "reply_text", ""))
    mend = "Apply the channels first, and see that this user may read them."
    return BrokerUnavailableError(f"The broker at {where} has no such channel for this user: {code} {text}", mend=mend)


def _died_in(headers: Mapping[str, Any]) -> Channel | None:
    """The channel in which the broker gave a message up; None if it does not say."""
    match headers.get(_DEATHS):
        case [{"queue": str(queue)}, *_]:
            return Channel(queue)
    return None
