"""The simulated registry, driven by a foreign client: plain SQL into the inbound table, plain SQL out of it."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from adapters.commercial_registry import simulator
from adapters.commercial_registry.simulator import Simulator
from bus.simulator import Behaviour, Misbehaviour

ROOT = Path(__file__).parents[2]
NAME = "مخبز النور".encode("cp1256")
#: 2026-01-05T08:30:00Z.
START = 1_767_601_800_000


class World:
    """A registry on a clock that stands still, and a client that knows only the vendor's tables."""

    def __init__(self, folder: Path) -> None:
        self.time = START
        self.simulator = Simulator(folder, now=lambda: self.time)
        self.simulator.come_up()
        self.database = folder / "registry.db"

    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(f"{self.database.as_uri()}?mode=rw", uri=True, timeout=0)) as client, client:
            client.text_factory = bytes
            return client.execute(statement, values).fetchall()

    def order(
        self, txn: str, *, ref: str = "R1", name: bytes = b"", num: str = "", own: str = "", kind: str = ""
    ) -> int:
        values = (txn, ref.ljust(20), name.ljust(60), num.ljust(10), own.ljust(14), kind.ljust(1))
        self.sql("INSERT INTO CRIFIN (ITXN, IREF, INAME, INUM, IOWN, IKIND) VALUES (?, ?, ?, ?, ?, ?)", *values)
        return int(self.sql("SELECT max(ISEQ) FROM CRIFIN")[0][0])

    def step(self, seconds: float = 0) -> None:
        self.time += round(seconds * 1000)
        self.simulator.work(self.time)

    def answers(self, seq: int) -> list[tuple[Any, ...]]:
        return self.sql("SELECT ORC, ONUM, ODATE, ONAME, OMSG, OWAIT, OST FROM CRIFOUT WHERE OSEQ = ?", seq)

    def ask(self, txn: str, **order: Any) -> tuple[Any, ...]:
        seq = self.order(txn, **order)
        self.step()
        [answer] = self.answers(seq)
        return answer

    def arm(self, what: Misbehaviour, **limits: Any) -> None:
        self.simulator.control.arm(what, **limits)

    def effects(self) -> list[tuple[str, str]]:
        return [(entry.operation, entry.reference) for entry in self.simulator.ledger.entries()]

    def person(self, behaviour: Behaviour) -> tuple[bytes, str]:
        [found] = [p for p in self.simulator.persons.all if (p.agency, p.behaviour) == (Simulator.agency, behaviour)]
        return (found.trade_name or "").encode("cp1256"), found.national_id


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.simulator.close()


def test_a_name_is_reserved_with_blanks_and_cp1256_and_a_date_as_a_number(world: World) -> None:
    code, num, day, name, message, wait, state = world.ask("NRES", name=NAME)
    assert (code, num, day, name) == (b"00", b"2600001   ", 20260204, NAME.ljust(60))
    assert (message, wait, state) == ("تم".encode("cp1256").ljust(40), 0, b"D")
    assert world.sql("SELECT NTXT, NST, NREF, NDAT, NEXP FROM CRNAMES") == [
        (NAME.ljust(60), b"R", b"R1".ljust(20), 20260105, 20260204)
    ]
    assert world.effects() == [("name.reserve.v1", "R1")]


def test_a_reserved_name_becomes_a_company_once(world: World) -> None:
    world.ask("NRES", name=NAME)
    code, num, day, name, *_ = world.ask("CREG", ref="R2", num="2600001", own="1" * 14, kind="1")
    assert (code, num, day, name) == (b"00", b"40000001  ", 20260105, NAME.ljust(60))
    assert world.sql("SELECT CNNUM, COWN, CKIND, CREF, CST FROM CRCOMP") == [
        (b"2600001   ", b"1" * 14, b"1", b"R2".ljust(20), b"A")
    ]
    assert world.ask("CREG", ref="R3", num="2600001", own="1" * 14, kind="1")[0] == b"15"
    assert world.ask("NREL", ref="R4", num="2600001")[0] == b"15"
    assert world.effects() == [("name.reserve.v1", "R1"), ("company.register.v1", "R2")]


