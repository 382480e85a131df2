"""The truth of the bus side: one write transaction, and reads of what is committed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from enum import StrEnum
from typing import Protocol

from bus.audit.fact import Fact
from bus.message.channel import Channel
from bus.message.instant import Instant, Milliseconds
from bus.ports.rows import (
    Act,
    AgencyRow,
    CauseRow,
    Changes,
    DeskClaim,
    DeskRow,
    Disclosure,
    FailureRow,
    HostRow,
    Line,
    OutboxRow,
    Payload,
    Place,
    Received,
    ResultRow,
    StepRef,
    Submission,
)
from bus.process.state import Request, RequestState, StepKey, StepState


class Mode(StrEnum):
    """Whether the store may be acted on."""

    #: It says what happened.
    OPEN = "open"
    #: It was restored: more may have happened than it says. Providers are asked about every open interaction.
    RECONCILE = "reconcile"
    #: All of that was asked; a person opens it.
    ASKED = "asked"


class Transaction(Protocol):
    """One write transaction: read with locks, decide, write, commit at the end of the ``with``."""

    def now(self) -> Instant:
        """The store's clock, read once."""

    def load(self, request_ids: Collection[str]) -> dict[str, Request]:
        """These requests with all their steps, locked in key order; unknown ids are absent."""

    def fresh(self, received: Sequence[Received]) -> tuple[bool, ...]:
        """Records what was received; False for what was received before, byte for byte."""

    def payloads(self, ids: Collection[int]) -> dict[int, bytes]:
        """Bytes by payload id."""

    def agencies(self, names: Collection[str]) -> dict[str, AgencyRow]:
        """The rows of these agencies; one that has none yet has the defaults."""

    def hosts(self, agency: str, speaking: str) -> tuple[HostRow, ...]:
        """Starts of an agency's hosts that were heard of within the last day, the last heard of first.

        Of very many the last ones; the start that is ``speaking`` is always among them. One of which nothing but its
        start was heard may be forgotten after an hour.
        """

    def ready(self, agency: str, most: int) -> tuple[StepRef, ...]:
        """Ready steps of an agency, earliest deadline first, their requests locked.

        Those of requests that another transaction holds are left out: it sees them itself.
        """

    def desk_row(self, request_key: int, step: StepKey) -> DeskRow | None:
        """The desk row of a step; no clerk takes or gives it back before the end."""

    def submission(self, consumer: str, submission_key: str) -> Submission | None:
        """What was accepted under this key."""

    def write(self, changes: Changes) -> None:
        """Write it all. StaleVersionError if a request has another version than was read."""


