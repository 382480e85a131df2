"""Whole numbers, and dates that are written as one: 20260105."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

from bus.record.cell import Cell, broken, wrong_kind

#: Below this a number has less than eight digits: it may be a day written as YYMMDD, and the century is not guessed.
_FIRST = 1000_01_01


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """A whole number between two bounds, both included."""

    least: int = 0
    most: int = 2**63 - 1

    def read(self, cell: Cell, offset: int) -> int:
        """The number; an InvalidMessageError if the cell holds anything else."""
        if not isinstance(cell, int):
            raise wrong_kind(cell, "a whole number", offset)
        if not self.least <= cell <= self.most:
            raise broken("out-of-range", f"byte {offset}: the number is not within {self.least} to {self.most}.")
        return cell

    def write(self, value: Any) -> int:
        """The number; an InvalidMessageError if the column cannot hold it."""
        if not isinstance(value, int) or isinstance(value, bool):
            raise broken("wrong-kind", f"{type(value).__name__} where a whole number must stand.")
        if not self.least <= value <= self.most:
            raise broken("out-of-range", f"the number is not within {self.least} to {self.most}.")
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class DateNumber:
    """A day as the number YYYYMMDD; some numbers that are no day mean "none"."""

    #: What the table may hold for "none"; the first one is what is written.
    none: tuple[int, ...] = (0, 99_999_999)

    def read(self, cell: Cell, offset: int) -> date | None:
        """The day, or None for a number that means so; an InvalidMessageError for a day that does not exist."""
        if not isinstance(cell, int):
            raise wrong_kind(cell, "a date as a number", offset)
        if cell in self.none:
            return None
        try:
            if cell < _FIRST:
                raise ValueError
            return date(cell // 10_000, cell // 100 % 100, cell % 100)
        except ValueError:
            raise broken("no-such-day", f"byte {offset}: the number is no day written as YYYYMMDD.") from None

    def write(self, value: Any) -> int:
        """The number of the day; the first of ``none`` for None."""
        if value is None:
            return self.none[0]
        if not isinstance(value, date):
            raise broken("wrong-kind", f"{type(value).__name__} where a date must stand.")
        number = value.year * 10_000 + value.month * 100 + value.day
        if number < _FIRST:
            raise broken("day-too-early", "the year has less than four digits.")
        if number in self.none:
            raise broken("day-means-none", "this day is the number by which the agency says that there is none.")
        return number