def test_a_released_name_is_free_again_and_cannot_be_released_or_used_again(world: World) -> None:
    world.ask("NRES", name=NAME)
    assert world.ask("NRES", ref="R2", name=NAME)[0] == b"11"
    assert world.ask("NREL", ref="R3", num="2600001")[0] == b"00"
    assert world.sql("SELECT NST, NXREF FROM CRNAMES") == [(b"X", b"R3".ljust(20))]
    assert world.ask("NREL", ref="R4", num="2600001")[0] == b"16"
    assert world.ask("CREG", ref="R5", num="2600001", own="1" * 14, kind="2")[0] == b"16"
    assert world.ask("NRES", ref="R6", name=NAME)[0] == b"00"
    assert [reference for _, reference in world.effects()] == ["R1", "R3", "R6"]


def test_an_expired_reservation_registers_nothing(world: World) -> None:
    world.ask("NRES", name=NAME)
    world.time += 31 * 86_400_000
    assert world.ask("CREG", ref="R2", num="2600001", own="1" * 14, kind="1")[0] == b"14"


@pytest.mark.parametrize("name", ["وزارة الخبز", "Ministry of Bread"])
def test_a_name_that_plays_the_state_is_not_allowed(world: World, name: str) -> None:
    assert world.ask("NRES", name=name.encode("cp1256"))[0] == b"12"


def test_a_number_that_is_no_reservation_is_not_found(world: World) -> None:
    assert world.ask("NREL", num="1111111")[0] == b"13"


@pytest.mark.parametrize(
    "order",
    [
        {"txn": "WHAT"},
        {"txn": "NRES"},
        {"txn": "NREL"},
        {"txn": "CREG", "num": "2600001", "own": "1" * 14, "kind": "9"},
    ],
)
def test_an_order_that_makes_no_sense_is_answered_and_stops_nobody(world: World, order: dict[str, Any]) -> None:
    assert world.ask(**order)[0] == b"98"
    assert world.ask("NRES", name=NAME)[0] == b"00"


def test_a_row_full_of_nothing_stops_nobody(world: World) -> None:
    world.sql("INSERT INTO CRIFIN (ITXN) VALUES (x'ff00')")
    assert world.ask("NRES", name=NAME)[0] == b"00"


def test_the_engine_knows_no_retry_two_orders_with_one_reference_are_two_effects(world: World) -> None:
    world.ask("NRES", name=b"ONE")
    world.ask("NRES", name=b"TWO")
    assert world.simulator.ledger.counts() == {"R1": 2}


def test_down_nobody_can_connect_and_afterwards_everything_is_still_there(world: World) -> None:
    world.ask("NRES", name=NAME)
    world.simulator.go_down()
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        world.sql("SELECT 1 FROM CRNAMES")
    world.simulator.come_up()
    assert world.sql("SELECT count(*) FROM CRNAMES") == [(1,)]


def test_down_does_not_tear_a_client_out_of_a_transaction(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulator, "_BUSY_S", 0)
    with closing(sqlite3.connect(world.database, isolation_level=None)) as client:
        client.execute("BEGIN IMMEDIATE")
        client.execute("INSERT INTO CRIFIN (ITXN) VALUES ('NRES')")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            world.simulator.go_down()
        client.execute("COMMIT")
    world.simulator.go_down()
    assert not world.database.exists()
    world.simulator.come_up()
    assert world.sql("SELECT count(*) FROM CRIFIN") == [(1,)]


def test_closed_the_engine_says_when_it_opens_and_does_nothing(world: World) -> None:
    world.arm(Misbehaviour.CLOSED, seconds=28_800)
    code, *_, wait, _ = world.ask("NRES", name=NAME)
    assert (code, wait) == (b"80", 28_800)
    world.time += 28_800_000
    assert world.ask("NRES", name=NAME)[0] == b"00"
    assert len(world.effects()) == 1


def test_slow_the_effect_itself_comes_later(world: World) -> None:
    world.arm(Misbehaviour.SLOW, seconds=9)
    seq = world.order("NRES", name=NAME)
    world.step()
    world.step(8)
    assert (world.answers(seq), world.effects()) == ([], [])
    world.step(1)
    assert len(world.answers(seq)) == len(world.effects()) == 1


