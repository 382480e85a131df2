"""What several process managers hear of one agency at once, made one."""

from __future__ import annotations

from dataclasses import replace

from bus.errors import StaleVersionError
from bus.message.instant import Instant
from bus.ports import AgencyRow
from bus.stores.postgres_clock import APART


def merged(stored: AgencyRow, read: AgencyRow, row: AgencyRow, now: Instant) -> AgencyRow:
    """The row that keeps what others heard since it was read.

    Signs of life, ticks and the number of one journal only grow, but for an instant that lies ahead of ``now``: the
    clock was set back, and it proves nothing on the new time. StaleVersionError if anything else is not as it was read.
    """
    if _without_heard(stored) != _without_heard(read):
        raise StaleVersionError(
            f"The row of agency {row.agency} is not as it was read.", mend="Decide the batch again."
        )
    heard = replace(row, heard_at=_later(stored.heard_at, row.heard_at, now))
    if row.journal_id != read.journal_id:
        # Another journal counts anew, and its host is alive since it was admitted.
        return heard
    heard = replace(heard, journal_seq=max(stored.journal_seq, row.journal_seq))
    if row.alive_at is None and read.alive_at is not None:
        # It was declared dead.
        return heard
    return replace(heard, alive_at=_later(stored.alive_at, row.alive_at, now))


def _without_heard(row: AgencyRow) -> AgencyRow:
    return replace(row, alive_at=None, heard_at=None, journal_seq=0)


def _later(stored: Instant | None, row: Instant | None, now: Instant) -> Instant | None:
    if stored is None or stored > now + APART:
        return row
    return stored if row is None else max(stored, row)
