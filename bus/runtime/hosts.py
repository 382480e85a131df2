"""What the process manager does about hosts: admits them, hears their ticks, and alarms about second journals."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

from bus.logs import bind
from bus.message.channel import control
from bus.message.instant import Instant
from bus.message.key import Keys
from bus.ports import AgencyRow, OutboxRow, Payload
from bus.receiver.announcement import Admitted, Started, admitted_message
from bus.runtime.agency import admit
from bus.runtime.work import Work

_log = bind(role="process-manager")


class Hosts:
    """Remembers which alarms were raised, so that a host that keeps knocking is one failure and not a flood."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._alarmed: set[tuple[str, str, str]] = set()

    @staticmethod
    def ticked(row: AgencyRow, published_at: Instant, now: Instant) -> AgencyRow:
        """A tick came all the way: everything published before it was heard. One that came late proves less."""
        # What lies ahead was published before the clock was set back, and proves nothing on the new time.
        known = row.heard_at if row.heard_at is not None and row.heard_at <= now else 0
        return replace(row, heard_at=max(known, published_at))

    def started(self, work: Work, started: Started) -> None:
        """Admit the host, or raise the alarm."""
        agency = started.agency
        admission = admit(work.agencies[agency], started, work.now)
        work.agencies[agency] = admission.row
        if admission.alarm is not None:
            self._alarm(work, agency, started, admission.alarm)
        if admission.admitted:
            self._answer(work, agency, started, admission.row.journal_seq)
            _log.info("host_admitted", agency=agency, journal_id=started.journal.journal_id)
        else:
            _log.warning("host_refused", agency=agency, journal_id=started.journal.journal_id)

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

    def _alarm(self, work: Work, agency: str, started: Started, code: str) -> None:
        _log.error("host_alarm", agency=agency, alarm=code, journal_id=started.journal.journal_id)
        known = (agency, started.journal.journal_id, code)
        if known in self._alarmed:
            return
        work.alarm(code, agency)
        work.after_commit.append(lambda: self._alarmed.add(known))
