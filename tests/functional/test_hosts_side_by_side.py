"""Hosts of one agency from different releases side by side: what any of them lacks is not sent to them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from uuid import uuid4

import pytest

from bus.receiver.announcement import Alive, Started, alive_message, started_message
from bus.receiver.row import JournalIdentity
from tests.support.runtime_rig import AGENCIES, OPERATION, A, RuntimeRig, runtime

NEW = "new.operation.v1"
GONE = "gone.operation.v1"


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[RuntimeRig]:
    with runtime(tmp_path) as made:
        made.admit(*AGENCIES[1:])
        yield made


class OneHost:
    """One process of the agency's, on the journal that its hosts share."""

    def __init__(
        self,
        rig: RuntimeRig,
        *operations: str,
        journal: str | None = None,
        queued: bool = False,
        start_id: str | None = None,
    ) -> None:
        """``queued``: it says so, and the bus does not hear it yet."""
        self._rig = rig
        self._start_id = start_id or str(uuid4())
        self._journal = JournalIdentity(journal_id=journal or rig.journals[A], seq=9)
        offered = dict.fromkeys(operations, "0" * 64)
        started = Started(agency=A, start_id=self._start_id, journal=self._journal, operations=offered, versions={})
        rig.pass_time(1)
        rig.say(A, started_message(started, id=str(uuid4()), now=rig.store.now()))
        if not queued:
            rig.settle()

    def lives(self, *, queued: bool = False) -> None:
        alive = Alive(agency=A, start_id=self._start_id, journal_id=self._journal.journal_id, seq=9)
        self._rig.pass_time(1)
        self._rig.say(A, alive_message(alive, id=str(uuid4()), now=self._rig.store.now()))
        if not queued:
            self._rig.settle()


def offered(rig: RuntimeRig) -> Sequence[str]:
    return sorted(rig.agency().operations)


def test_what_one_of_two_hosts_lacks_is_not_sent_until_that_one_is_gone(rig: RuntimeRig) -> None:
    # Given a host of a new release beside one of the old
    old = OneHost(rig, OPERATION, GONE)
    new = OneHost(rig, OPERATION, NEW)
    # When both say that they are alive
    old.lives()
    # Then what both offer is sent
    assert offered(rig) == [OPERATION]
    new.lives()
    assert offered(rig) == [OPERATION]
    # When the old one says nothing any more, and the new one does
    rig.pass_time(rig.settings.dead_after)
    new.lives()
    # Then
    assert offered(rig) == sorted([NEW, OPERATION])


def test_an_old_host_that_starts_again_beside_a_new_one_takes_nothing_away_for_good(rig: RuntimeRig) -> None:
    new = OneHost(rig, OPERATION, NEW)
    OneHost(rig, OPERATION)
    new.lives()
    assert offered(rig) == [OPERATION]
    rig.pass_time(rig.settings.dead_after)
    new.lives()
    assert offered(rig) == sorted([NEW, OPERATION])


def test_a_host_that_takes_the_place_of_another_is_believed_at_once(rig: RuntimeRig) -> None:
    old = OneHost(rig, OPERATION)
    old.lives()
    new = OneHost(rig, OPERATION, NEW)
    assert offered(rig) == sorted([NEW, OPERATION])
    new.lives()
    assert offered(rig) == sorted([NEW, OPERATION])


def test_a_host_that_took_the_place_of_another_while_the_bus_was_away_is_believed_at_once(rig: RuntimeRig) -> None:
    # Given a last sign of life of the old host and the start of the new one, that wait for the bus side by side
    old = OneHost(rig, OPERATION)
    old.lives(queued=True)
    new = OneHost(rig, OPERATION, NEW, queued=True)
    # When the bus hears both in one batch
    rig.settle()
    # Then the old one is no reason to send less, neither at once nor with the next sign of life
    assert offered(rig) == sorted([NEW, OPERATION])
    new.lives()
    assert offered(rig) == sorted([NEW, OPERATION])


def test_of_two_hosts_that_start_in_one_batch_the_later_is_believed_whatever_their_names(rig: RuntimeRig) -> None:
    # Given a host that starts and lives, and another that takes its place, all before the bus hears of them
    OneHost(rig, OPERATION, queued=True, start_id="f" * 8).lives(queued=True)
    OneHost(rig, OPERATION, NEW, queued=True, start_id="0" * 8)
    # When it does
    rig.settle()
    # Then the later is believed
    assert offered(rig) == sorted([NEW, OPERATION])


def test_a_host_that_is_beside_a_new_one_from_the_first_batch_on_counts_with_its_next_sign(rig: RuntimeRig) -> None:
    # Given the start of a new host and a sign of life of the old one behind it, in one batch
    old = OneHost(rig, OPERATION)
    OneHost(rig, OPERATION, NEW, queued=True)
    old.lives(queued=True)
    rig.settle()
    assert offered(rig) == sorted([NEW, OPERATION])
    # When the old one says again that it lives
    old.lives()
    # Then
    assert offered(rig) == [OPERATION]


def test_a_host_that_starts_again_and_again_hides_none_that_lives_beside_it(rig: RuntimeRig) -> None:
    # Given a host that lives, and one of a new release beside it that crashes and starts again and again
    steady = OneHost(rig, OPERATION)
    for _ in range(20):
        OneHost(rig, OPERATION, NEW)
    # When the first says that it lives
    steady.lives()
    # Then what it lacks is not sent
    assert offered(rig) == [OPERATION]


def test_a_sign_of_life_from_another_journal_changes_nothing_of_what_is_offered(rig: RuntimeRig) -> None:
    # Given a host whose journal was retired, and one that took its place
    retired = OneHost(rig, OPERATION)
    row = rig.agency()
    assert rig.store.save_agency(row.retire_journal(), row)
    OneHost(rig, OPERATION, NEW, journal=str(uuid4()))
    # When the first still says that it is alive, and so does one that was never admitted
    retired.lives()
    OneHost(rig, journal=str(uuid4())).lives()
    # Then
    assert offered(rig) == sorted([NEW, OPERATION])


def test_a_host_that_an_earlier_release_of_the_bus_admitted_keeps_what_it_offered(rig: RuntimeRig) -> None:
    host = OneHost(rig, OPERATION)
    rig.sql("DELETE FROM host")
    host.lives()
    assert offered(rig) == [OPERATION]
