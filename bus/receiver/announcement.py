"""How a host and the bus get to know each other: started, admitted, alive. Both sides write and read them here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bus.errors import Fault, InvalidMessageError
from bus.message.envelope import Envelope, Message, MessageType, encode
from bus.message.instant import Instant, from_rfc3339, to_rfc3339
from bus.receiver.row import JournalIdentity


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A host began: its journal, and what it offers."""

    agency: str
    #: UUID of this start; the admission names it.
    start_id: str
    journal: JournalIdentity
    #: Operation -> hash of its contracts.
    operations: Mapping[str, str] = field(default_factory=dict)
    #: Program -> version.
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """The bus takes the host in; ``heard`` is the highest number that it ever heard of that journal."""

    agency: str
    start_id: str
    journal_id: str
    heard: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Alive:
    """The host still runs, and its journal has come to this number."""

    agency: str
    start_id: str
    journal_id: str
    seq: int
    #: When it said so, by its own clock; of one that is still to be said, None.
    at: Instant | None = None


def started_message(started: Started, *, id: str, now: Instant) -> Message:
    """The host's announcement; ``id`` is a UUID of its own."""
    data = {
        "startid": started.start_id,
        "oldest": to_rfc3339(started.journal.oldest),
        "operations": dict(started.operations),
        "versions": dict(started.versions),
    }
    envelope = Envelope(
        id=id,
        source=f"/agency/{started.agency}",
        type=MessageType.HOST_STARTED,
        time=now,
        provider=started.agency,
        journalid=started.journal.journal_id,
        journalseq=started.journal.seq,
    )
    return encode(envelope, data)


def admitted_message(admitted: Admitted, *, id: str, now: Instant) -> Message:
    """The bus's admission of one start."""
    envelope = Envelope(
        id=id,
        source="/bus",
        type=MessageType.HOST_ADMITTED,
        time=now,
        provider=admitted.agency,
        journalid=admitted.journal_id,
        journalseq=admitted.heard,
    )
    return encode(envelope, {"startid": admitted.start_id})


def alive_message(alive: Alive, *, id: str, now: Instant) -> Message:
    """The host's sign of life."""
    envelope = Envelope(
        id=id,
        source=f"/agency/{alive.agency}",
        type=MessageType.HOST_ALIVE,
        time=now,
        provider=alive.agency,
        journalid=alive.journal_id,
        journalseq=alive.seq,
    )
    return encode(envelope, {"startid": alive.start_id})


def read_started(message: Message) -> Started:
    """What the announcement says; an InvalidMessageError if it is none or lacks something."""
    agency, journal_id, seq, data = _parts(message, MessageType.HOST_STARTED)
    try:
        oldest = from_rfc3339(data["oldest"])
        operations = {str(name): str(digest) for name, digest in data["operations"].items()}
        versions = {str(name): str(version) for name, version in data["versions"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _wrong("/data", message) from error
    return Started(
        agency=agency,
        start_id=data["startid"],
        journal=JournalIdentity(journal_id=journal_id, seq=seq, oldest=oldest),
        operations=operations,
        versions=versions,
    )


def read_admitted(message: Message) -> Admitted:
    """What the admission says; an InvalidMessageError if it is none or lacks something."""
    agency, journal_id, seq, data = _parts(message, MessageType.HOST_ADMITTED)
    return Admitted(agency=agency, start_id=data["startid"], journal_id=journal_id, heard=seq)


def read_alive(message: Message) -> Alive:
    """What the sign of life says; an InvalidMessageError if it is none or lacks something."""
    agency, journal_id, seq, data = _parts(message, MessageType.HOST_ALIVE)
    return Alive(agency=agency, start_id=data["startid"], journal_id=journal_id, seq=seq, at=message.envelope.time)


def _parts(message: Message, type_: MessageType) -> tuple[str, str, int, Mapping[str, Any]]:
    envelope, data = message.envelope, message.data
    if envelope.type != type_:
        raise _wrong("/type", message)
    if envelope.provider is None or envelope.journalid is None or envelope.journalseq is None:
        raise _wrong("", message)
    if data is None or not isinstance(data.get("startid"), str):
        raise _wrong("/data/startid", message)
    return envelope.provider, envelope.journalid, envelope.journalseq, data


def _wrong(pointer: str, message: Message) -> InvalidMessageError:
    fault = Fault(
        code="announcement",
        message="A host's announcement or its answer lacks something or has a wrong type.",
        mend="Run the same version of the bus on both sides.",
        pointer=pointer,
    )
    return InvalidMessageError((fault,), raw=message.body)
