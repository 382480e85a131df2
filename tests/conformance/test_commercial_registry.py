"""The registry's adapter against the running simulator: every way in which the vendor's system fails."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from adapters.commercial_registry.adapter import CommercialRegistry
from adapters.commercial_registry.simulator import Simulator
from bus.adapter import (
    Absent,
    AgencyUnavailableError,
    Completed,
    Effect,
    Failed,
    Found,
    Refused,
    Reply,
    Returned,
    Task,
    Unknown,
    Unsure,
)
from bus.simulator import Behaviour, Control, Ledger, Misbehaviour, Persons

ROOT = Path(__file__).parents[2]
RESERVE, RELEASE, REGISTER = "name.reserve.v1", "name.release.v1", "company.register.v1"
OWNER = "94000000000001"


def until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.001)


def obey(operation: str, reply: Completed) -> None:
    schema = json.loads((ROOT / "schemas" / "operation" / f"{operation}.output.json").read_text(encoding="utf-8"))
    Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(dict(reply.data))


def rows(adapter: CommercialRegistry, operation: str, tasks: Sequence[Task]) -> list[bytes]:
    """What is sent, of tasks that can all be sent."""
    native = [row for row in adapter.prepare(operation, tasks) if isinstance(row, bytes)]
    assert len(native) == len(tasks)
    return native


class Registry:
    """A simulated registry in a thread, and adapters that talk to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = folder / "registry.db"
        self.ledger = Ledger(folder / "ledger.db")
        self.control = Control(folder / "control.db")
        self.persons = Persons.load(ROOT / "schemas" / "test-persons.yaml")
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._stop.clear()
        simulator = Simulator(self.folder, self.persons)
        self._thread = threading.Thread(target=simulator.run, args=(self._stop.is_set,))
        self._thread.start()
        until(lambda: self.database.exists() or bool(self.control.outage(Misbehaviour.DOWN)))

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def adapter(self, **settings: Any) -> CommercialRegistry:
        return CommercialRegistry({**Simulator.settings(self.folder), **settings})

    def ask(self, operation: str, *data: dict[str, Any], ref: str = "R", timeout_s: float = 30) -> Sequence[Reply]:
        adapter = self.adapter(timeout_s=timeout_s)
        tasks = [Task(reference=f"{ref}{number}", data=item) for number, item in enumerate(data)]
        return adapter.read(operation, adapter.call(operation, rows(adapter, operation, tasks)))

    def reserve(self, name: str, ref: str = "N") -> str:
        [reply] = self.ask(RESERVE, {"name": name}, ref=ref)
        assert isinstance(reply, Completed)
        return str(reply.data["reservation"])

    def sql(self, statement: str) -> None:
        with closing(sqlite3.connect(self.database, timeout=30)) as client, client:
            client.execute(statement)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    registry = Registry(tmp_path)
    registry.start()
    yield registry
    registry.stop()
    registry.control.close()


def test_a_business_goes_through_all_three_operations(registry: Registry) -> None:
    reservation = registry.reserve("مخبز النور")
    other = registry.reserve("مخبز الأمل", ref="O")
    [company] = registry.ask(REGISTER, {"reservation": reservation, "owner_id": OWNER, "kind": "sole"}, ref="C")
    [released] = registry.ask(RELEASE, {"reservation": other}, ref="L")
    assert isinstance(company, Completed)
    obey(REGISTER, company)
    assert released == Completed(data={"released": True})
    assert registry.ledger.counts() == {"N0": 1, "O0": 1, "C0": 1, "L0": 1}


def test_releasing_what_is_released_is_done_and_is_no_second_effect(registry: Registry) -> None:
    reservation = registry.reserve("مخبز النور")
    for ref in ("A", "B"):
        assert registry.ask(RELEASE, {"reservation": reservation}, ref=ref) == (Completed(data={"released": True}),)
    assert len(registry.ledger.entries(operation=RELEASE)) == 1


