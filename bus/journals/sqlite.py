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
from typing import Any
from uuid import uuid4

from bus.errors import StoreUnavailableError
from bus.journals import rows
from bus.journals.rows import ANSWERED, AT_ONCE, COLUMNS, IN_DOUBT, INVALID, REPLY, RESULT
from bus.message.instant import Instant
from bus.ports import JournalChanges, JournalInvalid, JournalReply, JournalResult
from bus.receiver.row import JournalIdentity, Row

#: Seconds that a transaction waits for the other host of the agency.
_BUSY = 5.0

#: The file's schema, step by step; ``PRAGMA user_version`` says how many steps it has. A file of the agency's own, with
#: a handful of tables that only this module reads, needs no more machinery than that. Tasks and results have row ids:
#: large rows in the order of random keys cost a page each, in the order of arrival they share pages.
_STEPS: tuple[str, ...] = (
    """
    CREATE TABLE journal (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        journal_id TEXT NOT NULL,
        seq INTEGER NOT NULL,
        oldest INTEGER NOT NULL
    );
    CREATE TABLE interaction (
        interaction_id TEXT PRIMARY KEY,
        operation TEXT NOT NULL,
        reference TEXT NOT NULL,
        test INTEGER NOT NULL,
        state TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        effect TEXT NOT NULL,
        data_hash BLOB,
        dead INTEGER NOT NULL,
        dead_code TEXT NOT NULL,
        supersedes TEXT,
        first_sent INTEGER NOT NULL,
        expires_at INTEGER,
        intent INTEGER NOT NULL,
        request_hash BLOB,
        process TEXT NOT NULL,
        lease_until INTEGER NOT NULL,
        begun_at INTEGER,
        called_at INTEGER,
        changed_at INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX interaction_waiting ON interaction (changed_at) WHERE state = 'received';
    CREATE INDEX interaction_reference ON interaction (reference);
    CREATE TABLE task (interaction_id TEXT NOT NULL PRIMARY KEY, body BLOB NOT NULL);
    CREATE TABLE result (
        interaction_id TEXT NOT NULL PRIMARY KEY,
        raw BLOB,
        message_id TEXT NOT NULL,
        type TEXT NOT NULL,
        correlation_id TEXT NOT NULL,
        body BLOB NOT NULL
    );
    CREATE TABLE outbox (
        place INTEGER PRIMARY KEY AUTOINCREMENT,
        message_id TEXT NOT NULL UNIQUE,
        type TEXT NOT NULL,
        correlation_id TEXT NOT NULL,
        body BLOB NOT NULL
    );
    CREATE TABLE invalid (
        place INTEGER PRIMARY KEY AUTOINCREMENT,
        origin TEXT NOT NULL,
        code TEXT NOT NULL,
        body BLOB NOT NULL,
        at INTEGER NOT NULL
    );
    CREATE TABLE admission (
        start_id TEXT PRIMARY KEY,
        journal_id TEXT NOT NULL,
        seq INTEGER NOT NULL
    ) WITHOUT ROWID;
    """,
)

_ROW = f"SELECT {', '.join(COLUMNS)} FROM interaction"
#: Only what changed is written again, so that the index of references is left alone.
_CHANGED = ", ".join(f"{name} = excluded.{name}" for name in COLUMNS if name != "interaction_id")
_PUT_ROW = f"INSERT INTO interaction ({', '.join(COLUMNS)})", f"ON CONFLICT DO UPDATE SET {_CHANGED}"
_PUT_TASK = "INSERT OR REPLACE INTO task", ""
_PUT_RESULT = "INSERT OR REPLACE INTO result", ""
_PUT_REPLY = f"INSERT OR IGNORE INTO outbox ({', '.join(REPLY)})", ""
_PUT_INVALID = f"INSERT INTO invalid ({', '.join(INVALID)})", ""
#: Many rows go into one statement, of a few fixed lengths that stay prepared: the driver lets go of the interpreter's
#: lock at each step of a statement, and beside a busy thread taking it back costs more than the row.
_SIZES = (64, 16, 4, 1)
_AMONG = "IN (SELECT value FROM json_each(?))"

