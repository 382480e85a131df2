"""Where what came waits for whoever collects it: filled by the I/O thread, emptied by another."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Collection, Iterable
from typing import Final

from bus.errors import BrokerUnavailableError
from bus.message.channel import Channel
from bus.ports import Delivery

RECONNECT: Final = "Ask the broker for a new consumer; what was not acknowledged comes again."


class Shelf:
    """Deliveries in the order in which they came; those of a paused channel apart. Any thread may ask it."""

    def __init__(self, channels: Iterable[Channel]) -> None:
        self._channels = frozenset(channels)
        self._bell = threading.Condition()
        self._buffer: list[Delivery] = []
        self._set_apart: dict[Channel, list[Delivery]] = {}
        self._is_isolated = False
        #: Handed out alone and not acknowledged yet.
        self._alone: int | None = None
        self._fault: BrokerUnavailableError | None = None
        self._is_closed = False
        #: When something was collected last.
        self.collected_at = time.monotonic()

    @property
    def is_isolated(self) -> bool:
        """Whether deliveries are handed out one by one."""
        return self._is_isolated

    @property
    def is_over(self) -> bool:
        """Whether nothing more is handed out: it is closed, or the connection is gone."""
        return self._is_closed or self._fault is not None

    @property
    def is_lost(self) -> bool:
        """Whether the connection is gone."""
        return self._fault is not None

    @property
    def is_closed(self) -> bool:
        """Whether it was closed from this side."""
        return self._is_closed

    def is_paused(self, channel: Channel) -> bool:
        """Whether what comes from this channel waits until it is resumed."""
        return channel in self._set_apart

    # --- whoever collects -------------------------------------------------------------------------------------------

    def collect(self, most: int, until: float) -> tuple[Delivery, ...]:
        """What is there, up to ``most``, or after that time nothing; in isolation one, once that before is settled."""
        with self._bell:
            while True:
                self.check_open()
                now = time.monotonic()
                if taken := self._take(most):
                    self.collected_at = now
                    return taken
                if now >= until:
                    return ()
                self._bell.wait(until - now)

    def check_open(self) -> None:
        """BrokerUnavailableError once it is over."""
        if self._is_closed:
            raise BrokerUnavailableError("This consumer is closed.", mend="Ask the broker for a new one.")
        if self._fault is not None:
            raise BrokerUnavailableError(str(self._fault), mend=RECONNECT) from self._fault

    def acknowledged(self, tags: Collection[int]) -> None:
        """These are settled; in isolation the next one may follow."""
        if self._alone in tags:
            self._alone = None

    def pause(self, channel: Channel) -> bool:
        """Set apart what came and what comes from this channel; whether that is new."""
        with self._bell:
            if channel in self._set_apart or channel not in self._channels:
                return False
            self._set_apart[channel] = [one for one in self._buffer if one.channel == channel]
            self._buffer = [one for one in self._buffer if one.channel != channel]
            return True

    def resume(self, channel: Channel) -> bool:
        """Hand it out again; whether that is new."""
        with self._bell:
            if channel not in self._set_apart:
                return False
            self._buffer += self._set_apart.pop(channel)
            self._bell.notify()
            return True

    def close(self) -> bool:
        """Hand out nothing more; whether that is new."""
        with self._bell:
            was_closed, self._is_closed = self._is_closed, True
            self._buffer, self._set_apart = [], {}
            self._bell.notify_all()
            return not was_closed

    # --- the I/O thread -----------------------------------------------------------------------------------------------

    def put(self, burst: Iterable[Delivery]) -> None:
        """These have come."""
        with self._bell:
            if self.is_over:
                return
            if self._set_apart:
                for one in burst:
                    self._set_apart.get(one.channel, self._buffer).append(one)
            else:
                self._buffer += burst
            self._bell.notify()

    def isolate(self) -> list[Delivery]:
        """From now on one at a time; what nobody has collected yet, but for paused channels, is taken back."""
        with self._bell:
            self._is_isolated = True
            back, self._buffer = self._buffer, []
            return back

    def give_back(self) -> list[Delivery]:
        """What waits of the paused channels is taken back."""
        with self._bell:
            back = [*itertools.chain(*self._set_apart.values())]
            self._set_apart = {channel: [] for channel in self._set_apart}
            return back

    def rejoin(self) -> None:
        """Many at a time again."""
        with self._bell:
            self._is_isolated = False
            self._alone = None
            self._bell.notify()

    def fail(self, fault: BrokerUnavailableError) -> None:
        """The connection is gone, and what waits here will come again on another."""
        with self._bell:
            self._fault = fault
            self._buffer, self._set_apart = [], {}
            self._bell.notify_all()

    def _take(self, most: int) -> tuple[Delivery, ...]:
        if self._is_isolated:
            if self._alone is not None or most < 1:
                return ()
            most = 1
        taken = tuple(self._buffer[:most])
        del self._buffer[:most]
        if taken and self._is_isolated:
            self._alone = taken[0].tag
        return taken