@pytest.mark.parametrize(
    ("operation", "data", "reason"),
    [
        (RESERVE, {"name": "مخبز النور"}, "name_taken"),
        (RESERVE, {"name": "وزارة الخبز"}, "name_not_allowed"),
        (RELEASE, {"reservation": "1111111"}, "reservation_not_found"),
        (REGISTER, {"reservation": "1111111", "owner_id": OWNER, "kind": "sole"}, "reservation_not_found"),
        (REGISTER, {"reservation": "2600001", "owner_id": "94000000000002", "kind": "sole"}, "owner_barred"),
    ],
)
def test_the_registrys_lawful_no_is_a_refusal(
    registry: Registry, operation: str, data: dict[str, Any], reason: str
) -> None:
    registry.reserve("مخبز النور")
    [reply] = registry.ask(operation, data)
    assert isinstance(reply, Refused)
    assert reply.reason_code == reason
    assert registry.ledger.counts() == {"N0": 1}


def test_an_expired_reservation_is_refused(registry: Registry) -> None:
    reservation = registry.reserve("مخبز النور")
    registry.sql("UPDATE CRNAMES SET NEXP = 20200101")
    [reply] = registry.ask(REGISTER, {"reservation": reservation, "owner_id": OWNER, "kind": "sole"})
    assert isinstance(reply, Refused)
    assert reply.reason_code == "reservation_expired"


def test_something_missing_is_returned_with_a_pointer_to_it(registry: Registry) -> None:
    [person] = [p for p in registry.persons.all if p.trade_name and p.behaviour is Behaviour.RETURNED]
    [reply] = registry.ask(RESERVE, {"name": person.trade_name})
    assert isinstance(reply, Returned)
    assert [need.pointer for need in reply.needs] == ["/name"]


def test_fifty_are_one_call_and_a_bad_one_spoils_no_neighbour(registry: Registry) -> None:
    registry.control.arm(Misbehaviour.HALF_ANSWER, about="R7")
    registry.control.arm(Misbehaviour.WRONG_ENCODING, about="R8")
    registry.control.arm(Misbehaviour.EFFECT_THEN_TIMEOUT, about="R9")
    replies = registry.ask(RESERVE, *({"name": f"مخبز {number}"} for number in range(50)), timeout_s=2)
    bad = {number: reply for number, reply in enumerate(replies) if not isinstance(reply, Completed)}
    assert len(replies) == 50
    assert bad.keys() == {7, 8, 9}
    for number in (7, 8):
        reply = bad[number]
        assert isinstance(reply, Failed)
        assert (reply.code, reply.effect, reply.retryable) == ("answer_unreadable", Effect.DONE, False)
        assert "byte " in reply.text.en
    assert bad[9] == Unknown()
    assert set(registry.ledger.counts().values()) == {1}


def test_answers_come_in_the_order_of_the_tasks(registry: Registry) -> None:
    registry.control.arm(Misbehaviour.SLOW, about="R0", seconds=0.05)
    registry.control.arm(Misbehaviour.ANSWER_LATE, about="R1", seconds=0.02)
    replies = registry.ask(RESERVE, {"name": "أول"}, {"name": "وزارة"}, {"name": "ثالث"})
    assert [type(reply) for reply in replies] == [Completed, Refused, Completed]


@pytest.mark.parametrize("what", [Misbehaviour.EFFECT_THEN_TIMEOUT, Misbehaviour.ANSWER_LATE])
@pytest.mark.parametrize("operation", [RESERVE, RELEASE, REGISTER])
def test_an_effect_whose_answer_never_came_is_found_by_look_up_and_reads_like_the_answer(
    registry: Registry, operation: str, what: Misbehaviour
) -> None:
    reservation = registry.reserve("مخبز النور")
    data: dict[str, dict[str, Any]] = {
        RESERVE: {"name": "مخبز الأمل"},
        RELEASE: {"reservation": reservation},
        REGISTER: {"reservation": reservation, "owner_id": OWNER, "kind": "partners"},
    }
    registry.control.arm(what, seconds=3600)
    with pytest.raises(TimeoutError):
        registry.ask(operation, data[operation], timeout_s=0.3)
    adapter = registry.adapter()
    until(lambda: not isinstance(adapter.look_up(operation, ["R0"])[0], Unsure))
    found, other = adapter.look_up(operation, ["R0", "R1"])
    assert isinstance(found, Found)
    assert other == Absent()
    [reply] = adapter.read(operation, [found.raw])
    assert isinstance(reply, Completed)
    obey(operation, reply)
    assert registry.ledger.counts()["R0"] == 1