_DOUBT = f"""
    UPDATE interaction SET
        state = 'unknown', effect = 'unknown', process = '', lease_until = 0,
        begun_at = COALESCE(begun_at, first_sent), called_at = :now, changed_at = :now
    WHERE {IN_DOUBT}
"""
_PRUNED = f"SELECT interaction_id FROM interaction WHERE first_sent < ? AND {ANSWERED} LIMIT {AT_ONCE}"


class SqliteJournal:
    """Keeps its promise across a power cut: WAL with ``synchronous=FULL``; the file is for its owner alone (0600).

    Any thread may use it; each transaction holds the file's write lock from its first statement on, so that two hosts
    that share it decide one after the other.
    """

    def __init__(self, path: Path) -> None:
        """Open the file, or make it with a random identity; StoreUnavailableError if that cannot be done."""
        self._lock = threading.RLock()
        with _mapped():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            self._connection = sqlite3.connect(path, timeout=_BUSY, isolation_level=None, check_same_thread=False)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
        with self._begun():
            self._upgrade()

    def identity(self) -> JournalIdentity:
        """Which journal this is, and its number now."""
        with self._reading() as connection:
            return _identity(connection)

    @contextmanager
    def transaction(self) -> Iterator[_Transaction]:
        """A write transaction; an exception rolls back; StoreUnavailableError if it cannot begin or commit."""
        with self._begun() as connection:
            yield _Transaction(connection)

    def waiting(self, until: Instant, most: int) -> tuple[tuple[Row, bytes], ...]:
        """Received interactions last changed up to ``until``, oldest first, with the bodies of their tasks."""
        columns = ", ".join(f"interaction.{name}" for name in COLUMNS)
        sql = (
            f"SELECT {columns}, body FROM interaction JOIN task USING (interaction_id) "
            "WHERE state = 'received' AND changed_at <= ? ORDER BY changed_at LIMIT ?"
        )
        with self._reading() as connection:
            return tuple((rows.row(line[:-1]), line[-1]) for line in connection.execute(sql, (until, most)))

    def outbox(self, most: int) -> tuple[JournalReply, ...]:
        """Replies that wait to be published, oldest first."""
        sql = f"SELECT {', '.join(REPLY)} FROM outbox ORDER BY place LIMIT ?"
        with self._reading() as connection:
            return tuple(map(rows.reply, connection.execute(sql, (most,))))

    def invalid(self, most: int) -> tuple[JournalInvalid, ...]:
        """What could not be understood, newest first."""
        sql = f"SELECT {', '.join(INVALID)} FROM invalid ORDER BY place DESC LIMIT ?"
        with self._reading() as connection:
            return tuple(map(rows.invalid, connection.execute(sql, (most,))))

    def admit(self, start_id: str, identity: JournalIdentity) -> None:
        """The bus admitted that start of a host, having heard of this journal and number."""
        with self._begun() as connection:
            values = (start_id, identity.journal_id, identity.seq)
            connection.execute("INSERT OR REPLACE INTO admission VALUES (?, ?, ?)", values)

    def admission(self, start_id: str) -> JournalIdentity | None:
        """What `admit` was told of that start."""
        with self._reading() as connection:
            sql = "SELECT journal_id, seq FROM admission WHERE start_id = ?"
            line = connection.execute(sql, (start_id,)).fetchone()
        return None if line is None else JournalIdentity(journal_id=line[0], seq=line[1])

    def renew(self, now: Instant) -> JournalIdentity:
        """This journal is a restored copy: a new identity, and whatever the lost part may have changed is unknown."""
        with self._begun() as connection:
            connection.execute(_DOUBT, {"now": now})
            connection.execute("UPDATE journal SET journal_id = ?, seq = seq + 1", (str(uuid4()),))
            connection.execute("DELETE FROM admission")
            return _identity(connection)

    def prune(self, before: Instant) -> int:
        """Forget answered interactions first sent before ``before``, and remember that; how many."""
        with self._begun() as connection:
            # First, so that nobody takes a row that is gone for one that never was.
            connection.execute("UPDATE journal SET oldest = MAX(oldest, ?), seq = seq + 1", (before,))
            # A host that still waits for its admission asks for it again.
            connection.execute("DELETE FROM admission")
        pruned = 0
        while count := self._prune_some(before):
            pruned += count
        return pruned

    def _prune_some(self, before: Instant) -> int:
        with self._begun() as connection:
            ids = [line[0] for line in connection.execute(_PRUNED, (before,))]
            for table in ("task", "result", "interaction"):
                connection.execute(f"DELETE FROM {table} WHERE interaction_id {_AMONG}", (json.dumps(ids),))
            return len(ids)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._connection.close()

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

    def _upgrade(self) -> None:
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version > len(_STEPS):
            raise StoreUnavailableError(
                f"The journal has schema {version}, this host knows {len(_STEPS)}: run the newer version of the bus."
            )
        for step in _STEPS[version:]:
            # Not executescript: it would commit the transaction.
            for statement in filter(None, map(str.strip, step.split(";"))):
                self._connection.execute(statement)
        if version == 0:
            self._connection.execute("INSERT INTO journal VALUES (1, ?, 0, 0)", (str(uuid4()),))
        self._connection.execute(f"PRAGMA user_version = {len(_STEPS)}")


