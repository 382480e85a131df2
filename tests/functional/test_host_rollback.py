"""A host whose journal went back under it makes another journal of it; one whose journal was only away does not."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bus.errors import StoreUnavailableError
from bus.journals.sqlite import SqliteJournal
from bus.message.envelope import MessageType
from bus.receiver.row import JournalIdentity
from tests.support.host_rig import Rig
from tests.support.waiting import wait_for


class Troubled(SqliteJournal):
    """Lets no transaction begin, as a journal in PostgreSQL does for what it has found, until that is mended."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.trouble: StoreUnavailableError | None = None
        self.refused = 0
        self.renewed = 0

    def transaction(self) -> Any:
        if self.trouble is not None:
            self.refused += 1
            raise self.trouble
        return super().transaction()

    def renew(self, now: int) -> JournalIdentity:
        self.renewed += 1
        if self.trouble is not None and self.trouble.code == "journal-rolled-back":
            self.trouble = None
        return super().renew(now)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Troubled]:
    made = Troubled(tmp_path / "troubled.db")
    yield made
    made.close()


@contextmanager
def serving(rig: Rig, journal: Troubled) -> Iterator[None]:
    """A host on the journal, admitted, with the bus listening to it."""
    stop, host = threading.Event(), rig.new_host(journal)
    thread = threading.Thread(target=host.run, args=(stop,))
    thread.start()
    try:
        listen_until(rig, "the admission", lambda: host.is_admitted)
        yield
    finally:
        stop.set()
        thread.join()


def listen_until(rig: Rig, what: str, is_so: Callable[[], bool]) -> None:
    """The bus takes what the host says, and admits it, until that has come to pass."""

    def look() -> bool:
        rig.hear()
        return is_so()

    wait_for(what, look)


def announced(rig: Rig) -> list[str]:
    """The journals that hosts were announced with, each time anew."""
    started = [message for message in rig.heard if message.envelope.type == MessageType.HOST_STARTED]
    return list(dict.fromkeys(str(message.envelope.journalid) for message in started))


def answered(rig: Rig) -> list[str]:
    return [str(one.envelope.type) for one in rig.heard if one.envelope.type == MessageType.TASK_COMPLETED]


def test_a_journal_that_went_back_under_its_host_is_announced_as_another_one(tmp_path: Path, journal: Troubled) -> None:
    rig, before = Rig(tmp_path), journal.identity().journal_id
    rig.journal_id = before
    with serving(rig, journal):
        # Given a journal that has found out that an older copy took its place
        journal.trouble = StoreUnavailableError("It has gone back.", code="journal-rolled-back")
        # When the host needs it
        rig.send(rig.task())
        # Then the host declares it another journal, and announces itself with that
        listen_until(rig, "another announcement", lambda: len(announced(rig)) > 1)
        after = journal.identity().journal_id
        assert (announced(rig)[-1], journal.renewed) == (after, 1)
        assert after != before
        # And a task that was first sent under the old one is not begun: nobody can know whether it was
        listen_until(rig, "what is known of the task", lambda: bool(rig.heard[-1].envelope.interactionid))
        assert (answered(rig), rig.legacy.ledger) == ([], [])


def test_a_journal_that_was_away_for_a_while_is_the_same_when_it_is_back(tmp_path: Path, journal: Troubled) -> None:
    rig, before = Rig(tmp_path), journal.identity().journal_id
    rig.journal_id = before
    with serving(rig, journal):
        # Given a journal whose server is away
        journal.trouble = StoreUnavailableError("Its server is away.")
        rig.send(rig.task())
        wait_for("a host that has noticed", lambda: journal.refused > 0)
        # When it is back
        journal.trouble = None
        # Then the host goes on with it, under the name by which the bus knows it, and does what it was asked for
        listen_until(rig, "the answer", lambda: bool(answered(rig)))
    assert (announced(rig), journal.renewed) == ([before], 0)
    assert journal.identity().journal_id == before
    assert rig.legacy.effects(rig.interaction()) == 1
