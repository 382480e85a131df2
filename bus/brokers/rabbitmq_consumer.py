"""Collects batches from RabbitMQ.

The I/O thread puts what comes into a buffer, burst by burst, and wakes whoever collects once for each burst. Three
things need more than that: a channel that is paused, a message that keeps killing whoever works on it (isolation), and
a channel from which nothing comes although something waits there (the watchdog).
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, Final

from pika import spec  # type: ignore[import-untyped]

from bus.brokers.rabbitmq_address import Node
from bus.brokers.rabbitmq_link import FAREWELL, NUMBER, Connector, IoThread, Link, answer, fail, tell
from bus.brokers.rabbitmq_tags import Tags
from bus.errors import BrokerUnavailableError
from bus.logs import bind
from bus.message.channel import Channel
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
#: Seconds between the look of the watchdog that found something waiting, and the second.
SECOND_LOOK: Final = 1.0

_COUNT = "x-delivery-count"
#: A tag of ours is the number of its consumer, then what the broker calls the delivery.
_SHIFT = 40
_MASK = (1 << _SHIFT) - 1
_NUMBERS: Final = itertools.count(1)
_RECONNECT = "Ask the broker for a new consumer; what was not acknowledged comes again."

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
        first_waiting: Callable[[Sequence[Channel], Node], Channel | None],
        forget: Callable[[RabbitConsumer], None],
    ) -> None:
        self._io: IoThread = connector.io
        self._channels = tuple(dict.fromkeys(channels))
        self._prefetch = prefetch
        self._timeout = timeout
        self._watch = watch / 1000
        self._first_waiting = first_waiting
        self._forget = forget
        self._where = str(connector.address)
        self._prefix = next(_NUMBERS) << _SHIFT
        #: Guards what both sides touch: the next six.
        self._bell = threading.Condition()
        self._buffer: list[Delivery] = []
        self._set_apart: dict[Channel, list[Delivery]] = {}
        self._paused: set[Channel] = set()
        self._is_isolated = False
        self._fault: BrokerUnavailableError | None = None
        self._is_closed = False
        self._gone = threading.Event()
        #: Handed out alone and not acknowledged yet.
        self._alone: int | None = None
        #: When something was collected last.
        self._last_seen = time.monotonic()
        #: When each channel brought something last, or was subscribed to.
        self._heard_at: dict[Channel, float] = dict.fromkeys(self._channels, self._last_seen)
        #: When the watchdog looks next, and at which channels if not at all of them: those it has looked at once.
        self._look_at = self._last_seen + self._watch
        self._suspected: tuple[Channel, ...] = ()

        self._amqp: Any = None
        self._burst: list[Delivery] = []
        self._burst_began = 0.0
        self._tags = Tags()
        #: Consumer tag -> channel, as subscribed; and those that the broker was asked to end.
        self._subscribed: dict[str, Channel] = {}
        self._ending: set[str] = set()
        #: What follows once all of those have ended.
        self._then: Callable[[], None] | None = None
        self._subscriptions = itertools.count(1)
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
            if time.monotonic() >= self._look_at:
                self._look()
            with self._bell:
                while True:
                    self._check_open()
                    now = time.monotonic()
                    if taken := self._take(most):
                        self._last_seen = now
                        return taken
                    if now >= until:
                        return ()
                    if now >= self._look_at:
                        break
                    self._bell.wait(min(until, self._look_at) - now)

    def acknowledge(self, deliveries: Collection[Delivery]) -> None:
        """The broker may forget these; one that this consumer does not hold (any more) is passed over."""
        prefix = self._prefix
        tags = [delivery.tag & _MASK for delivery in deliveries if delivery.tag & ~_MASK == prefix]
        if not tags:
            return
        if self._alone in tags:
            self._alone = None
        self._io.call(partial(self._settle, tags))

    def age(self) -> Milliseconds:
        """How long the oldest delivery has been here, collected or not, and unacknowledged; 0 without any."""
        since = self._tags.oldest()
        return 0 if since is None else int((time.monotonic() - since) * 1000)

    def pause(self, channel: Channel) -> None:
        """Collect nothing from this channel until it is resumed; what came already waits here."""
        with self._bell:
            if channel in self._paused or channel not in self._channels:
                return
            self._paused.add(channel)
            self._set_apart[channel] = [one for one in self._buffer if one.channel == channel]
            self._buffer = [one for one in self._buffer if one.channel != channel]
        self._io.call(lambda: self._unsubscribe(channel))

    def resume(self, channel: Channel) -> None:
        """Collect from this channel again."""
        with self._bell:
            if channel not in self._paused:
                return
            self._paused.discard(channel)
            self._buffer += self._set_apart.pop(channel, ())
            self._heard_at[channel] = time.monotonic()
            self._bell.notify()
        self._io.call(lambda: self._subscribe(channel))

    def close(self) -> None:
        """Stop. Acknowledgements leave before it returns; the rest goes back. A second time does nothing."""
        with self._bell:
            was_closed, self._is_closed = self._is_closed, True
            self._buffer, self._set_apart = [], {}
            self._bell.notify_all()
        if not was_closed:
            self._io.call(self._leave)
        if not self._io.is_here:
            self._gone.wait(2 * FAREWELL + 1)
        self._forget(self)

    def _check_open(self) -> None:
        if self._is_closed:
            raise BrokerUnavailableError("This consumer is closed.", mend="Ask the broker for a new one.")
        if self._fault is not None:
            raise BrokerUnavailableError(str(self._fault), mend=_RECONNECT) from self._fault

    def _take(self, most: int) -> tuple[Delivery, ...]:
        if self._is_isolated:
            if self._alone is not None or most < 1:
                return ()
            most = 1
        taken = tuple(self._buffer[:most])
        del self._buffer[:most]
        if taken and self._is_isolated:
            self._alone = taken[0].tag & _MASK
        return taken

    def _look(self) -> None:
        """Raise if something waits in a channel, twice, and there is no reason why it does not come.

        Each channel by itself: ticks and replies that come through others prove nothing for this one.
        """
        self._check_open()
        now, suspected = time.monotonic(), self._suspected
        silent = [channel for channel in suspected or self._channels if self._is_silent(channel, now)]
        stuck = self._first_waiting(silent, self._link.node) if silent else None
        if stuck is None:
            self._suspected = ()
            becoming = (at + self._watch for at in self._heard_at.values() if at + self._watch > now)
            self._look_at = max(now + self._watch / 4, min(becoming, default=now + self._watch))
        elif not suspected:
            self._suspected = (stuck,)
            self._look_at = now + SECOND_LOOK
        else:
            self._give_up(stuck)

    def _is_silent(self, channel: Channel, now: float) -> bool:
        """Whether it has brought nothing for long, without a reason on this side."""
        heard_at, oldest = self._heard_at[channel], self._tags.oldest()
        # Nothing of what is held can be this channel's if all of it came later.
        is_full = len(self._tags) >= self._prefetch and oldest is not None and oldest <= heard_at
        return now - heard_at >= self._watch and not (is_full or channel in self._paused or self._is_isolated)

    def _give_up(self, stuck: Channel) -> None:
        _log.warning("nothing_delivered", channel=stuck)
        self._shun(self._link.node)
        self.close()
        raise BrokerUnavailableError(
            f"Messages wait in {stuck!r}, and the broker brings none of them to this consumer.", mend=_RECONNECT
        )

    # --- on the I/O thread: subscriptions ------------------------------------------------------------------------

    def _open(self) -> None:
        if self._link.is_open:
            self._link.channel(NUMBER, on_open_callback=self._begin)

    def _begin(self, amqp: Any) -> None:
        self._amqp = amqp
        amqp.add_on_close_callback(self._channel_closed)
        amqp.add_on_cancel_callback(lambda _frame: self._link.cut("The broker ended a subscription."))
        self._start(self._prefetch)

    def _start(self, prefetch: int) -> None:
        """Subscribe to every channel that is not paused."""

        def subscribe(_frame: Any) -> None:
            self._heard_at.update(dict.fromkeys(self._channels, time.monotonic()))
            for channel in self._channels:
                self._subscribe(channel)
            if not self._subscribed:
                self._made_ready()

        self._amqp.basic_qos(prefetch_count=prefetch, callback=subscribe)

    def _subscribe(self, channel: Channel) -> None:
        if self._is_busy() or channel in self._paused or channel in self._subscribed.values():
            return
        tag = f"{channel} {next(self._subscriptions)}"
        self._subscribed[tag] = channel
        is_last = len(self._subscribed) == len(self._channels)
        self._amqp.basic_consume(
            channel,
            partial(self._came, channel),
            consumer_tag=tag,
            callback=lambda _frame: self._made_ready() if is_last else None,
        )

    def _unsubscribe(self, channel: Channel) -> None:
        if self._is_busy():
            return
        for tag in [tag for tag, of in self._subscribed.items() if of == channel]:
            del self._subscribed[tag]
            self._cancel(tag)

    def _is_busy(self) -> bool:
        """Whether nothing is to be subscribed now: it is gone, or all subscriptions are about to end."""
        return self._then is not None or self._fault is not None or self._is_closed or not self._amqp.is_open

    def _end_all(self, then: Callable[[], None]) -> None:
        """End all subscriptions; then, when nothing more can come, do what follows."""
        self._then = then
        self._ending = set(self._subscribed)
        self._subscribed = {}
        for tag in self._ending:
            self._cancel(tag)
        self._io.later(self._timeout, partial(self._end_in_time, then))
        if not self._ending:
            self._follow()

    def _cancel(self, tag: str) -> None:
        """Ask for one to end, after whatever was asked before.

        Not by pika's own way: that sends back what comes in until the broker has ended it, and from RabbitMQ 4.3 on
        this counts as a failure of each of those messages.
        """
        ended = [(spec.Basic.CancelOk, {"consumer_tag": tag})]
        self._amqp._rpc(spec.Basic.Cancel(consumer_tag=tag), self._ended, ended)  # noqa: SLF001

    def _ended(self, frame: Any) -> None:
        self._ending.discard(frame.method.consumer_tag)
        if self._then is not None and not self._ending:
            self._follow()

    def _follow(self) -> None:
        then, self._then = self._then, None
        if then is not None:
            then()

    def _end_in_time(self, then: Callable[[], None]) -> None:
        if self._then is then:
            self._link.cut("The broker did not end the subscriptions in time.")

    def _made_ready(self) -> None:
        tell(self._ready, None)

    # --- on the I/O thread: what comes ---------------------------------------------------------------------------

    def _came(self, channel: Channel, _amqp: Any, method: Any, properties: Any, body: bytes) -> None:
        tag: int = method.delivery_tag
        headers = properties.headers
        signature = None
        if headers:
            signature = headers.get(HEADER)
            self._suspect(headers.get(_COUNT, 0))
        elif self._is_isolated:
            self._suspect(0)
        if not self._burst:
            self._burst_began = time.monotonic()
            # Wakes the collector once for all that the socket holds now.
            self._io.call(self._ring)
        self._tags.came(tag, self._burst_began)
        self._heard_at[channel] = self._burst_began
        self._burst.append(
            Delivery(
                tag=self._prefix + tag,
                channel=channel,
                # What is longer is refused whatever it is, and many of that kind must not take all memory there is.
                body=body[: MOST_BYTES + 1],
                message_id=properties.message_id,
                redelivered=method.redelivered,
                signature=signature if isinstance(signature, str) else None,
                sender=properties.user_id or "",
            )
        )

    def _ring(self) -> None:
        if self._is_giving_back:
            return
        burst, self._burst = self._burst, []
        with self._bell:
            if self._fault is not None or self._is_closed:
                return
            if self._paused:
                for one in burst:
                    self._set_apart.get(one.channel, self._buffer).append(one)
            else:
                self._buffer += burst
            self._bell.notify()

    # --- on the I/O thread: isolation ------------------------------------------------------------------------------

    def _suspect(self, count: Any) -> None:
        if isinstance(count, int) and count >= SUSPICIOUS:
            self._streak = 0
            if not self._is_isolated and not self._is_busy():
                self._isolate(count)
        elif self._is_isolated and not self._is_giving_back:
            self._streak += 1
            if self._streak >= INNOCENT and not self._is_busy():
                self._rejoin()

    def _isolate(self, count: int) -> None:
        """Somebody died over a message again and again: from now on one at a time, so that it falls alone."""
        _log.warning("isolation_began", count=count)
        with self._bell:
            self._is_isolated = True
            back, self._buffer = self._buffer, []
        self._is_giving_back = True
        self._end_all(partial(self._give_back, back))
        self._io.later(QUIET, self._end_if_quiet)

    def _give_back(self, back: list[Delivery]) -> None:
        with self._bell:
            back = [*back, *self._burst, *itertools.chain(*self._set_apart.values())]
            self._burst, self._is_giving_back = [], False
            self._set_apart = {channel: [] for channel in self._set_apart}
        # Oldest first: so a quorum queue brings them again in their order, and no failure of theirs is counted.
        for tag in self._tags.give_back(one.tag & _MASK for one in back):
            self._amqp.basic_nack(tag, requeue=True)
        self._start(1)

    def _end_if_quiet(self) -> None:
        if not self._is_isolated or self._fault is not None or self._is_closed:
            return
        if not self._tags and time.monotonic() - self._last_seen >= QUIET and not self._is_busy():
            self._rejoin()
        else:
            self._io.later(QUIET / 5, self._end_if_quiet)

    def _rejoin(self) -> None:
        def start() -> None:
            with self._bell:
                self._is_isolated = False
                self._alone = None
                self._bell.notify()
            self._start(self._prefetch)

        _log.info("isolation_ended")
        self._end_all(start)

    # --- on the I/O thread: acknowledging, ends --------------------------------------------------------------------

    def _settle(self, tags: Iterable[int]) -> None:
        if self._fault is not None or not self._amqp.is_open:
            return
        up_to, alone = self._tags.settle(tags)
        if up_to:
            self._amqp.basic_ack(up_to, multiple=True)
        for tag in alone:
            self._amqp.basic_ack(tag)

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
        if self._link.is_open and not self._is_closed:
            self._link.cut("The broker closed the channel.")

    def _lost(self, error: BaseException) -> None:
        fault = BrokerUnavailableError(
            f"The connection to the broker at {self._where} is gone ({type(error).__name__}).", mend=_RECONNECT
        )
        with self._bell:
            self._fault = fault
            self._buffer, self._set_apart, self._burst = [], {}, []
            self._bell.notify_all()
        fail(self._ready, fault)
        self._gone.set()


def _no_channel(reason: Any, where: str) -> BrokerUnavailableError:
    code, text = getattr(reason, "reply_code", 0), str(getattr(reason, "reply_text", ""))
    mend = "Apply the channels first, and see that this user may read them."
    return BrokerUnavailableError(f"The broker at {where} has no such channel for this user: {code} {text}", mend=mend)
