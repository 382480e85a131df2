"""Columns of many rows as arrays in PostgreSQL's binary form.

The driver chooses the type of a list by what is in it: small numbers, large ones and nothing at all make three types,
and each mix of them another statement to prepare. Here every column has the type of its table.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, ClassVar

from psycopg.abc import AdaptContext
from psycopg.adapt import Dumper
from psycopg.pq import Format
from sqlalchemy import BigInteger, Boolean, Integer, LargeBinary, Table, Text
from sqlalchemy.types import TypeEngine

#: Dimensions, whether there may be a NULL, type of an element, length, first index.
_HEAD = struct.Struct(">iiIii")
_NULL = b"\xff\xff\xff\xff"
_SMALL, _LARGE = struct.Struct(">ii"), struct.Struct(">iq")
_FALSE, _TRUE = b"\x00\x00\x00\x01\x00", b"\x00\x00\x00\x01\x01"


class Array:
    """One column of many rows; the subclasses are its types."""

    __slots__ = ("values",)
    #: What the statement calls it.
    name: ClassVar[str]
    #: PostgreSQL's number of the type, and of the type of an element.
    oid: ClassVar[int]
    element: ClassVar[int]

    def __init__(self, values: Sequence[Any]) -> None:
        self.values = values

    @staticmethod
    def pack(value: Any) -> bytes:
        """One value that is not NULL: its length, then itself."""
        raise NotImplementedError


class Bigints(Array):
    """Numbers of 64 bits."""

    name, oid, element = "bigint[]", 1016, 20

    @staticmethod
    def pack(value: int) -> bytes:
        """Its length and itself."""
        return _LARGE.pack(8, value)


class Integers(Array):
    """Numbers of 32 bits."""

    name, oid, element = "integer[]", 1007, 23

    @staticmethod
    def pack(value: int) -> bytes:
        """Its length and itself."""
        return _SMALL.pack(4, value)


class Bytes(Array):
    """Bytes."""

    name, oid, element = "bytea[]", 1001, 17

    @staticmethod
    def pack(value: bytes) -> bytes:
        """Its length and itself."""
        return len(value).to_bytes(4, "big") + value


class Texts(Array):
    """Text."""

    name, oid, element = "text[]", 1009, 25

    @staticmethod
    def pack(value: str) -> bytes:
        """Its length and itself."""
        return Bytes.pack(value.encode())


class Flags(Array):
    """Truth."""

    name, oid, element = "boolean[]", 1000, 16

    @staticmethod
    def pack(value: bool) -> bytes:  # noqa: FBT001  # one value
        """Its length and itself."""
        return _TRUE if value else _FALSE


#: BigInteger is an Integer for SQLAlchemy, so it comes first.
_TYPES: tuple[tuple[type[TypeEngine[Any]], type[Array]], ...] = (
    (BigInteger, Bigints),
    (Integer, Integers),
    (Text, Texts),
    (LargeBinary, Bytes),
    (Boolean, Flags),
)


def types_of(table: Table, names: Sequence[str]) -> list[type[Array]]:
    """The types of these columns."""
    return [next(array for type_, array in _TYPES if isinstance(table.c[name].type, type_)) for name in names]


class _ArrayDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: Array) -> bytes:
        values = obj.values
        if not values:
            return _HEAD.pack(0, 0, obj.element, 0, 0)[:12]
        pack = obj.pack
        packed = [_NULL if value is None else pack(value) for value in values]
        return _HEAD.pack(1, 1, obj.element, len(values), 1) + b"".join(packed)


def register(context: AdaptContext) -> None:
    """Teach a connection to send them."""
    for _, array in _TYPES:
        dumper: type[Dumper] = type(f"{array.__name__}Dumper", (_ArrayDumper,), {"oid": array.oid})
        context.adapters.register_dumper(array, dumper)
