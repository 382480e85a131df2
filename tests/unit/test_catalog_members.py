"""A table of members is read with the line and column of each cell, whatever is in it."""

from __future__ import annotations

import csv
import io

from hypothesis import given
from hypothesis import strategies as st

from bus.catalog.document import MOST_BYTES
from bus.catalog.members import read_table

AT = ("groups", "towns", "members")
HEADER = "code,id,name_en,name_ar\r\n"
cells = st.text(st.sampled_from("ab ,\"'؛مدينة"), max_size=8)
rows = st.lists(st.tuples(cells.map("x{}".format), cells, cells, cells), min_size=1, max_size=4)


@given(rows, st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
def test_what_another_writer_wrote_is_read_alike_and_each_cell_knows_where_it_begins(
    written: list[tuple[str, str, str, str]], quoting: int
) -> None:
    # Given
    text = io.StringIO()
    csv.writer(text, quoting=quoting).writerows(written)  # type: ignore[arg-type]
    # When
    members, positions, faults = read_table("towns.csv", AT, (HEADER + text.getvalue()).encode())
    # Then
    assert faults == ()
    assert members == [
        {"code": code, "id": id_, "name": {"en": english, "ar": arabic}} for code, id_, english, arabic in written
    ]
    lines = (HEADER + text.getvalue()).split("\r\n")
    for index, row in enumerate(written):
        for place, cell in zip((("code",), ("id",), ("name", "en"), ("name", "ar")), row, strict=True):
            position = positions[(*AT, index, *place)]
            rest = lines[position.line - 1][position.column - 1 :]
            quoted = '"' + cell.replace('"', '""') + '"'
            assert rest.startswith((cell, quoted))
            assert position.column == 1 or lines[position.line - 1][position.column - 2] == ","


@given(st.binary(max_size=60) | st.text(st.sampled_from('a,"\r\n\x00\ufeffم'), max_size=40).map(str.encode))
def test_any_bytes_give_members_or_faults_with_the_file(raw: bytes) -> None:
    for content in (raw, HEADER.encode() + raw):
        members, _, faults = read_table("towns.csv", AT, content)
        assert members or faults
        assert all(fault.file == "towns.csv" and fault.message and fault.mend for fault in faults)


def test_a_byte_order_mark_says_nothing_and_letters_are_composed() -> None:
    # Given what spreadsheets write before a table, and a letter in two signs
    table = f"\ufeff{HEADER}01,town,Cafe\u0301,مدينة\r\n".encode()
    # When
    members, _, faults = read_table("towns.csv", AT, table)
    # Then
    assert (members[0]["name"]["en"], faults) == ("Caf\u00e9", ())


def test_a_table_over_a_mebibyte_is_refused_whole() -> None:
    members, _, faults = read_table("towns.csv", AT, HEADER.encode() + b"x" * MOST_BYTES)
    assert (members, [fault.code for fault in faults]) == ([], ["too-large"])
