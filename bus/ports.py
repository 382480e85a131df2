"""What the shell needs from the outside: a broker, a store, a journal. Everything is a batch."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from bus.audit.fact import Fact
from bus.message.channel import Channel
from bus.message.instant import Instant, Milliseconds
from bus.process.decision import Conflict, FailureClosed
from bus.process.event import Event
from bus.process.state import Request, RequestState, Step, StepKey, StepState
from bus.receiver.row import JournalIdentity, Row

# --- broker ---------------------------------------------------------------------------------------------------------


class Confirmation(StrEnum):
    """What the broker says of one published message."""

    CONFIRMED = "confirmed"
    #: No queue is bound: the message is nowhere.
    UNROUTABLE = "unroutable"
    #: The broker refused it (queue full).
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """One message on its way to a channel: the stored bytes and what the broker may know of them."""

    channel: Channel
    message_id: str
    type: str
    correlation_id: str
    body: bytes
    #: Place of the batch signature.
    signature: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One message as it came from a channel. ``tag`` is only good on the consumer that collected it."""

    tag: int
    channel: Channel
    body: bytes
    message_id: str | None = None
    redelivered: bool = False
    signature: str | None = None


class Publisher(Protocol):
    """Publishes batches. One thread at a time."""

    def publish(self, batch: Sequence[Outgoing]) -> tuple[Confirmation, ...]:
        """One confirmation for each message, same order. BrokerUnavailableError: none of it is known to be stored."""

    def close(self) -> None:
        """Let go of the connection."""


class Consumer(Protocol):
    """Collects batches from its channels. One thread at a time; channels may be paused one by one."""

    def collect(self, most: int, wait: Milliseconds) -> tuple[Delivery, ...]:
        """Up to ``most`` deliveries; returns as soon as some are there and no more follow, or after ``wait``, empty."""

    def acknowledge(self, deliveries: Collection[Delivery]) -> None:
        """These are settled: the broker may forget them. Unacknowledged ones come again to another consumer."""

    def pause(self, channel: Channel) -> None:
        """Collect nothing from this channel until it is resumed."""

    def resume(self, channel: Channel) -> None:
        """Collect from it again."""

    def close(self) -> None:
        """Stop; what was not acknowledged goes back to its channels."""


class Broker(Protocol):
    """A conveyor, never the record."""

    @property
    def volatile(self) -> bool:
        """Whether everything in it is gone when it stops: each start is a new epoch."""

    def apply(self, channels: Collection[Channel]) -> None:
        """Make the channels exist; those that do already are left as they are."""

    def has_epoch(self, epoch: str) -> bool:
        """Whether this broker still knows the epoch: False means that it was wiped."""

    def begin_epoch(self, epoch: str) -> None:
        """Leave the mark of a new epoch."""

    def depth(self, channel: Channel) -> int:
        """How many messages wait in the channel (unacknowledged ones not counted)."""

    def publisher(self) -> Publisher:
        """A publisher with a connection of its own."""

    def consumer(self, channels: Collection[Channel], prefetch: int) -> Consumer:
        """A consumer with a connection of its own; BrokerUnavailableError if a channel does not exist."""

    def close(self) -> None:
        """Close what is left open."""


