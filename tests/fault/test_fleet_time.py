"""Many processes and time: clocks that are wrong or set, one who stands still, a store from an hour ago."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import psycopg
import pytest

from bus.client import Json
from bus.errors import TransientError
from bus.process.state import RequestState
from tests.fault.test_fleet_store import all_work
from tests.support.accounts import Watch, assert_accepted_once, assert_it_added_up, ids_of, left_over
from tests.support.demo_workspace import PORTAL, ROOT, SERVICE, application
from tests.support.fleet import Fleet, fleet_on
from tests.support.ledgers import all_requests, assert_all_is_well
from tests.support.load import Load, all_end
from tests.support.waiting import wait_for

HOUR = 3_600
#: Longer than this the broker waits for nobody who does not answer.
SILENCE = 30
#: Facts that say that an answer was missed.
DOUBTS = frozenset({"resent", "resend_waits", "step_unknown", "queried", "deadline_passed"})

#: Python's wall clock, for a process that finds this in its path: what a host has of a wrong clock.
_WRONG_CLOCK = """
import os, time
_by, _real, _real_ns = int(os.environ["WRONG_BY"]), time.time, time.time_ns
time.time = lambda: _real() + _by
time.time_ns = lambda: _real_ns() + _by * 1_000_000_000
"""
#: Stands before PostgreSQL's own in the search path of the bus's database.
_SET_CLOCK = """
CREATE SCHEMA clock;
CREATE TABLE clock.ahead (by interval NOT NULL);
INSERT INTO clock.ahead VALUES ('0');
CREATE FUNCTION clock.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
    AS 'SELECT pg_catalog.clock_timestamp() + by FROM clock.ahead';
"""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet_on(tmp_path_factory.mktemp("fleet")) as running:
        all_work(running)
        yield running


@pytest.fixture
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A fleet for one test."""
    with fleet_on(tmp_path_factory.mktemp("own")) as running:
        all_work(running)
        yield running


def set_clock_of_host(fleet: Fleet, seconds: int) -> None:
    """The host's machine is started with a wrong clock."""
    folder = fleet.folder / "wrong-clock"
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(_WRONG_CLOCK, encoding="utf-8")
    fleet.environments["host"] = {"PYTHONPATH": str(folder), "WRONG_BY": str(seconds)}
    fleet.kill_one("host")
    fleet.start_one("host")


def set_clock_of_database(fleet: Fleet, ahead: str) -> None:
    with psycopg.connect(fleet.database, autocommit=True) as connection:
        connection.execute("UPDATE clock.ahead SET by = %s::interval", [ahead])


# --- hosts ------------------------------------------------------------------------------------------------------------


def wrong_by(fleet: Fleet, seconds: int) -> None:
    """Work goes on while the host's clock is wrong, which is shown, and all of it has ended when it was put right."""
    with Load(fleet) as load:
        load.wait_for(10)
        set_clock_of_host(fleet, seconds)
        load.wait_for(20)
        fleet.wait_for_failure("host_clock_fast" if seconds > 0 else "host_clock_slow")
        with fleet.store() as store:
            until = store.totals()[RequestState.COMPLETED] + 20
            wait_for("requests end", lambda: store.totals()[RequestState.COMPLETED] >= until)
        set_clock_of_host(fleet, 0)
        load.wait_for(20)
        outcomes = all_end(fleet, load)
    assert set(outcomes) == {"completed"}
    assert_all_is_well(fleet)


def test_a_host_whose_clock_is_an_hour_fast_loses_and_doubles_nothing(fleet: Fleet) -> None:
    wrong_by(fleet, HOUR)


@pytest.mark.long
def test_a_host_whose_clock_is_an_hour_slow_loses_and_doubles_nothing(own: Fleet) -> None:
    wrong_by(own, -HOUR)


