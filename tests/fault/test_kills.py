"""`kill -9` at every named gap: after the restart the request ends as if nothing had been, each effect once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import pytest

from bus.killpoint import POINTS, KillPoint
from bus.simulator import Misbehaviour
from tests.support.installation import Installation
from tests.support.ledgers import assert_all_is_well, recounted
from tests.support.waiting import wait_for

#: Leads a request from its submission to its end, past the point; its outcome.
Life: TypeAlias = Callable[[Installation, str], str]


@pytest.fixture(scope="module")
def bus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with Installation(tmp_path_factory.mktemp("kills")) as running:
        yield running


@pytest.fixture(autouse=True)
def _nothing_is_armed(bus: Installation) -> Iterator[None]:
    yield
    bus.disarm()
    with bus.control as control:
        control.disarm()
    bus.revive()


def fulfilled(bus: Installation, key: str) -> str:
    return bus.drive(bus.submit(key, premises=False))


def retried(bus: Installation, key: str) -> str:
    """The registry is down at first, so that a timer must bring the next attempt."""
    with bus.control as control:
        control.arm(Misbehaviour.DOWN, seconds=2.0)
    return fulfilled(bus, key)


def returned(bus: Installation, key: str) -> str:
    """The clerk sends it back, the applicant brings what is missing, the clerk grants it."""
    request = bus.submit(key)
    bus.send_back(bus.wait_for_desk(request))
    return bus.drive(request)


#: (point, the time that counts, what leads past it). Times reach the first and the second step of the route.
GAPS: tuple[tuple[KillPoint, int, Life], ...] = (
    ("gateway.committed", 1, fulfilled),
    ("consumer.collected", 1, fulfilled),
    ("consumer.collected", 2, fulfilled),
    ("process.committed", 1, fulfilled),
    ("process.committed", 2, fulfilled),
    ("process.acknowledged", 1, fulfilled),
    ("process.published", 1, fulfilled),
    ("process.published", 2, fulfilled),
    ("process.confirmed", 1, fulfilled),
    ("host.received", 1, fulfilled),
    ("host.acknowledged", 1, fulfilled),
    ("host.intended", 1, fulfilled),
    ("host.intended", 2, fulfilled),
    ("host.called", 1, fulfilled),
    ("host.called", 2, fulfilled),
    ("host.read", 1, fulfilled),
    ("host.recorded", 1, fulfilled),
    ("host.published", 1, fulfilled),
    ("host.confirmed", 1, fulfilled),
    ("timekeeper.due", 1, retried),
    ("desk.committed", 1, returned),
    ("desk.committed", 2, returned),
)
#: The relay has work only when a process died between commit and publishing.
LEFT_TO_THE_RELAY: tuple[KillPoint, ...] = ("relay.claimed", "relay.published")


def test_every_named_gap_is_hit() -> None:
    assert {point for point, _, _ in GAPS} | set(LEFT_TO_THE_RELAY) == POINTS


@pytest.mark.parametrize(("point", "time", "life"), GAPS, ids=[f"{point}-{time}" for point, time, _ in GAPS])
def test_a_kill_at_a_gap_costs_time_and_nothing_else(
    bus: Installation, point: KillPoint, time: int, life: Life
) -> None:
    # Given a point that is armed
    before = bus.deaths
    bus.arm(point, time)

    # When a request passes it, and the bus is started again after its death
    outcome = life(bus, f"{point}-{time}")

    # Then it died there once, and the request ended as it would have without
    assert bus.deaths == before + 1
    assert outcome == "completed"
    assert_all_is_well(bus)


@pytest.mark.parametrize("point", LEFT_TO_THE_RELAY)
def test_a_kill_of_the_relay_that_cleans_up_after_a_kill_costs_nothing(bus: Installation, point: KillPoint) -> None:
    before = bus.deaths
    bus.arm("process.committed")
    bus.after_deaths.append((point,))

    outcome = fulfilled(bus, point)

    assert bus.deaths == before + 2
    assert outcome == "completed"
    assert_all_is_well(bus)


@pytest.mark.parametrize("point", ["gateway.committed", "process.committed", "process.published"])
def test_a_supplement_whose_answer_is_lost_counts_once(bus: Installation, point: KillPoint) -> None:
    request = bus.submit(f"supplement-{point}")
    bus.send_back(bus.wait_for_desk(request))
    before = bus.deaths

    bus.arm(point)
    bus.supplement(request)

    assert bus.drive(request) == "completed"
    assert bus.deaths == before + 1
    with bus.store() as store:
        kinds = [fact.kind for fact in store.facts(request) if fact.step == "permit"]
    assert (kinds.count("step_returned"), kinds.count("step_ready")) == (1, 2)
    assert_all_is_well(bus)


@pytest.mark.parametrize(
    "point", ["process.committed", "host.received", "host.intended", "host.called", "host.recorded", "host.published"]
)
def test_a_kill_while_a_compensation_is_in_flight_takes_back_once(bus: Installation, point: KillPoint) -> None:
    # Given a reserved name, and a clerk who is about to refuse the permit
    request = bus.submit(f"refused-{point}")
    row = bus.wait_for_desk(request)
    before, released = bus.deaths, len(bus.ledger.entries(operation="name.release.v1"))

    # When the bus dies on the way of the release
    bus.arm(point)
    bus.refuse(row)

    assert bus.drive(request) == "rejected"
    assert bus.deaths == before + 1
    assert len(bus.ledger.entries(operation="name.release.v1")) == released + 1
    assert_all_is_well(bus)


@pytest.mark.parametrize("point", ["host.called", "host.recorded", "consumer.collected", "process.committed"])
def test_a_reply_in_flight_when_closing_begins_is_settled_and_taken_back(bus: Installation, point: KillPoint) -> None:
    # Given a registry that has reserved the name and has not answered yet
    reserved = len(bus.ledger.entries(operation="name.reserve.v1"))
    released = len(bus.ledger.entries(operation="name.release.v1"))
    with bus.control as control:
        control.arm(Misbehaviour.ANSWER_LATE, operation="name.reserve.v1", seconds=0.5)
    request = bus.submit(f"cancelled-{point}")
    wait_for("the reservation", lambda: len(bus.ledger.entries(operation="name.reserve.v1")) > reserved)
    before = bus.deaths

    # When the applicant takes the request back, and the bus dies with the answer on its way
    bus.arm(point)
    bus.cancel(request)

    # Then the name is free again
    assert bus.drive(request) == "cancelled"
    assert bus.deaths == before + 1
    assert len(bus.ledger.entries(operation="name.release.v1")) == released + 1
    assert_all_is_well(bus)


@pytest.mark.parametrize("what", [Misbehaviour.TIMEOUT_BEFORE_EFFECT, Misbehaviour.EFFECT_THEN_TIMEOUT])
def test_a_kill_in_the_middle_of_a_call_is_looked_up_and_never_guessed(bus: Installation, what: Misbehaviour) -> None:
    # Given a call that hangs, before its effect or after it
    with bus.control as control:
        control.arm(what, operation="name.reserve.v1")
    request = bus.submit(f"middle-{what}", premises=False)
    with bus.control as control:
        wait_for("the registry has taken the order", lambda: not control.armed())

    bus.restart()

    assert bus.drive(request) == "completed"
    assert_all_is_well(bus)


def test_a_timer_that_falls_due_while_its_reply_waits_in_the_journal_harms_nothing(bus: Installation) -> None:
    # Given a recorded reply that was never sent, and a step whose answer is overdue: both are there at the start
    before = bus.deaths
    bus.arm("host.recorded")
    bus.after_deaths += [("consumer.collected",), ("timekeeper.due",)]
    request = bus.submit("race", premises=False)

    assert bus.drive(request) == "completed"
    assert bus.deaths >= before + 2
    assert_all_is_well(bus)


def test_after_all_these_kills_the_store_adds_up_for_the_operator_too(bus: Installation) -> None:
    fulfilled(bus, "last")

    ended = recounted(bus)

    assert ended.returncode == 0, ended.stderr
    assert "all adds up" in ended.stdout
    assert bus.codes() == set()
