"""The ledger of effects: what really happened at a simulated legacy system, whoever asked and whatever it answered."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from bus.message.instant import Instant

_BUSY_S = 10.0
_TABLE = """
CREATE TABLE IF NOT EXISTS {schema}.effect (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    operation TEXT NOT NULL,
    reference TEXT NOT NULL,
    made TEXT NOT NULL,
    at INTEGER NOT NULL
)"""
_INSERT = "INSERT INTO {schema}.effect (operation, reference, made, at) VALUES (?, ?, ?, ?)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One effect."""

    id: int
    operation: str
    #: The reference that the client gave; "" if it gave none.
    reference: str
    #: The legacy system's own number of what was made or changed.
    made: str
    at: Instant


class Ledger:
    """The ground truth of tests and demos: a SQLite file of its own, one row for each effect, never changed.

    A simulator whose legacy system is SQLite joins the ledger to that connection: then effect and entry are one
    transaction, and a killed simulator leaves both or neither. (For that, both files keep SQLite's rollback journal,
    and are not set to ``synchronous = OFF``: transactions over several files are not atomic in WAL mode, nor without
    synchronisation.)
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with closing(self._connect()) as connection:
            connection.execute(_TABLE.format(schema="main"))

    def join(self, connection: sqlite3.Connection) -> None:
        """From now on `record` with this connection writes in its transaction."""
        connection.execute("ATTACH DATABASE ? AS ledger", (str(self._path),))

    def record(
        self, *, operation: str, reference: str, made: str, at: Instant, within: sqlite3.Connection | None = None
    ) -> None:
        """Write down one effect: at once, or in the open transaction of the joined connection ``within``."""
        values = (operation, reference, made, at)
        if within is not None:
            within.execute(_INSERT.format(schema="ledger"), values)
            return
        with closing(self._connect()) as connection:
            connection.execute(_INSERT.format(schema="main"), values)

    def entries(self, *, reference: str | None = None, operation: str | None = None) -> tuple[Entry, ...]:
        """All effects in the order in which they happened, or those of one reference or one operation."""
        with closing(self._connect()) as connection:
            rows = connection.execute(
                "SELECT id, operation, reference, made, at FROM effect"
                " WHERE reference = coalesce(?, reference) AND operation = coalesce(?, operation) ORDER BY id",
                (reference, operation),
            ).fetchall()
        return tuple(Entry(id=row[0], operation=row[1], reference=row[2], made=row[3], at=row[4]) for row in rows)

    def counts(self) -> Mapping[str, int]:
        """How many effects each reference has; more than one is one too many."""
        return Counter(entry.reference for entry in self.entries())

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=_BUSY_S, isolation_level=None)
        # A killed process loses nothing; only a machine without power would, and with it the whole simulation.
        connection.execute("PRAGMA synchronous = OFF")
        return connection
