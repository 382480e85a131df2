"""What people type, read as the values that contracts want: digits of any script, days in the usual orders."""

from __future__ import annotations

import re
import unicodedata
from datetime import date

_WHOLE = re.compile(r"[+-]?[0-9]{1,40}")
_NUMBER = re.compile(r"[+-]?[0-9]{1,40}(\.[0-9]{1,40})?")
#: What keyboards put between the parts of a day, and marks that only steer the direction of writing.
_BETWEEN = re.compile(r"[\s/.\-\u2010-\u2015\u060c\u060d\u066b\u200e\u200f\u061c]+")
_INVISIBLE = re.compile("[\u200e\u200f\u061c]")
_MINUS = str.maketrans({"\u2212": "-", "\u066b": ".", "\u066c": None, "\u00a0": None, "\u202f": None, " ": None})


def western(text: str) -> str:
    """The text with the digits of every script as 0 to 9."""
    return "".join(sign if (digit := unicodedata.decimal(sign, None)) is None else str(digit) for sign in text)


def whole(text: str) -> int | None:
    """The whole number that is written; None if it is none."""
    written = _number_signs(text)
    return int(written) if _WHOLE.fullmatch(written) else None


def number(text: str) -> int | float | None:
    """The number that is written, with ``.`` or ``٫`` before its fraction; None if it is none.

    A comma is refused: some write it between thousands and some before the fraction.
    """
    written = _number_signs(text)
    if not _NUMBER.fullmatch(written):
        return None
    return float(written) if "." in written else int(written)


def day(text: str) -> str | None:
    """The day as contracts want it: ``2026-11-22`` from that, or from ``22/11/2026`` (the day first); None if none."""
    parts = [part for part in _BETWEEN.split(western(text)) if part]
    if len(parts) != 3 or not all(part.isascii() and part.isdecimal() for part in parts):
        return None
    if len(parts[0]) != 4:
        parts.reverse()
    if len(parts[0]) != 4 or max(len(part) for part in parts[1:]) > 2:
        return None
    try:
        return date(*map(int, parts)).isoformat()
    except ValueError:
        return None


def shown_day(text: str) -> str:
    """A day as contracts have it, as the form shows it: ``22/11/2026``; unchanged if it is none."""
    try:
        parsed = date.fromisoformat(text)
    except ValueError:
        return text
    return f"{parsed.day:02}/{parsed.month:02}/{parsed.year:04}"


def code(text: str) -> str:
    """A stable code from what was typed: ``Lease missing`` is ``lease_missing``. What else is wrong stays."""
    return re.sub(r"\s+", "_", western(text).strip().lower())


def lines(text: str) -> str:
    """The text with the line ends of JSON and without blanks around it."""
    return text.replace("\r\n", "\n").replace("\r", "\n").strip()


def _number_signs(text: str) -> str:
    return _INVISIBLE.sub("", western(text)).translate(_MINUS)
