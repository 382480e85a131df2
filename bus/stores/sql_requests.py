"""What the store says of requests."""

from __future__ import annotations

from collections.abc import Collection

from bus.audit.fact import Fact
from bus.message.instant import Instant
from bus.ports import Disclosure, Line, Place, Submission
from bus.process.state import Request, RequestState
from bus.stores import queries
from bus.stores.sql_place import SqlPlace


class Requests(SqlPlace):
    """The part of the port that reads requests."""

    def request(self, request_id: str) -> Request | None:
        """One request with its steps."""
        with self.reading() as connection:
            return self.hot(connection).peek(request_id)

    def facts(self, request_id: str) -> tuple[Fact, ...]:
        """All facts of a request, in order."""
        with self.reading() as connection:
            return self.hot(connection).facts(request_id)

    def payloads(self, ids: Collection[int]) -> dict[int, bytes]:
        """Bytes by payload id."""
        with self.looking() as connection:
            return self.hot(connection).payloads(ids)

    def due(self, now: Instant, most: int, after: tuple[Instant, int] = (0, 0)) -> tuple[Request, ...]:
        """Requests with a timer due at ``now``, earliest first, behind the one with that least timer and key."""
        with self.reading() as connection:
            return self.hot(connection).due(now, most, after)

    def next_due(self) -> Instant | None:
        """The earliest timer of all."""
        with self.looking() as connection:
            return self.hot(connection).next_due()

    def find(self, id_or_tracking: str) -> str | None:
        """The request id that an id or a canonical tracking code names."""
        with self.looking() as connection:
            return queries.find(connection, id_or_tracking)

    def versions(self, request_ids: Collection[str]) -> dict[str, int]:
        """The versions of these requests."""
        with self.looking() as connection:
            return queries.versions(connection, request_ids)

    def tracked(self, codes: Collection[str]) -> dict[str, str]:
        """Tracking code -> id of the request that has it."""
        with self.looking() as connection:
            return self.hot(connection).tracked(codes)

    def key_of(self, request_id: str) -> int:
        """The key of a request; NotFoundError."""
        with self.looking() as connection:
            return queries.key_of(connection, request_id)

    def requests(
        self,
        *,
        consumer: str | None,
        states: Collection[RequestState],
        after: int,
        most: int,
        reference: str | None = None,
        on_behalf_of: str | None = None,
    ) -> tuple[Line, ...]:
        """Requests by ascending key after ``after``; without ``states``, those of every state."""
        hashes = {"reference": reference, "on_behalf_of": on_behalf_of}
        with self.reading() as connection:
            return queries.lines(connection, consumer, states, after, most, **hashes)

    def disclosures(
        self,
        *,
        after: Place,
        until: Instant | None,
        most: int,
        request_id: str | None = None,
        agency: str | None = None,
        purpose: str | None = None,
    ) -> tuple[Disclosure, ...]:
        """Who was told what, oldest first."""
        with self.reading() as connection:
            return queries.disclosures(connection, after, until, most, request_id, agency, purpose)

    def accepted(self) -> int:
        """How many submissions were ever accepted."""
        with self.looking() as connection:
            return queries.accepted(connection)

    def submission_of(self, request_id: str) -> Submission | None:
        """The submission that became this request."""
        with self.reading() as connection:
            return queries.submission_of(connection, request_id)

    def submission_under(self, consumer: str, submission_key: str) -> Submission | None:
        """What was accepted under this key."""
        with self.reading() as connection:
            return queries.submission_under(connection, consumer, submission_key)

    def alive_requests(self, after: int, most: int) -> tuple[str, ...]:
        """Ids of requests that something is under way for, by key."""
        with self.reading() as connection:
            return queries.alive_requests(connection, after, most)

    def open_revisions(self) -> set[str]:
        """Revisions that living requests need."""
        with self.reading() as connection:
            return queries.open_revisions(connection)

    def totals(self) -> dict[RequestState, int]:
        """How many requests are in each state, test requests too."""
        with self.reading() as connection:
            return queries.totals(connection)