def test_an_order_that_was_lost_is_absent(registry: Registry) -> None:
    registry.control.arm(Misbehaviour.TIMEOUT_BEFORE_EFFECT)
    with pytest.raises(TimeoutError):
        registry.ask(RESERVE, {"name": "مخبز النور"}, timeout_s=0.3)
    adapter = registry.adapter()
    until(lambda: adapter.look_up(RESERVE, ["R0"]) == (Absent(),))
    assert registry.ledger.entries() == ()


def test_an_order_that_still_waits_for_the_engine_is_never_called_absent(registry: Registry) -> None:
    # Given an engine that stopped, and an order that nobody works off
    registry.stop()
    with pytest.raises(TimeoutError):
        registry.ask(RESERVE, {"name": "مخبز النور"}, timeout_s=0.05)
    # Then the look-up cannot tell, for the order will take effect once the engine is back
    adapter = registry.adapter()
    assert adapter.look_up(RESERVE, ["R0"]) == (Unsure(),)
    registry.start()
    until(lambda: isinstance(adapter.look_up(RESERVE, ["R0"])[0], Found))
    assert registry.ledger.counts() == {"R0": 1}


def test_an_order_that_the_engine_has_put_off_is_never_called_absent(registry: Registry) -> None:
    registry.control.arm(Misbehaviour.SLOW, seconds=3600)
    with pytest.raises(TimeoutError):
        registry.ask(RESERVE, {"name": "مخبز النور"}, timeout_s=0.3)
    assert registry.adapter().look_up(RESERVE, ["R0"]) == (Unsure(),)


def test_a_look_up_causes_no_effect_and_leaves_no_trace(registry: Registry) -> None:
    registry.reserve("مخبز النور")
    before = registry.database.read_bytes()
    assert registry.adapter().look_up(RESERVE, ["N0", "R1"])[1] == Absent()
    assert registry.database.read_bytes() == before


def test_a_registry_that_is_down_is_noticed_before_anything_is_sent(registry: Registry) -> None:
    outage = registry.control.arm(Misbehaviour.DOWN)
    until(lambda: not registry.database.exists())
    with pytest.raises(AgencyUnavailableError):
        registry.ask(RESERVE, {"name": "مخبز النور"})
    assert registry.adapter().look_up(RESERVE, ["R0"]) == (Unsure(),)
    registry.control.disarm(outage)
    until(registry.database.exists)
    registry.reserve("مخبز النور", ref="R")
    assert registry.ledger.counts() == {"R0": 1}


