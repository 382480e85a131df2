"""The journal of an agency host in a SQLite file of its own, beside the legacy system."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from bus.errors import StoreUnavailableError
from bus.journals import rows
from bus.journals.pruning import ANSWERED, AT_ONCE, Pruning
from bus.journals.reading import IDENTITY, Reading, Statements, TransactionReading, identity
from bus.journals.rows import COLUMNS, IN_DOUBT, INVALID, KNOWN_BY, REPLY
from bus.journals.sqlite_schema import REFERENCE_INDEX, upgrade
from bus.message.instant import Instant
from bus.ports import JournalChanges
from bus.receiver.row import JournalIdentity, Row

#: Seconds that a transaction waits for the other host of the agency.
_BUSY = 5.0

_AMONG = "IN (SELECT value FROM json_each(?))"
_STATEMENTS = Statements(mark="?", among=_AMONG, link="place")
#: Only what may change is written again, so that no index but that of what waits is touched.
_CHANGED = ", ".join(f"{name} = excluded.{name}" for name in COLUMNS if name not in KNOWN_BY)
#: A task or result belongs to an interaction. A text is refused as a place; NULL would be given a place of its own.
_PLACE = "coalesce((SELECT place FROM interaction WHERE interaction_id = ?), 'none')"


class _Put(NamedTuple):
    """An insert of any number of lines."""

    into: str
    #: One line.
    line: str
    after: str = ""


def _marks(count: int) -> str:
    return ", ".join("?" * count)


_PUT_ROW = _Put(
    f"interaction ({', '.join(COLUMNS)})",
    f"({_marks(len(COLUMNS))})",
    f"ON CONFLICT (interaction_id) DO UPDATE SET {_CHANGED}",
)
_PUT_TASK = _Put("task", f"({_PLACE}, ?)", "ON CONFLICT (place) DO UPDATE SET body = excluded.body")
_PUT_RESULT = _Put(
    "result",
    f"({_PLACE}, {_marks(5)})",
    "ON CONFLICT (place) DO UPDATE SET " + ", ".join(f"{name} = excluded.{name}" for name in ("raw", *REPLY)),
)
_PUT_REPLY = _Put(f"outbox ({', '.join(REPLY)})", f"({_marks(len(REPLY))})", "ON CONFLICT DO NOTHING")
_PUT_INVALID = _Put(f"invalid ({', '.join(INVALID)})", f"({_marks(len(INVALID))})")
#: Many rows go into one statement, of a few fixed lengths that stay prepared: the driver lets go of the interpreter's
#: lock at each step of a statement, and beside a busy thread taking it back costs more than the row.
_SIZES = (64, 32, 16, 8, 4, 2, 1)

_DOUBT = f"""
    UPDATE interaction SET
        state = 'unknown', effect = 'unknown', process = '', lease_until = 0,
        begun_at = COALESCE(begun_at, first_sent), called_at = :now, changed_at = :now
    WHERE {IN_DOUBT}
