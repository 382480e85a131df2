"""One cell of a legacy record, and how a field says what is wrong with it."""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

from bus.errors import Fault, InvalidMessageError

#: What a column of a legacy table can hold, undecoded: text stays the bytes that the table holds.
Cell: TypeAlias = int | float | bytes | None


class Field(Protocol):
    """One field of a legacy record: both directions, and nothing that one direction takes is lost by the other."""

    def read(self, cell: Cell, offset: int) -> Any:
        """The value of the cell, whose first byte stands at ``offset``; an InvalidMessageError naming the byte."""

    def write(self, value: Any) -> Cell:
        """The cell that holds the value; an InvalidMessageError if it cannot hold all of it."""


def broken(code: str, message: str, mend: str = "") -> InvalidMessageError:
    """The error of one cell; the layout that holds the cell adds which one it is."""
    return InvalidMessageError((Fault(code=code, message=message, mend=mend),))


def wrong_kind(cell: Cell, wanted: str, offset: int) -> InvalidMessageError:
    """The error of a cell of another kind than its field; names the kinds and never the value."""
    kinds = {int: "a number", float: "a broken number", bytes: "text", type(None): "nothing"}
    return broken("wrong-kind", f"byte {offset}: {kinds[type(cell)]} where {wanted} must stand.")
