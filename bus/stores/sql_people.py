"""What people get from the store and do in it: feeds of consumers, desks of clerks, failures of operators."""

from __future__ import annotations

from collections.abc import Collection

from bus.ports import CauseRow, DeskClaim, DeskRow, FailureRow, Payload, ResultRow
from bus.stores import commands, counted_failures, queries
from bus.stores.sql_place import SqlPlace


class People(SqlPlace):
    """The part of the port for consumers, clerks and operators."""

    def results(self, consumer: str, *, after: int, most: int) -> tuple[tuple[ResultRow, bytes], ...]:
        """The consumer's feed after a cursor, with the bytes."""
        with self.looking() as connection:
            return self.hot(connection).results(consumer, after, most)

    def uncollected(self, consumer: str, *, most: int) -> tuple[tuple[ResultRow, bytes], ...]:
        """What its consumer has not acknowledged of the feed, oldest first, with the bytes."""
        with self.looking() as connection:
            return queries.uncollected(connection, consumer, most)

    def told(self, request_id: str) -> tuple[bytes, ...]:
        """Everything that the feed says of one request, oldest first."""
        with self.reading() as connection:
            return queries.told(connection, request_id)

    def collect(self, consumer: str, keys: Collection[int]) -> int:
        """The consumer acknowledged these results; how many were not before."""
        with self.writing() as connection:
            return self.hot(connection).collect(consumer, keys, self.now())

    def desk(self, agency: str | None, *, states: Collection[str], after: int, most: int) -> tuple[DeskRow, ...]:
        """Tasks of a desk by key; without ``states``, those of every state."""
        with self.reading() as connection:
            return queries.desk_page(connection, agency, states, after, most)

    def desk_row(self, key: int) -> DeskRow | None:
        """One task of a desk."""
        with self.reading() as connection:
            return queries.desk_row(connection, key)

    def claim(self, key: int, clerk: str, draft: Payload | None) -> bool:
        """Compare-and-set: open, or claimed by this clerk -> claimed by this clerk; a new claim is recorded."""
        with self.writing() as connection:
            return commands.claim(connection, key, clerk, draft, self.now())

    def release(self, key: int, clerk: str) -> bool:
        """Compare-and-set: claimed by this clerk -> open."""
        with self.writing() as connection:
            return commands.release(connection, key, clerk, self.now())

    def desk_claims(self, request_id: str) -> tuple[DeskClaim, ...]:
        """Who took the tasks of a request, by time."""
        with self.reading() as connection:
            return queries.desk_claims(connection, request_id)

    def failures(
        self, *, is_open: bool | None, after: int, most: int, cause: str | None = None
    ) -> tuple[FailureRow, ...]:
        """Failures by key, of one cause or of all."""
        with self.reading() as connection:
            return queries.failures(connection, is_open, after, most, cause)

    def open_causes(self, most: int) -> tuple[CauseRow, ...]:
        """The causes of all open failures, the one that came last first."""
        with self.reading() as connection:
            return counted_failures.open_causes(connection, most)

    def open_failures(self, request_id: str) -> tuple[FailureRow, ...]:
        """The open failures of one request, by key."""
        with self.reading() as connection:
            return queries.open_failures(connection, request_id)

    def failure(self, key: int) -> FailureRow | None:
        """One failure."""
        with self.reading() as connection:
            return queries.failure_row(connection, key)

    def note_failure(self, failure: FailureRow, payload: Payload | None) -> int:
        """Count it with the failure that is open for its cause, whose key is answered."""
        with self.writing() as connection:
            return counted_failures.note(connection, failure, payload)

    def failure_messages(self, key: int) -> tuple[int, ...]:
        """Payload ids of the raw messages that are kept of a failure, oldest first."""
        with self.reading() as connection:
            return counted_failures.messages(connection, key)

    def close_failure(self, key: int, how: str) -> bool:
        """Compare-and-set: open -> closed now, in that way."""
        with self.writing() as connection:
            return commands.close_failure(connection, key, how, self.now())