class _Transaction:
    """What may be done between BEGIN and COMMIT."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def identity(self) -> JournalIdentity:
        now = _identity(self._connection)
        return JournalIdentity(journal_id=now.journal_id, seq=now.seq + 1, oldest=now.oldest)

    def load(self, interaction_ids: Collection[str]) -> dict[str, Row]:
        lines = self._among(f"{_ROW} WHERE interaction_id {_AMONG}", interaction_ids)
        return {row.interaction_id: row for row in map(rows.row, lines)}

    def referred(self, references: Collection[str]) -> dict[str, Row]:
        lines = self._among(f"{_ROW} WHERE reference {_AMONG}", references)
        return {row.reference: row for row in map(rows.row, lines)}

    def tasks(self, interaction_ids: Collection[str]) -> dict[str, bytes]:
        return dict(
            self._among(f"SELECT interaction_id, body FROM task WHERE interaction_id {_AMONG}", interaction_ids)
        )

    def results(self, interaction_ids: Collection[str]) -> dict[str, JournalResult]:
        sql = f"SELECT {', '.join(RESULT)} FROM result WHERE interaction_id {_AMONG}"
        return {result.interaction_id: result for result in map(rows.result, self._among(sql, interaction_ids))}

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

    def _among(self, sql: str, values: Collection[str]) -> Sequence[Any]:
        if not values:
            return ()
        return self._connection.execute(sql, (json.dumps(list(values)),)).fetchall()

    def _many(self, statement: tuple[str, str], lines: Sequence[Sequence[Any]]) -> None:
        start = 0
        for size in _SIZES:
            while len(lines) - start >= size:
                piece = lines[start : start + size]
                self._connection.execute(_text(statement, len(piece[0]), size), tuple(chain.from_iterable(piece)))
                start += size


@cache
def _text(statement: tuple[str, str], width: int, size: int) -> str:
    before, after = statement
    row = f"({', '.join('?' * width)})"
    return f"{before} VALUES {', '.join([row] * size)} {after}"


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
    journal_id, seq, oldest = connection.execute("SELECT journal_id, seq, oldest FROM journal").fetchone()
    return JournalIdentity(journal_id=journal_id, seq=seq, oldest=oldest)
