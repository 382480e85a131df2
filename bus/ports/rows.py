"""What the store keeps, as values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from bus.audit.fact import Fact
from bus.message.channel import Channel
from bus.message.instant import Instant, Milliseconds
from bus.message.quick import quick
from bus.process.decision import FailureClosed
from bus.process.state import Request, RequestState, Step, StepKey

#: Time, request and version of a fact: the order in which disclosures are read.
Place: TypeAlias = tuple[Instant, int, int]


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
    #: Keyed hashes of the consumer's own reference and of whom it asks for, for search.
    reference: str | None = None
    on_behalf_of: str | None = None
    #: Payload id of what the consumer said beside the data (reference, on behalf of whom), or of the exact event.
    said_id: int | None = None


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
    #: Of one that stands for its cause: how often that came, and when last. None for one that stands for itself.
    times: int | None = None
    last_at: Instant | None = None

    @classmethod
    def of_no_request(
        cls, *, key: int, code: str, at: Instant, agency: str | None = None, operation: str = "-"
    ) -> FailureRow:
        """Of something that belongs to no request and came once, then: it stands for its cause (see `Alarm`)."""
        return cls(
            key=key,
            request_key=None,
            request_id=None,
            step=None,
            agency=agency,
            code=code,
            cause=cls.cause_of(code, agency, operation),
            payload_id=None,
            opened_at=at,
            times=1,
            last_at=at,
        )

    @staticmethod
    def cause_of(code: str, agency: str | None = None, operation: str = "-") -> str:
        """What makes two failures that belong to no request one."""
        return f"{agency or '-'}/{operation}/{code}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """Something that belongs to no request. One failure is open for each cause; what comes again is counted there."""

    failure: FailureRow
    #: The raw messages that showed it; of each cause the store keeps the first `MOST_KEPT` only.
    messages: tuple[Payload, ...] = ()

    def with_another(self, messages: tuple[Payload, ...]) -> Alarm:
        """It came once more in the same batch."""
        failure = replace(self.failure, times=(self.failure.times or 0) + 1)
        return Alarm(failure=failure, messages=self.messages + messages)


@dataclass(frozen=True, slots=True, kw_only=True)
class CauseRow:
    """All open failures of one cause."""

    cause: str
    code: str
    agency: str | None
    failures: int
    #: How often it came: each failure counts once, and one that stands for its cause as often as that came.
    times: int
    first_at: Instant
    last_at: Instant


#: How many raw messages are kept of a cause until somebody closes its failure. None of them is anybody's only copy:
#: replies stand in the journals of the hosts, which are asked again, and tasks in the store.
MOST_KEPT = 100


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
class DeskClaim:
    """One clerk took one task at one time, and could read its data from then on. Kept for ever.

    A task that comes back to the clerk who returned it needs no new one: a fact names him.
    """

    request_key: int
    #: The key of the desk row.
    row: int
    step: StepKey
    clerk: str
    at: Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """What somebody who runs the bus did to an agency or a token: it belongs to no request, so no fact can say it."""

    actor: str
    #: ``agency_paused``, ``token_added``.
    what: str
    #: The agency, or the user of the token.
    target: str
    reason: str | None = None
    #: Given by the store: acts in the order of their commits, and when.
    key: int = 0
    at: Instant = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Disclosure:
    """A fact by which somebody was told fields of a request."""

    fact: Fact
    request_key: int
    service: str
    revision: str

    @property
    def place(self) -> Place:
        """Where it stands among all of them."""
        return self.fact.at, self.request_key, self.fact.version


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultRow:
    """One message for a consumer, in the order of its feed."""

    #: The cursor, given by the store in the order of commits: the key that was asked for, or a greater one where
    #: somebody has committed one that is greater still.
    key: int
    request_key: int
    request_id: str
    consumer: str
    type: str
    payload_id: int
    created_at: Instant
    collected_at: Instant | None = None


@quick
@dataclass(frozen=True, kw_only=True)
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

    def is_alive(self, now: Instant, dead_after: Milliseconds) -> bool:
        """Whether an admitted host was heard of lately."""
        return self.journal_id is not None and self.alive_at is not None and now - self.alive_at < dead_after

    def retire_journal(self) -> AgencyRow:
        """The row once its present journal was declared lost for ever: the next one may be admitted."""
        if self.journal_id is None:
            return self
        retired = (*self.retired, self.journal_id)
        return replace(
            self, retired=retired, journal_id=None, journal_seq=0, start_id=None, alive_at=None, operations={}
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRow:
    """One start of an agency's host that was admitted, and what it offers."""

    agency: str
    start_id: str
    #: Operation -> hash of its contracts.
    operations: Mapping[str, str]
    started_at: Instant
    seen_at: Instant


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
    #: Each counted with the failure that is open for its cause.
    alarms: Sequence[Alarm] = ()
    #: Inserted, or seen again.
    hosts: Sequence[HostRow] = ()
    #: (request key, what is over, when): closes what was open before; one of ``failures`` that is already over in the
    #: same batch comes with ``closed_at`` set.
    failures_closed: Sequence[tuple[int, FailureClosed, Instant]] = ()
    #: Inserted, or replaced by (request, step); a replaced row keeps its first key.
    desk: Sequence[DeskRow] = ()
    #: (as it was read, as it is now). Where several processes write, what several may hear (the journal's number, signs
    #: of life, ticks) only grows, and StaleVersionError tells that anything else is no longer as it was read.
    agencies: Sequence[tuple[AgencyRow, AgencyRow]] = ()


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
