"""Rows and layouts: bytes without loss, and every fault of a row at once."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.record import CP1256, Cell, Chars, DateNumber, InvalidMessageError, Layout, Whole, pack_row, unpack_row

names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,9}", fullmatch=True)
cells: st.SearchStrategy[Cell] = st.one_of(st.none(), st.integers(), st.floats(allow_nan=False), st.binary(max_size=40))

FIRMS = Layout(table="FIRMS", fields={"NUM": Whole(), "NAME": Chars(10, CP1256), "DAY": DateNumber()})


def row(**changes: Cell) -> bytes:
    content: dict[str, Cell] = {"NUM": 7, "NAME": b"Nur       ", "DAY": 20260105}
    return pack_row("FIRMS", content | changes)


@given(names, st.dictionaries(names, cells))
def test_a_row_comes_back_exactly_whatever_bytes_it_holds(table: str, content: dict[str, Cell]) -> None:
    data = pack_row(table, content)
    back = unpack_row(data)
    assert (back.table, list(back.cells.items())) == (table, list(content.items()))
    for name, cell in content.items():
        if isinstance(cell, bytes):
            assert data[back.offsets[name] :].startswith(cell)


@given(names, st.dictionaries(names, cells, min_size=1), st.data())
def test_a_row_that_was_cut_is_the_row_of_its_whole_cells_or_refused(
    table: str, content: dict[str, Cell], data: st.DataObject
) -> None:
    whole = pack_row(table, content)
    cut = whole[: data.draw(st.integers(min_value=0, max_value=len(whole) - 1))]
    try:
        back = unpack_row(cut)
    except InvalidMessageError:
        return
    assert pack_row(back.table, back.cells) == cut


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "no-row"),
        (b"{}", "no-row"),
        (b"T\nA:i1:x\n", "row-cut"),
        (b"T\nA:i2:+1\n", "row-cut"),
        (b"T\nA:n1:x\n", "row-cut"),
        (b"T\nA:r1:x\n", "row-cut"),
        (b"T\nA:z1:x\n", "row-cut"),
        (b"T\nA:b5:x\n", "row-cut"),
        (b"T\nA:b1:xx\n", "row-cut"),
        (b"T\nA:b1:x\nA:b1:y\n", "column-twice"),
    ],
)
def test_damaged_bytes_are_refused(data: bytes, code: str) -> None:
    with pytest.raises(InvalidMessageError) as caught:
        unpack_row(data)
    assert [fault.code for fault in caught.value.faults] == [code]


def test_a_name_that_would_break_the_form_is_a_fault_of_the_program() -> None:
    with pytest.raises(ValueError, match="no name"):
        pack_row("T", {"A:B": 1})


def test_a_layout_reads_what_it_wrote() -> None:
    values = {"NUM": 7, "NAME": "مخبز", "DAY": None}
    assert FIRMS.read(FIRMS.write(values)) == values


def test_all_faults_of_a_row_are_told_at_once_in_the_order_of_its_columns() -> None:
    data = row(DAY=20261301, NAME=b"short", NUM=-1)
    with pytest.raises(InvalidMessageError) as caught:
        FIRMS.read(data)
    assert [(fault.pointer, fault.code) for fault in caught.value.faults] == [
        ("/NUM", "out-of-range"),
        ("/NAME", "wrong-size"),
        ("/DAY", "no-such-day"),
    ]
    assert caught.value.raw == data
    assert f"byte {data.index(b'short')}" in caught.value.faults[1].message


@pytest.mark.parametrize(
    ("data", "code", "pointer"),
    [
        (row(EXTRA=1), "column-unknown", "/EXTRA"),
        (pack_row("FIRMS", {"NUM": 7, "DAY": 0}), "column-missing", "/NAME"),
        (row().replace(b"FIRMS", b"NAMES"), "wrong-table", ""),
    ],
)
def test_a_row_of_another_shape_is_not_guessed_at(data: bytes, code: str, pointer: str) -> None:
    with pytest.raises(InvalidMessageError) as caught:
        FIRMS.read(data)
    assert [(fault.code, fault.pointer) for fault in caught.value.faults] == [(code, pointer)]


def test_what_cannot_be_written_points_into_the_message_that_it_came_from() -> None:
    values: dict[str, Any] = {"NUM": -1, "NAME": "☃", "DAY": None}
    with pytest.raises(InvalidMessageError) as caught:
        FIRMS.write(values, {"NAME": "/business/name"})
    assert [fault.pointer for fault in caught.value.faults] == ["/NUM", "/business/name"]


def test_a_value_without_a_column_is_a_fault_of_the_program() -> None:
    with pytest.raises(KeyError, match="NAMES"):
        FIRMS.write({"NUM": 1, "NAMES": "x", "DAY": None})
