"""What the bus decides about one agency: who may host it, whether to send, when to probe. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from enum import StrEnum

from bus.config import Settings
from bus.message.instant import Instant, Milliseconds
from bus.message.quick import changed
from bus.message.reply import Effect, Failed, Reply, Unknown
from bus.ports import AgencyRow, HostRow
from bus.process.table import CODES
from bus.receiver.announcement import Started


class Gate(StrEnum):
    """Whether a ready step of an agency may leave now."""

    OPEN = "open"
    #: It may not, and the step's clock rests.
    #: The store was restored, and may know less than happened.
    RECONCILING = "reconciling"
    PAUSED = "paused"
    BREAKER = "breaker"
    #: It may not, and the clock runs on.
    NO_HOST = "no_host"
    NOT_OFFERED = "not_offered"
    WINDOW = "window"

    @property
    def rests(self) -> bool:
        """Whether the clock of a step behind this gate stands still."""
        return self in {Gate.RECONCILING, Gate.PAUSED, Gate.BREAKER}


def gate(row: AgencyRow, operation: str, in_flight: int, now: Instant, settings: Settings) -> Gate:
    """The first reason why a task of this operation cannot be sent, or OPEN."""
    shut = shut_to_all(row, now, settings)
    if shut is not None:
        return shut
    if operation not in row.operations:
        return Gate.NOT_OFFERED
    return Gate.OPEN if in_flight < window(settings) else Gate.WINDOW


def shut_to_all(row: AgencyRow, now: Instant, settings: Settings) -> Gate | None:
    """The first reason why no task of any operation can be sent, or None."""
    if row.paused:
        return Gate.PAUSED
    if row.breaker != "closed" and now < (row.probe_at or 0):
        return Gate.BREAKER
    return None if row.is_alive(now, settings.dead_after) else Gate.NO_HOST


def window(settings: Settings) -> int:
    """How many tasks of one agency may be in flight."""
    return settings.window_batches * settings.batch_most


# --- breaker --------------------------------------------------------------------------------------------------------


def sent(row: AgencyRow, now: Instant, settings: Settings) -> AgencyRow:
    """A task was sent: behind a breaker it is the one probe.

    A probe that nobody answers (its step may be cancelled, or its host die) must not shut the agency for ever: the
    next one may leave after twice the time that this one waited for.
    """
    if row.breaker == "closed":
        return row
    wait = min(2 * row.probe_wait, settings.breaker_probe_most)
    return replace(row, breaker="probing", probe_at=now + wait, probe_wait=wait)


def answered(row: AgencyRow, reply: Reply, now: Instant, settings: Settings) -> AgencyRow:
    """A reply came: trouble counts, anything else closes the breaker."""
    if _is_trouble(reply):
        return troubled(row, now, settings)
    if row.breaker == "closed" and row.troubles == 0:
        return row
    return replace(row, breaker="closed", troubles=0, probe_at=None, probe_wait=0)


def troubled(row: AgencyRow, now: Instant, settings: Settings) -> AgencyRow:
    """One more transient failure or time-out in a row; that of the probe opens the breaker again."""
    troubles = row.troubles + 1
    if row.breaker == "open" or (row.breaker == "closed" and troubles < settings.breaker_opens_after):
        return replace(row, troubles=troubles)
    # The probe doubled the wait when it left.
    wait = row.probe_wait or settings.breaker_probe_first
    return replace(row, breaker="open", troubles=troubles, probe_at=now + wait, probe_wait=wait)


def _is_trouble(reply: Reply) -> bool:
    """Whether the legacy system could not be used. What the host knows by itself, and "busy", say nothing of that."""
    if isinstance(reply, Unknown):
        return True
    return isinstance(reply, Failed) and reply.retryable and reply.effect is not Effect.DONE and reply.code not in CODES


# --- hosts ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """Whether a host may take tasks; ``alarm`` is the code of what an operator must see."""

    row: AgencyRow
    admitted: bool
    alarm: str | None = None
    #: Of which operations the alarm speaks; empty if of none.
    operations: tuple[str, ...] = ()


def dropped(row: AgencyRow, started: Started) -> frozenset[str]:
    """What the agency offered until now, and the host does not."""
    return frozenset(row.operations).difference(started.operations)


def admit(row: AgencyRow, started: Started, now: Instant, needed: Collection[str] = ()) -> Admission:
    """Two hosts of an agency share one journal; a second journal waits until an operator retires the first.

    A host that drops an operation which is ``needed`` waits until it is not: its sisters go on offering it. One that
    was never offered is no reason to refuse anybody, nor is what an older host lacks that was taken in beside a newer.
    """
    journal = started.journal
    if journal.journal_id in row.retired:
        return Admission(row=row, admitted=False, alarm="retired_journal")
    if row.journal_id is not None and row.journal_id != journal.journal_id:
        return Admission(row=row, admitted=False, alarm="second_journal")
    lacking = sorted(dropped(row, started).intersection(needed))
    if lacking:
        return Admission(row=row, admitted=False, alarm="host_lacks_operation", operations=tuple(lacking))
    known = row.journal_seq if row.journal_id == journal.journal_id else 0
    # A host that is behind what we heard was rolled back: it is told the number, and will not take tasks.
    rolled_back = journal.seq < known
    after = replace(
        row,
        start_id=started.start_id,
        journal_id=journal.journal_id,
        journal_seq=max(known, journal.seq),
        alive_at=None if rolled_back else now,
        operations=dict(started.operations),
    )
    return Admission(row=after, admitted=True, alarm="journal_rolled_back" if rolled_back else None)


def heard(row: AgencyRow, journal_id: str | None, journal_seq: int | None, now: Instant) -> AgencyRow:
    """Something came from the host: it is alive, and its journal is at least that far."""
    if journal_id is None or journal_id != row.journal_id:
        return row
    # Once for every reply.
    return changed(row, {"alive_at": now, "journal_seq": max(row.journal_seq, journal_seq or 0)})


def offered(row: AgencyRow, hosts: Collection[HostRow], now: Instant, dead_after: Milliseconds) -> AgencyRow:
    """The row with what its hosts offer: of several side by side, what all of them do, for any may get a task.

    Side by side are those that were heard of since the last one started, and lately. So one that takes the place of
    another is believed at once, and what one of several lacks is not sent until that one is gone. Of one that was heard
    of at the very instant of that start nobody knows which came first: its next sign of life tells.
    """
    if not hosts:
        return row
    newest = max(hosts, key=lambda host: (host.started_at, host.start_id))
    since = [one for one in hosts if one is newest or one.seen_at > newest.started_at]
    beside = [one for one in since if now - one.seen_at < dead_after] or [newest]
    common = set(beside[0].operations).intersection(*(one.operations for one in beside))
    latest = max(beside, key=lambda host: (host.started_at, host.start_id))
    return replace(row, operations={name: latest.operations[name] for name in sorted(common)})
