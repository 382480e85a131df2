"""A host stands still in the middle of its work for one lease or for three: what it does late changes nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from bus.adapter import Adapter, LookUp
from bus.config import Settings
from bus.journals.postgres import PostgresJournal
from bus.journals.sqlite import SqliteJournal
from bus.message.reply import Completed, Effect, Failed, Pending, Reply, Unknown
from bus.receiver.row import Row, State
from bus.runtime.host import AgencyHost
from tests.functional.test_two_hosts import answers, url
from tests.functional.test_two_hosts import host as rig_on
from tests.support.host_rig import AGENCY, CONTRACTS, NOW, OPERATIONS, SETTINGS, LandOffice, Rig, code_of
from tests.support.waiting import wait_for

__all__ = ["url"]

#: Of a call, in this rig: its time-out, and as long again.
LEASE = 1_000


class Standstill:
    """A monotonic clock on which the thread of the calls stands still before the first byte, until it is let go."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self.reached = threading.Event()
        self.goes_on = threading.Event()

    def __call__(self) -> int:
        if threading.current_thread().name == f"legacy-{AGENCY}":
            self.reached.set()
            assert self.goes_on.wait(30)
        return self._rig.now


def standing(
    rig: Rig, journal: SqliteJournal, settings: Settings = SETTINGS, adapter: Adapter | None = None
) -> tuple[AgencyHost, Standstill]:
    """A host in the rig's channels that stands still before its call."""
    clock = Standstill(rig)
    made = AgencyHost(
        agency=AGENCY,
        adapter=adapter or LandOffice(rig.legacy),
        operations=OPERATIONS,
        contracts=CONTRACTS,
        journal=journal,
        broker=rig.broker,
        settings=settings,
        clock=lambda: rig.now,
        monotonic=clock,
    )
    return made, clock


def hear_all(rig: Rig) -> None:
    while rig.hear():
        pass


def settle(rig: Rig, host: AgencyHost) -> None:
    """Let one host work until it has nothing to do, and hear it."""
    wait_for("nothing is left to do", lambda: not host.step() and host.is_idle)
    hear_all(rig)


# --- one host, before the first byte of its call ----------------------------------------------------------------------


@contextmanager
def late(folder: Path, by: int, *, lease: int = 400, **task: Any) -> Iterator[tuple[Rig, Reply]]:
    """A host that has committed its intent and comes to its call so much later; and what it says of it."""
    rig = Rig(folder)
    rig.host.close()
    rig.host, clock = standing(rig, rig.journal, replace(SETTINGS, lease=lease))
    rig.start()
    rig.send(rig.task(**task))
    wait_for("it has come to its call", lambda: rig.host.step() is not None and clock.reached.is_set())
    rig.now += by
    clock.goes_on.set()
    settle(rig, rig.host)
    yield rig, answers(rig)[rig.interaction()]
    rig.host.close()
    rig.journal.close()


def test_a_host_whose_lease_ran_out_before_its_call_sends_nothing_says_so_and_may_be_asked_again(
    tmp_path: Path,
) -> None:
    with late(tmp_path, by=401) as (rig, reply):
        assert code_of(reply) == ("not_begun", Effect.NONE)
        assert cast("Failed", reply).retryable
        assert rig.legacy.calls == []
        # Nothing was sent, so that also what may never be done twice may be tried again.
        assert [type(reply) for reply in rig.answers(rig.task(attempt=2))] == [Completed]
        assert rig.legacy.effects(rig.interaction()) == 1


def test_a_host_that_comes_to_its_call_within_its_lease_makes_it(tmp_path: Path) -> None:
    with late(tmp_path, by=400) as (rig, reply):
        assert isinstance(reply, Completed)
        assert rig.legacy.effects(rig.interaction()) == 1


@pytest.mark.parametrize(("by", "calls"), [(100, 1), (101, 0)])
def test_a_host_that_comes_to_its_call_when_the_bus_no_longer_waits_for_it_sends_nothing(
    tmp_path: Path, by: int, calls: int
) -> None:
    until = NOW + SETTINGS.late_margin + 100
    with late(tmp_path, by=by, expirytime=until) as (rig, reply):
        assert len(rig.legacy.calls) == calls
        assert isinstance(reply, Completed) if calls else code_of(reply) == ("not_begun", Effect.NONE)


class SlowToLook(LandOffice):
    """Its look-ups take a while, in which a call that is still under way may have its effect."""

    def __init__(self, rig: Rig, takes: int) -> None:
        super().__init__(rig.legacy)
        self._rig = rig
        self._takes = takes

    def look_up(self, operation: str, references: Sequence[str]) -> tuple[LookUp, ...]:
        found = super().look_up(operation, references)
        self._rig.now += self._takes
        return found


def test_absence_counts_from_when_the_look_up_began_and_not_from_when_it_came_back(tmp_path: Path) -> None:
    # Given a call of which nobody knows, and which counts as over after two seconds
    rig = Rig(tmp_path)
    rig.host.close()
    rig.host, clock = standing(rig, rig.journal, adapter=SlowToLook(rig, takes=2))
    clock.goes_on.set()
    rig.start()
    assert rig.answers(rig.task(kind="queryable", do="raise_before")) == [Unknown()]
    # When it is looked up a moment before that, and the answer comes a moment after
    rig.now += 1_999
    (early,) = rig.answers(rig.query(kind="queryable"))
    (late,) = rig.answers(rig.query(kind="queryable"))
    # Then only the next look-up is believed
    assert early == Pending()
    assert code_of(late) == ("absent", Effect.NONE)
    rig.host.close()
    rig.journal.close()