def test_a_locked_database_takes_no_order_and_says_so(registry: Registry) -> None:
    with closing(sqlite3.connect(registry.database, timeout=30, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        adapter = registry.adapter(busy_s=0.01)
        native = rows(adapter, RESERVE, [Task(reference="R0", data={"name": "مخبز النور"})])
        with pytest.raises(AgencyUnavailableError):
            adapter.call(RESERVE, native)
        assert other.execute("SELECT count(*) FROM CRIFIN").fetchone() == (0,)
        other.execute("ROLLBACK")


def test_a_commit_that_a_reader_blocks_sends_nothing(registry: Registry) -> None:
    registry.stop()  # the engine would wait for the reader too
    with closing(sqlite3.connect(registry.database, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM CRIFIN").fetchall()
        adapter = registry.adapter(busy_s=0.01)
        native = rows(adapter, RESERVE, [Task(reference="R0", data={"name": "مخبز النور"})])
        with pytest.raises(AgencyUnavailableError):
            adapter.call(RESERVE, native)
        reader.execute("ROLLBACK")
        assert reader.execute("SELECT count(*) FROM CRIFIN").fetchone() == (0,)


@pytest.mark.parametrize("content", [None, b"this is no database, it is a note to the operator. " * 20])
def test_a_file_that_is_no_registry_is_unavailable(tmp_path: Path, content: bytes | None) -> None:
    if content:
        (tmp_path / "registry.db").write_bytes(content)
    adapter = CommercialRegistry(Simulator.settings(tmp_path))
    with pytest.raises(AgencyUnavailableError):
        adapter.call(RESERVE, rows(adapter, RESERVE, [Task(reference="R0", data={"name": "مخبز"})]))
    assert adapter.look_up(RESERVE, ["R0"]) == (Unsure(),)


def test_a_closed_registry_did_nothing_and_says_when_to_come_back(registry: Registry) -> None:
    registry.control.arm(Misbehaviour.CLOSED, seconds=3600)
    [reply] = registry.ask(RESERVE, {"name": "مخبز النور"})
    assert isinstance(reply, Failed)
    assert (reply.code, reply.effect, reply.retryable) == ("agency_closed", Effect.NONE, True)
    assert reply.retry_after is not None
    assert 0 < reply.retry_after <= 3_600_000
    assert registry.ledger.entries() == ()


def test_an_answer_that_drips_is_read_only_when_it_is_whole(registry: Registry) -> None:
    registry.control.arm(Misbehaviour.ANSWER_DRIPS, seconds=0.1)
    assert isinstance(registry.ask(RESERVE, {"name": "مخبز النور"})[0], Completed)


def test_an_answer_that_comes_twice_is_one_answer(registry: Registry) -> None:
    registry.control.arm(Misbehaviour.ANSWER_TWICE)
    assert isinstance(registry.ask(RESERVE, {"name": "مخبز النور"})[0], Completed)
    assert registry.ledger.counts() == {"R0": 1}


@pytest.mark.parametrize("operation", [RESERVE, RELEASE, REGISTER])
def test_success_without_a_result_is_not_success_and_the_look_up_tells_the_truth(
    registry: Registry, operation: str
) -> None:
    data = {
        RESERVE: {"name": "مخبز الأمل"},
        RELEASE: {"reservation": registry.reserve("مخبز النور")},
        REGISTER: {"reservation": "2600001", "owner_id": OWNER, "kind": "sole"},
    }
    registry.control.arm(Misbehaviour.BUSINESS_ERROR_WITH_SUCCESS_CODE)
    [reply] = registry.ask(operation, data[operation])
    assert isinstance(reply, Failed)
    assert (reply.code, reply.effect) == ("answer_contradictory", Effect.UNKNOWN)
    assert registry.adapter().look_up(operation, ["R0"]) == (Absent(),)
    assert registry.ledger.counts() == {"N0": 1}


def test_when_the_vendor_works_twice_the_ledger_shows_it(registry: Registry) -> None:
    registry.control.arm(Misbehaviour.EFFECT_TWICE)
    assert isinstance(registry.ask(RESERVE, {"name": "مخبز النور"})[0], Completed)
    assert registry.ledger.counts() == {"R0": 2}


def test_an_answer_to_another_reference_is_not_taken_for_ours(registry: Registry) -> None:
    registry.stop()
    registry.sql(
        "INSERT INTO CRIFOUT VALUES (1, 'NRES', 'SOMEBODY ELSE       ', '00', '2600001   ', 0, '', '', 0, 'D')"
    )
    with pytest.raises(TimeoutError):
        registry.ask(RESERVE, {"name": "مخبز النور"}, timeout_s=0.05)


def test_of_two_answers_to_one_order_the_first_counts(registry: Registry) -> None:
    registry.stop()
    for code in ("11", "12"):
        ref, num, name, message = ("R0".ljust(20), " " * 10, " " * 60, " " * 40)
        registry.sql(
            f"INSERT INTO CRIFOUT VALUES (1, 'NRES', '{ref}', '{code}', '{num}', 0, '{name}', '{message}', 0, 'D')"
        )
    [reply] = registry.ask(RESERVE, {"name": "مخبز النور"})
    assert isinstance(reply, Refused)
    assert reply.reason_code == "name_taken"


def test_the_raw_answer_is_the_row_byte_for_byte(registry: Registry) -> None:
    adapter = registry.adapter(timeout_s=30)
    native = rows(adapter, RESERVE, [Task(reference="R0", data={"name": "مخبز النور"})])
    [raw] = adapter.call(RESERVE, native)
    assert b"ONAME:b60:" + "مخبز النور".encode("cp1256").ljust(60) + b"\n" in raw


def test_no_settings_beside_those_of_the_schema_are_needed() -> None:
    settings = Draft202012Validator(
        json.loads((ROOT / "adapters" / "commercial_registry" / "settings.schema.json").read_text(encoding="utf-8"))
    )
    assert settings.is_valid(Simulator.settings(Path("folder")))
    assert settings.is_valid({"database": "a.db", "timeout_s": 4, "poll_s": 0.005, "busy_s": 1})
    assert not settings.is_valid({"timeout_s": 4})
    assert not settings.is_valid({"database": "a.db", "wait": 4})
