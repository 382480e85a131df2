"""Many values, or many rows of a table, as one parameter in PostgreSQL's binary form.

Rows are an array of the table's own row type: with an array for each column the server would unfold as many as there
are columns, which takes it as long as a third of the writing. It knows a row type by a number of its own.

The driver would choose the type of a list by what is in it: small numbers, large ones and nothing at all make three
types, and each mix of them another statement to prepare. Here the statement alone says of which type a parameter is.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from psycopg.abc import AdaptContext
from psycopg.adapt import Dumper
from psycopg.pq import Format
from sqlalchemy import BigInteger, Boolean, Column, Integer, LargeBinary, Table, Text
from sqlalchemy.types import TypeEngine

#: Dimensions, whether there is a NULL among them, type of an element, length, first index.
_HEAD = struct.Struct(">iiIii")
_NULL = b"\xff\xff\xff\xff"


@dataclass(frozen=True, slots=True)
class Packed:
    """A parameter in its binary form; the statement says of which type it is."""

    content: bytes


#: One column of some rows: the type of each field, its length, itself.
_Pack: TypeAlias = Callable[[bytes, Sequence[Any]], list[bytes]]


def _bigints(type_: bytes, values: Sequence[int | None]) -> list[bytes]:
    null, head = type_ + _NULL, type_ + b"\0\0\0\x08"
    return [null if value is None else head + value.to_bytes(8, "big", signed=True) for value in values]


def _integers(type_: bytes, values: Sequence[int | None]) -> list[bytes]:
    null, head = type_ + _NULL, type_ + b"\0\0\0\x04"
    return [null if value is None else head + value.to_bytes(4, "big", signed=True) for value in values]


def _texts(type_: bytes, values: Sequence[str | None]) -> list[bytes]:
    return _bytes(type_, [None if value is None else value.encode() for value in values])


def _bytes(type_: bytes, values: Sequence[bytes | None]) -> list[bytes]:
    null = type_ + _NULL
    return [null if value is None else type_ + len(value).to_bytes(4, "big") + value for value in values]


def _flags(type_: bytes, values: Sequence[bool | None]) -> list[bytes]:
    null, head = type_ + _NULL, type_ + b"\0\0\0\x01"
    return [null if value is None else head + (b"\x01" if value else b"\0") for value in values]


#: PostgreSQL's number of a type, and who writes a column of it.
_TYPES: tuple[tuple[type[TypeEngine[Any]], int, _Pack], ...] = (
    (BigInteger, 20, _bigints),
    (Integer, 23, _integers),
    (Text, 25, _texts),
    (LargeBinary, 17, _bytes),
    (Boolean, 16, _flags),
)


@dataclass(frozen=True, slots=True)
class RowType:
    """The columns of a table, in their order."""

    name: str
    _columns: tuple[tuple[bytes, _Pack], ...]

    @classmethod
    def of(cls, table: Table) -> RowType:
        """That of a table of the schema, whose columns are in the order of the database's.

        TypeError if nobody knows how to write one of them.
        """
        return cls(table.name, tuple([_column(table, column) for column in table.columns]))

    def array(self, number: int, rows: Sequence[Sequence[Any]]) -> Packed:
        """The rows, at least one; ``number`` is that of the row type in this database."""
        fields, count = [len(self._columns).to_bytes(4, "big")], len(rows)
        columns: list[Sequence[bytes]] = []
        for (type_, pack), values in zip(self._columns, zip(*rows, strict=True), strict=True):
            # Most columns hold the same in all rows of a batch: it is written once, together with its neighbours.
            if values.count(values[0]) == count:
                fields += pack(type_, values[:1])
                continue
            columns += [[b"".join(fields)] * count, pack(type_, values)]
            fields.clear()
        columns.append([b"".join(fields)] * count)
        written = [b"".join(row) for row in zip(*columns, strict=True)]
        return _array(number, written)


def _column(table: Table, column: Column[Any]) -> tuple[bytes, _Pack]:
    for type_, number, pack in _TYPES:
        # A subclass may be shorter in the database, as a SmallInteger is.
        if type(column.type) is type_:
            return number.to_bytes(4, "big"), pack
    raise TypeError(f"Nobody knows how to write {table.name}.{column.name}, a {column.type!r}: add its type here.")


def bigints(values: Collection[int]) -> Packed:
    """A ``bigint[]``."""
    return _array(20, [value.to_bytes(8, "big", signed=True) for value in values])


def texts(values: Collection[str]) -> Packed:
    """A ``text[]``."""
    return _array(25, [value.encode() for value in values])


def _array(type_: int, elements: Sequence[bytes]) -> Packed:
    body = b"".join([len(element).to_bytes(4, "big") + element for element in elements])
    # One without elements has no dimension.
    return Packed(_HEAD.pack(1, 0, type_, len(elements), 1) + body if elements else _HEAD.pack(0, 0, type_, 0, 0)[:12])


class _PackedDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: Packed) -> bytes:
        return obj.content


def register(context: AdaptContext) -> None:
    """Teach a connection to send them."""
    context.adapters.register_dumper(Packed, _PackedDumper)
