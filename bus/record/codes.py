"""Code tables: the agency's short codes and our words, one to one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bus.record.cell import Cell, broken
from bus.record.chars import Chars


class Codes:
    """A CHAR(n) column whose every lawful content is listed; the same table reads and writes."""

    def __init__(self, size: int, words: Mapping[str, str]) -> None:
        """``words`` maps the agency's code, without padding, to our word; a ValueError unless it is one to one."""
        self._chars = Chars(size)
        self._words = dict(words)
        self._codes = {word: code for code, word in words.items()}
        if len(self._codes) != len(self._words):
            raise ValueError("two codes have the same word")
        for code in words:
            self._chars.write(code)

    def read(self, cell: Cell, offset: int) -> str:
        """Our word for the code; an InvalidMessageError for a code that is not in the table."""
        code = self._chars.read(cell, offset)
        if code not in self._words:
            raise broken("unknown-code", f"byte {offset}: {code!r} is none of {', '.join(map(repr, self._words))}.")
        return self._words[code]

    def write(self, value: Any) -> bytes:
        """The agency's code for our word, padded."""
        if value not in self._codes:
            raise broken("unknown-word", f"the value is none of {', '.join(map(repr, self._codes))}.")
        return self._chars.write(self._codes[value])
