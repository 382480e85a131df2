"""The journal of an agency's hosts in PostgreSQL: several hosts, on several machines, share one."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from uuid import uuid4

from psycopg import Error, ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from bus.errors import ConfigurationError, Fault, StoreUnavailableError
from bus.journals import rows
from bus.journals.postgres_link import Connection, connect
from bus.journals.pruning import ANSWERED, AT_ONCE, Pruning
from bus.journals.reading import IDENTITY, Reading, Statements, TransactionReading, identity
from bus.journals.rows import COLUMNS, IN_DOUBT, INVALID, REPLY, RESULT
from bus.message.instant import Instant
from bus.ports import JournalChanges
from bus.receiver.row import JournalIdentity

_SCHEMES = ("postgresql://", "postgres://")
#: Types of columns that are not text.
_TYPES: Mapping[str, str] = {
    **dict.fromkeys(("raw", "body", "data_hash", "request_hash"), "bytea"),
    **dict.fromkeys(("attempt", "dead", "intent", "first_sent", "expires_at", "lease_until"), "bigint"),
    **dict.fromkeys(("begun_at", "called_at", "changed_at", "at"), "bigint"),
    "test": "boolean",
}


def _put(table: str, columns: Sequence[str], after: str) -> str:
    """Inserts any number of lines in their order, given as one array for each column."""
    kinds = [_TYPES.get(name, "text") for name in columns]
    arrays = ", ".join(f"{'%b' if kind == 'bytea' else '%s'}::{kind}[]" for kind in kinds)
    names = ", ".join(columns)
    return (
        f"INSERT INTO {table} ({names}) SELECT {names} "
        f"FROM unnest({arrays}) WITH ORDINALITY AS line ({names}, nth) ORDER BY nth {after}"
    )


def _replace(table: str, columns: Sequence[str]) -> str:
    """Inserts lines or replaces those of the same interaction."""
    changed = ", ".join(f"{name} = excluded.{name}" for name in columns if name != "interaction_id")
    return _put(table, columns, f"ON CONFLICT (interaction_id) DO UPDATE SET {changed}")


_TASK = ("interaction_id", "body")
_PUT_ROW = _replace("interaction", COLUMNS)
_PUT_TASK = _replace("task", _TASK)
_PUT_RESULT = _replace("result", RESULT)
_PUT_REPLY = _put("outbox", REPLY, "ON CONFLICT (message_id) DO NOTHING")
_PUT_INVALID = _put("invalid", INVALID, "")

_STATEMENTS = Statements(mark="%s", among="= ANY(%s)", link="interaction_id")
#: Two statements in one round trip. Whatever the default of this database: after the wait for the other host each
#: statement has to see what it wrote.
_BEGIN = f"BEGIN ISOLATION LEVEL READ COMMITTED; {IDENTITY} FOR UPDATE"
_NOTHING = "SELECT"
_RAISE = "UPDATE journal SET seq = seq + 1"
_DOUBT = f"""
    UPDATE interaction SET
        state = 'unknown', effect = 'unknown', process = '', lease_until = 0,
        begun_at = COALESCE(begun_at, first_sent), called_at = %(now)s, changed_at = %(now)s
    WHERE {IN_DOUBT}
"""
_PRUNE = f"""
    WITH old AS (SELECT interaction_id FROM interaction WHERE first_sent < %s AND {ANSWERED} LIMIT {AT_ONCE}),
        gone AS (DELETE FROM interaction USING old WHERE interaction.interaction_id = old.interaction_id),
        tasks AS (DELETE FROM task USING old WHERE task.interaction_id = old.interaction_id),
        results AS (DELETE FROM result USING old WHERE result.interaction_id = old.interaction_id)
    SELECT count(*) FROM old
