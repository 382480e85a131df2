"""What the process manager does about hosts: admits them, hears their ticks, alarms about journals and clocks."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from uuid import uuid4

from bus.logs import bind
from bus.message.channel import control
from bus.message.instant import Instant
from bus.message.key import Keys
from bus.ports import AgencyRow, HostRow, OutboxRow, Payload
from bus.receiver.announcement import Admitted, Alive, Started, admitted_message
from bus.runtime.agency import admit, dropped, offered
from bus.runtime.work import Work

_log = bind(role="process-manager")


class Hosts:
    """Of a host that keeps knocking the store makes one failure, whichever process hears it, and counts its knocks."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    @staticmethod
    def ticked(row: AgencyRow, published_at: Instant, now: Instant) -> AgencyRow:
        """A tick came all the way: everything published before it was heard. One that came late proves less."""
        # What lies ahead was published before the clock was set back, and proves nothing on the new time.
        known = row.heard_at if row.heard_at is not None and row.heard_at <= now else 0
        return replace(row, heard_at=max(known, published_at))

    def started(self, work: Work, started: Started) -> None:
        """Admit the host, or raise the alarm."""
        agency = started.agency
        admission = admit(work.agencies[agency], started, work.now, _needed(work, started))
        work.agencies[agency] = admission.row
        if admission.alarm is not None:
            _log.error("host_alarm", agency=agency, alarm=admission.alarm, journal_id=started.journal.journal_id)
            for operation in admission.operations or ("-",):
                work.alarm(admission.alarm, agency, operation=operation)
        if not admission.admitted:
            _log.warning("host_refused", agency=agency, journal_id=started.journal.journal_id)
            return
        # It says so again and again until it is heard: one answer serves for all of a batch.
        if (agency, started.start_id) not in work.hosts:
            work.hosts[agency, started.start_id] = HostRow(
                agency=agency,
                start_id=started.start_id,
                operations=started.operations,
                started_at=work.now,
                seen_at=work.now,
            )
            self._answer(work, agency, started, admission.row.journal_seq)
            _log.info("host_admitted", agency=agency, journal_id=started.journal.journal_id)

    @staticmethod
    def alive(work: Work, alive: Alive) -> None:
        """One host of an agency still runs: maybe beside others, which offer something else."""
        agency, row = alive.agency, work.agencies[alive.agency]
        if alive.journal_id != row.journal_id:
            return
        hosts = _hosts(work, alive)
        mine = hosts.get(alive.start_id)
        # One that was admitted by an earlier release of the bus has told what it offers, and nobody kept it.
        if mine is not None:
            _compare_clocks(work, alive, mine)
            heard = replace(mine, seen_at=max(mine.seen_at, work.now))
            hosts[alive.start_id] = work.hosts[agency, alive.start_id] = heard
            work.agencies[agency] = offered(row, hosts.values(), work.now, work.tools.settings.dead_after)

    def _answer(self, work: Work, agency: str, started: Started, heard: int) -> None:
        admitted = Admitted(
            agency=agency, start_id=started.start_id, journal_id=started.journal.journal_id, heard=heard
        )
        message = admitted_message(admitted, id=str(uuid4()), now=work.now)
        payload = Payload(id=self._keys.next(), request_key=None, bytes=message.body)
        work.reading.keep([payload])
        row = OutboxRow(
            key=self._keys.next(),
            channel=control(agency),
            message_id=message.envelope.id,
            type=message.envelope.type,
            correlation_id="",
            payload_id=payload.id,
            request_key=None,
        )
        work.posting.outbox.append((row, message.body))


def _needed(work: Work, started: Started) -> Collection[str]:
    """What the host must offer to be taken in; nothing is looked up for one that drops nothing."""
    agency, start_id = started.agency, started.start_id
    if not dropped(work.agencies[agency], started) or (agency, start_id) in work.hosts:
        return ()
    # One that was taken in before only says so again: what came since, and offers more, is no reason to doubt it.
    if any(host.start_id == start_id for host in work.transaction.hosts(agency, start_id)):
        return ()
    return work.tools.library.needed(agency, work.now)


def _hosts(work: Work, alive: Alive) -> dict[str, HostRow]:
    """The hosts of the agency of which one says that it lives, by their start, as they are by now."""
    stored = {host.start_id: host for host in work.transaction.hosts(alive.agency, alive.start_id)}
    heard = {host.start_id: host for host in work.hosts.values() if host.agency == alive.agency}
    # An announcement that comes twice, maybe long after, makes no younger host.
    return stored | {
        start_id: replace(host, started_at=stored.get(start_id, host).started_at) for start_id, host in heard.items()
    }


def _compare_clocks(work: Work, alive: Alive, host: HostRow) -> None:
    """Show a clock that is wrong beyond doubt, however long the word of it was on its way.

    A host says that it lives after the bus has taken it in, and before the bus hears it. So a fast clock shows at once,
    and a slow one as long as it has not come past the first of the two.
    """
    margin = work.tools.settings.clock_drift
    if alive.at is None:
        return
    if alive.at > work.now + margin:
        work.alarm("host_clock_fast", alive.agency)
    # One that was taken in later than now was so before the bus's own clock was set back, and shows nothing.
    elif alive.at + margin < host.started_at <= work.now:
        work.alarm("host_clock_slow", alive.agency)
