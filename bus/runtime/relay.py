"""The relay: publishes what is left in the outbox because a process died, or the broker or a channel was away."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from bus.config import Settings
from bus.errors import ConfigurationError
from bus.killpoint import reach
from bus.logs import bind
from bus.message.channel import POISON, Channel, agency_of
from bus.message.instant import Instant, Milliseconds
from bus.message.key import Keys, key_at
from bus.ports import Broker, FailureRow, Store
from bus.runtime.epoch import channels_of, connect
from bus.runtime.process_manager import ProcessManager
from bus.runtime.turn import Turn

_log = bind(role="relay")

#: A row younger than this is still in the hands of the process that wrote it.
YOUNG = 5_000
#: How often it looks whether the broker was wiped.
_LOOK_EVERY: Milliseconds = 1_000
#: How often it makes the channels of silent agencies.
_REACH_EVERY: Milliseconds = 5_000


class Relay:
    """Leases rows, publishes them outside of any transaction, and has the confirmed ones deleted."""

    def __init__(
        self,
        store: Store,
        broker: Broker,
        manager: ProcessManager,
        keys: Keys,
        settings: Settings,
        agencies: tuple[str, ...] = (),
        monotonic: Callable[[], Milliseconds] = lambda: time.monotonic_ns() // 1_000_000,
        turn: Turn | None = None,
    ) -> None:
        """``turn`` is that of `bus.runtime.epoch`, where other relays share the store."""
        self._agencies = agencies
        self._turn = turn
        self._monotonic = monotonic
        #: When it looks next whether the broker still knows the epoch; None: it has not looked yet.
        self._look_at: Milliseconds | None = None
        self._reach_at: Milliseconds = 0
        self._store = store
        self._broker = broker
        self._manager = manager
        self._keys = keys
        self._settings = settings
        #: Channels whose failure is told; once each, until they take something again.
        self._told: frozenset[Channel] = frozenset()

    def connect(self) -> None:
        """Make the channels exist, and begin a new epoch if the broker had forgotten the old one."""
        connect(self._broker, self._store, self._manager, self._agencies, self._turn)
        self._look_at = self._monotonic() + _LOOK_EVERY

    def _watch(self) -> None:
        """A broker that was wiped comes back empty, and says nothing of it."""
        if self._look_at is None or self._monotonic() >= self._look_at:
            epoch = self._store.epoch()
            if self._look_at is None or epoch is None or not self._broker.has_epoch(epoch):
                self.connect()
            self._reach_silent()
            self._look_at = self._monotonic() + _LOOK_EVERY

    def _reach_silent(self) -> None:
        """An agency of whose hosts nothing is heard may lack a channel that somebody deleted: they are made again."""
        if self._monotonic() < self._reach_at:
            return
        self._reach_at = self._monotonic() + _REACH_EVERY
        # The bus sends nothing there, so that nobody else finds out when somebody deletes it.
        self._make_again([POISON])
        rows, now = self._store.agencies(), self._store.now()
        dead_after = self._settings.dead_after
        for agency in self._agencies:
            if agency not in rows or not rows[agency].is_alive(now, dead_after):
                self._make_again(channels_of((agency,)))
        for channel in sorted(self._manager.refusing):
            self._make_again([channel])

    def _make_again(self, channels: Collection[Channel]) -> None:
        try:
            self._broker.apply(channels)
        except ConfigurationError as error:
            # A person must mend it; meanwhile it holds up nobody else. `bus topology check` names it.
            _log.error("broker_unavailable", error=error, channel=min(channels))

    def step(self) -> int:
        """One batch of leftovers; how many the broker confirmed."""
        return self._step(self._store.now() - YOUNG)

    def _step(self, until: Instant) -> int:
        """One batch of what was left up to that instant."""
        self._manager.flush()
        self._watch()
        self._mend()
        rows = self._store.leftovers(key_at(until + 1), self._settings.batch_most, self._settings.lease)
        if not rows:
            return 0
        reach("relay.claimed")
        confirmed = self._manager.publish(rows)
        reach("relay.published")
        self._manager.flush()
        return confirmed

    def _mend(self) -> None:
        """A channel that takes nothing is made again and shown; its rows stay leased for a while, the others go on."""
        refusing = self._manager.refusing
        new = refusing - self._told
        # One by one: what stands in the way of one must not keep the others from being made.
        for channel in sorted(new):
            self._make_again([channel])
            self._show("channel_refuses", channel)
        self._told = refusing
        # Each time, and not once: as long as such a message waits, whoever closes its failure sees it again.
        for channel in sorted(self._manager.take_channels_of_refused()):
            self._show("message_refused", channel)

    def _show(self, code: str, channel: Channel) -> None:
        failure = FailureRow.of_no_request(
            key=self._keys.next(), code=code, at=self._store.now(), agency=agency_of(channel)
        )
        self._store.note_failure(failure, None)

    def drain(self, stop: Callable[[], bool]) -> None:
        """Publish everything that an earlier process left; what other processes write meanwhile is theirs."""
        until = self._store.now()
        while not stop() and self._step(until):
            pass