"""


class PostgresJournal(Reading, Pruning):
    """Keeps its promise across a power cut and a failover that loses nothing: every commit waits for the disk.

    It connects at its first use and again after each loss, of which it tells once (StoreUnavailableError): the host
    may start before its database. Each write transaction holds the lock of the journal's one row, so that the hosts
    of the agency decide one after the other; one that hangs within a transaction loses it. Any thread may use it.

    Where an older copy took the place of the database under a living host (a standby that had not followed), no
    transaction begins any more: StoreUnavailableError with the code ``journal-rolled-back``, until `renew`.

    The hosts judge each other's leases by their own clocks, which must not part by more than a lease.
    """

    _statements = _STATEMENTS

    def __init__(self, url: str, *, agency: str, password: str | None = None) -> None:
        """``url``: ``postgresql://user@host:5432/database?sslmode=…``; several hosts in it are tried in turn.

        ConfigurationError where it cannot be read. A password in ``password`` goes before one in the URL.
        """
        self._parameters = _parameters(url, password)
        self._agency = agency
        self._lock = threading.RLock()
        self._connection: Connection | None = None
        self._is_closed = False
        #: The furthest that this process has seen.
        self._known: JournalIdentity | None = None

    def identity(self) -> JournalIdentity:
        """Which journal this is, and its number now."""
        with self._reading() as connection:
            return self._followed(identity(connection.execute(IDENTITY).fetchone()))

    @contextmanager
    def transaction(self) -> Iterator[_Transaction]:
        """A write transaction; an exception rolls back; StoreUnavailableError if it cannot begin or commit."""
        with self._begun() as (connection, before):
            transaction = _Transaction(connection, self._followed(before))
            yield transaction
        if transaction.has_raised:
            self._known = transaction.identity()

    def admit(self, start_id: str, identity: JournalIdentity) -> None:
        """The bus admitted that start of a host, having heard of this journal and number."""
        sql = (
            "INSERT INTO admission (start_id, journal_id, seq) VALUES (%s, %s, %s) "
            "ON CONFLICT (start_id) DO UPDATE SET journal_id = excluded.journal_id, seq = excluded.seq"
        )
        with self._begun() as (connection, _):
            connection.execute(sql, (start_id, identity.journal_id, identity.seq))

    def renew(self, now: Instant) -> JournalIdentity:
        """This journal is a restored copy: a new identity, and whatever the lost part may have changed is unknown."""
        with self._begun() as (connection, _):
            connection.execute(_DOUBT, {"now": now})
            connection.execute("UPDATE journal SET journal_id = %s, seq = seq + 1", (str(uuid4()),))
            connection.execute("DELETE FROM admission")
            renewed = identity(connection.execute(IDENTITY).fetchone())
        self._known = renewed
        return renewed

    def _prune_some(self, before: Instant) -> int:
        with self._begun() as (connection, found):
            reached = self._followed(found)
            (count,) = connection.execute(_PRUNE, (before,)).fetchone() or (0,)
            if count:
                connection.execute("UPDATE journal SET oldest = greatest(oldest, %s), seq = seq + 1", (before,))
                connection.execute("DELETE FROM admission")
                reached = identity(connection.execute(IDENTITY).fetchone())
        self._known = reached
        return int(count)

    def close(self) -> None:
        """Let go of the database."""
        with self._lock:
            self._is_closed = True
            self._drop()

    # --- the connection ---------------------------------------------------------------------------------------------

    def _read(self, sql: str, *wanted: Any) -> Sequence[Any]:
        with self._reading() as connection:
            return connection.execute(sql, wanted, binary=True).fetchall()

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with self._lock, self._mapped():
            yield self._connected()

    @contextmanager
    def _begun(self) -> Iterator[tuple[Connection, JournalIdentity]]:
        with self._lock:
            with self._mapped():
                connection = self._connected()
                begun = connection.execute(_BEGIN)
                begun.nextset()
                before = identity(begun.fetchone())
            try:
                with self._mapped():
                    yield connection, before
                    connection.execute("COMMIT")
            except BaseException:
                self._roll_back()
                raise

    def _connected(self) -> Connection:
        if self._is_closed:
            raise StoreUnavailableError("The journal was closed.")
        if self._connection is None:
            self._connection = connect(self._parameters, self._agency)
        return self._connection

    def _roll_back(self) -> None:
        """After an error of the database there is nothing left to roll back: the connection was let go of."""
        if self._connection is not None:
            # What is told is why it was rolled back, and not that the database is gone as well.
            with suppress(StoreUnavailableError), self._mapped():
                self._connection.execute("ROLLBACK")

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        """Any error of the database costs the connection: with a new one everything is as the database has it."""
        try:
            yield
        except Error as error:
            self._drop()
            raise StoreUnavailableError(
                f"The journal in PostgreSQL cannot be used ({_told(error)}): see that the server of the journal of "
                f"{self._agency} runs, can be reached, has room on its disk, and lets this user in."
            ) from error

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _followed(self, found: JournalIdentity) -> JournalIdentity:
        """Remember how far the journal has come; StoreUnavailableError where it has gone back."""
        known = self._known
        if known is not None and found.journal_id == known.journal_id and found.seq < known.seq:
            raise StoreUnavailableError(
                f"The journal of {self._agency} has gone back from {known.seq} to {found.seq}: an older copy took its "
                "place. Nothing is begun on it until the hosts of the agency are started again.",
                code="journal-rolled-back",
            )
        self._known = found
        return found


class _Transaction(TransactionReading):
    """What may be done between BEGIN and COMMIT."""

    _statements = _STATEMENTS

    def __init__(self, connection: Connection, before: JournalIdentity) -> None:
        self._connection = connection
        self._identity = JournalIdentity(journal_id=before.journal_id, seq=before.seq + 1, oldest=before.oldest)
        #: Whether the journal's number is raised.
        self.has_raised = False

    def identity(self) -> JournalIdentity:
        return self._identity

    def write(self, changes: JournalChanges) -> None:
        raises = bool(changes.rows or changes.outbox) and not self.has_raised
        self.has_raised = self.has_raised or raises
        self._run(
            [
                _many(_PUT_ROW, _last({row.interaction_id: rows.values(row) for row in changes.rows})),
                _many(_PUT_TASK, _last({line[0]: line for line in changes.tasks})),
                _many(_PUT_RESULT, _last({one.interaction_id: rows.result_values(one) for one in changes.results})),
                _many("DELETE FROM outbox WHERE message_id = ANY(%s)", [(id_,) for id_ in changes.confirmed]),
                _many(_PUT_REPLY, [rows.reply_values(reply) for reply in changes.outbox]),
                _many(_PUT_INVALID, [rows.invalid_values(one) for one in changes.invalid]),
                # Replies carry the number, also those that record nothing: one that left must not be forgotten.
                (_RAISE, ()) if raises else None,
            ]
        )

    def _run(self, statements: Sequence[tuple[str, Sequence[Any]] | None]) -> None:
        """All but the last in one round trip."""
        *first, last = [one for one in statements if one is not None] or [(_NOTHING, ())]
        if first:
            with self._connection.pipeline():
                for statement, arguments in first:
                    self._connection.execute(statement, arguments)
        # Not within the pipeline: after one the server does not count how long a transaction is idle.
        self._connection.execute(*last)

    def _among(self, sql: str, wanted: Collection[str]) -> Sequence[Any]:
        return self._connection.execute(sql, (list(wanted),), binary=True).fetchall() if wanted else ()


def _many(statement: str, lines: Sequence[Sequence[Any]]) -> tuple[str, Sequence[Any]] | None:
    """The statement with an array for each column of the lines; None if there are none."""
    return (statement, [list(column) for column in zip(*lines, strict=True)]) if lines else None


def _last(lines: Mapping[str, Sequence[Any]]) -> Sequence[Sequence[Any]]:
    """The last line of each key, in the order of the keys: PostgreSQL replaces a line once in a statement."""
    return [lines[key] for key in sorted(lines)]


def _parameters(url: str, password: str | None) -> Mapping[str, Any]:
    if url.startswith(_SCHEMES):
        try:
            return {**conninfo_to_dict(url), **({} if password is None else {"password": password})}
        except ProgrammingError:
            # Its text repeats parts of the URL, and a password may be one.
            pass
    fault = Fault(
        code="journal-url",
        message="The address of the journal cannot be read.",
        mend="Write postgresql://user@host:5432/database?sslmode=verify-full, and the password apart.",
    )
    raise ConfigurationError((fault,)) from None


def _told(error: Error) -> str:
    """The error without its text, which may hold what was written."""
    return f"{type(error).__name__} {error.sqlstate}" if error.sqlstate else type(error).__name__
