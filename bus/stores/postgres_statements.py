"""The hot statements for PostgreSQL, on the driver's cursor.

Each is one constant text for any number of rows, which come as one parameter: so it is parsed and planned once for a
connection, and a batch costs one statement for each table. The statements of one write leave together and
their answers are awaited once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, TypeAlias

import psycopg
from sqlalchemy import Table

from bus.audit.fact import Fact
from bus.errors import StaleVersionError
from bus.message.instant import Instant, Milliseconds
from bus.ports import AgencyRow, Changes, Received, ResultRow, StepRef
from bus.process.state import Request
from bus.stores import rows, schema, seldom_rows
from bus.stores.locks import Lock
from bus.stores.merging import merged
from bus.stores.postgres_connections import Driver
from bus.stores.postgres_packing import Packed, RowType, bigints, texts

_Cursor: TypeAlias = psycopg.Cursor[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class _Statement:
    """One text, and the rows that its ``unnest`` takes."""

    text: str
    rows: RowType


def _names(table: Table, leave_out: Collection[str] = ()) -> list[str]:
    return [column.name for column in table.columns if column.name not in leave_out]


def _insert(table: Table, after: str = "") -> _Statement:
    return _Statement(f"INSERT INTO {table.name} SELECT * FROM unnest(%b::{table.name}[]) {after}", RowType.of(table))


def _replace(table: Table, by: Sequence[str]) -> _Statement:
    replaced = ", ".join(f"{name} = excluded.{name}" for name in _names(table, by))
    return _insert(table, f"ON CONFLICT ({', '.join(by)}) DO UPDATE SET {replaced}")


def _update_request() -> _Statement:
    """It takes the whole rows as they shall be, and beside them the versions that were read."""
    changes = ", ".join(f"{name} = new.{name}" for name in rows.CHANGING)
    text = (
        # In a SELECT of its own the planner cannot count the rows, and so makes no plan for each number of them.
        f"UPDATE request SET {changes} FROM ROWS FROM (unnest((SELECT %b::request[])), unnest((SELECT %b::bigint[])))"
        f" AS new ({', '.join(_names(schema.request))}, read)"
        " WHERE request.key = new.key AND request.version = new.read"
    )
    return _Statement(text, RowType.of(schema.request))


_REQUESTS = f"SELECT {', '.join(_names(schema.request))} FROM request"
_STEPS = f"SELECT {', '.join(_names(schema.step))} FROM step WHERE request_key = ANY(%b::bigint[])"
_DUE = f"{_REQUESTS} WHERE due <= %s AND due >= %s AND (due, key) > (%s, %s) ORDER BY due, key LIMIT %s"
_FACTS = (
    f"SELECT {', '.join(_names(schema.fact, ['leaf_index']))} FROM fact"
    " WHERE request_key = (SELECT key FROM request WHERE id = %s) ORDER BY version"
)
_READY = (
    f"SELECT {', '.join(rows.READY)} FROM step JOIN request ON request.key = request_key"
    f" WHERE agency = %s AND step.state = 'ready' AND step.{schema.IS_MOVING}"
    " ORDER BY expires_at, request_key LIMIT %s FOR UPDATE OF request SKIP LOCKED"
)
_LEASE = (
    "WITH leased AS (UPDATE outbox SET lease_until = %s WHERE key = ANY(ARRAY("
    "SELECT key FROM outbox WHERE key < %s AND coalesce(lease_until, 0) <= %s"
    f" ORDER BY key LIMIT %s FOR UPDATE SKIP LOCKED)) RETURNING {', '.join(_names(schema.outbox))})"
    " SELECT leased.*, payload.bytes FROM leased JOIN payload ON payload.id = leased.payload_id ORDER BY leased.key"
)
_LOCK_RESULTS = f"SELECT pg_advisory_xact_lock({int(Lock.RESULTS)})"
_CONFIRM = "DELETE FROM outbox WHERE key = ANY(%b::bigint[])"

_UPDATE_REQUEST = _update_request()
_INSERT_INBOX = _insert(schema.inbox, "ON CONFLICT DO NOTHING RETURNING request_key, source, message_id, digest")
_INSERT_REQUEST = _insert(schema.request)
_INSERT_SUBMISSION = _insert(schema.submission)
_INSERT_FACT = _insert(schema.fact)
_INSERT_PAYLOAD = _insert(schema.payload)
_INSERT_OUTBOX = _insert(schema.outbox)
_INSERT_RESULT = _insert(schema.result)
_SAVE_STEP = _replace(schema.step, ["request_key", "step", "item", "kind"])
_SAVE_AGENCY = _replace(schema.agency, ["agency"])
_INSERT_AGENCY = _insert(schema.agency, "ON CONFLICT DO NOTHING")

_AGENCIES = f"SELECT {', '.join(_names(schema.agency))} FROM agency WHERE agency = ANY(%b::text[]) ORDER BY agency"
_OPEN_FAILURES = "SELECT request_key FROM failure WHERE closed_at IS NULL AND request_key = ANY(%b::bigint[])"
_TRACKED = (
    "SELECT tracking, request.id FROM submission JOIN request ON request.key = request_key"
    " WHERE tracking = ANY(%b::text[])"
)
_RESULTS = (
    f"SELECT {', '.join(f'result.{name}' for name in _names(schema.result))}, payload.bytes"
    " FROM result JOIN payload ON payload.id = payload_id"
    " WHERE consumer = %s AND result.key > %s ORDER BY result.key LIMIT %s"
)
#: Locked in one order, so that two who say the same at once wait for one another and not in a circle.
_COLLECT = (
    f"UPDATE result SET collected_at = %s WHERE key = ANY(ARRAY(SELECT key FROM result WHERE {schema.IS_UNCOLLECTED}"
    " AND consumer = %s AND key = ANY(%b::bigint[]) ORDER BY key FOR UPDATE))"
)
#: The number of each row type in this database.
_ROW_TYPES = "SELECT relname::text, reltype::bigint FROM pg_class WHERE oid = ANY(%b::text[]::regclass[])"
_WRITTEN = ("request", "submission", "step", "fact", "payload", "inbox", "outbox", "result", "agency")


class PostgresStatements:
    """The hot statements on one connection."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        # Answers in binary: bytes would come twice as long otherwise.
        self._cursor = driver.cursor(binary=True)

    def load(self, request_ids: Collection[str]) -> dict[str, Request]:
        """These requests with their steps, by id, locked in the order of their keys.

        The steps are read by a statement of their own, once the locks are held: it sees what the last holder committed.
        """
        found = self._all(f"{_REQUESTS} WHERE id = ANY(%b::text[]) ORDER BY key FOR UPDATE", texts(request_ids))
        return {request.id: request for request in self._with_steps(found)}

    def peek(self, request_id: str) -> Request | None:
        """One request with its steps, not locked."""
        found = self._with_steps(self._all(f"{_REQUESTS} WHERE id = %s", request_id))
        return found[0] if found else None

    def due(self, now: Instant, most: int, after: tuple[Instant, int]) -> tuple[Request, ...]:
        """Requests whose least timer is not after ``now``, earliest first, behind that least timer and key."""
        return tuple(self._with_steps(self._all(_DUE, now, after[0], *after, most)))

    def next_due(self) -> Instant | None:
        """The least timer of all requests."""
        found: Instant | None = self._all("SELECT min(due) FROM request WHERE due IS NOT NULL")[0][0]
        return found

    def lease(self, before: int, most: int, now: Instant, length: Milliseconds) -> Sequence[rows.Row]:
        """Outbox rows below the key that nobody leases at ``now``, each with its bytes; leased from now on."""
        return self._all(_LEASE, now + length, before, now, most)

    def ready(self, agency: str, most: int) -> tuple[StepRef, ...]:
        """Ready steps of an agency, earliest deadline first, those without one last; their requests are locked."""
        return tuple(map(rows.step_ref, self._all(_READY, agency, most)))

    def facts(self, request_id: str) -> tuple[Fact, ...]:
        """All facts of a request, in order."""
        return tuple(rows.fact_of(request_id, row) for row in self._all(_FACTS, request_id))

    def payloads(self, ids: Collection[int]) -> dict[int, bytes]:
        """Bytes by payload id; unknown ids are absent."""
        if not ids:
            return {}
        return dict(self._all("SELECT id, bytes FROM payload WHERE id = ANY(%b::bigint[])", bigints(ids)))

    def agencies(self, names: Collection[str]) -> dict[str, AgencyRow]:
        """The rows of these agencies, not locked; those without one are absent."""
        return {row[0]: seldom_rows.agency_of(row) for row in self._all(_AGENCIES, texts(names))}

    def tracked(self, codes: Collection[str]) -> dict[str, str]:
        """Tracking code -> id of the request that has it."""
        return dict(self._all(_TRACKED, texts(codes)))

    def results(self, consumer: str, after: int, most: int) -> tuple[tuple[ResultRow, bytes], ...]:
        """A page of a consumer's feed, with the bytes."""
        return tuple((rows.result_of(row[:-1]), row[-1]) for row in self._all(_RESULTS, consumer, after, most))

    def collect(self, consumer: str, keys: Collection[int], now: Instant) -> int:
        """Mark results of this consumer as collected; how many were not before."""
        self._run(_COLLECT, now, consumer, bigints(keys))
        return self._cursor.rowcount

    def with_open_failures(self, request_keys: Collection[int]) -> set[int]:
        """Which of these requests have a failure that nobody has closed."""
        return {row[0] for row in self._all(_OPEN_FAILURES, bigints(request_keys))}

    def receive(self, received: Sequence[Received]) -> tuple[bool, ...]:
        """Record what was received; whether each was new."""
        values = [rows.inbox_row(each) for each in received]
        if not values:
            return ()
        return rows.which_are_new(values, self._all(_INSERT_INBOX.text, self._packed(_INSERT_INBOX, sorted(values))))

    def write(self, changes: Changes) -> None:
        """Write the long lists of a batch, key-sorted; StaleVersionError if a request is not as it was read."""
        updates = sorted(changes.updates, key=_key_of_update)
        self._know_row_types()
        with self._driver.pipeline():
            if changes.confirmed:
                self._run(_CONFIRM, bigints(sorted(changes.confirmed)))
            updated = self._driver.cursor()
            if updates:
                whole = self._packed(_UPDATE_REQUEST, [rows.request_row(request) for request, _ in updates])
                self._run(_UPDATE_REQUEST.text, whole, bigints([read for _, read in updates]), cursor=updated)
            self._put(_INSERT_REQUEST, changes.requests, rows.request_row)
            self._put(_INSERT_SUBMISSION, changes.submissions, rows.submission_row)
            self._put(_SAVE_STEP, changes.steps, lambda one: rows.step_row(*one), 4)
            self._put(_INSERT_FACT, changes.facts, lambda one: rows.fact_row(*one), 2)
            self._put(_INSERT_PAYLOAD, changes.payloads, rows.payload_row)
            self._put(_INSERT_OUTBOX, changes.outbox, rows.outbox_row)
        if updates and updated.rowcount != len(updates):
            raise rows.overtaken(len(updates) - updated.rowcount, len(updates))

    def write_shared(self, changes: Changes, now: Instant) -> None:
        """Write, last, the rows that other writers wait for: agencies, then results."""
        if changes.agencies:
            self._write_agencies(changes.agencies, now)
        if changes.results:
            self._all(_LOCK_RESULTS)
            # A statement of its own: it sees what the last holder of the lock committed.
            last = self._all("SELECT max(key) FROM result")[0][0] or 0
            self._run(_INSERT_RESULT.text, self._packed(_INSERT_RESULT, rows.results_behind(last, changes.results)))

    def _write_agencies(self, agencies: Sequence[tuple[AgencyRow, AgencyRow]], now: Instant) -> None:
        names = [row.agency for _, row in agencies]
        found = {row[0]: seldom_rows.agency_of(row) for row in self._all(f"{_AGENCIES} FOR UPDATE", texts(names))}
        known = [row for row in agencies if row[1].agency in found]
        new = [row for _, row in agencies if row.agency not in found]
        self._put(_SAVE_AGENCY, [merged(found[row.agency], read, row, now) for read, row in known], _agency_row)
        self._put(_INSERT_AGENCY, new, _agency_row)
        if new and self._cursor.rowcount != len(new):
            raise StaleVersionError("Somebody else wrote an agency's first row.", mend="Decide the batch again.")

    def _with_steps(self, found: Sequence[rows.Row]) -> list[Request]:
        if not found:
            return []
        return rows.requests_of(found, self._all(_STEPS, bigints([row[0] for row in found])))

    def _put(
        self, statement: _Statement, values: Iterable[Any], to_row: Callable[[Any], rows.Row], width: int = 1
    ) -> None:
        if made := _sorted(list(map(to_row, values)), width):
            self._run(statement.text, self._packed(statement, made))

    def _packed(self, statement: _Statement, values: Sequence[rows.Row]) -> Packed:
        self._know_row_types()
        return statement.rows.array(self._driver.row_types[statement.rows.name], values)

    def _know_row_types(self) -> None:
        if not self._driver.row_types:
            self._driver.row_types = dict(self._all(_ROW_TYPES, texts(_WRITTEN)))

    def _all(self, text: str, *values: Any) -> list[tuple[Any, ...]]:
        self._run(text, *values)
        return self._cursor.fetchall()

    def _run(self, text: str, *values: Any, cursor: _Cursor | None = None) -> None:
        (cursor or self._cursor).execute(text, values, prepare=True)


def _key_of_update(update: tuple[Request, int]) -> int:
    return update[0].key


def _agency_row(row: AgencyRow) -> rows.Row:
    return seldom_rows.agency_row(row)


def _sorted(values: list[Any], width: int = 1) -> list[Any]:
    """By the first ``width`` columns, which are the key."""
    values.sort(key=itemgetter(*range(width)))
    return values
