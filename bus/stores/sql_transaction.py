"""A write transaction over SQL: hand-written statements for what every batch does, the rest the same everywhere."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from sqlalchemy import Connection

from bus.audit.fact import Fact
from bus.message.instant import Instant, Milliseconds
from bus.ports import AgencyRow, Changes, DeskRow, HostRow, Received, ResultRow, StepRef, Submission
from bus.process.state import Request, StepKey
from bus.stores import commands, counted_failures, host_rows, queries, rows


class HotStatements(Protocol):
    """What runs for every batch, written by hand for each dialect, on the driver's cursor of one connection."""

    def load(self, request_ids: Collection[str]) -> dict[str, Request]:
        """These requests with their steps, by id, locked in the order of their keys."""

    def peek(self, request_id: str) -> Request | None:
        """One request with its steps, not locked."""

    def due(self, now: Instant, most: int, after: tuple[Instant, int]) -> tuple[Request, ...]:
        """Requests whose least timer is not after ``now``, earliest first, behind that least timer and key."""

    def next_due(self) -> Instant | None:
        """The least timer of all requests."""

    def lease(self, before: int, most: int, now: Instant, length: Milliseconds) -> Sequence[rows.Row]:
        """Outbox rows below the key that nobody leases at ``now``, each with its bytes; leased from now on."""

    def ready(self, agency: str, most: int) -> tuple[StepRef, ...]:
        """Ready steps of an agency, earliest deadline first, those without one last; their requests are locked."""

    def facts(self, request_id: str) -> tuple[Fact, ...]:
        """All facts of a request, in order."""

    def payloads(self, ids: Collection[int]) -> dict[int, bytes]:
        """Bytes by payload id; unknown ids are absent."""

    def agencies(self, names: Collection[str]) -> dict[str, AgencyRow]:
        """The rows of these agencies, not locked; those without one are absent."""

    def tracked(self, codes: Collection[str]) -> dict[str, str]:
        """Tracking code -> id of the request that has it."""

    def results(self, consumer: str, after: int, most: int) -> tuple[tuple[ResultRow, bytes], ...]:
        """A page of a consumer's feed, with the bytes."""

    def collect(self, consumer: str, keys: Collection[int], now: Instant) -> int:
        """Mark results of this consumer as collected; how many were not before."""

    def with_open_failures(self, request_keys: Collection[int]) -> set[int]:
        """Which of these requests have a failure that nobody has closed."""

    def receive(self, received: Sequence[Received]) -> tuple[bool, ...]:
        """Record what was received; whether each was new."""

    def write(self, changes: Changes) -> None:
        """Write the long lists of a batch, key-sorted; StaleVersionError if a request is not as it was read."""

    def write_shared(self, changes: Changes, now: Instant) -> None:
        """Write, last, the rows that other writers wait for: agencies, then results."""


class SqlTransaction:
    """A write transaction."""

    def __init__(self, connection: Connection, hot: HotStatements, now: Instant) -> None:
        self._connection = connection
        self._hot = hot
        self._now = now

    def now(self) -> Instant:
        """The store's clock, read when the transaction had begun."""
        return self._now

    def load(self, request_ids: Collection[str]) -> dict[str, Request]:
        """These requests with all their steps, locked in key order; unknown ids are absent."""
        return self._hot.load(request_ids)

    def fresh(self, received: Sequence[Received]) -> tuple[bool, ...]:
        """Records what was received; False for what was received before, byte for byte."""
        return self._hot.receive(received)

    def payloads(self, ids: Collection[int]) -> dict[int, bytes]:
        """Bytes by payload id."""
        return self._hot.payloads(ids)

    def write(self, changes: Changes) -> None:
        """Write it all. StaleVersionError if a request has another version than was read."""
        self._hot.write(changes)
        self._close_failures(changes)
        commands.write(self._connection, changes)
        counted_failures.write(self._connection, changes.alarms)
        host_rows.write(self._connection, changes.hosts, self._now)
        self._hot.write_shared(changes, self._now)

    def agencies(self, names: Collection[str]) -> dict[str, AgencyRow]:
        """The rows of these agencies; one that has none yet has the defaults."""
        found = self._hot.agencies(names)
        return {name: found.get(name) or AgencyRow(agency=name) for name in sorted(names)}

    def _close_failures(self, changes: Changes) -> None:
        # Every request that ends says so; hardly any has one.
        keys = {request_key for request_key, _, _ in changes.failures_closed}
        shown = self._hot.with_open_failures(keys) if keys else set()
        commands.close_failures(self._connection, [one for one in changes.failures_closed if one[0] in shown])

    def hosts(self, agency: str, speaking: str) -> tuple[HostRow, ...]:
        """Starts of an agency's hosts, and among them the one that is speaking."""
        return host_rows.read(self._connection, agency, speaking, self._now)

    def ready(self, agency: str, most: int) -> tuple[StepRef, ...]:
        """Ready steps of an agency, earliest deadline first."""
        return self._hot.ready(agency, most)

    def desk_row(self, request_key: int, step: StepKey) -> DeskRow | None:
        """The desk row of a step."""
        return queries.desk_row_of(self._connection, request_key, step)

    def submission(self, consumer: str, submission_key: str) -> Submission | None:
        """What was accepted under this key."""
        return queries.submission_under(self._connection, consumer, submission_key)
