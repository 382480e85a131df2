"""The hot statements for SQLite, on the driver's cursor.

Many rows go into one statement. The driver lets go of the interpreter's lock at every step of a statement, and beside
a busy thread each of those can cost a whole switch interval to take it back: 400 rows one by one took up to a second.
Rows are cut into pieces of a few fixed sizes, so that the statements are few and stay prepared.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from operator import itemgetter
from typing import Any

import orjson
from sqlalchemy import Table

from bus.audit.fact import Fact
from bus.message.instant import Instant, Milliseconds
from bus.ports import AgencyRow, Changes, Received, ResultRow, StepRef
from bus.process.state import Request
from bus.stores import rows, schema, seldom_rows

_SIZES = (64, 16, 4, 1)


@dataclass(frozen=True, slots=True)
class _Statement:
    """``before``, then as many ``(?, ?, …)`` as there are rows, then ``after``."""

    before: str
    width: int
    after: str = ""


@cache
def _text(statement: _Statement, size: int) -> str:
    one = f"({', '.join('?' * statement.width)})"
    return f"{statement.before} {', '.join([one] * size)} {statement.after}"


def _pieces(values: Sequence[rows.Row]) -> Iterator[Sequence[rows.Row]]:
    start = 0
    for size in _SIZES:
        while len(values) - start >= size:
            yield values[start : start + size]
            start += size


def _run(cursor: sqlite3.Cursor, statement: _Statement, values: Sequence[rows.Row]) -> int:
    """Run it for all rows; how many rows of the table it touched."""
    touched = 0
    for piece in _pieces(values):
        cursor.execute(_text(statement, len(piece)), tuple(chain.from_iterable(piece)))
        touched += cursor.rowcount
    return touched


def _names(table: Table, leave_out: Collection[str] = ()) -> list[str]:
    return [column.name for column in table.columns if column.name not in leave_out]


def _insert(table: Table, after: str = "") -> _Statement:
    names = _names(table)
    return _Statement(f"INSERT INTO {table.name} ({', '.join(names)}) VALUES", len(names), after)


def _among(values: Iterable[Any]) -> tuple[str]:
    """The argument of ``IN (SELECT value FROM json_each(?))``: one text for any number of values."""
    return (orjson.dumps(list(values)).decode(),)


_STEP_KEY = ("request_key", "step", "item", "kind")
_REQUESTS = f"SELECT {', '.join(_names(schema.request))} FROM request"
_STEPS = f"SELECT {', '.join(_names(schema.step))} FROM step WHERE request_key IN (SELECT value FROM json_each(?))"
_DUE = f"{_REQUESTS} WHERE due <= ? AND due >= ? AND (due, key) > (?, ?) ORDER BY due, key LIMIT ?"
_FACTS = (
    f"SELECT {', '.join(_names(schema.fact, ['leaf_index']))} FROM fact"
    " WHERE request_key = (SELECT key FROM request WHERE id = ?) ORDER BY version"
)

_LEFTOVERS = (
    f"SELECT {', '.join(f'outbox.{name}' for name in _names(schema.outbox))}, payload.bytes"
    " FROM outbox JOIN payload ON payload.id = outbox.payload_id"
    " WHERE outbox.key < ? AND coalesce(outbox.lease_until, 0) <= ? ORDER BY outbox.key LIMIT ?"
)

#: The few that are taken are chosen before anything is looked up for them.
_READY = (
    f"SELECT {', '.join(rows.READY)} FROM (SELECT {', '.join(rows.READY[1:])} FROM step"
    f" WHERE agency = ? AND state = 'ready' AND {schema.IS_MOVING}"
    " ORDER BY expires_at NULLS LAST, request_key LIMIT ?) AS earliest JOIN request ON request.key = request_key"
    " ORDER BY expires_at NULLS LAST, request_key"
)

_AGENCIES = f"SELECT {', '.join(_names(schema.agency))} FROM agency WHERE agency IN (SELECT value FROM json_each(?))"
_OPEN_FAILURES = (
    "SELECT request_key FROM failure WHERE closed_at IS NULL AND request_key IN (SELECT value FROM json_each(?))"
)
_TRACKED = (
    "SELECT tracking, request.id FROM submission JOIN request ON request.key = request_key"
    " WHERE tracking IN (SELECT value FROM json_each(?))"
)
_RESULTS = (
    f"SELECT {', '.join(f'result.{name}' for name in _names(schema.result))}, payload.bytes"
    " FROM result JOIN payload ON payload.id = payload_id"
    " WHERE consumer = ? AND result.key > ? ORDER BY result.key LIMIT ?"
)
_COLLECT = (
    f"UPDATE result SET collected_at = ? WHERE {schema.IS_UNCOLLECTED}"
    " AND consumer = ? AND key IN (SELECT value FROM json_each(?))"
)
_INSERT_INBOX = _insert(schema.inbox, "ON CONFLICT DO NOTHING RETURNING request_key, source, message_id, digest")
_INSERT_REQUEST = _insert(schema.request)
_INSERT_SUBMISSION = _insert(schema.submission)
_INSERT_FACT = _insert(schema.fact)
_INSERT_PAYLOAD = _insert(schema.payload)
_INSERT_OUTBOX = _insert(schema.outbox)
_INSERT_RESULT = _insert(schema.result)
_SAVE_STEP = _insert(
    schema.step,
    f"ON CONFLICT ({', '.join(_STEP_KEY)}) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in _names(schema.step, _STEP_KEY)),
)
_SAVE_AGENCY = _insert(
    schema.agency,
    "ON CONFLICT (agency) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in _names(schema.agency, ["agency"])),
)
#: Column 1 is the key, column 2 the version that was read, and the rest is what changes.
_UPDATE_REQUEST = _Statement(
    f"UPDATE request SET {', '.join(f'{name} = new.column{place}' for place, name in enumerate(rows.CHANGING, 3))}"
    " FROM (VALUES",
    len(rows.CHANGING) + 2,
    ") AS new WHERE request.key = new.column1 AND request.version = new.column2",
)


class SqliteStatements:
    """The hot statements on one connection."""

    def __init__(self, cursor: sqlite3.Cursor) -> None:
        self._cursor = cursor

    def load(self, request_ids: Collection[str]) -> dict[str, Request]:
        """These requests with their steps, by id, in the order of their keys; the whole store is locked anyway."""
        found = self._cursor.execute(
            f"{_REQUESTS} WHERE id IN (SELECT value FROM json_each(?)) ORDER BY key", _among(request_ids)
        )
        return {request.id: request for request in self._with_steps(found.fetchall())}

    def peek(self, request_id: str) -> Request | None:
        """One request with its steps."""
        return self.load([request_id]).get(request_id)

    def due(self, now: Instant, most: int, after: tuple[Instant, int]) -> tuple[Request, ...]:
        """Requests whose least timer is not after ``now``, earliest first, behind that least timer and key."""
        found = self._cursor.execute(_DUE, (now, after[0], *after, most))
        return tuple(self._with_steps(found.fetchall()))

    def next_due(self) -> Instant | None:
        """The least timer of all requests."""
        sql = "SELECT min(due) FROM request WHERE due IS NOT NULL"
        found: Instant | None = self._cursor.execute(sql).fetchone()[0]
        return found

    def lease(self, before: int, most: int, now: Instant, length: Milliseconds) -> Sequence[rows.Row]:
        """Outbox rows below the key that nobody leases at ``now``, each with its bytes; leased from now on."""
        found = self._cursor.execute(_LEFTOVERS, (before, now, most)).fetchall()
        self._cursor.execute(
            "UPDATE outbox SET lease_until = ? WHERE key IN (SELECT value FROM json_each(?))",
            (now + length, *_among(row[0] for row in found)),
        )
        return found

    def ready(self, agency: str, most: int) -> tuple[StepRef, ...]:
        """Ready steps of an agency, earliest deadline first, those without one last."""
        return tuple(map(rows.step_ref, self._cursor.execute(_READY, (agency, most)).fetchall()))

    def facts(self, request_id: str) -> tuple[Fact, ...]:
        """All facts of a request, in order."""
        found = self._cursor.execute(_FACTS, (request_id,)).fetchall()
        return tuple(rows.fact_of(request_id, row) for row in found)

    def payloads(self, ids: Collection[int]) -> dict[int, bytes]:
        """Bytes by payload id; unknown ids are absent."""
        sql = "SELECT id, bytes FROM payload WHERE id IN (SELECT value FROM json_each(?))"
        return dict(self._cursor.execute(sql, _among(ids)).fetchall())

    def agencies(self, names: Collection[str]) -> dict[str, AgencyRow]:
        """The rows of these agencies; those without one are absent."""
        return {row[0]: seldom_rows.agency_of(row) for row in self._cursor.execute(_AGENCIES, _among(names)).fetchall()}

    def tracked(self, codes: Collection[str]) -> dict[str, str]:
        """Tracking code -> id of the request that has it."""
        return dict(self._cursor.execute(_TRACKED, _among(codes)).fetchall())

    def results(self, consumer: str, after: int, most: int) -> tuple[tuple[ResultRow, bytes], ...]:
        """A page of a consumer's feed, with the bytes."""
        found = self._cursor.execute(_RESULTS, (consumer, after, most)).fetchall()
        return tuple((rows.result_of(row[:-1]), row[-1]) for row in found)

    def collect(self, consumer: str, keys: Collection[int], now: Instant) -> int:
        """Mark results of this consumer as collected; how many were not before."""
        return self._cursor.execute(_COLLECT, (now, consumer, *_among(keys))).rowcount

    def with_open_failures(self, request_keys: Collection[int]) -> set[int]:
        """Which of these requests have a failure that nobody has closed."""
        return {row[0] for row in self._cursor.execute(_OPEN_FAILURES, _among(request_keys)).fetchall()}

    def receive(self, received: Sequence[Received]) -> tuple[bool, ...]:
        """Record what was received; whether each was new."""
        values = [rows.inbox_row(each) for each in received]
        inserted: list[rows.Row] = []
        for piece in _pieces(sorted(values)):
            self._cursor.execute(_text(_INSERT_INBOX, len(piece)), tuple(chain.from_iterable(piece)))
            inserted += self._cursor.fetchall()
        return rows.which_are_new(values, inserted)

    def write(self, changes: Changes) -> None:
        """Write the hot lists of a batch, key-sorted; StaleVersionError if a request is not as it was read."""
        cursor = self._cursor
        if changes.confirmed:
            sql = "DELETE FROM outbox WHERE key IN (SELECT value FROM json_each(?))"
            cursor.execute(sql, _among(changes.confirmed))
        _update_requests(cursor, changes.updates)
        _run(cursor, _INSERT_REQUEST, _sorted([rows.request_row(one) for one in changes.requests]))
        _run(cursor, _INSERT_SUBMISSION, _sorted([rows.submission_row(one) for one in changes.submissions]))
        _run(cursor, _SAVE_STEP, _sorted([rows.step_row(*one) for one in changes.steps], 4))
        _run(cursor, _INSERT_FACT, _sorted([rows.fact_row(*one) for one in changes.facts], 2))
        _run(cursor, _INSERT_PAYLOAD, _sorted([rows.payload_row(one) for one in changes.payloads]))
        _run(cursor, _INSERT_OUTBOX, _sorted([rows.outbox_row(one) for one in changes.outbox]))

    def write_shared(self, changes: Changes, now: Instant) -> None:
        """Write the rows that other writers wait for; here they wait for the whole store."""
        cursor = self._cursor
        _run(cursor, _SAVE_AGENCY, _sorted([seldom_rows.agency_row(row) for _, row in changes.agencies]))
        if changes.results:
            last = cursor.execute("SELECT max(key) FROM result").fetchone()[0] or 0
            _run(cursor, _INSERT_RESULT, rows.results_behind(last, changes.results))

    def _with_steps(self, found: Sequence[rows.Row]) -> list[Request]:
        return rows.requests_of(found, self._cursor.execute(_STEPS, _among(row[0] for row in found)).fetchall())


def _update_requests(cursor: sqlite3.Cursor, updates: Sequence[tuple[Request, int]]) -> None:
    values: list[rows.Row] = []
    for request, version in updates:
        key, *changes = rows.request_changes(request)
        values.append((key, version, *changes))
    updated = _run(cursor, _UPDATE_REQUEST, _sorted(values))
    if updated != len(values):
        raise rows.overtaken(len(values) - updated, len(values))


def _sorted(values: list[rows.Row], width: int = 1) -> list[rows.Row]:
    """By the first ``width`` columns, which are the key."""
    values.sort(key=itemgetter(*range(width)))
    return values
