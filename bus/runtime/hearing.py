"""Up to when each agency was heard, where several process managers listen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from bus.config import Settings
from bus.message.instant import Instant
from bus.ports import AgencyRow, Store


class Hearing:
    """A tick counts once every living process manager has settled what it held when the tick was seen to be there."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        #: When it looked, and what ticks had come by then.
        self._seen: tuple[Instant, Mapping[str, Instant | None]] | None = None
        #: Agency -> the newest tick that counts.
        self._counted: dict[str, Instant | None] = {}

    def agencies(self, now: Instant) -> Mapping[str, AgencyRow]:
        """Every agency's row, with ``heard_at`` as it counts."""
        rows = self._store.agencies()
        others = self._store.presences(now - self._settings.dead_after)
        if len(others) < 2:
            # It consumes in order: what came before the tick was settled before it, or in the same transaction.
            self._seen, self._counted = None, {}
            return rows
        settled_to = min(others.values())
        if self._seen is not None and settled_to > self._seen[0]:
            self._counted = dict(self._seen[1])
            self._seen = None
        if self._seen is None:
            self._seen = now, {name: row.heard_at for name, row in rows.items()}
        return {name: replace(row, heard_at=self._counted.get(name)) for name, row in rows.items()}
