"""The long ones: every pair of gaps in a row, and kills at random over minutes of load."""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Iterator
from itertools import product

import pytest

from bus.killpoint import POINTS, KillPoint
from bus.simulator import Misbehaviour
from tests.support.installation import Installation
from tests.support.ledgers import assert_all_is_well, recounted

pytestmark = pytest.mark.long

#: Seconds of load, and the most between two kills.
LOAD, CALM = 120.0, 4.0
#: Requests under way at once.
CROWD = 12
#: Ways of the registry that a retry or a look-up mends.
BAD_DAYS = (
    Misbehaviour.TIMEOUT_BEFORE_EFFECT,
    Misbehaviour.EFFECT_THEN_TIMEOUT,
    Misbehaviour.ANSWER_TWICE,
    Misbehaviour.ANSWER_LATE,
)
ORDERED: tuple[KillPoint, ...] = tuple(sorted(POINTS))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def bus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with Installation(tmp_path_factory.mktemp("pairs")) as running:
        yield running


def needed(point: KillPoint) -> tuple[KillPoint, ...]:
    """What must be armed so that the point is reached: the relay has work only after a kill behind a commit."""
    return ("process.committed", point) if point.startswith("relay.") else (point,)


def whole_life(bus: Installation, key: str) -> str:
    """Past every point: an outage, a paper that is missing, a clerk's answer; the outcome."""
    with bus.control as control:
        control.arm(Misbehaviour.DOWN, seconds=0.7)
    request = bus.submit(key)
    bus.send_back(bus.wait_for_desk(request))
    return bus.drive(request)


@pytest.mark.parametrize(("first", "second"), list(product(ORDERED, ORDERED)))
def test_a_kill_at_one_gap_and_then_at_another(bus: Installation, first: KillPoint, second: KillPoint) -> None:
    before = bus.deaths
    chain = [*needed(first), *needed(second)]
    bus.disarm()
    bus.after_deaths.clear()
    bus.arm(chain[0])
    bus.after_deaths.extend((point,) for point in chain[1:])

    # When requests live until the bus has died of all of them: a late point may wait for the next request
    number = 0
    while bus.armed or bus.after_deaths:
        assert number < len(chain) + 3, f"{bus.armed} was never reached"
        if number and any(point.startswith("relay.") for point in bus.armed):
            # The commit that the bus died behind had nothing to send: the relay needs another one.
            bus.arm("process.committed")
        assert whole_life(bus, f"{first}-{second}-{number}") == "completed"
        number += 1
    assert bus.deaths >= before + len(chain)

    assert_all_is_well(bus)


@pytest.mark.parametrize("seed", [secrets.randbelow(2**32)])
def test_two_minutes_of_load_under_random_kills_lose_nothing_and_double_nothing(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    chance = random.Random(seed)
    with Installation(tmp_path_factory.mktemp("random")) as bus:
        requests: list[str] = []
        open_ones: list[str] = []
        kills = 0
        end = time.monotonic() + LOAD
        next_kill = time.monotonic() + chance.uniform(0.5, CALM)
        while time.monotonic() < end:
            if time.monotonic() >= next_kill:
                if chance.random() < 0.2:
                    bus.kill_registry()
                bus.restart()
                kills += 1
                next_kill = time.monotonic() + chance.uniform(0.3, CALM)
            if len(open_ones) < CROWD:
                if chance.random() < 0.3:
                    with bus.control as control:
                        control.arm(chance.choice(BAD_DAYS), seconds=0.5)
                open_ones.append(bus.submit(f"random-{len(requests)}", premises=chance.random() < 0.4))
                requests.append(open_ones[-1])
            one_step(bus, chance, open_ones)
        outcomes = {bus.drive(request) for request in requests}

        assert kills > LOAD / CALM / 2, "hardly a kill: the test proves little"
        assert len(requests) > kills
        assert outcomes <= {"completed", "rejected", "cancelled"}
        assert_all_is_well(bus)
        assert recounted(bus).returncode == 0


def one_step(bus: Installation, chance: random.Random, open_ones: list[str]) -> None:
    """Somebody does something about one of the requests."""
    request = chance.choice(open_ones)
    if bus.state(request) not in {"open", "closing"}:
        open_ones.remove(request)
    elif chance.random() < 0.03:
        bus.cancel(request)
    elif row := bus.desk_row(request):
        act = chance.choice((bus.grant, bus.grant, bus.send_back, bus.refuse))
        act(str(row["row"]))
    elif bus.insist(lambda: bus.portal.request_show(request))["waiting_for"] == "applicant":
        bus.supplement(request)
