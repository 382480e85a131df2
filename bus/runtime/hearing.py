"""Up to when each agency was heard, where several process managers listen to the same channels.

A tick that one of them settled proves that what was sent before it was handed to somebody, not that it was settled: it
may be on its way to a process manager, lie in one that stands still, or have come back from there and be with another.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from bus.config import Settings
from bus.message.instant import Instant
from bus.ports import AgencyRow, Store

#: So many looks are kept while somebody stands still.
_MOST: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    #: When it was; of one that has passed, when that was.
    at: Instant
    #: Agency -> the newest tick that had come by then.
    ticks: Mapping[str, Instant | None]


class Hearing:
    """Which ticks count: those that a second one has confirmed.

    A tick passes when everybody who listens has settled all that was handed out before it was seen to be there. What
    was sent before that tick is settled then, or was given back by one who stopped, lost his connection or died. What
    was given back waits at the front. So it is settled, too, when a tick passes that was sent after the first one had
    passed. `Settings.tick_margin` is allowed each time for what is on its way: a broker notices a lost connection
    sooner than that. While nobody listens nothing more counts.
    """

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        #: Oldest first.
        self._seen: deque[_Look] = deque()
        self._passed: deque[_Look] = deque()
        self._counted: dict[str, Instant | None] = {}

    def agencies(self, now: Instant) -> Mapping[str, AgencyRow]:
        """Every agency's row, with ``heard_at`` as it counts. To be asked at each tick, too."""
        rows = self._store.agencies()
        seen_at = self._store.now()
        told = self._store.presences(now - self._settings.dead_after).values()
        # Who was last heard on a clock that was set back since has said nothing of this time.
        if told and max(told) <= seen_at + self._settings.clock_drift:
            self._pass(min(told), seen_at)
        self._look(_Look(at=seen_at, ticks={name: row.heard_at for name, row in rows.items()}))
        return {name: replace(row, heard_at=self._counted.get(name)) for name, row in rows.items()}

    def begin_anew(self) -> None:
        """The clock was set: what was seen before says nothing of the time since."""
        self._seen.clear()
        self._passed.clear()

    def _look(self, look: _Look) -> None:
        is_early = self._seen and look.at < self._seen[-1].at + self._settings.tick_every
        if not is_early and len(self._seen) < _MOST:
            self._seen.append(look)

    def _pass(self, settled_to: Instant, now: Instant) -> None:
        while self._seen and settled_to > self._seen[0].at + self._settings.tick_margin:
            look = self._seen.popleft()
            for before in self._passed:
                confirmed = {name for name, tick in look.ticks.items() if tick is not None and tick > before.at}
                self._counted.update({name: before.ticks.get(name) for name in confirmed})
            self._passed.append(replace(look, at=now))
        # Those that are older than the next but one have been confirmed where ticks come through at all.
        oldest = now - 4 * (self._settings.tick_margin + self._settings.tick_every)
        while self._passed and self._passed[0].at < oldest:
            self._passed.popleft()