class Store(Protocol):
    """The truth of the bus side. Reads outside a transaction see what is committed."""

    def now(self) -> Instant:
        """The store's clock (with an offset that only tests set)."""

    def transaction(self) -> AbstractContextManager[Transaction]:
        """A write transaction; an exception rolls back; StoreUnavailableError if it cannot begin or commit."""

    def request(self, request_id: str) -> Request | None:
        """One request with its steps."""

    def find(self, id_or_tracking: str) -> str | None:
        """The request id that an id or a tracking code (as `parse_tracking` gives it) names."""

    def versions(self, request_ids: Collection[str]) -> dict[str, int]:
        """The versions of these requests: while one stays the same, so does the request; unknown ids are absent."""

    def tracked(self, codes: Collection[str]) -> dict[str, str]:
        """Tracking code -> id of the request that has it, for those of these codes that one has."""

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
        """Requests by ascending key after ``after``; without ``states``, those of every state.

        ``reference`` and ``on_behalf_of`` are the keyed hashes that the submission carries.
        """

    def accepted(self) -> int:
        """How many submissions were ever accepted: the sum of `totals`, or a request is lost."""

    def submission_of(self, request_id: str) -> Submission | None:
        """The submission that became this request."""

    def submission_under(self, consumer: str, submission_key: str) -> Submission | None:
        """What was accepted under this key of this consumer."""

    def facts(self, request_id: str) -> tuple[Fact, ...]:
        """All facts of a request, in order."""

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
        """Who was told what, oldest first, behind ``after`` and before the instant ``until``.

        ``agency`` is either party. Facts that an open transaction may yet precede are left out until it has ended, so
        that nothing ever becomes visible behind a place that was read.
        """

    def payloads(self, ids: Collection[int]) -> dict[int, bytes]:
        """Bytes by payload id."""

    def due(self, now: Instant, most: int, after: tuple[Instant, int] = (0, 0)) -> tuple[Request, ...]:
        """Requests with a timer due at ``now``, earliest first, behind the one with that least timer and key."""

    def next_due(self) -> Instant | None:
        """The earliest timer of all."""

    def counts(self, state: StepState) -> dict[str, int]:
        """How many steps are in that state, by agency (desks left out)."""

    def agencies(self) -> dict[str, AgencyRow]:
        """Every agency that has a row."""

    def leftovers(self, before: int, most: int, lease: Milliseconds) -> tuple[tuple[OutboxRow, bytes], ...]:
        """Outbox rows with keys below ``before`` that nobody leases, leased to the caller, with their bytes."""

    def confirm(self, keys: Collection[int]) -> None:
        """Delete confirmed outbox rows."""

    def outbox_depth(self) -> int:
        """How many messages wait to be published."""

    def outbox_depths(self) -> dict[Channel, int]:
        """How many messages wait to be published, by channel; one for which none waits is absent."""

    def results(self, consumer: str, *, after: int, most: int) -> tuple[tuple[ResultRow, bytes], ...]:
        """The consumer's feed after a cursor, with the bytes; nothing becomes visible behind one that was read."""

    def uncollected(self, consumer: str, *, most: int) -> tuple[tuple[ResultRow, bytes], ...]:
        """What its consumer has not acknowledged of the feed, oldest first, with the bytes."""

    def told(self, request_id: str) -> tuple[bytes, ...]:
        """Everything that the feed of its consumer says of one request, oldest first."""

    def collect(self, consumer: str, keys: Collection[int]) -> int:
        """The consumer acknowledged these results; how many were not before."""

    def desk(self, agency: str | None, *, states: Collection[str], after: int, most: int) -> tuple[DeskRow, ...]:
        """Rows of a desk, or of all desks, by key; without ``states``, those of every state."""

    def desk_row(self, key: int) -> DeskRow | None:
        """One row of a desk."""

    def claim(self, key: int, clerk: str, draft: Payload | None) -> bool:
        """Compare-and-set: open, or claimed by this clerk -> claimed by this clerk (with a draft); False if not.

        Who takes an open row is recorded as a `DeskClaim` in the same transaction.
        """

    def release(self, key: int, clerk: str) -> bool:
        """Compare-and-set: claimed by this clerk -> open."""

    def desk_claims(self, request_id: str) -> tuple[DeskClaim, ...]:
        """Who took the tasks of a request, by time."""

    def failures(
        self, *, is_open: bool | None, after: int, most: int, cause: str | None = None
    ) -> tuple[FailureRow, ...]:
        """Failures by key, of one cause or of all."""

    def open_causes(self, most: int) -> tuple[CauseRow, ...]:
        """The causes of all open failures, the one that came last first."""

    def open_failures(self, request_id: str) -> tuple[FailureRow, ...]:
        """The open failures of one request, by key."""

    def failure(self, key: int) -> FailureRow | None:
        """One failure."""

    def note_failure(self, failure: FailureRow, payload: Payload | None) -> int:
        """As one of `Changes.alarms`, which came now: the key of the failure that is open for its cause."""

    def failure_messages(self, key: int) -> tuple[int, ...]:
        """Payload ids of the raw messages that are kept of a failure that stands for a cause, oldest first."""

    def close_failure(self, key: int, how: str) -> bool:
        """Compare-and-set: open -> closed now, in that way; False if it was closed already or is not there."""

    def save_agency(self, row: AgencyRow, expected: AgencyRow | None, act: Act | None = None) -> bool:
        """Compare-and-set of an agency's row by a person's command; who did what is kept with it."""

    def note_act(self, act: Act) -> None:
        """Keep what somebody did where nothing else in the store changes."""

    def acts(self, *, after: int, most: int) -> tuple[Act, ...]:
        """What those who run the bus did to agencies and tokens, oldest first."""

    def definition(self, revision: str) -> bytes | None:
        """The closure under its hash."""

    def save_definition(self, revision: str, closure: bytes) -> None:
        """Keep a closure; the same again is nothing."""

    def open_revisions(self) -> set[str]:
        """Revisions that living requests need."""

    def epoch(self) -> str | None:
        """Name of the broker's epoch as the store knows it."""

    def save_epoch(self, epoch: str) -> None:
        """A new epoch began."""

    def be_present(self, process: str, settled_to: Instant) -> None:
        """This process manager is there now, and has settled all that it was handed before ``settled_to``.

        Those that were not seen for a day are forgotten.
        """

    def presences(self, since: Instant) -> dict[str, Instant]:
        """Process -> up to when it has settled, of the process managers that were seen at ``since`` or later."""

    def leave(self, process: str) -> None:
        """This process manager holds nothing any more."""

    def take_turn(self, what: str, process: str, lease: Milliseconds) -> bool:
        """Whether the process has the turn at something for so long from now: it had it, or nobody has it now."""

    def end_turn(self, what: str, process: str) -> None:
        """Others may take the turn at once, if the process has it."""

    def mode(self) -> Mode:
        """Whether it may be acted on."""

    def save_mode(self, mode: Mode, *, was: Mode, act: Act | None = None) -> bool:
        """Compare-and-set: from one of the modes of a restored store to another; who did it is kept with it."""

    def begin_reconcile(self, act: Act) -> None:
        """It was restored: its mode says so, and what it was about to send is forgotten; who did it is kept with it."""

    def unanswered(self) -> int:
        """How many sent interactions (desks left out) wait for the answer to what was asked or sent last."""

    def installation(self) -> str:
        """The id that this store got when it was made."""

    def alive_requests(self, after: int, most: int) -> tuple[str, ...]:
        """Ids of open and closing requests, and ended ones with compensations under way (parked ones rest), by key."""

    def key_of(self, request_id: str) -> int:
        """The key of a request; NotFoundError."""

    def save_token(self, *, token_hash: str, user: str, role: str, agency: str | None, act: Act | None = None) -> None:
        """A user's bearer token, as its SHA-256; who gave it is kept with it."""

    def remove_tokens(self, user: str, act: Act | None = None) -> int:
        """Take every token of a user back; how many there were. Who did it is kept if there were any."""

    def users(self) -> set[str]:
        """Who has a token."""

    def token(self, token_hash: str) -> tuple[str, str, str | None] | None:
        """(user, role, agency) of a token."""

    def recount(self) -> tuple[str, ...]:
        """What does not add up: conservation, contiguous and chained facts, orphans; empty if all is well."""

    def totals(self) -> dict[RequestState, int]:
        """How many requests are in each state."""

    def close(self) -> None:
        """Let go of connections."""
