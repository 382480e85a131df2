"""How a host and the bus get to know each other: it announces its start, is admitted, and says that it lives."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from enum import Enum
from uuid import uuid4

from bus.logs import Log
from bus.message.contract import Contracts
from bus.message.envelope import Message
from bus.message.instant import Milliseconds
from bus.process.closure import input_contract, output_contract
from bus.receiver.announcement import Admitted, Alive, Started, alive_message, started_message
from bus.receiver.row import JournalIdentity
from bus.runtime.host_setup import HostSetup


class Heard(Enum):
    """What an admission came to."""

    #: It was of another start, or of what is known already.
    NOTHING = "nothing"
    #: This start is taken in.
    ADMITTED = "admitted"
    #: The bus has heard more than this journal knows: it is an older copy of itself, and has a new identity now.
    ROLLED_BACK = "rolled_back"


class Introduction:
    """One start of a host after the other, each with the journal that it was announced with."""

    def __init__(self, setup: HostSetup, versions: Mapping[str, str], log: Log) -> None:
        self._setup = setup
        self._versions = versions
        self._log = log
        self._start_id = ""
        #: The journal that this start was announced with.
        self._announced = ""
        self._is_admitted = False
        #: On the monotonic clock.
        self._speak_at: Milliseconds = 0

    @property
    def is_admitted(self) -> bool:
        """Whether the bus has taken in this start."""
        return self._is_admitted

    @property
    def is_due(self) -> bool:
        """Whether there is something to say."""
        return self._setup.monotonic() >= self._speak_at

    def begin(self) -> None:
        """A new start, of which nobody knows."""
        self._start_id = str(uuid4())
        self._is_admitted = False

    def doubt(self) -> None:
        """What comes back may be an older copy of the journal: the bus is asked what it has heard."""
        self._is_admitted = False

    def word(self) -> Message | None:
        """What is to be said now: alive, or while nobody answered, the announcement again.

        None: a sister has declared the journal restored, and this start is of one that is no more.
        """
        setup, now, journal = self._setup, self._setup.clock(), self._setup.journal.identity()
        self._speak_at = setup.monotonic() + setup.settings.alive_every
        if not self._is_admitted:
            return started_message(self._announcement(journal), id=str(uuid4()), now=now)
        if journal.journal_id != self._announced:
            return None
        alive = Alive(agency=setup.agency, start_id=self._start_id, journal_id=journal.journal_id, seq=journal.seq)
        return alive_message(alive, id=str(uuid4()), now=now)

    def hear(self, admitted: Admitted) -> Heard:
        """Take in an admission; one of a sister's is kept where she finds it."""
        told = JournalIdentity(journal_id=admitted.journal_id, seq=admitted.heard)
        if admitted.start_id == self._start_id:
            return self._told(told)
        self._setup.journal.admit(admitted.start_id, told)
        return Heard.NOTHING

    def look(self) -> Heard:
        """Another host of this agency shares the channel, and may have been handed our admission."""
        told = self._setup.journal.admission(self._start_id)
        return Heard.NOTHING if told is None else self._told(told)

    def _told(self, told: JournalIdentity) -> Heard:
        journal = self._setup.journal.identity()
        if told.journal_id != journal.journal_id:
            return Heard.NOTHING
        if journal.seq < told.seq:
            renewed = self._setup.journal.renew(self._setup.clock())
            self._log.error("host_alarm", alarm="journal_rolled_back", journal_id=renewed.journal_id, limit=told.seq)
            return Heard.ROLLED_BACK
        if self._is_admitted:
            return Heard.NOTHING
        self._is_admitted = True
        self._speak_at = self._setup.monotonic()
        self._log.info("host_admitted", start_id=self._start_id, journal_id=journal.journal_id)
        return Heard.ADMITTED

    def _announcement(self, journal: JournalIdentity) -> Started:
        self._announced = journal.journal_id
        self._log.info("host_started", start_id=self._start_id, journal_id=journal.journal_id, journal_seq=journal.seq)
        return Started(
            agency=self._setup.agency,
            start_id=self._start_id,
            journal=journal,
            operations=_offered(self._setup.operations, self._setup.contracts),
            versions=self._versions,
        )


def _offered(operations: Iterable[str], contracts: Contracts) -> dict[str, str]:
    """Each operation with the hash of its two contracts."""
    return {
        operation: hashlib.sha256(
            f"{contracts.hash(input_contract(operation))} {contracts.hash(output_contract(operation))}".encode()
        ).hexdigest()
        for operation in operations
    }
