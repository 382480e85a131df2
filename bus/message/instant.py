"""Time as one integer: milliseconds since the Unix epoch, UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TypeAlias

#: Milliseconds since 1970-01-01T00:00:00Z.
Instant: TypeAlias = int
#: A length of time in milliseconds.
Milliseconds: TypeAlias = int

SECOND: Milliseconds = 1_000
MINUTE: Milliseconds = 60 * SECOND
HOUR: Milliseconds = 60 * MINUTE
DAY: Milliseconds = 24 * HOUR

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


# One batch of messages has the same few times again and again.
@lru_cache(maxsize=1_024)
def to_rfc3339(instant: Instant) -> str:
    """The instant as RFC 3339 text in UTC with milliseconds: ``2026-01-05T08:30:00.000Z``."""
    moment = _EPOCH + timedelta(milliseconds=instant)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@lru_cache(maxsize=1_024)
def from_rfc3339(text: str) -> Instant:
    """The instant that an RFC 3339 text names; a ValueError if it names none or has no zone."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"no zone in {text!r}")
    return round((moment - _EPOCH) / timedelta(milliseconds=1))
