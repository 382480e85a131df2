"""What a host answers to a query and to a withdrawal: neither ever causes an effect."""

from __future__ import annotations

from dataclasses import replace

from bus.message.instant import Instant
from bus.message.reply import Pending, Unknown
from bus.receiver.ask import Asked
from bus.receiver.failure import failed
from bus.receiver.gate import Terms
from bus.receiver.row import JournalIdentity, Row, State, has_begun, is_live
from bus.receiver.standing import answer, first_seen, is_dead
from bus.receiver.verdict import NOTHING, Action, LookUpFirst, ReadAgain, SendRecorded, Verdict


def answer_query(query: Asked, row: Row | None, journal: JournalIdentity, now: Instant, terms: Terms | None) -> Verdict:
    """What became of the interaction. An attempt that was not seen is first made never to run, then answered."""
    if row is None:
        if journal.would_hold(query.journal_id, query.first_sent):
            return _end(query, first_seen(query, journal, now, State.TOMBSTONE), "never_seen", now)
        row = first_seen(query, journal, now, State.UNKNOWN)
        return replace(_without_result(query, row, terms), rows=(row,))
    if is_dead(row, query.attempt):
        code = row.dead_code if row.dead_code == "never_seen" else "withdrawn"
        return Verdict(actions=(answer(query, failed(code)),))
    match row.state:
        case State.TOMBSTONE:
            return _end(query, row, "never_seen", now)
        case State.RECEIVED:
            return NOTHING
        case State.FAILED | State.RETURNED if query.attempt > row.attempt:
            return _end(query, row, "never_seen", now)
        case State.COMPLETED | State.REFUSED | State.FAILED | State.RETURNED:
            return Verdict(actions=(SendRecorded(interaction_id=row.interaction_id),))
        case State.PENDING:
            return Verdict(actions=(answer(query, Pending()),))
        case State.UNREADABLE:
            return Verdict(actions=(ReadAgain(row=row, attempt=query.attempt),))
    return NOTHING if is_live(row, now) else _without_result(query, row, terms)


def answer_withdrawal(
    withdrawal: Asked, row: Row | None, journal: JournalIdentity, now: Instant, terms: Terms | None
) -> Verdict:
    """Always answered: what has not begun never will; everything else is told as to a query."""
    if row is None:
        if journal.would_hold(withdrawal.journal_id, withdrawal.first_sent):
            return _end(withdrawal, first_seen(withdrawal, journal, now, State.TOMBSTONE), "withdrawn", now)
        return answer_query(withdrawal, row, journal, now, terms)
    if row.state is State.RECEIVED and has_begun(row) and withdrawal.attempt >= row.attempt:
        # It waits to be run again: not any more. What the earlier call did is as unknown as before.
        row = replace(row, state=State.UNKNOWN, attempt=withdrawal.attempt, changed_at=now)
        return replace(_without_result(withdrawal, row, terms), rows=(row,))
    if is_dead(row, withdrawal.attempt) or row.state is State.TOMBSTONE:
        return _end(withdrawal, row, "withdrawn", now)
    if row.state is State.RECEIVED and not has_begun(row):
        waits = withdrawal.attempt < row.attempt
        return _end(withdrawal, row if waits else replace(row, state=State.TOMBSTONE), "withdrawn", now)
    if row.state in {State.FAILED, State.RETURNED} and withdrawal.attempt > row.attempt:
        return _end(withdrawal, row, "withdrawn", now)
    return answer_query(withdrawal, row, journal, now, terms)


def _end(asked: Asked, row: Row, code: str, now: Instant) -> Verdict:
    """No attempt up to the asked one ever runs, and so there is no effect."""
    if asked.attempt > row.dead:
        row = replace(row, dead=asked.attempt, dead_code=code, changed_at=now)
    elif code == "withdrawn" and row.dead_code == "never_seen":
        row = replace(row, dead_code=code, changed_at=now)
    return Verdict(rows=(row,), actions=(answer(asked, failed(code)),))


def _without_result(asked: Asked, row: Row, terms: Terms | None) -> Verdict:
    """Begun without result, or unknown: looked up where the operation can, else nobody knows."""
    action: Action = (
        LookUpFirst(row=row, attempt=asked.attempt)
        if terms is not None and terms.can_look_up
        else answer(asked, Unknown())
    )
    return Verdict(actions=(action,))
