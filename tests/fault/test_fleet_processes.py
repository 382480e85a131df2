"""Many processes on RabbitMQ and PostgreSQL under load: one is killed, paused or stopped, and it costs only time."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import pytest

from bus.killpoint import KillPoint
from tests.fault.test_kills import GAPS, LEFT_TO_THE_RELAY, Life
from tests.support.fleet import ROLES, Fleet, fleet_on
from tests.support.ledgers import assert_all_is_well
from tests.support.load import Load, all_end
from tests.support.waiting import wait_for

#: Gaps that every request passes, and those that need a clerk, or a system that is away for a moment.
_PASSED = tuple((point, when) for point, when, _ in GAPS if not point.startswith(("desk.", "timekeeper.")))
_SELDOM = tuple((point, when, life) for point, when, life in GAPS if point.startswith(("desk.", "timekeeper.")))
#: One before and one after each kind of commit; whoever starts again runs into the same gap at once.
_TWICE: tuple[KillPoint, ...] = (
    "gateway.committed",
    "consumer.collected",
    "process.committed",
    "process.acknowledged",
    "host.intended",
    "host.called",
    "host.recorded",
)
#: Every kind of process; in each run those that decide and those that cause effects.
KILLED = [
    name if name in {"host", "manager-1", "gateway"} else pytest.param(name, marks=pytest.mark.long)
    for name in sorted(ROLES)
]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet_on(tmp_path_factory.mktemp("fleet")) as running:
        yield running


@pytest.fixture(autouse=True)
def _all_run(fleet: Fleet) -> Iterator[None]:
    yield
    fleet.disarm()
    fleet.start()


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
@pytest.mark.parametrize("point", _TWICE)
def test_a_kill_at_the_same_gap_twice_in_a_row_costs_time_and_nothing_else(fleet: Fleet, point: KillPoint) -> None:
    before = fleet.deaths
    with Load(fleet) as load:
        load.wait_for(5)
        # The second one is armed before anything is started again, so that the first to come by dies there.
        fleet.after_deaths.append((point,))
        fleet.arm(point)
        wait_for(f"two die of {point}", lambda: fleet.revive() and fleet.deaths == before + 2)
        load.wait_for(10)

        outcomes = all_end(fleet, load)

    assert fleet.deaths == before + 2
    assert not fleet.armed
    assert set(outcomes) == {"completed"}
    assert_all_is_well(fleet)


@pytest.mark.long
@pytest.mark.parametrize(("point", "when", "life"), _SELDOM, ids=[f"{point}-{when}" for point, when, _ in _SELDOM])
def test_a_kill_at_a_gap_that_few_requests_pass_under_load_costs_nothing_either(
    fleet: Fleet, point: KillPoint, when: int, life: Life
) -> None:
    before = fleet.deaths
    with Load(fleet) as load:
        load.wait_for(5)
        fleet.arm(point, when)
        outcome = life(fleet, f"{point}-{when}")
        wait_for(f"a process dies of {point}", lambda: fleet.revive() or fleet.deaths > before)

        outcomes = all_end(fleet, load)

    assert fleet.deaths == before + 1
    assert outcome == "completed"
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
        wait_for("the relay dies", fleet.revive)
        load.wait_for(10)

        outcomes = all_end(fleet, load)

    assert set(outcomes) == {"completed"}
    assert_all_is_well(fleet)


@pytest.mark.parametrize("name", KILLED)
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
