"""The agency host's record of interactions."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from bus.message.instant import Instant
from bus.receiver.row import JournalIdentity, Row


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
        """The journal, with the number that this transaction has if it writes rows or replies."""

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

    def outbox(self, most: int, after: int = 0) -> tuple[tuple[int, JournalReply], ...]:
        """Replies that wait to be published, each with its place, behind the place ``after``, oldest first."""

    def invalid(self, most: int) -> tuple[JournalInvalid, ...]:
        """What could not be understood, newest first."""

    def admit(self, start_id: str, identity: JournalIdentity) -> None:
        """The bus admitted that start of a host, having heard of this journal and number."""

    def admission(self, start_id: str) -> JournalIdentity | None:
        """What `admit` was told of that start."""

    def renew(self, now: Instant) -> JournalIdentity:
        """This journal is a restored copy: a new identity, and whatever the lost part may have changed is unknown."""

    def prune(self, before: Instant, most: int = 1_000_000) -> int:
        """Forget answered interactions first sent before ``before``, about ``most`` of them, and remember that.

        How many were forgotten: at least ``most`` if there may be more.
        """

    def close(self) -> None:
        """Let go of the file."""
