"""What every simulator is built of: ledger, misbehaviours, test persons and the loop."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

import pytest

from bus.errors import ConfigurationError
from bus.simulator import Behaviour, Control, Instant, Ledger, Misbehaviour, Persons, Simulator

PERSONS = Path(__file__).parents[2] / "schemas" / "test-persons.yaml"
AGENCIES = ("tax_authority", "commercial_registry", "municipality")


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now: Instant = 1_000_000

    def __call__(self) -> Instant:
        return self.now


class Kiosk(Simulator):
    """The smallest legacy system: a file that is there or not."""

    agency: ClassVar[str] = "municipality"
    poll_s: ClassVar[float] = 0.0

    @staticmethod
    def settings(folder: Path) -> dict[str, Any]:
        return {"file": str(folder / "open")}

    def come_up(self) -> None:
        (self.folder / "open").touch()

    def go_down(self) -> None:
        (self.folder / "open").unlink(missing_ok=True)

    def work(self, now: Instant) -> None:
        (self.folder / "worked").touch()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def control(tmp_path: Path, clock: Clock) -> Iterator[Control]:
    with Control(tmp_path / "control.db", now=clock) as control:
        yield control


def test_the_ledger_keeps_every_effect_in_order_and_counts_them_by_reference(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    for reference in ("A", "B", "A"):
        ledger.record(operation="name.reserve.v1", reference=reference, made="1", at=5)
    again = Ledger(tmp_path / "ledger.db")
    assert [(entry.id, entry.reference) for entry in again.entries()] == [(1, "A"), (2, "B"), (3, "A")]
    assert again.counts() == {"A": 2, "B": 1}
    assert [entry.id for entry in again.entries(reference="A")] == [1, 3]
    assert again.entries(operation="name.release.v1") == ()


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
def test_an_entry_of_a_joined_ledger_shares_the_fate_of_the_legacy_transaction(tmp_path: Path, end: str) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    with closing(sqlite3.connect(tmp_path / "legacy.db", isolation_level=None)) as legacy:
        legacy.execute("CREATE TABLE T (A)")
        ledger.join(legacy)
        legacy.execute("BEGIN")
        legacy.execute("INSERT INTO T VALUES (1)")
        ledger.record(operation="o", reference="A", made="1", at=5, within=legacy)
        legacy.execute(end)
        done = legacy.execute("SELECT count(*) FROM T").fetchone()[0]
    assert len(ledger.entries()) == done == (1 if end == "COMMIT" else 0)


def test_a_misbehaviour_meets_only_the_requests_that_it_was_armed_for(control: Control) -> None:
    control.arm(Misbehaviour.HALF_ANSWER, operation="name.reserve.v1", about="R1")
    assert control.take("name.release.v1", ["R1"]) is None
    assert control.take("name.reserve.v1", ["R2"]) is None
    taken = control.take("name.reserve.v1", ["R2", "R1"])
    assert taken is not None
    assert taken.what is Misbehaviour.HALF_ANSWER


def test_a_misbehaviour_is_used_up_after_its_times_and_an_endless_one_never(control: Control) -> None:
    control.arm(Misbehaviour.SLOW, times=2, seconds=1.5)
    endless = control.arm(Misbehaviour.EFFECT_TWICE, times=None)
    taken = [control.take("o", []) for _ in range(4)]
    assert [armed.what for armed in taken if armed] == [Misbehaviour.SLOW] * 2 + [Misbehaviour.EFFECT_TWICE] * 2
    control.disarm(endless)
    assert control.armed() == ()


def test_what_one_process_arms_another_takes(tmp_path: Path, control: Control) -> None:
    with Control(tmp_path / "control.db") as other:
        other.arm(Misbehaviour.ANSWER_TWICE)
    assert control.take("o", []) is not None


def test_an_outage_ends_by_itself_after_its_seconds(control: Control, clock: Clock) -> None:
    control.arm(Misbehaviour.DOWN, seconds=30)
    assert control.take("o", []) is None
    clock.now += 29_999
    assert control.outage(Misbehaviour.DOWN) is not None
    clock.now += 1
    assert control.outage(Misbehaviour.DOWN) is None


def test_an_outage_without_seconds_ends_when_it_is_disarmed(control: Control, clock: Clock) -> None:
    control.arm(Misbehaviour.CLOSED)
    clock.now += 10**9
    assert control.outage(Misbehaviour.CLOSED) is not None
    control.disarm()
    assert control.outage(Misbehaviour.CLOSED) is None


def test_a_reference_is_met_for_the_first_time_once_also_after_a_restart(tmp_path: Path, control: Control) -> None:
    assert control.meet("R1")
    with Control(tmp_path / "control.db") as other:
        assert not other.meet("R1")
        assert other.meet("R2")


@pytest.mark.parametrize("agency", AGENCIES)
def test_each_agency_has_one_person_for_each_behaviour(agency: str) -> None:
    listed = [person for person in Persons.load(PERSONS).all if person.agency == agency]
    assert sorted(person.behaviour for person in listed) == sorted(Behaviour)


def test_a_person_is_known_to_every_agency_and_misbehaved_to_by_their_own() -> None:
    persons = Persons.load(PERSONS)
    refused = next(person for person in persons.all if person.behaviour is Behaviour.REFUSED)
    assert persons.behaviour(refused.agency, ["?", refused.national_id]) is Behaviour.REFUSED
    assert persons.behaviour("another", [refused.national_id]) is Behaviour.SUCCEEDS
    assert persons.behaviour(refused.agency, ["12345678901234"]) is None


def test_a_person_of_a_name_asking_agency_is_found_by_trade_name() -> None:
    persons = Persons.load(PERSONS)
    named = [person for person in persons.all if person.trade_name]
    assert {person.agency for person in named} == {"commercial_registry"}
    assert [persons.find([person.trade_name or ""]) for person in named] == named


def test_every_fault_of_the_table_of_persons_is_told_at_once(tmp_path: Path) -> None:
    good = 'national_id: "9", agency: a, behaviour: late, name: {en: A, ar: أ}, birth_date: 1980-01-01'
    bad = [good, good, good.replace("late", "lazy"), good.replace('"9"', "9"), "agency: a"]
    file = tmp_path / "persons.yaml"
    file.write_text("persons:\n" + "".join(f"  - {{{entry}}}\n" for entry in bad), encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        Persons.load(file)
    assert [(fault.code, fault.pointer) for fault in caught.value.faults] == [
        ("person-twice", "/persons/1"),
        ("bad-person", "/persons/2"),
        ("bad-person", "/persons/3"),
        ("bad-person", "/persons/4"),
    ]


def steps(count: int) -> Iterator[bool]:
    yield from [False] * count + [True]


def test_a_simulator_is_reachable_and_works_until_it_is_stopped(tmp_path: Path) -> None:
    stop = steps(2)
    Kiosk(tmp_path, Persons([])).run(lambda: next(stop))
    assert (tmp_path / "open").exists()
    assert (tmp_path / "worked").exists()


def test_a_simulator_that_is_told_to_be_down_is_so_from_its_first_step(tmp_path: Path) -> None:
    (tmp_path / "open").touch()
    with Control(tmp_path / "control.db") as control:
        control.arm(Misbehaviour.DOWN)
    stop = steps(2)
    Kiosk(tmp_path, Persons([])).run(lambda: next(stop))
    assert not (tmp_path / "open").exists()
    assert not (tmp_path / "worked").exists()


def test_a_simulator_comes_up_again_when_the_outage_is_over(tmp_path: Path) -> None:
    clock = Clock()
    seen = []

    def stop() -> bool:
        seen.append((tmp_path / "open").exists())
        clock.now += 500
        return len(seen) > 4

    with Control(tmp_path / "control.db", now=clock) as control:
        control.arm(Misbehaviour.DOWN, seconds=1.2)
    Kiosk(tmp_path, Persons([]), now=clock).run(stop)
    assert seen == [False, False, False, True, True]


def test_a_listed_person_brings_their_misbehaviour_and_an_armed_one_goes_first(tmp_path: Path, clock: Clock) -> None:
    kiosk = Kiosk(tmp_path, Persons.load(PERSONS), now=clock, outage_s=30, late_s=8)
    numbers = {person.behaviour: person.national_id for person in kiosk.persons.all if person.agency == Kiosk.agency}

    def met(behaviour: Behaviour, reference: str = "R1") -> tuple[Misbehaviour, float] | None:
        armed = kiosk.misbehaviour("site.permit.v1", reference, [numbers[behaviour]])
        return (armed.what, armed.seconds) if armed else None

    assert met(Behaviour.SUCCEEDS) is met(Behaviour.REFUSED) is met(Behaviour.RETURNED) is None
    assert met(Behaviour.LATE) == (Misbehaviour.ANSWER_LATE, 8)
    assert met(Behaviour.EFFECT_THEN_TIMEOUT) == (Misbehaviour.EFFECT_THEN_TIMEOUT, 8)
    assert met(Behaviour.MALFORMED_RECORD) == (Misbehaviour.HALF_ANSWER, 8)
    assert met(Behaviour.DOWN_30_S) == (Misbehaviour.DOWN, 30)
    assert met(Behaviour.DOWN_30_S) is None, "the same reference is met by one outage only"
    assert met(Behaviour.DOWN_30_S, "R2") == (Misbehaviour.DOWN, 30)
    kiosk.control.arm(Misbehaviour.SLOW, about=numbers[Behaviour.LATE], seconds=2)
    assert met(Behaviour.LATE) == (Misbehaviour.SLOW, 2)
    kiosk.close()
