"""Finds a channel from which nothing comes although something waits there."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from bus.brokers.rabbitmq_address import Node
from bus.message.channel import Channel

#: Seconds between the look that found something waiting, and the second.
SECOND_LOOK: Final = 1.0

#: The first of some channels in which something waits, asked of another node than that one where there is another.
FirstWaiting: TypeAlias = Callable[[Sequence[Channel], Node], Channel | None]


class Watchdog:
    """Watches each channel by itself: ticks and replies that come through others prove nothing for this one."""

    def __init__(self, channels: Sequence[Channel], watch: float, first_waiting: FirstWaiting) -> None:
        """``watch``: seconds without a message after which it is asked whether something waits."""
        self._channels = channels
        self._watch = watch
        self._first_waiting = first_waiting
        now = time.monotonic()
        #: When each channel brought something last, or was subscribed to.
        self._heard_at: dict[Channel, float] = dict.fromkeys(channels, now)
        #: When to look next, and at which channels if not at all of them: those that have been looked at once.
        self.look_at = now + watch
        self._suspected: tuple[Channel, ...] = ()

    def heard(self, channel: Channel, at: float) -> None:
        """Something came from it, or may only come from now on."""
        self._heard_at[channel] = at

    def heard_at(self, channel: Channel) -> float:
        """When that was last."""
        return self._heard_at[channel]

    def look(self, node: Node, is_excused: Callable[[Channel], bool]) -> Channel | None:
        """A channel in which something waits, at the second look too, without a reason on this side not to come."""
        now, suspected = time.monotonic(), self._suspected
        quiet = [channel for channel in suspected or self._channels if now - self._heard_at[channel] >= self._watch]
        silent = [channel for channel in quiet if not is_excused(channel)]
        stuck = self._first_waiting(silent, node) if silent else None
        if stuck is None:
            self._suspected = ()
            becoming = (at + self._watch for at in self._heard_at.values() if at + self._watch > now)
            self.look_at = max(now + self._watch / 4, min(becoming, default=now + self._watch))
        elif not suspected:
            self._suspected = (stuck,)
            self.look_at = now + SECOND_LOOK
        else:
            return stuck
        return None
