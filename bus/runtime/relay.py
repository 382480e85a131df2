"""The relay: publishes what is left in the outbox because a process died, or the broker or a channel was away."""

from __future__ import annotations

from collections.abc import Callable

from bus.config import Settings
from bus.killpoint import reach
from bus.message.channel import Channel, agency_of
from bus.message.key import Keys, key_at
from bus.ports import Broker, FailureRow, Store
from bus.runtime.process_manager import ProcessManager

#: A row younger than this is still in the hands of the process that wrote it.
YOUNG = 5_000


class Relay:
    """Leases rows, publishes them outside of any transaction, and has the confirmed ones deleted."""

    def __init__(self, store: Store, broker: Broker, manager: ProcessManager, keys: Keys, settings: Settings) -> None:
        self._store = store
        self._broker = broker
        self._manager = manager
        self._keys = keys
        self._settings = settings
        #: Channels whose failure is told; once each, until they take something again.
        self._told: frozenset[Channel] = frozenset()

    def step(self, *, young: int = YOUNG) -> int:
        """One batch of leftovers; how many the broker confirmed. ``young=0`` takes all, as a start does."""
        self._manager.flush()
        self._mend()
        before = key_at(self._store.now() - young + 1)
        rows = self._store.leftovers(before, self._settings.batch_most, self._settings.lease)
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
        if new:
            self._broker.apply(new)
        for channel in sorted(new):
            self._store.note_failure(self._failure(channel), None)
        self._told = refusing

    def _failure(self, channel: Channel) -> FailureRow:
        agency = agency_of(channel)
        return FailureRow(
            key=self._keys.next(),
            request_key=None,
            request_id=None,
            step=None,
            agency=agency,
            code="channel_refuses",
            cause=f"{agency or '-'}/-/channel_refuses",
            payload_id=None,
            opened_at=self._store.now(),
        )

    def drain(self, stop: Callable[[], bool]) -> None:
        """Publish everything that an earlier process left."""
        while not stop() and self.step(young=0):
            pass
