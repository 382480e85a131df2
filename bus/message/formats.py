"""The formats that a contract may use: one strict meaning each, because libraries differ about the same names."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Mapping

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DATE_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?"
    r"(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
)
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_POINTER = re.compile(r"(/([^~/]|~[01])*)*")


def is_date_time(text: str) -> bool:
    """Whether a text is an RFC 3339 time in upper case with its zone; leap seconds are refused."""
    return bool(_DATE_TIME.fullmatch(text)) and _names_a_time(text)


def is_date(text: str) -> bool:
    """Whether a text is a day of the calendar, ``2026-01-05``."""
    return bool(_DATE.fullmatch(text)) and _names_a_time(text)


def is_uuid(text: str) -> bool:
    """Whether a text is a UUID in its canonical form: lower case, with hyphens."""
    return bool(_UUID.fullmatch(text))


def is_pointer(text: str) -> bool:
    """Whether a text is an RFC 6901 JSON pointer."""
    return bool(_POINTER.fullmatch(text))


def _names_a_time(text: str) -> bool:
    try:
        datetime.datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


#: Both engines of contracts ask these functions.
FORMATS: Mapping[str, Callable[[str], bool]] = {
    "date": is_date,
    "date-time": is_date_time,
    "json-pointer": is_pointer,
    "uuid": is_uuid,
}
