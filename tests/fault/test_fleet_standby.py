"""Many processes under load, and the server of their database is gone for good: its standby takes its place.

With one that every commit waits for nothing is lost, also where it was cut off before. One that runs behind lacks what
was committed last: it is told here what the bus does then, and what those who run it do.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from bus.bench.services import PostgresNode, PostgresStandby, RabbitNode
from bus.errors import TransientError
from bus.process.state import RequestState
from tests.fault.test_fleet_store import all_work
from tests.fault.test_fleet_time import bus, wait_until_opened
from tests.support.demo_workspace import SERVICE, application
from tests.support.fleet import VHOST, Fleet, processes_of
from tests.support.ledgers import assert_all_is_well
from tests.support.load import Load, all_end
from tests.support.proxy import Proxy, Weather, proxy
from tests.support.waiting import wait_for

pytestmark = pytest.mark.long

#: Seconds that a standby was cut off before its primary died: longer than the bus waits for a commit.
CUT_OFF = 20.0
#: What is on its way when a line is cut has come or gone after so many seconds.
SETTLED = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A fleet on two servers, of which one follows the other over a line that can be cut."""

    fleet: Fleet
    primary: PostgresNode
    standby: PostgresStandby
    line: Proxy

    def cut(self) -> None:
        """From here on the standby hears nothing, and the primary nothing of it."""
        self.fleet.fault_begins()
        self.line.weather = Weather.BLACK_HOLE
        time.sleep(SETTLED)

    def known(self, requests: list[str]) -> set[str]:
        """Those of them that the store has."""
        with self.fleet.store() as store:
            return {request for request in requests if store.request(request) is not None}


@contextmanager
def pair_in(folder: Path, *, waits: bool) -> Iterator[Pair]:
    """``waits``: every commit of the primary waits for its standby."""
    settings = {"synchronous_standby_names": PostgresStandby.STANDBY if waits else ""}
    with (
        RabbitNode(folder / "rabbit") as rabbit,
        PostgresNode(folder / "primary", settings=settings) as primary,
        proxy(f"127.0.0.1:{primary.port}") as line,
        PostgresStandby(folder / "standby", primary, port=line.port) as standby,
    ):
        rabbit.admin.make_vhost(VHOST)
        (folder / "fleet").mkdir()
        # The one that takes no writes is named first: whoever asked whoever answers would ask the wrong one.
        both = f"127.0.0.1:{standby.port},127.0.0.1:{primary.port}"
        with Fleet(folder / "fleet", rabbit, primary, store_at=both) as fleet:
            fleet.database = fleet.store_url
            all_work(fleet)
            yield Pair(fleet=fleet, primary=primary, standby=standby, line=line)


# --- one that every commit waits for ----------------------------------------------------------------------------------


@pytest.mark.parametrize("cut_off", [0.0, CUT_OFF])
def test_a_standby_that_every_commit_waits_for_takes_over_and_nothing_is_lost(tmp_path: Path, cut_off: float) -> None:
    with pair_in(tmp_path, waits=True) as pair:
        fleet, processes = pair.fleet, list(processes_of(pair.fleet))
        with Load(fleet, rate=20) as load:
            load.wait_for(30)
            fleet.fault_begins()
            # Given perhaps that the standby hears nothing for a while: then nobody is told that anything is kept
            if cut_off:
                pair.cut()
                told = len(load.accepted)
                time.sleep(cut_off)
                assert len(load.accepted) == told
                assert load.refused["store-unavailable"]
            # When the primary is gone, and its standby takes its place
            fleet.fault_begins()
            pair.primary.kill()
            pair.standby.promote()
            # Then all processes go on with it by themselves, and it has everything
            load.wait_for(30)
            outcomes = all_end(fleet, load)
        assert set(outcomes) == {"completed"}
        assert set(load.refused) <= {"store-unavailable", "stale-version", "outbox-full"}, load.refused
        assert_all_is_well(fleet)
        assert (fleet.is_alive, list(processes_of(fleet))) == (True, processes)