# --- store: rows ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """Bytes of one message or one document; the only place where personal data may stand."""

    id: int
    #: None for a payload that belongs to no request.
    request_key: int | None
    bytes: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """Identity of one received message: the same one twice is settled once."""

    #: 0 where it belongs to no request.
    request_key: int
    source: str
    message_id: str
    #: SHA-256 of the body.
    digest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxRow:
    """One message to be published: its bytes are the payload."""

    key: int
    channel: Channel
    message_id: str
    type: str
    correlation_id: str
    payload_id: int
    request_key: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What makes a submission the same submission, and how people find the request."""

    request_key: int
    request_id: str
    consumer: str
    submission_key: str
    #: SHA-256 of JCS(service, purpose, data).
    digest: bytes
    tracking: str
    subject: str
    #: Keyed hash of the consumer's own reference, for search.
    reference: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureRow:
    """One failure for people."""

    key: int
    request_key: int | None
    request_id: str | None
    step: StepKey | None
    agency: str | None
    code: str
    #: The group it belongs to: agency, operation and code.
    cause: str
    payload_id: int | None
    opened_at: Instant
    closed_at: Instant | None = None
    how_closed: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskRow:
    """One task for clerks. ``state``: open, claimed, answered, withdrawn."""

    key: int
    request_key: int
    request_id: str
    step: StepKey
    agency: str
    operation: str
    interaction_id: str
    edit: int
    attempt: int
    #: Payload id of the task's bytes.
    task_id: int
    state: str
    opened_at: Instant
    due_at: Instant | None
    clerk: str | None = None
    changed_at: Instant | None = None
    draft_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultRow:
    """One message for a consumer, in the order of its feed."""

    #: The cursor.
    key: int
    request_key: int
    request_id: str
    consumer: str
    type: str
    payload_id: int
    created_at: Instant
    collected_at: Instant | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AgencyRow:
    """What the bus knows of an agency's host and of how it answers."""

    agency: str
    paused: bool = False
    start_id: str | None = None
    journal_id: str | None = None
    #: Highest number heard from that journal.
    journal_seq: int = 0
    alive_at: Instant | None = None
    #: Operation -> hash of its contracts, as the host announced.
    operations: Mapping[str, str] = field(default_factory=dict)
    #: ``closed``, ``open``, ``probing``.
    breaker: str = "closed"
    #: Transient replies or answer time-outs in a row.
    troubles: int = 0
    probe_at: Instant | None = None
    probe_wait: Milliseconds = 0
    #: Publishing instant of the newest tick that came through its reply channel.
    heard_at: Instant | None = None
    #: Journals that may never come back.
    retired: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """Everything that one transaction writes, each list in one multi-row statement, key-sorted."""

    submissions: Sequence[Submission] = ()
    #: New requests.
    requests: Sequence[Request] = ()
    #: Changed requests with the version that was read (compare-and-set).
    updates: Sequence[tuple[Request, int]] = ()
    #: (request key, row): inserted or replaced.
    steps: Sequence[tuple[int, Step]] = ()
    facts: Sequence[tuple[int, Fact]] = ()
    payloads: Sequence[Payload] = ()
    outbox: Sequence[OutboxRow] = ()
    #: Keys of outbox rows that the broker confirmed: deleted.
    confirmed: Sequence[int] = ()
    results: Sequence[ResultRow] = ()
    failures: Sequence[FailureRow] = ()
    #: (request key, what is over, when): closes what was open before; one of ``failures`` that is already over in the
    #: same batch comes with ``closed_at`` set.
    failures_closed: Sequence[tuple[int, FailureClosed, Instant]] = ()
    #: Inserted, or replaced by (request, step); a replaced row keeps its first key.
    desk: Sequence[DeskRow] = ()
    agencies: Sequence[AgencyRow] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRef:
    """Names one step row, for the dispatcher."""

    request_id: str
    request_key: int
    step: StepKey
    agency: str
    expires_at: Instant | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a list of requests: no payload."""

    request_id: str
    request_key: int
    tracking: str
    consumer: str
    service: str
    state: RequestState
    waiting_for: str | None
    accepted_at: Instant
    ended_at: Instant | None
    test: bool


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

    def ready(self, agency: str, most: int) -> tuple[StepRef, ...]:
        """Ready steps of an agency, earliest deadline first."""

    def desk_row(self, request_key: int, step: StepKey) -> DeskRow | None:
        """The desk row of a step."""

    def tracking_taken(self, tracking: Collection[str]) -> set[str]:
        """Which of these tracking codes are in use."""

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

    def requests(
        self, *, consumer: str | None, states: Collection[RequestState], after: int, most: int
    ) -> tuple[Line, ...]:
        """Requests by ascending key after ``after``; without ``states``, those of every state."""

    def submission_of(self, request_id: str) -> Submission | None:
        """The submission that became this request."""

    def facts(self, request_id: str) -> tuple[Fact, ...]:
        """All facts of a request, in order."""

    def payloads(self, ids: Collection[int]) -> dict[int, bytes]:
        """Bytes by payload id."""

    def due(self, now: Instant, most: int) -> tuple[Request, ...]:
        """Requests with a timer due at ``now``, earliest first."""

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

    def results(self, consumer: str, *, after: int, most: int) -> tuple[tuple[ResultRow, bytes], ...]:
        """The consumer's feed after a cursor, with the bytes."""

    def collect(self, consumer: str, keys: Collection[int]) -> int:
        """The consumer acknowledged these results; how many were not before."""

    def desk(self, agency: str | None, *, states: Collection[str], after: int, most: int) -> tuple[DeskRow, ...]:
        """Rows of a desk, or of all desks, by key; without ``states``, those of every state."""

    def desk_row(self, key: int) -> DeskRow | None:
        """One row of a desk."""

    def claim(self, key: int, clerk: str, draft: Payload | None) -> bool:
        """Compare-and-set: open, or claimed by this clerk -> claimed by this clerk (with a draft); False if not."""

    def release(self, key: int, clerk: str) -> bool:
        """Compare-and-set: claimed by this clerk -> open."""

    def failures(self, *, is_open: bool | None, after: int, most: int) -> tuple[FailureRow, ...]:
        """Failures by key."""

    def failure(self, key: int) -> FailureRow | None:
        """One failure."""

    def note_failure(self, failure: FailureRow, payload: Payload | None) -> None:
        """A failure without a request (invalid, orphan): kept with its raw bytes."""

    def save_agency(self, row: AgencyRow, expected: AgencyRow | None) -> bool:
        """Compare-and-set of an agency's row by a person's command."""

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

    def installation(self) -> str:
        """The id that this store got when it was made."""

    def alive_requests(self, after: int, most: int) -> tuple[str, ...]:
        """Ids of open and closing requests, and ended ones with compensations under way (parked ones rest), by key."""

    def key_of(self, request_id: str) -> int:
        """The key of a request; NotFoundError."""

    def save_token(self, *, token_hash: str, user: str, role: str, agency: str | None) -> None:
        """A user's bearer token, as its SHA-256."""

    def token(self, token_hash: str) -> tuple[str, str, str | None] | None:
        """(user, role, agency) of a token."""

    def recount(self) -> tuple[str, ...]:
        """What does not add up: conservation, contiguous and chained facts, orphans; empty if all is well."""

    def totals(self) -> dict[RequestState, int]:
        """How many requests are in each state."""

    def close(self) -> None:
        """Let go of connections."""