"""
_PRUNED = f"SELECT place FROM interaction WHERE first_sent < ? AND {ANSWERED} LIMIT {AT_ONCE}"


class SqliteJournal(Reading, Pruning):
    """Keeps its promise across a power cut: WAL with ``synchronous=FULL``; the file is for its owner alone (0600).

    Any thread may use it; each transaction holds the file's write lock from its first statement on, so that two hosts
    that share it decide one after the other.
    """

    _statements = _STATEMENTS

    def __init__(self, path: Path) -> None:
        """Open the file, or make it with a random identity; StoreUnavailableError if that cannot be done."""
        self._lock = threading.RLock()
        with _mapped():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            self._connection = sqlite3.connect(path, timeout=_BUSY, isolation_level=None, check_same_thread=False)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            # A page that many transactions change is copied into the file once for 16 MB of them, not for every 4.
            self._connection.execute("PRAGMA wal_autocheckpoint = 4000")
        with self._begun():
            upgrade(self._connection)

    def identity(self) -> JournalIdentity:
        """Which journal this is, and its number now."""
        with self._reading() as connection:
            return _identity(connection)

    @contextmanager
    def transaction(self) -> Iterator[_Transaction]:
        """A write transaction; an exception rolls back; StoreUnavailableError if it cannot begin or commit."""
        with self._begun() as connection:
            yield _Transaction(connection)

    def admit(self, start_id: str, identity: JournalIdentity) -> None:
        """The bus admitted that start of a host, having heard of this journal and number."""
        with self._begun() as connection:
            values = (start_id, identity.journal_id, identity.seq)
            connection.execute("INSERT OR REPLACE INTO admission VALUES (?, ?, ?)", values)

    def renew(self, now: Instant) -> JournalIdentity:
        """This journal is a restored copy: a new identity, and whatever the lost part may have changed is unknown."""
        with self._begun() as connection:
            connection.execute(_DOUBT, {"now": now})
            connection.execute("UPDATE journal SET journal_id = ?, seq = seq + 1", (str(uuid4()),))
            connection.execute("DELETE FROM admission")
            return _identity(connection)

    def _prune_some(self, before: Instant) -> int:
        with self._begun() as connection:
            places = [line[0] for line in connection.execute(_PRUNED, (before,))]
            if places:
                for table in ("task", "result", "interaction"):
                    connection.execute(f"DELETE FROM {table} WHERE place {_AMONG}", (json.dumps(places),))
                connection.execute("UPDATE journal SET oldest = MAX(oldest, ?), seq = seq + 1", (before,))
                connection.execute("DELETE FROM admission")
            return len(places)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._connection.close()

    def _read(self, sql: str, *wanted: Any) -> Sequence[Any]:
        with self._reading() as connection:
            return connection.execute(sql, wanted).fetchall()

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock, _mapped():
            yield self._connection

    @contextmanager
    def _begun(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            with _mapped():
                self._connection.execute("BEGIN IMMEDIATE")
            try:
                with _mapped():
                    yield self._connection
                    self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise


class _Transaction(TransactionReading):
    """What may be done between BEGIN and COMMIT."""

    _statements = _STATEMENTS

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def identity(self) -> JournalIdentity:
        now = _identity(self._connection)
        return JournalIdentity(journal_id=now.journal_id, seq=now.seq + 1, oldest=now.oldest)

    def referred(self, references: Collection[str]) -> dict[str, Row]:
        """Interactions by their reference."""
        self._connection.execute(REFERENCE_INDEX)
        return super().referred(references)

    def write(self, changes: JournalChanges) -> None:
        if changes.rows or changes.outbox:
            # Replies carry the number, also those that record nothing: one that left must not be forgotten.
            self._connection.execute("UPDATE journal SET seq = seq + 1")
        self._many(_PUT_ROW, [rows.values(row) for row in changes.rows])
        self._many(_PUT_TASK, changes.tasks)
        self._many(_PUT_RESULT, [rows.result_values(result) for result in changes.results])
        self._among(f"DELETE FROM outbox WHERE message_id {_AMONG}", changes.confirmed)
        self._many(_PUT_REPLY, [rows.reply_values(reply) for reply in changes.outbox])
        self._many(_PUT_INVALID, [rows.invalid_values(one) for one in changes.invalid])

    def _among(self, sql: str, wanted: Collection[str]) -> Sequence[Any]:
        return self._connection.execute(sql, (json.dumps(list(wanted)),)).fetchall() if wanted else ()

    def _many(self, put: _Put, lines: Sequence[Sequence[Any]]) -> None:
        start = 0
        for size in _SIZES:
            while len(lines) - start >= size:
                piece = lines[start : start + size]
                self._connection.execute(_text(put, size), tuple(chain.from_iterable(piece)))
                start += size


@cache
def _text(put: _Put, size: int) -> str:
    return f"INSERT INTO {put.into} VALUES {', '.join([put.line] * size)} {put.after}"


@contextmanager
def _mapped() -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise StoreUnavailableError(
            f"The journal cannot be used ({type(error).__name__}): see that its disk has room, that the file "
            "belongs to this user, and that nothing else keeps it locked."
        ) from error


def _identity(connection: sqlite3.Connection) -> JournalIdentity:
    return identity(connection.execute(IDENTITY).fetchone())
