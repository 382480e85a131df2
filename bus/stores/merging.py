"""What several process managers hear of one agency at once, made one."""

from __future__ import annotations

from dataclasses import fields, replace
from operator import attrgetter

from bus.errors import StaleVersionError
from bus.message.instant import Instant
from bus.ports import AgencyRow
from bus.stores.postgres_clock import APART

#: What is not merely heard: whoever changes it decides.
_HEARD = {"alive_at", "heard_at", "journal_seq"}
_decided = attrgetter(*(field.name for field in fields(AgencyRow) if field.name not in _HEARD))


def merged(stored: AgencyRow, read: AgencyRow, row: AgencyRow, now: Instant) -> AgencyRow:
    """The row that keeps what others heard since it was read.

    Signs of life, ticks and the number of one journal only grow, but for an instant that lies ahead of ``now``: the
    clock was set back, and it proves nothing on the new time. StaleVersionError if anything else is not as it was read.
    """
    if _decided(stored) != _decided(read):
        raise StaleVersionError(
            f"The row of agency {row.agency} is not as it was read.", mend="Decide the batch again."
        )
    # Another journal counts anew, and its host is alive since it was admitted.
    is_same = row.journal_id == read.journal_id
    was_declared_dead = row.alive_at is None and read.alive_at is not None
    return replace(
        row,
        heard_at=_later(stored.heard_at, row.heard_at, now),
        journal_seq=max(stored.journal_seq, row.journal_seq) if is_same else row.journal_seq,
        alive_at=_later(stored.alive_at, row.alive_at, now) if is_same and not was_declared_dead else row.alive_at,
    )


def _later(stored: Instant | None, row: Instant | None, now: Instant) -> Instant | None:
    if stored is None or stored > now + APART:
        return row
    return stored if row is None else max(stored, row)