# --- deciding -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskAnswer:
    """A clerk's answer counts only while the row is open, or claimed by this clerk, for this attempt."""

    clerk: str
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """One event for one request, with the bytes that are written beside it."""

    request_id: str
    event: Event
    payloads: tuple[Payload, ...] = ()
    #: Identity of the received message; None for what was not received (timers, commands).
    received: Received | None = None
    #: With a `Submitted` event only.
    submission: Submission | None = None
    #: With a `Replied` only: the row that the message says it answers.
    step: StepKey | None = None
    #: With a clerk's `Replied` only.
    desk: DeskAnswer | None = None


class Fate(StrEnum):
    """What became of one incoming event."""

    APPLIED = "applied"
    #: Received before, byte for byte; or the same submission again.
    DUPLICATE = "duplicate"
    #: No such request.
    ORPHAN = "orphan"
    #: It does not fit any more; nothing was written.
    CONFLICT = "conflict"
    #: The code could not decide it: kept and shown as a failure, and its neighbours were decided.
    BROKEN = "broken"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """The fate of one incoming event, and the request as it is after it."""

    fate: Fate
    request: Request | None = None
    conflict: Conflict | None = None


class Decider(Protocol):
    """Decides a batch in one transaction and hands what it sends to the broker after the commit."""

    def decide(self, batch: Sequence[Incoming]) -> tuple[Decided, ...]:
        """One fate for each, same order. StoreUnavailableError: nothing of the batch happened."""


# --- journal --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalReply:
    """A reply of the host: the exact bytes."""

    message_id: str
    type: str
    correlation_id: str
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalResult:
    """What the legacy system answered, and the reply that was recorded for it."""

    interaction_id: str
    #: None where no call was made.
    raw: bytes | None
    reply: JournalReply


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalInvalid:
    """Bytes that could not be understood, kept for a person."""

    #: The channel, or ``collect`` for a raw answer that belongs to no interaction.
    origin: str
    code: str
    body: bytes
    at: Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalChanges:
    """Everything that one transaction of the journal writes."""

    #: Inserted or replaced.
    rows: Sequence[Row] = ()
    #: (interaction id, body of the task's message): inserted or replaced.
    tasks: Sequence[tuple[str, bytes]] = ()
    #: Inserted or replaced.
    results: Sequence[JournalResult] = ()
    #: To be published; one that waits already is left as it is.
    outbox: Sequence[JournalReply] = ()
    #: Message ids that the broker confirmed: leave the outbox.
    confirmed: Sequence[str] = ()
    invalid: Sequence[JournalInvalid] = ()


class JournalTransaction(Protocol):
    """One write transaction: no other process of the agency writes between its reads and its commit."""

    def identity(self) -> JournalIdentity:
        """The journal, with the number that this transaction has if it writes rows."""

    def load(self, interaction_ids: Collection[str]) -> dict[str, Row]:
        """These interactions; unknown ones are absent."""

    def referred(self, references: Collection[str]) -> dict[str, Row]:
        """Interactions by their reference, the short form that stands in the legacy system."""

    def tasks(self, interaction_ids: Collection[str]) -> dict[str, bytes]:
        """Bodies of the latest tasks."""

    def results(self, interaction_ids: Collection[str]) -> dict[str, JournalResult]:
        """What was recorded of these."""

    def write(self, changes: JournalChanges) -> None:
        """Write it all; rows raise the journal's number by one."""


class Journal(Protocol):
    """The agency host's record of interactions; hosts of one agency share one. Survives a power cut."""

    def identity(self) -> JournalIdentity:
        """Which journal this is, and its number now."""

    def transaction(self) -> AbstractContextManager[JournalTransaction]:
        """A write transaction; an exception rolls back; StoreUnavailableError if it cannot begin or commit."""

    def waiting(self, until: Instant, most: int) -> tuple[tuple[Row, bytes], ...]:
        """Received interactions last changed up to ``until``, oldest first, with the bodies of their tasks."""

    def outbox(self, most: int) -> tuple[JournalReply, ...]:
        """Replies that wait to be published, oldest first."""

    def invalid(self, most: int) -> tuple[JournalInvalid, ...]:
        """What could not be understood, newest first."""

    def admit(self, start_id: str, identity: JournalIdentity) -> None:
        """The bus admitted that start of a host, having heard of this journal and number."""

    def admission(self, start_id: str) -> JournalIdentity | None:
        """What `admit` was told of that start."""

    def renew(self, now: Instant) -> JournalIdentity:
        """This journal is a restored copy: a new identity, and whatever the lost part may have changed is unknown."""

    def prune(self, before: Instant) -> int:
        """Forget answered interactions first sent before ``before``, and remember that; how many."""

    def close(self) -> None:
        """Let go of the file."""
