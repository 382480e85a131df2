"""Many processes on RabbitMQ and PostgreSQL under load: one is killed, paused or stopped, and it costs only time."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import pytest

from bus.killpoint import KillPoint
from tests.fault.test_kills import GAPS, LEFT_TO_THE_RELAY
from tests.support.fleet import ROLES, Fleet, Load, all_end, fleet_on
from tests.support.installation import wait_for
from tests.support.ledgers import assert_all_is_well

#: Gaps that a request without clerk and applicant passes.
_PASSED = tuple((point, when) for point, when, _ in GAPS if not point.startswith(("desk.", "timekeeper.")))


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet_on(tmp_path_factory.mktemp("fleet")) as running:
        yield running


@pytest.fixture(autouse=True)
def _all_run(fleet: Fleet) -> Iterator[None]:
    yield
    fleet.disarm()
    fleet.revive()


@pytest.mark.long
@pytest.mark.parametrize(("point", "when"), _PASSED, ids=[f"{point}-{when}" for point, when in _PASSED])
def test_a_kill_at_a_gap_under_load_costs_time_and_nothing_else(fleet: Fleet, point: KillPoint, when: int) -> None:
    before = fleet.deaths
    with Load(fleet) as load:
        load.wait_for(5)
        fleet.arm(point, when)
        wait_for(f"a process dies of {point}", fleet.revive)
        load.wait_for(10)

        outcomes = all_end(fleet, load)

    assert fleet.deaths == before + 1
    assert set(outcomes) == {"completed"}
    assert_all_is_well(fleet)


@pytest.mark.long
@pytest.mark.parametrize("point", LEFT_TO_THE_RELAY)
def test_a_kill_of_the_relay_that_cleans_up_costs_nothing(fleet: Fleet, point: KillPoint) -> None:
    with Load(fleet) as load:
        load.wait_for(20)
        fleet.arm(point)
        # What it has published and not yet deleted is left to the relay.
        fleet.kill_one("gateway")
        fleet.start_one("gateway")
        wait_for("the relay dies", lambda: point not in fleet.armed)

        outcomes = all_end(fleet, load)

    assert set(outcomes) == {"completed"}
    assert_all_is_well(fleet)


@pytest.mark.parametrize("name", sorted(ROLES))
def test_any_process_may_be_killed_under_load(fleet: Fleet, name: str) -> None:
    with Load(fleet) as load:
        load.wait_for(20)
        fleet.kill_one(name)
        time.sleep(1)
        fleet.start_one(name)
        load.wait_for(20)

        outcomes = all_end(fleet, load)

    assert set(outcomes) == {"completed"}
    assert_all_is_well(fleet)


@pytest.mark.long
@pytest.mark.parametrize("name", ["manager-1", "clock", "host"])
def test_a_process_that_stood_still_for_three_leases_changes_nothing_late(fleet: Fleet, name: str) -> None:
    with Load(fleet) as load:
        load.wait_for(20)
        fleet.signal_one(name, signal.SIGSTOP)
        time.sleep(3.2)  # the lease of the test's workspace is a second
        fleet.signal_one(name, signal.SIGCONT)
        load.wait_for(20)

        outcomes = all_end(fleet, load)

    assert set(outcomes) == {"completed"}
    assert_all_is_well(fleet)


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(ROLES))
def test_a_process_that_is_told_to_stop_under_load_ends_well(fleet: Fleet, name: str) -> None:
    with Load(fleet) as load:
        load.wait_for(20)

        code = fleet.stop_one(name)
        fleet.start_one(name)
        load.wait_for(10)
        outcomes = all_end(fleet, load)

    assert code == 0
    assert set(outcomes) == {"completed"}
    assert_all_is_well(fleet)


def test_a_process_that_is_told_twice_to_stop_and_then_killed_loses_nothing(fleet: Fleet) -> None:
    with Load(fleet) as load:
        load.wait_for(20)
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
            fleet.signal_one("manager-2", number)
        fleet.processes["manager-2"].wait()
        fleet.start_one("manager-2")
        load.wait_for(10)

        outcomes = all_end(fleet, load)

    assert set(outcomes) == {"completed"}
    assert_all_is_well(fleet)
