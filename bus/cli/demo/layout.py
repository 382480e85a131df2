"""How a line of the demo is laid out: at most 80 cells, English from the left, Arabic up to the right edge.

Arabic is always the last run of its line and ends in a letter. A terminal that turns right-to-left text then turns it
within its own cells, and one that does not leaves it there: the columns hold in both, without invisible signs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal, TypeAlias

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text as Styled

from bus.message.text import Text

#: Cells of a line; Arabic and Latin letters take one, their marks none.
WIDTH = 80
#: Where the second and the third column of an event begin, and the least space before the Arabic.
_WHO, _GAP = 7, 2
#: The narrowest and the widest that the column of names may be.
_NARROW, _WIDE = 9, 18
#: Punctuation at the end of an Arabic run would be taken for English and jump to its other end.
_LOOSE_ENDS = " .،؛:!؟"
_WRAPPING = Console(width=WIDTH, color_system=None)

Tone: TypeAlias = Literal["plain", "title", "good", "bad", "doubt", "person", "quiet"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A piece of text and where it begins."""

    column: int
    text: str
    tone: Tone = "plain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line as it is printed or drawn."""

    cells: tuple[Cell, ...] = ()
    #: Ends at the right edge; "" for none.
    arabic: str = ""
    tone: Tone = "plain"

    @property
    def text(self) -> str:
        """The line in letters alone."""
        return "".join(text for text, _ in self.pieces())

    def pieces(self) -> Sequence[tuple[str, Tone]]:
        """The line as runs of one tone, with the blanks between them."""
        pieces: list[tuple[str, Tone]] = []
        at = 0
        for cell in self.cells:
            pieces += [(" " * (cell.column - at), "plain"), (cell.text, cell.tone)]
            at = cell.column + cell_len(cell.text)
        if self.arabic:
            pieces += [(" " * (WIDTH - at - cell_len(self.arabic)), "plain"), (self.arabic, self.tone)]
        return [piece for piece in pieces if piece[0]]


def names_width(names: Iterable[str]) -> int:
    """How wide the column of names must be for these."""
    return max(_NARROW, min(_WIDE, max(map(cell_len, names), default=0)))


def event(seconds: float | None, who: Text, what: Text, *, width: int, tone: Tone = "plain") -> tuple[Row, ...]:
    """Something that happened: when (since the beginning), to whom or by whom, and what.

    In Arabic the name and what happened share a column. What is too long for one line goes on below, in its column.
    """
    start = _WHO + width + 2
    arabic = ": ".join(filter(None, (who.ar, what.ar)))
    first = (
        *(() if seconds is None else (Cell(column=0, text=f"{seconds:5.1f}", tone="quiet"),)),
        *((Cell(column=_WHO, text=_cut(_plain(who.en), width)),) if who.en else ()),
    )
    rows = []
    for number, (left, right) in enumerate(_parted(what.en, arabic, WIDTH - start)):
        cells = (*(first if number == 0 else ()), *((Cell(column=start, text=left, tone=tone),) if left else ()))
        rows.append(Row(cells=cells, arabic=right, tone=tone))
    return tuple(rows)


def heading(text: Text, *, column: int = 0, tone: Tone = "title") -> tuple[Row, ...]:
    """A line of its own in both languages."""
    parted = _parted(text.en, text.ar, WIDTH - column)
    return tuple(
        Row(cells=(Cell(column=column, text=left, tone=tone),) if left else (), arabic=right, tone=tone)
        for left, right in parted
    )


def entry(*cells: tuple[int, str], arabic: str = "", tone: Tone = "plain") -> Row:
    """A line of a table: each cell with its column; what would run into the next one is cut."""
    arabic = _loose(arabic)
    ends = [*(column - 1 for column, _ in cells[1:]), WIDTH - cell_len(arabic) - 1]
    made = tuple(
        Cell(column=column, text=_cut(_plain(text), max(1, end - column)), tone=tone)
        for (column, text), end in zip(cells, ends, strict=True)
    )
    return Row(cells=made, arabic=arabic, tone=tone)


def _parted(english: str, arabic: str, width: int) -> Sequence[tuple[str, str]]:
    """The two languages beside each other in as few lines as can be, the Arabic in no more than the English."""
    english, arabic = _plain(english), _loose(_plain(arabic))
    if not arabic or cell_len(english) + _GAP + cell_len(arabic) <= width:
        return tuple(zip_longest(_wrapped(english, width), [arabic], fillvalue=""))
    options = (
        (_wrapped(english, width - _GAP - part), [_loose(line) for line in _wrapped(arabic, part)])
        for part in range(width // 5, width * 2 // 3)
    )
    left, right = min(options, key=lambda option: (max(map(len, option)), len(option[1]) > len(option[0])))
    return tuple(zip_longest(left, right, fillvalue=""))


def _wrapped(text: str, width: int) -> list[str]:
    return [line.plain.rstrip() for line in Styled(text).wrap(_WRAPPING, width)]


def _cut(text: str, width: int) -> str:
    return text if cell_len(text) <= width else set_cell_size(text, width - 1).rstrip() + "…"


def _loose(arabic: str) -> str:
    return arabic.rstrip(_LOOSE_ENDS)


def _plain(text: str) -> str:
    """Without line ends, and without signs that command a terminal or turn the order of letters."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
