"""After a full run nothing of the applicant stands in any table but the payloads', nor in any line of the log."""

from __future__ import annotations

import base64
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from bus.simulator import Misbehaviour
from tests.support.demo_workspace import application
from tests.support.installation import Installation

TRADE_NAME = "مخبز القمر الفضي"
DATA = application(TRADE_NAME)
#: What is known of the applicant; each as somebody would search for it.
KNOWN = {
    "name": str(DATA["applicant"]["name"]),
    "national number": str(DATA["applicant"]["national_id"]),
    "birth date": str(DATA["applicant"]["birth_date"]),
    "address": str(DATA["business"]["premises"]["address"]),
    "trade name": TRADE_NAME,
}


def disguises(text: str) -> Iterator[bytes]:
    """The forms in which bytes travel: plain, escaped, hexadecimal, and base64 at each of its three alignments."""
    for raw in (text.encode(), text.encode("cp1256", errors="ignore"), text.encode("utf-16-le")):
        yield from (raw, raw.hex().encode(), raw.hex().upper().encode())
        for before in range(3):
            # Signs that mix with neighbours are cut off.
            yield base64.b64encode(b"\0" * before + raw)[4 if before else 0 : -4]
    yield text.encode("unicode_escape")


def found(haystack: bytes) -> list[str]:
    return [what for what, text in KNOWN.items() if any(needle in haystack for needle in disguises(text))]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Every kind of life: retried, supplemented, unknown, unreadable, refused and taken back, cancelled."""
    with Installation(tmp_path_factory.mktemp("personal")) as bus:
        with bus.control as control:
            control.arm(Misbehaviour.DOWN, seconds=1.0)
        first = bus.submit("first", name=TRADE_NAME)
        bus.send_back(bus.wait_for_desk(first))
        assert bus.drive(first) == "completed"
        with bus.control as control:
            control.arm(Misbehaviour.EFFECT_THEN_TIMEOUT, operation="name.reserve.v1")
            control.arm(Misbehaviour.HALF_ANSWER, operation="company.register.v1")
        second = bus.submit("second", premises=False, name=TRADE_NAME + " 2")
        failure = bus.wait_for_failure("answer_unreadable", request_id=second)
        bus.operator.failure_giveup(int(failure["failure"]), reason="settled")
        bus.drive(second)
        third = bus.submit("third", name=TRADE_NAME + " 3")
        bus.refuse(bus.wait_for_desk(third))
        assert bus.drive(third) == "rejected"
        fourth = bus.submit("fourth", name=TRADE_NAME + " 4")
        bus.wait_for_desk(fourth)
        bus.cancel(fourth)
        assert bus.drive(fourth) == "cancelled"
        assert bus.terminate(15) == 0
        yield bus


def rows(path: Path) -> Iterator[tuple[str, bytes]]:
    """Every row of every table, its values side by side as bytes."""
    with closing(sqlite3.connect(path)) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            for row in database.execute(f"SELECT * FROM {table}"):
                yield table, b"\0".join(one if isinstance(one, bytes) else str(one).encode() for one in row)


def test_the_data_is_in_the_payloads_so_that_this_search_can_find_it(run: Installation) -> None:
    payloads = b"".join(row for table, row in rows(run.data / "store.db") if table == "payload")

    assert sorted(found(payloads)) == sorted(KNOWN)


@pytest.mark.parametrize("before", [b"", b"x", b"xy", b"xyz"])
def test_the_search_sees_through_disguises(before: bytes) -> None:
    raw = before + TRADE_NAME.encode() + b"behind"

    assert all(needle for text in KNOWN.values() for needle in disguises(text))
    assert found(raw) == found(raw.hex().encode()) == found(base64.b64encode(raw)) == ["trade name"]


def test_no_other_table_of_the_store_holds_any_of_it(run: Installation) -> None:
    searched = {table for table, _ in rows(run.data / "store.db")}
    leaks = {(table, what) for table, row in rows(run.data / "store.db") if table != "payload" for what in found(row)}

    assert {"request", "step", "fact", "submission", "failure", "desk", "result", "inbox"} <= searched
    assert leaks == set()


def test_no_line_of_the_log_holds_any_of_it(run: Installation) -> None:
    lines = run.log.read_bytes().splitlines()

    assert len(lines) > 20
    assert [line for line in lines if found(line)] == []


def test_no_name_of_a_file_holds_any_of_it(run: Installation) -> None:
    names = "\n".join(str(path.relative_to(run.data)) for path in run.data.rglob("*")).encode()

    assert found(names) == []