def test_slow_work_survives_a_restart_of_the_engine(world: World) -> None:
    world.arm(Misbehaviour.SLOW, seconds=9)
    seq = world.order("NRES", name=NAME)
    world.step()
    world.simulator.close_base()
    world.simulator.come_up()
    world.step()
    assert len(world.answers(seq)) == len(world.effects()) == 1


@pytest.mark.parametrize(
    ("what", "effects"), [(Misbehaviour.TIMEOUT_BEFORE_EFFECT, 0), (Misbehaviour.EFFECT_THEN_TIMEOUT, 1)]
)
def test_an_answer_can_be_lost_before_or_after_the_effect(world: World, what: Misbehaviour, effects: int) -> None:
    world.arm(what)
    seq = world.order("NRES", name=NAME)
    world.step()
    world.step(3600)
    assert world.answers(seq) == []
    assert len(world.effects()) == len(world.sql("SELECT 1 FROM CRNAMES")) == effects


def test_a_late_answer_comes_long_after_its_effect(world: World) -> None:
    world.arm(Misbehaviour.ANSWER_LATE, seconds=9)
    seq = world.order("NRES", name=NAME)
    world.step()
    assert (world.answers(seq), len(world.effects())) == ([], 1)
    world.step(9)
    assert [answer[0] for answer in world.answers(seq)] == [b"00"]
    assert len(world.effects()) == 1


def test_a_dripping_answer_is_marked_as_unfinished_until_it_is_whole(world: World) -> None:
    world.arm(Misbehaviour.ANSWER_DRIPS, seconds=9)
    seq = world.order("NRES", name=NAME)
    world.step()
    assert [(answer[1], answer[-1]) for answer in world.answers(seq)] == [(b"2600", b"W")]
    world.step(9)
    assert [(answer[1], answer[-1]) for answer in world.answers(seq)] == [(b"2600001   ", b"D")]


def test_an_answer_can_come_twice_for_one_effect(world: World) -> None:
    world.arm(Misbehaviour.ANSWER_TWICE)
    seq = world.order("NRES", name=NAME)
    world.step()
    assert (len(world.answers(seq)), len(world.effects())) == (2, 1)


@pytest.mark.parametrize("txn", ["NRES", "NREL", "CREG"])
def test_an_effect_can_happen_twice_for_one_answer_and_the_ledger_tells(world: World, txn: str) -> None:
    world.ask("NRES", ref="R0", name=NAME)
    world.arm(Misbehaviour.EFFECT_TWICE)
    assert world.ask(txn, name=b"OTHER", num="2600001", own="1" * 14, kind="1")[0] == b"00"
    assert world.simulator.ledger.counts()["R1"] == 2


def test_half_an_answer_says_done_and_ends_in_the_middle_of_the_number(world: World) -> None:
    world.arm(Misbehaviour.HALF_ANSWER)
    assert world.ask("NRES", name=NAME) == (b"00", b"2600", None, None, b"", None, b"D")
    assert len(world.effects()) == 1


def test_the_wrong_encoding_is_utf_8_in_columns_of_cp1256(world: World) -> None:
    world.arm(Misbehaviour.WRONG_ENCODING)
    code, num, _, name, message, *_ = world.ask("NRES", name=NAME)
    assert (code, num) == (b"00", b"2600001   ")
    assert (name.decode().rstrip(), message.decode().rstrip()) == ("مخبز النور", "تم")


def test_an_error_can_hide_behind_the_code_for_success(world: World) -> None:
    world.arm(Misbehaviour.BUSINESS_ERROR_WITH_SUCCESS_CODE)
    code, num, *_, message, _, _ = world.ask("NRES", name=NAME)
    assert (code, num, message.decode("cp1256").rstrip()) == (b"00", b" " * 10, "سجل غير سليم")
    assert world.effects() == []


