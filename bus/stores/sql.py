"""What every SQL store does alike: the port, over two ways to a connection that a dialect provides."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager

from sqlalchemy import Connection, Engine, func, select

from bus.audit.fact import Fact
from bus.message.instant import Instant, Milliseconds
from bus.ports import (
    Act,
    AgencyRow,
    DeskClaim,
    DeskRow,
    Disclosure,
    FailureRow,
    Line,
    Mode,
    OutboxRow,
    Payload,
    Place,
    ResultRow,
    Submission,
    Transaction,
)
from bus.process.state import Request, RequestState, StepState
from bus.stores import commands, queries, recount, rows
from bus.stores.schema import outbox
from bus.stores.sql_transaction import HotStatements, SqlTransaction


class SqlStore(ABC):
    """The part of the port that is the same for every dialect; the hot statements are the dialect's own."""

    #: Added to the clock; only tests set it.
    offset: int = 0

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @abstractmethod
    def reading(self) -> AbstractContextManager[Connection]:
        """A connection that sees one committed state throughout; StoreUnavailableError."""

    @abstractmethod
    def writing(self) -> AbstractContextManager[Connection]:
        """A connection in a write transaction, committed at the end, rolled back on an exception."""

    @abstractmethod
    def hot(self, connection: Connection) -> HotStatements:
        """The hot statements on this connection."""

    def transaction(self) -> AbstractContextManager[Transaction]:
        """A write transaction; an exception rolls back; StoreUnavailableError if it cannot begin or commit."""
        return self._transaction()

    @contextmanager
    def _transaction(self) -> Iterator[Transaction]:
        with self.writing() as connection:
            yield SqlTransaction(connection, self.hot(connection), self.now())

    def reading_at_length(self) -> AbstractContextManager[Connection]:
        """As `reading`, for what reads whole tables."""
        return self.reading()

    def now(self) -> Instant:
        """The wall clock in milliseconds; it goes back when somebody sets the machine's clock back."""
        return time.time_ns() // 1_000_000 + self.offset

    def close(self) -> None:
        """Let go of connections."""
        self.engine.dispose()

    # --- requests ---------------------------------------------------------------------------------------------------

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
        with self.reading() as connection:
            return self.hot(connection).payloads(ids)

    def due(self, now: Instant, most: int) -> tuple[Request, ...]:
        """Requests with a timer due at ``now``, earliest first."""
        with self.reading() as connection:
            return self.hot(connection).due(now, most)

    def next_due(self) -> Instant | None:
        """The earliest timer of all."""
        with self.reading() as connection:
            return self.hot(connection).next_due()

    def find(self, id_or_tracking: str) -> str | None:
        """The request id that an id or a canonical tracking code names."""
        with self.reading() as connection:
            return queries.find(connection, id_or_tracking)

    def versions(self, request_ids: Collection[str]) -> dict[str, int]:
        """The versions of these requests."""
        with self.reading() as connection:
            return queries.versions(connection, request_ids)

    def tracked(self, codes: Collection[str]) -> dict[str, str]:
        """Tracking code -> id of the request that has it."""
        with self.reading() as connection:
            return queries.tracked(connection, codes)

    def key_of(self, request_id: str) -> int:
        """The key of a request; NotFoundError."""
        with self.reading() as connection:
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
        with self.reading() as connection:
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

    def recount(self) -> tuple[str, ...]:
        """What does not add up, one sentence each; empty if all is well."""
        with self.reading_at_length() as connection:
            return recount.recount(connection)

    # --- agencies ---------------------------------------------------------------------------------------------------

    def counts(self, state: StepState) -> dict[str, int]:
        """How many steps are in that state, by agency (desks left out)."""
        with self.reading() as connection:
            return queries.counts(connection, state)

    def agencies(self) -> dict[str, AgencyRow]:
        """Every agency that has a row."""
        with self.reading() as connection:
            return queries.agencies(connection)

    def save_agency(self, row: AgencyRow, expected: AgencyRow | None, act: Act | None = None) -> bool:
        """Compare-and-set of an agency's row, with the act."""
        with self.writing() as connection:
            saved = commands.save_agency(connection, row, expected)
            self._note(connection, act if saved else None)
            return saved

    def note_act(self, act: Act) -> None:
        """Keep what somebody did."""
        with self.writing() as connection:
            self._note(connection, act)

    def acts(self, *, after: int, most: int) -> tuple[Act, ...]:
        """What those who run the bus did, oldest first."""
        with self.reading() as connection:
            return queries.acts(connection, after, most)

    def _note(self, connection: Connection, act: Act | None) -> None:
        if act is not None:
            commands.note_act(connection, act, self.now())

    # --- outbox and results -----------------------------------------------------------------------------------------

    def confirm(self, keys: Collection[int]) -> None:
        """Delete confirmed outbox rows."""
        if keys:
            with self.writing() as connection:
                commands.confirm(connection, keys)

    def leftovers(self, before: int, most: int, lease: Milliseconds) -> tuple[tuple[OutboxRow, bytes], ...]:
        """Outbox rows with keys below ``before`` that nobody leases, leased to the caller, with their bytes."""
        with self.writing() as connection:
            leased = self.hot(connection).lease(before, most, self.now(), lease)
        return tuple((rows.outbox_of(row[:-1]), row[-1]) for row in leased)

    def outbox_depth(self) -> int:
        """How many messages wait to be published."""
        with self.reading() as connection:
            return connection.scalar(select(func.count()).select_from(outbox)) or 0

    def results(self, consumer: str, *, after: int, most: int) -> tuple[tuple[ResultRow, bytes], ...]:
        """The consumer's feed after a cursor, with the bytes."""
        with self.reading() as connection:
            return queries.results(connection, consumer, after, most)

    def uncollected(self, consumer: str, *, most: int) -> tuple[tuple[ResultRow, bytes], ...]:
        """What its consumer has not acknowledged of the feed, oldest first, with the bytes."""
        with self.reading() as connection:
            return queries.results(connection, consumer, 0, most, is_uncollected=True)

    def told(self, request_id: str) -> tuple[bytes, ...]:
        """Everything that the feed says of one request, oldest first."""
        with self.reading() as connection:
            return queries.told(connection, request_id)

    def collect(self, consumer: str, keys: Collection[int]) -> int:
        """The consumer acknowledged these results; how many were not before."""
        with self.writing() as connection:
            return commands.collect(connection, consumer, keys, self.now())

    # --- desk and failures ------------------------------------------------------------------------------------------

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

    def failures(self, *, is_open: bool | None, after: int, most: int) -> tuple[FailureRow, ...]:
        """Failures by key."""
        with self.reading() as connection:
            return queries.failures(connection, is_open, after, most)

    def open_failures(self, request_id: str) -> tuple[FailureRow, ...]:
        """The open failures of one request, by key."""
        with self.reading() as connection:
            return queries.open_failures(connection, request_id)

    def failure(self, key: int) -> FailureRow | None:
        """One failure."""
        with self.reading() as connection:
            return queries.failure_row(connection, key)

    def note_failure(self, failure: FailureRow, payload: Payload | None) -> None:
        """A failure without a request, kept with its raw bytes."""
        with self.writing() as connection:
            commands.note_failure(connection, failure, payload)

    def close_failure(self, key: int, how: str) -> bool:
        """Compare-and-set: open -> closed now, in that way."""
        with self.writing() as connection:
            return commands.close_failure(connection, key, how, self.now())

    # --- what stands once -------------------------------------------------------------------------------------------

    def definition(self, revision: str) -> bytes | None:
        """The closure under its hash."""
        with self.reading() as connection:
            return queries.closure(connection, revision)

    def save_definition(self, revision: str, closure: bytes) -> None:
        """Keep a closure; the same again is nothing."""
        with self.writing() as connection:
            commands.save_definition(connection, revision, closure)

    def epoch(self) -> str | None:
        """Name of the broker's epoch as the store knows it."""
        with self.reading() as connection:
            return queries.setting_value(connection, "epoch")

    def save_epoch(self, epoch: str) -> None:
        """A new epoch began."""
        with self.writing() as connection:
            commands.save_setting(connection, "epoch", epoch)

    def be_present(self, process: str, settled_to: Instant) -> None:
        """This process manager is there, and has settled so far."""
        with self.writing() as connection:
            commands.be_present(connection, process, settled_to, self.now())

    def presences(self, since: Instant) -> dict[str, Instant]:
        """Process -> up to when it has settled, of those seen since."""
        with self.reading() as connection:
            return queries.presences(connection, since)

    def leave(self, process: str) -> None:
        """This process manager holds nothing any more."""
        with self.writing() as connection:
            commands.leave(connection, process)

    def take_turn(self, what: str, process: str, lease: Milliseconds) -> bool:
        """Whether the process has the turn from now on."""
        with self.writing() as connection:
            return commands.take_turn(connection, what, process, self.now(), lease)

    def end_turn(self, what: str, process: str) -> None:
        """The process does not need its turn any more."""
        with self.writing() as connection:
            commands.end_turn(connection, what, process)

    def mode(self) -> Mode:
        """Whether it may be acted on."""
        with self.reading() as connection:
            return Mode(queries.setting_value(connection, "mode") or Mode.OPEN)

    def save_mode(self, mode: Mode, *, was: Mode, act: Act | None = None) -> bool:
        """Compare-and-set: from one of the modes of a restored store to another, with the act."""
        with self.writing() as connection:
            moved = commands.move_setting(connection, "mode", was, mode)
            self._note(connection, act if moved else None)
            return moved

    def begin_reconcile(self, act: Act) -> None:
        """It was restored, with the act."""
        with self.writing() as connection:
            commands.begin_reconcile(connection)
            self._note(connection, act)

    def unanswered(self) -> int:
        """How many sent interactions wait for an answer."""
        with self.reading() as connection:
            return queries.unanswered(connection)

    def installation(self) -> str:
        """The id that this store got when it was made."""
        with self.reading() as connection:
            return queries.setting_value(connection, "installation") or ""

    def save_token(self, *, token_hash: str, user: str, role: str, agency: str | None, act: Act | None = None) -> None:
        """A user's bearer token, as its SHA-256, with the act."""
        with self.writing() as connection:
            commands.save_token(connection, token_hash, user, role, agency)
            self._note(connection, act)

    def remove_tokens(self, user: str, act: Act | None = None) -> int:
        """Take every token of a user back, with the act; how many there were."""
        with self.writing() as connection:
            removed = commands.remove_tokens(connection, user)
            self._note(connection, act if removed else None)
            return removed

    def users(self) -> set[str]:
        """Who has a token."""
        with self.reading() as connection:
            return queries.users(connection)

    def token(self, token_hash: str) -> tuple[str, str, str | None] | None:
        """(user, role, agency) of a token."""
        with self.reading() as connection:
            return queries.token_of(connection, token_hash)
