r"""One row of a legacy table as bytes, exactly: nothing decoded, nothing lost, every byte with a place.

The form, for a table ``CRIFOUT`` with a number, a text and an empty column::

    CRIFOUT\n
    OSEQ:i2:17\n
    ONAME:b6:<six bytes as the table holds them>\n
    OWAIT:n0:\n

Each cell says its column, its kind (``i`` whole number, ``r`` broken number, ``b`` bytes, ``n`` nothing) and its
length in bytes, so that any bytes may stand in it. A journal can keep the row, and an error can name a byte of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from bus.record.cell import Cell, broken

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_HEAD = re.compile(rb"([A-Za-z_][A-Za-z0-9_]{0,62}):([ibrn])(0|[1-9][0-9]{0,8}):")
_WHOLE = re.compile(rb"0|-?[1-9][0-9]*")
_TABLE = re.compile(rb"([A-Za-z_][A-Za-z0-9_]{0,62})\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row: its table, its cells, and where in the bytes each cell's content begins."""

    table: str
    cells: Mapping[str, Cell]
    #: Zero-based byte offset of each cell's content.
    offsets: Mapping[str, int]


def pack_row(table: str, cells: Mapping[str, Cell]) -> bytes:
    """The row as bytes; `unpack_row` gives back the same table and cells in the same order."""
    for name in (table, *cells):
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a table or column")
    return f"{table}\n".encode() + b"".join(_pack_cell(name, cell) for name, cell in cells.items())


def unpack_row(data: bytes) -> Row:
    """The row that the bytes hold; an InvalidMessageError naming the byte at which they stop making sense."""
    table = _TABLE.match(data)
    if table is None:
        raise broken("no-row", "byte 0: this is no row, it does not begin with the name of a table.")
    cells: dict[str, Cell] = {}
    offsets: dict[str, int] = {}
    at = table.end()
    while at < len(data):
        head = _HEAD.match(data, at)
        if head is None:
            raise broken("row-cut", f"byte {at}: no whole cell begins here; the row is cut or damaged.")
        name, begin, end = head[1].decode(), head.end(), head.end() + int(head[3])
        if data[end : end + 1] != b"\n":
            raise broken("row-cut", f"byte {begin}: column {name} has fewer or more bytes than it says.")
        if name in cells:
            raise broken("column-twice", f"byte {at}: column {name} stands twice in one row.")
        cells[name], offsets[name] = _unpack_cell(head[2], data[begin:end], begin), begin
        at = end + 1
    return Row(table=table[1].decode(), cells=cells, offsets=offsets)


def _pack_cell(name: str, cell: Cell) -> bytes:
    if cell is None:
        kind, content = "n", b""
    elif isinstance(cell, bytes):
        kind, content = "b", cell
    elif isinstance(cell, float):
        kind, content = "r", repr(cell).encode()
    else:
        kind, content = "i", str(int(cell)).encode()
    return f"{name}:{kind}{len(content)}:".encode() + content + b"\n"


def _unpack_cell(kind: bytes, content: bytes, offset: int) -> Cell:
    try:
        match kind:
            case b"i" if _WHOLE.fullmatch(content):
                return int(content)
            case b"i":
                raise ValueError
            case b"r":
                return float(content)
            case b"n" if content:
                raise ValueError
    except ValueError:
        raise broken("row-cut", f"byte {offset}: the cell does not hold what its kind says.") from None
    return content if kind == b"b" else None