@pytest.mark.long
def test_a_host_whose_clock_is_past_every_deadline_begins_nothing_and_says_so(own: Fleet) -> None:
    # Given that nothing is under way, and a host that takes every task for expired
    with own.store() as store:
        wait_for("what came before has ended", lambda: not store.alive_requests(0, 1))
    before = dict(own.ledger.counts())
    set_clock_of_host(own, 30 * 24 * HOUR)
    requests = [own.submit(f"late-{number}", premises=False) for number in range(5)]
    # Then each is shown to a person with this reason, and nothing was done

    def shown() -> dict[str, Json]:
        return {str(one["request_id"]): one for one in own.failures() if one["request_id"] in requests}

    wait_for("all of them are shown", lambda: len(shown()) == len(requests))
    found = shown()
    assert {str(failure["code"]) for failure in found.values()} == {"deadline"}
    # And so is why
    own.wait_for_failure("host_clock_fast")
    assert all("'effect': 'none', 'reason': 'deadline'" in own.told(request) for request in requests)
    assert dict(own.ledger.counts()) == before
    assert_all_is_well(own, parked=len(requests))


# --- the bus's own clock ----------------------------------------------------------------------------------------------


@pytest.mark.long
def test_a_database_whose_clock_is_set_ends_nothing_too_early_and_loses_nothing(own: Fleet) -> None:
    with psycopg.connect(own.database, autocommit=True) as connection:
        connection.execute(_SET_CLOCK)
        name = connection.info.dbname
        connection.execute(f'ALTER DATABASE "{name}" SET search_path = clock, public, pg_catalog'.encode())
    own.kill()
    all_work(own)
    for ahead in ("1 hour", "0"):
        with Load(own) as load:
            load.wait_for(20)
            own.fault_begins()
            set_clock_of_database(own, ahead)
            load.wait_for(40)
            outcomes = all_end(own, load)
        assert set(outcomes) == {"completed"}
        own.wait_for_failure("clock_drift")
    assert_all_is_well(own)


# --- one who stands still ---------------------------------------------------------------------------------------------