@pytest.mark.parametrize(
    ("behaviour", "reserve", "register"),
    [
        (Behaviour.SUCCEEDS, b"00", b"00"),
        (Behaviour.REFUSED, b"12", b"17"),
        (Behaviour.RETURNED, b"21", b"22"),
        (Behaviour.MALFORMED_RECORD, b"00", b"00"),
        (Behaviour.DOWN_30_S, b"90", b"90"),
    ],
)
def test_a_listed_person_is_met_as_listed_by_name_and_by_number(
    world: World, behaviour: Behaviour, reserve: bytes, register: bytes
) -> None:
    name, owner = world.person(behaviour)
    world.ask("NRES", ref="R0", name=NAME)
    assert world.ask("NRES", name=name)[0] == reserve
    assert world.ask("CREG", ref="R2", num="2600001", own=owner, kind="1")[0] == register


@pytest.mark.parametrize("behaviour", [Behaviour.LATE, Behaviour.EFFECT_THEN_TIMEOUT])
def test_a_person_whose_answer_is_late_or_lost_has_their_effect(world: World, behaviour: Behaviour) -> None:
    name, _ = world.person(behaviour)
    seq = world.order("NRES", name=name)
    world.step()
    assert (world.answers(seq), len(world.effects())) == ([], 1)
    world.step(world.simulator.late_s)
    assert len(world.answers(seq)) == (1 if behaviour is Behaviour.LATE else 0)


def test_the_person_for_an_outage_is_sent_away_then_the_registry_is_down_then_they_succeed(world: World) -> None:
    name, _ = world.person(Behaviour.DOWN_30_S)
    assert world.ask("NRES", name=name)[0] == b"90"
    outage = world.simulator.control.outage(Misbehaviour.DOWN)
    assert outage is not None
    assert outage.until == world.time + 30_000
    assert world.ask("NRES", name=name)[0] == b"00"


def test_a_listed_name_is_never_taken(world: World) -> None:
    name, _ = world.person(Behaviour.SUCCEEDS)
    assert [world.ask("NRES", name=name)[0] for _ in range(2)] == [b"00", b"00"]


def test_an_engine_that_fails_before_its_answer_has_neither_effect_nor_ledger_entry(world: World) -> None:
    seq = world.order("NRES", name=NAME)
    world.sql("ALTER TABLE CRIFOUT RENAME TO GONE")
    with pytest.raises(sqlite3.OperationalError, match="CRIFOUT"):
        world.step()
    assert (world.effects(), world.sql("SELECT 1 FROM CRNAMES")) == ([], [])
    world.sql("ALTER TABLE GONE RENAME TO CRIFOUT")
    world.step()
    assert len(world.effects()) == len(world.sql("SELECT 1 FROM CRNAMES")) == len(world.answers(seq)) == 1


def until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.001)


def test_an_engine_killed_in_the_middle_leaves_effect_ledger_and_answer_of_one_mind(tmp_path: Path) -> None:
    # Given an engine in a process of its own, with much to do
    code = (
        "import pathlib, sys; from adapters.commercial_registry.simulator import Simulator;"
        "Simulator(pathlib.Path(sys.argv[1])).run(lambda: False)"
    )
    engine = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT)
    until((tmp_path / "registry.db").exists)
    with closing(sqlite3.connect(tmp_path / "registry.db", timeout=30)) as client, client:
        client.executemany(
            "INSERT INTO CRIFIN (ITXN, IREF, INAME) VALUES ('NRES', ?, ?)",
            [(f"R{n}".ljust(20), f"NAME {n}".encode().ljust(60)) for n in range(500)],
        )
    # When it is killed after the first batch
    with closing(sqlite3.connect(tmp_path / "registry.db", timeout=30)) as client:
        until(lambda: bool(client.execute("SELECT count(*) FROM CRIFOUT").fetchone()[0]))
    os.kill(engine.pid, signal.SIGKILL)
    engine.wait()
    # Then a new one does the rest, and nothing twice
    world = World(tmp_path)
    for _ in range(6):
        world.step()
    world.simulator.close()
    assert set(world.simulator.ledger.counts().values()) == {1}
    references = [row[0] for row in world.sql("SELECT OREF FROM CRIFOUT ORDER BY OSEQ")]
    assert references == [row[0] for row in world.sql("SELECT NREF FROM CRNAMES ORDER BY NNUM")]
    assert len(references) == len(world.simulator.ledger.counts()) == 500