def test_while_the_standby_that_commits_wait_for_is_away_nothing_is_accepted_and_all_goes_on_when_it_is_back(
    tmp_path: Path,
) -> None:
    with pair_in(tmp_path, waits=True) as pair, Load(pair.fleet, rate=20) as load:
        load.wait_for(30)
        pair.fleet.fault_begins()
        pair.standby.kill()
        time.sleep(SETTLED)
        told = len(load.accepted)
        time.sleep(CUT_OFF)
        assert len(load.accepted) == told
        assert load.refused["store-unavailable"]
        pair.standby.start()
        load.wait_for(30)
        outcomes = all_end(pair.fleet, load)
        assert set(outcomes) == {"completed"}
        assert_all_is_well(pair.fleet)
        assert pair.fleet.is_alive


# --- one that runs behind ---------------------------------------------------------------------------------------------


@contextmanager
def lost_commits(folder: Path) -> Iterator[tuple[Pair, dict[str, str]]]:
    """The standby has taken over, and lacks what was committed last; each request with a receipt, and its key.

    Tasks of requests that it does not know lie in the broker, and the host, which stands still, takes them later.
    """
    with pair_in(folder, waits=False) as pair:
        with Load(pair.fleet, rate=20) as load:
            load.wait_for(30)
            pair.cut()
            load.wait_for(30)
            pair.fleet.signal_one("host", signal.SIGSTOP)
            load.wait_for(15)
            pair.primary.kill()
        pair.standby.promote()
        lost = set(load.accepted) - pair.known(load.accepted)
        assert lost, "the standby had everything: the test proves nothing"
        assert not load.wrong
        yield pair, load.keys


def all_are_completed(fleet: Fleet, sent: dict[str, str]) -> None:
    """Whoever has a receipt sends again: each is the request that it was, and ends, with every effect once."""
    assert {request: fleet.submit(key, premises=False) for request, key in sent.items()} == {one: one for one in sent}
    for request in sent:
        wait_for(f"the end of {request}", lambda one=request: fleet.state(one) == "completed")  # type: ignore[misc]
    assert_all_is_well(fleet)


def test_a_standby_that_lacked_commits_goes_on_with_what_it_has_doubles_nothing_and_tells(tmp_path: Path) -> None:
    with lost_commits(tmp_path) as (pair, sent):
        fleet = pair.fleet
        # When nobody does anything about it
        fleet.signal_one("host", signal.SIGCONT)
        with Load(fleet, rate=20) as load:
            load.wait_for(30)
            outcomes = all_end(fleet, load)
        # Then the bus goes on, and of what it does not know any more it tells those who run it
        assert set(outcomes) == {"completed"}
        fleet.wait_for_failure("orphan")
        assert fleet.is_alive
        # And whoever sends again what has a receipt gets it done, with no effect for a second time
        effects = dict(fleet.ledger.counts())
        all_are_completed(fleet, sent)
        assert effects.items() <= fleet.ledger.counts().items()


def test_a_store_that_is_declared_to_lack_commits_asks_first_and_then_everything_ends(tmp_path: Path) -> None:
    with lost_commits(tmp_path) as (pair, sent):
        fleet = pair.fleet
        fleet.signal_one("host", signal.SIGCONT)
        # When somebody declares it, which nobody may while a role runs that believes the store
        wait_for("a role uses the store", lambda: used(pair.standby))
        declared = ("store", "reconcile", "--reason", "the standby lacked commits")
        refused = bus(fleet, *declared)
        assert (refused.returncode, "store-in-use" in refused.stderr) == (3, True), refused
        fleet.kill()
        done = bus(fleet, *declared)
        assert done.returncode == 0, done.stderr + done.stdout
        fleet.start()
        # Then nothing new is accepted until the agencies were asked
        with pytest.raises(TransientError, match="restored"):
            fleet.portal.submit(SERVICE, application(premises=False), key="new")
        opened = wait_until_opened(fleet)
        assert opened.returncode == 0, opened.stderr + opened.stdout
        # And whoever sends again what has a receipt gets it done, with no effect for a second time
        all_are_completed(fleet, sent)
        with fleet.store() as store:
            assert [act.what for act in store.acts(after=0, most=99)][-2:] == ["store_went_back", "store_opened"]
            assert store.totals()[RequestState.OPEN] == 0


def used(node: PostgresNode) -> bool:
    """Whether the bus is connected to it."""
    with psycopg.connect(node.url) as connection:
        asked = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'bus'"
        return bool(connection.execute(asked).fetchall()[0][0])