@pytest.mark.long
def test_while_a_manager_that_holds_answers_counts_as_alive_nothing_is_doubted(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    # Given a broker that takes its messages back before the others take a silent manager for dead
    intervals = {"dead_after": "45s", "answer_within": "5s"}
    with fleet_on(tmp_path_factory.mktemp("still"), intervals=intervals) as fleet:
        all_work(fleet)
        with Load(fleet, rate=30) as load:
            load.wait_for(30)
            began = now(fleet)
            fleet.signal_one("manager-1", signal.SIGSTOP)
            load.wait_for(60)
        held = [id_ for id_ in load.accepted if fleet.state(id_) == "open"]
        assert held, "it held nothing: the test proves nothing"
        # When the answers that it holds are long overdue, then nobody asks again
        time.sleep(SILENCE / 2)
        assert doubts(fleet, began) == []
        # And when the broker has given them to the other one, they count
        outcomes = all_end(fleet, load, within=SILENCE * 2)
        assert set(outcomes) == {"completed"}
        assert doubts(fleet, began) == []
        fleet.signal_one("manager-1", signal.SIGCONT)
        with Load(fleet) as load:
            load.wait_for(20)
            assert set(all_end(fleet, load)) == {"completed"}
        assert_all_is_well(fleet)


def now(fleet: Fleet) -> int:
    with fleet.store() as store:
        return store.now()


def doubts(fleet: Fleet, since: int) -> list[str]:
    """Every time since that somebody asked for an answer again."""
    with fleet.store() as store:
        return [
            f"{request.id} {fact.kind}"
            for request in all_requests(store)
            for fact in store.facts(request.id)
            if fact.at >= since and fact.kind in DOUBTS
        ]


# --- a store that is put back -----------------------------------------------------------------------------------------


def bus(fleet: Fleet, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """The command as the README gives it, from the folder of the workspace; the environment is the test's."""
    return subprocess.run(
        [sys.executable, "-m", "bus", *map(str, words)],
        cwd=fleet.workspace,
        env={**os.environ, "BUS_ENV": "test", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_a_restored_store_asks_first_and_then_everything_ends_without_a_second_effect(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("restored")
    backup = folder / "backup.tar"
    with fleet_on(folder) as fleet:
        all_work(fleet)
        # Given requests that have ended, some that are under way when the backup is taken, and more after it
        keys = [f"key-{number}" for number in range(60)]
        with Watch(fleet.store) as before:
            for key in keys[:30]:
                fleet.submit(key, premises=False)
            fleet.signal_one("host", signal.SIGSTOP)
            for key in keys[30:40]:
                fleet.submit(key, premises=False)
            made = bus(fleet, "store", "backup", backup)
            assert made.returncode == 0, made.stderr
            fleet.signal_one("host", signal.SIGCONT)
            ids = {key: fleet.submit(key, premises=False) for key in keys}
            all_completed(fleet, ids.values())
        assert_it_added_up(before, fault_at=fleet.fault_at)
        effects = dict(fleet.ledger.counts())
        fleet.kill()

        # When the store is put back, not without being told to take the place of another one
        assert bus(fleet, "store", "restore", backup).returncode == 2
        done = bus(fleet, "store", "restore", backup, "--replace")
        assert done.returncode == 0, done.stderr + done.stdout
        fleet.fault_begins()
        with Watch(fleet.store) as after:
            fleet.start()

            # Then nothing new is accepted, and nothing is done
            with pytest.raises(TransientError, match="restored"):
                fleet.portal.submit(SERVICE, application(premises=False), key="new")
            opened = wait_until_opened(fleet)
            assert opened.returncode == 0, opened.stderr + opened.stdout
            assert dict(fleet.ledger.counts()) == effects

            # And when it was opened, whoever has a receipt sends again what the store may not know any more
            assert {key: fleet.submit(key, premises=False) for key in keys} == ids
            all_completed(fleet, ids.values())
        assert dict(fleet.ledger.counts()) == effects
        with fleet.store() as store:
            assert_accepted_once(ids_of(store), receipts=ids.values(), attempted=fleet.attempted)
            wait_for("nothing is left", lambda: not left_over(store, fleet.depths))
        assert_it_added_up(after, fault_at=fleet.fault_at)
        assert_all_is_well(fleet)
        counted = bus(fleet, "store", "recount")
        assert counted.returncode == 0, counted.stdout


def all_completed(fleet: Fleet, requests: Iterable[str]) -> None:
    for request in requests:
        wait_for(f"the end of {request}", lambda one=request: fleet.state(one) == "completed")  # type: ignore[misc]


def wait_until_opened(fleet: Fleet) -> subprocess.CompletedProcess[str]:
    """`bus store open`, once the agencies have answered."""
    last: list[subprocess.CompletedProcess[str]] = []

    def opens() -> bool:
        last[:] = [bus(fleet, "store", "open", "--reason", "every agency was asked")]
        return last[0].returncode == 0

    wait_for("it may be opened", opens, 90)
    return last[0]


def test_the_commands_of_this_machine_work_on_the_database_that_the_environment_names(fleet: Fleet) -> None:
    assert bus(fleet, "store", "migrate").returncode == 0
    counted = bus(fleet, "store", "recount")
    assert (counted.returncode, counted.stdout.endswith("all adds up.\n")) == (0, True), counted
    added = bus(fleet, "user", "add", "anna", "--role", "consumer", "--agency", PORTAL)
    assert added.returncode == 0, added.stderr
    with fleet.store() as store:
        assert "anna" in store.users()
    assert bus(fleet, "user", "remove", "anna").returncode == 0
    assert bus(fleet, "user", "remove", "anna").returncode == 1
    with fleet.store() as store:
        assert "anna" not in store.users()
        assert store.totals()[RequestState.OPEN] >= 0
    # What is open already need not be opened.
    refused = bus(fleet, "store", "open", "--reason", "why not")
    assert (refused.returncode, "open already" in refused.stderr) == (1, True), refused
    # And none of them has left anything in the workspace.
    assert not (fleet.workspace / ".bus" / "store.db").exists()
