"""To which channels a consumer is subscribed. All of it is done on the I/O thread."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from pika import spec  # type: ignore[import-untyped]

from bus.message.channel import Channel


class Subscriptions:
    """The subscriptions of one channel of AMQP, made and ended together or one by one."""

    def __init__(
        self,
        channels: Sequence[Channel],
        *,
        is_over: Callable[[], bool],
        is_paused: Callable[[Channel], bool],
        came: Callable[..., None],
        stands: Callable[[], object],
    ) -> None:
        """``came`` is called with the channel and what pika gives; ``stands`` once they all do."""
        self._amqp: Any = None
        self._channels = channels
        self._is_over = is_over
        self._is_paused = is_paused
        self._came = came
        self._stands = stands
        self._numbers = itertools.count(1)
        #: Name of a subscription -> channel; and those that the broker was asked to end.
        self._subscribed: dict[str, Channel] = {}
        self._ending: set[str] = set()
        self._names: dict[bytes, Channel] = {}
        #: What follows once all of those have ended.
        self._then: Callable[[], None] | None = None

    @property
    def is_busy(self) -> bool:
        """Whether nothing is to be subscribed now: it is over, or all subscriptions are about to end."""
        return self._then is not None or self._is_over() or not self._amqp.is_open

    @property
    def names(self) -> Mapping[bytes, Channel]:
        """Name of every subscription from which something may come -> channel."""
        return self._names

    def begin(self, amqp: Any) -> None:
        """Those that follow are on this channel of AMQP."""
        self._amqp = amqp

    def start(self, prefetch: int, began: Callable[[], None]) -> None:
        """Subscribe to every channel, with so many messages at most from each; ``began`` is called before that."""

        def subscribe(_frame: Any) -> None:
            began()
            for channel in self._channels:
                self.subscribe(channel)
            if not self._subscribed:
                self._stands()

        self._amqp.basic_qos(prefetch_count=prefetch, callback=subscribe)

    def subscribe(self, channel: Channel) -> None:
        """Subscribe, unless that is done, or the channel is paused."""
        if self.is_busy or self._is_paused(channel) or channel in self._subscribed.values():
            return
        name = f"{channel} {next(self._numbers)}"
        self._subscribed[name] = self._names[name.encode()] = channel
        is_last = len(self._subscribed) == len(self._channels)
        self._amqp.basic_consume(
            channel,
            partial(self._came, channel),
            consumer_tag=name,
            callback=lambda _frame: self._stands() if is_last else None,
        )

    def unsubscribe(self, channel: Channel) -> None:
        """End the subscription; what is on its way still comes."""
        if self.is_busy:
            return
        for name in [name for name, of in self._subscribed.items() if of == channel]:
            del self._subscribed[name]
            self._ending.add(name)
            self._cancel(name)

    def end_all(self, then: Callable[[], None]) -> None:
        """End them all; then, when nothing more can come, do what follows."""
        self._then = then
        names, self._subscribed = tuple(self._subscribed), {}
        # Beside those that the broker was asked to end before, from which something may still come, too.
        self._ending.update(names)
        for name in names:
            self._cancel(name)
        if not self._ending:
            self._follow()

    def is_waiting_for(self, then: Callable[[], None]) -> bool:
        """Whether this is still to follow."""
        return self._then is then

    def _cancel(self, name: str) -> None:
        """Ask for one to end, after whatever was asked before.

        Not by pika's own way: that sends back what comes in until the broker has ended it, and from RabbitMQ 4.3 on
        this counts as a failure of each of those messages.
        """
        ended = [(spec.Basic.CancelOk, {"consumer_tag": name})]
        self._amqp._rpc(spec.Basic.Cancel(consumer_tag=name), self._ended, ended)  # noqa: SLF001

    def _ended(self, frame: Any) -> None:
        name: str = frame.method.consumer_tag
        self._amqp._cleanup_consumer_ref(name)  # noqa: SLF001  # else pika would keep it as long as the connection
        self._names.pop(name.encode(), None)
        self._ending.discard(name)
        if self._then is not None and not self._ending:
            self._follow()

    def _follow(self) -> None:
        then, self._then = self._then, None
        if then is not None:
            then()
