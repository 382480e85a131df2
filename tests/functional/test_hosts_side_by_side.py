"""Hosts of one agency from different releases side by side: what any of them lacks is not sent to them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from uuid import uuid4

import pytest

from bus.process.state import RequestState
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


# --- an operation that open requests need -----------------------------------------------------------------------------


def alarms(rig: RuntimeRig) -> Sequence[tuple[str, int | None]]:
    return [(failure.cause, failure.times) for failure in rig.failures()]


def test_a_host_that_drops_an_operation_in_use_waits_until_nobody_needs_it(rig: RuntimeRig) -> None:
    # Given a request that asked the agency for an operation, and others
    OneHost(rig, OPERATION, GONE)
    (request,) = rig.submit("one")
    task = rig.tasks(A)[0]
    # When a host without that operation takes the place of the one that has it
    OneHost(rig, NEW)
    OneHost(rig, NEW)
    # Then it is not believed, and people are told of which operation
    assert offered(rig) == sorted([GONE, OPERATION])
    assert alarms(rig) == [(f"{A}/{OPERATION}/host_lacks_operation", 2)]
    # When the request has ended, and it knocks again
    rig.answer(rig.reply(task), *(rig.reply(other) for name in AGENCIES[1:] for other in rig.tasks(name)))
    assert rig.request(request).state is RequestState.COMPLETED
    rig.pass_time(rig.settings.alive_every)
    OneHost(rig, NEW)
    # Then
    assert offered(rig) == [NEW]
    assert alarms(rig) == [(f"{A}/{OPERATION}/host_lacks_operation", 2)]


def test_an_operation_that_no_open_request_needs_may_be_dropped(rig: RuntimeRig) -> None:
    OneHost(rig, OPERATION, GONE)
    rig.submit("one")
    OneHost(rig, OPERATION)
    assert offered(rig) == [OPERATION]
    assert alarms(rig) == []


def test_a_first_host_that_lacks_what_requests_wait_for_drops_nothing(rig: RuntimeRig) -> None:
    # Given requests from before the agency had any host
    rig.submit("one")
    # When one comes that does something else
    OneHost(rig, NEW)
    # Then it is taken in, and what waits is told as ever
    assert offered(rig) == [NEW]
    rig.manager.dispatch_waiting([A])
    assert alarms(rig) == [(f"{A}/{OPERATION}/not_offered", 1)]


def test_an_older_host_goes_on_beside_a_newer_one_and_may_start_again_while_what_it_lacks_waits(
    rig: RuntimeRig,
) -> None:
    # Given hosts of which one has an operation that requests need, and the older one has not
    old = OneHost(rig, NEW, start_id="old")
    new = OneHost(rig, OPERATION, NEW)
    rig.submit("one")
    old.lives()
    new.lives()
    assert offered(rig) == [NEW]
    # When the older one starts again, then it is taken in: nothing is sent that it lacks
    again = OneHost(rig, NEW)
    assert (offered(rig), alarms(rig)) == ([NEW], [])
    # When it is gone, and somebody starts it once more beside the newer one
    rig.pass_time(rig.settings.dead_after)
    new.lives()
    assert offered(rig) == sorted([NEW, OPERATION])
    OneHost(rig, NEW)
    # Then it would stop what now leaves
    assert (offered(rig), alarms(rig)) == (sorted([NEW, OPERATION]), [(f"{A}/{OPERATION}/host_lacks_operation", 1)])
    again.lives()
    assert offered(rig) == [NEW]


def test_what_a_host_said_before_and_is_heard_again_is_no_reason_to_refuse_it(rig: RuntimeRig) -> None:
    # Given an older host that was taken in, a newer one beside it, and a request that needs what the older one lacks
    OneHost(rig, NEW, start_id="old")
    OneHost(rig, OPERATION, NEW)
    rig.submit("one")
    # When the older one's word comes a second time
    OneHost(rig, NEW, start_id="old")
    # Then
    assert alarms(rig) == []
