"""CHAR(n): text of a fixed number of bytes, filled up with blanks on the right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bus.record.cell import Cell, broken, wrong_kind
from bus.record.page import ASCII, CodePage


@dataclass(frozen=True, slots=True)
class Chars:
    """Text of exactly ``size`` bytes in the table, without its padding outside; never cut to fit."""

    #: Bytes.
    size: int
    page: CodePage = ASCII

    def read(self, cell: Cell, offset: int) -> str:
        """The text without the blanks at its end; "" for an all-blank cell."""
        if not isinstance(cell, bytes):
            raise wrong_kind(cell, "text", offset)
        if len(cell) != self.size:
            raise broken("wrong-size", f"byte {offset}: {len(cell)} bytes where {self.size} must stand.")
        return self.page.decode(cell.rstrip(b" "), offset=offset)

    def write(self, value: Any) -> bytes:
        """The text in the code page, padded with blanks to the size."""
        if not isinstance(value, str):
            raise broken("wrong-kind", f"{type(value).__name__} where text must stand.")
        data = self.page.encode(value)
        if len(data) > self.size:
            raise broken("text-too-long", f"{len(data)} bytes; the agency's column has {self.size}.", "Shorten it.")
        if data.endswith(b" "):
            raise broken("blank-at-end", "the text ends with a blank, which the padding would swallow.", "Remove it.")
        return data.ljust(self.size, b" ")
