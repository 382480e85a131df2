"""Every message twice, backwards, an hour late, and a registry that answers badly: never a wrong success."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from bus.message.envelope import MessageType, decode
from bus.message.instant import SECOND
from bus.message.replies import REPLY_TYPES
from bus.ports import Delivery
from bus.simulator import Misbehaviour
from tests.support.demo_workspace import REGISTRY
from tests.support.installation_inside import InsideInstallation
from tests.support.ledgers import all_requests, assert_all_is_well, doubled, wrong_effects
from tests.support.waiting import wait_for

HOUR = 3_600 * SECOND
#: How many requests are under way at once.
CROWD = 8


@pytest.fixture(scope="module")
def bus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InsideInstallation]:
    with InsideInstallation(tmp_path_factory.mktemp("disorder")) as running:
        yield running


@pytest.fixture(autouse=True)
def _order_returns(bus: InsideInstallation) -> Iterator[None]:
    yield
    bus.broker.copies = 1
    bus.broker.holds = False
    bus.broker.before_acknowledging = lambda _: None
    bus.broker.release()
    with bus.control as control:
        control.disarm()


def crowd(bus: InsideInstallation, key: str) -> list[str]:
    return [bus.submit(f"{key}-{number}", premises=number % 4 == 0) for number in range(CROWD)]


def drive_all(bus: InsideInstallation, requests: list[str]) -> set[str]:
    return {bus.drive(request) for request in requests}


def drive_held(bus: InsideInstallation, requests: list[str], late: int) -> set[str]:
    """Lead requests to their end though every wave of messages waits, comes ``late``, and comes backwards."""

    def done() -> bool:
        if bus.broker.held:
            bus.advance(late)
            bus.broker.release(backwards=True)
        for request in requests:
            if row := bus.desk_row(request):
                bus.grant(str(row["row"]))
        return all(bus.state(request) not in {"open", "closing"} for request in requests)

    wait_for("the end of all", done)
    return {bus.state(request) for request in requests}


def test_every_message_twice_is_every_effect_once(bus: InsideInstallation) -> None:
    before = bus.broker.seen
    bus.broker.copies = 2

    requests = crowd(bus, "twice")
    assert drive_all(bus, requests) == {"completed"}

    assert bus.broker.seen - before >= 3 * CROWD
    with bus.store() as store:
        kinds = {fact.kind for request in requests for fact in store.facts(request)}
    assert not kinds & {"duplicate", "late"}, "what came a second time, byte for byte, is not even a fact"
    assert_all_is_well(bus)


def test_every_wave_of_messages_backwards_and_twice_changes_nothing(bus: InsideInstallation) -> None:
    bus.broker.copies = 2
    bus.broker.holds = True

    assert drive_held(bus, crowd(bus, "backwards"), late=0) == {"completed"}

    bus.broker.holds = False
    assert_all_is_well(bus)


def test_messages_that_are_an_hour_late_cost_time_and_nothing_else(bus: InsideInstallation) -> None:
    bus.broker.holds = True

    assert drive_held(bus, crowd(bus, "late"), late=HOUR) == {"completed"}

    bus.broker.holds = False
    assert_all_is_well(bus)


def test_the_broker_may_forget_a_message_only_when_it_is_committed(bus: InsideInstallation) -> None:
    # Given somebody who looks into store and journal right before each acknowledgement
    late: list[str] = []
    looked: Counter[str] = Counter()

    def look(deliveries: Collection[Delivery]) -> None:
        for delivery in deliveries:
            envelope = decode(delivery.body).envelope
            if envelope.type in REPLY_TYPES:
                kept = count(bus.data / "store.db", "inbox", "message_id", envelope.id)
            elif envelope.type is MessageType.TASK_REQUESTED:
                kept = count(bus.journal, "interaction", "interaction_id", envelope.interactionid)
            else:
                continue
            looked[envelope.type] += 1
            late.extend([envelope.type] * (kept == 0))

    bus.broker.before_acknowledging = look

    # When requests are carried out
    assert drive_all(bus, crowd(bus, "watched")) == {"completed"}

    # Then whatever the broker was allowed to forget was kept before
    assert looked[MessageType.TASK_REQUESTED] >= CROWD
    assert looked[MessageType.TASK_COMPLETED] >= CROWD
    assert late == []


def count(file: Path, table: str, column: str, value: str | None) -> int:
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=10)) as look:
        (found,) = look.execute(f"SELECT count(*) FROM {table} WHERE {column} = ?", (value,)).fetchone()
        return int(found)


@pytest.mark.parametrize("operation", ["name.reserve.v1", "company.register.v1"])
@pytest.mark.parametrize(
    "what", [Misbehaviour.EFFECT_THEN_TIMEOUT, Misbehaviour.ANSWER_TWICE, Misbehaviour.ANSWER_LATE]
)
def test_an_answer_that_is_lost_late_or_double_still_means_one_effect(
    bus: InsideInstallation, what: Misbehaviour, operation: str
) -> None:
    with bus.control as control:
        control.arm(what, operation=operation, seconds=2.0)

    assert bus.drive(bus.submit(f"{what}-{operation}", premises=False)) == "completed"

    with bus.control as control:
        assert control.armed() == ()
    assert_all_is_well(bus)


@pytest.mark.parametrize("operation", ["name.reserve.v1", "company.register.v1"])
@pytest.mark.parametrize("what", [Misbehaviour.HALF_ANSWER, Misbehaviour.WRONG_ENCODING])
def test_an_answer_that_cannot_be_read_is_shown_to_a_person_and_never_asked_for_by_doing_it_again(
    tmp_path: Path, what: Misbehaviour, operation: str
) -> None:
    with InsideInstallation(tmp_path) as bus:
        with bus.control as control:
            control.arm(what, operation=operation)
        request = bus.submit("garbled", premises=False)

        # Then the step is no success: it waits, with the effect shown as done
        failure = bus.wait_for_failure("answer_unreadable", request_id=request)
        shown = bus.operator.failure_show(int(failure["failure"]))
        assert (shown["step_state"], shown["effect"]) == ("parked", "done")
        assert shown["evidence_bytes"]
        effects = len(bus.ledger.entries())

        # And a replay translates the kept answer again: the same comes out, nothing is done
        bus.operator.failure_replay(int(failure["failure"]), reason="look again")
        again = bus.wait_for_failure("answer_unreadable", request_id=request)
        assert len(bus.ledger.entries()) == effects
        assert doubled(bus.ledger) == {}

        # And giving up takes back what can be taken back
        bus.operator.failure_giveup(int(again["failure"]), reason="settled by telephone")
        assert bus.drive(request) == "failed"
        assert doubled(bus.ledger) == {}


def test_a_registry_that_does_it_twice_is_found_by_this_suites_own_checker(tmp_path: Path) -> None:
    # Given a legacy system whose doubling no bus can prevent
    with InsideInstallation(tmp_path) as bus:
        with bus.control as control:
            control.arm(Misbehaviour.EFFECT_TWICE, operation="name.reserve.v1")

        bus.drive(bus.submit("doubled", premises=False))

        # Then the checkers of these suites see it: they are able to fail
        assert list(doubled(bus.ledger).values()) == [2]
        with bus.store() as store:
            assert wrong_effects(all_requests(store), bus.ledger.counts()) != []


def test_a_second_host_with_another_journal_is_refused_and_told_of(tmp_path: Path) -> None:
    with InsideInstallation(tmp_path / "bus") as bus:
        # Given a registry that has reserved a name and has not answered yet
        with bus.control as control:
            control.arm(Misbehaviour.ANSWER_LATE, operation="name.reserve.v1", seconds=0.5)
        request = bus.submit("two-hosts", premises=False)
        wait_for("the reservation", bus.ledger.entries)

        # When somebody starts a second host beside the first, with a journal of its own
        other = tmp_path / "other"
        with bus.hosted_over(other) as second:
            bus.wait_for_failure("second_journal", agency=REGISTRY)
            assert bus.drive(request) == "completed"
            assert bus.drive(bus.submit("beside", premises=False)) == "completed"
            assert not second.is_admitted

        assert_all_is_well(bus)