# --- two hosts --------------------------------------------------------------------------------------------------------


@contextmanager
def both(folder: Path, url: str) -> Iterator[tuple[Rig, AgencyHost, Standstill]]:
    """A rig, and a second host of the agency that stands still before its calls, on a connection of its own."""
    with rig_on(folder, url) as rig, ExitStack() as stack:
        rig.start()
        journal = cast("SqliteJournal", PostgresJournal(url, agency=AGENCY)) if url else SqliteJournal(rig.path)
        stack.callback(journal.close)
        first, clock = standing(rig, journal)
        stack.callback(first.close)
        stack.callback(rig.legacy.released.set)
        first.open()
        while not first.is_admitted:
            rig.host.step()
            first.step()
            rig.hear()
        yield rig, first, clock


def row(rig: Rig) -> Row:
    with rig.journal.transaction() as transaction:
        return transaction.load([rig.interaction()])[rig.interaction()]


def come_back(rig: Rig, host: AgencyHost) -> None:
    """Let one that stood still do all that it still wants to."""
    for _ in range(30):
        host.step()
        time.sleep(0.005)
    hear_all(rig)


def test_a_host_that_stood_still_for_a_lease_before_its_call_sends_nothing_and_another_does_it_once(
    tmp_path: Path, url: str
) -> None:
    with both(tmp_path, url) as (rig, first, clock):
        rig.send(rig.task(kind="queryable"))
        wait_for("it has come to its call", lambda: first.step() is not None and clock.reached.is_set())
        # When its lease is over, and it goes on before anybody has asked again
        rig.now += LEASE + 1
        clock.goes_on.set()

        def speaks() -> bool:
            first.step()
            hear_all(rig)
            return rig.interaction() in answers(rig)

        wait_for("it says something", speaks)
        come_back(rig, first)
        # Then it has sent nothing, and says so, or that it does not know
        said = answers(rig)[rig.interaction()]
        assert said == Unknown() or code_of(said) == ("not_begun", Effect.NONE)
        assert rig.legacy.calls == []
        # And who is asked next does it
        rig.now += 3 * LEASE
        assert [type(reply) for reply in rig.answers(rig.task(kind="queryable", attempt=2))] == [Completed]
        assert rig.legacy.effects(rig.interaction()) == 1


def test_a_host_that_stood_still_for_three_leases_says_nothing_of_a_call_that_another_has_begun_since(
    tmp_path: Path, url: str
) -> None:
    with both(tmp_path, url) as (rig, first, clock):
        rig.send(rig.task(kind="queryable", do="hang"))
        wait_for("it has come to its call", lambda: first.step() is not None and clock.reached.is_set())
        # Given another one that has seen that nothing happened, and is in the middle of its own call
        rig.now += 3 * LEASE + 1
        rig.send(rig.task(kind="queryable", do="hang", attempt=2))
        wait_for("another one calls", lambda: rig.host.step() is not None and rig.legacy.calls)
        hear_all(rig)
        before, heard = row(rig), len(rig.heard)
        assert before.state is State.BEGUN
        # When the first one goes on
        clock.goes_on.set()
        come_back(rig, first)
        # Then it writes nothing and says nothing: that it has sent nothing is no longer the whole truth
        assert row(rig) == before
        assert [message.envelope.type for message in rig.heard[heard:] if message.envelope.step] == []
        # And the other one's answer is the answer
        rig.legacy.released.set()
        settle(rig, rig.host)
        assert isinstance(answers(rig)[rig.interaction()], Completed)
        assert rig.legacy.effects(rig.interaction()) == 1
        assert len(rig.legacy.calls) == 1


@pytest.mark.parametrize("leases", [1, 3])
def test_a_host_that_stood_still_in_its_call_writes_nothing_once_another_has_looked_its_effect_up(
    tmp_path: Path, url: str, leases: int
) -> None:
    with both(tmp_path, url) as (rig, first, clock):
        # Given a call that has had its effect, and whose answer does not come
        clock.goes_on.set()
        rig.send(rig.task(kind="queryable", do="hang"))
        wait_for("it calls", lambda: first.step() is not None and rig.legacy.calls)
        # When its lease is over, and another one is asked
        rig.now += leases * LEASE + 1
        rig.send(rig.task(kind="queryable", do="hang", attempt=2))
        settle(rig, rig.host)
        assert isinstance(answers(rig)[rig.interaction()], Completed)
        before, seq, heard = row(rig), rig.identity().seq, len(rig.heard)
        # And the first one gets its answer after all
        rig.legacy.released.set()
        come_back(rig, first)
        # Then the journal has not moved, and nothing more is said
        assert (row(rig), rig.identity().seq) == (before, seq)
        assert [message.envelope.type for message in rig.heard[heard:] if message.envelope.step] == []
        assert rig.legacy.effects(rig.interaction()) == 1
        assert len(rig.legacy.calls) == 1
