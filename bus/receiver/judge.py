"""What a host does with a task: on interaction, attempt and data alone, never on the message's id."""

from __future__ import annotations

from dataclasses import replace

from bus.message.identity import reference
from bus.message.instant import Instant
from bus.message.reply import Effect, Pending, Unknown
from bus.receiver.ask import Asked
from bus.receiver.failure import failed
from bus.receiver.gate import Gate, Terms, gate
from bus.receiver.inquire import answer_query
from bus.receiver.row import FOR_EVER, SETTLED, Chain, JournalIdentity, Row, State, has_begun, is_live
from bus.receiver.standing import answer, first_seen, is_dead
from bus.receiver.verdict import (
    NOTHING,
    Action,
    AnswerAnew,
    BuildAgain,
    ReadAgain,
    Run,
    SendRecorded,
    Verdict,
)


def judge(
    task: Asked, row: Row | None, older: Chain, journal: JournalIdentity, now: Instant, terms: Terms | None
) -> Verdict:
    """The first case that applies. ``row`` is the interaction's, ``older`` are those which the task supersedes."""
    doubtful, effect = _effect_of(older, task, journal)
    # 1. Withdrawn or tombstoned, also where the withdrawal overtook the task.
    if row is not None and is_dead(row, task.attempt):
        if row.dead_code == "superseded_too_late" and effect is not Effect.NONE:
            return _superseded_too_late(task, row, doubtful, effect, now)
        return Verdict(actions=(answer(task, failed("withdrawn")),))
    # 2. It supersedes another interaction: only one of them all may ever have an effect.
    verdict = _judge_alone(task, row, journal, now, terms)
    if task.supersedes is None:
        return verdict
    if effect is Effect.NONE:
        return replace(verdict, rows=(*_superseded(task, older, now), *verdict.rows))
    if _may_have_begun(task, row, journal):
        # The new one was let in before, here or in a journal that is gone: told as it stands, never run.
        return answer_query(task, row, journal, now, terms)
    return _superseded_too_late(task, row, doubtful, effect, now)


def _may_have_begun(task: Asked, row: Row | None, journal: JournalIdentity) -> bool:
    if row is None:
        return not journal.would_hold(task.journal_id, task.first_sent)
    return row.effect is not Effect.NONE or row.state in SETTLED


def _judge_alone(task: Asked, row: Row | None, journal: JournalIdentity, now: Instant, terms: Terms | None) -> Verdict:
    # 3. No row.
    if row is None:
        return _receive(first_seen(task, journal, now, State.RECEIVED))
    # 4. The same interaction with other data; an applicant may have mended what was returned.
    if task.data_hash != row.data_hash and row.data_hash is not None:
        mended = row.state is State.RETURNED and task.attempt > row.attempt
        if not mended:
            return Verdict(actions=(answer(task, failed("interaction_reused", _told_effect(row))),))
    greater = task.attempt > row.attempt
    match row.state:
        # 5. A tombstone that this attempt outlives.
        case State.TOMBSTONE:
            return _receive(_again(row, task, now))
        # 6. Received, not begun: keeps the greatest attempt.
        case State.RECEIVED:
            return _receive(_again(row, task, now)) if greater else NOTHING
        # 7. Answered for good.
        case State.COMPLETED | State.REFUSED:
            return _recorded(row)
        # 8. Pending.
        case State.PENDING:
            return Verdict(actions=(answer(task, Pending()),))
        # 9. Nothing happened: a greater attempt runs.
        case State.FAILED | State.RETURNED:
            return _receive(_again(row, task, now)) if greater else _recorded(row)
        # 10. It happened and the answer cannot be used: never called again.
        case State.UNREADABLE:
            again: Action = (
                ReadAgain(row=row, attempt=task.attempt)
                if greater
                else BuildAgain(interaction_id=row.interaction_id, attempt=task.attempt)
            )
            return Verdict(actions=(again,))
    # 11. Being worked on.
    if is_live(row, now):
        return NOTHING
    # 12. Begun without result, or unknown: a greater attempt goes through the gate.
    if greater and gate(terms, row, now) is not Gate.UNKNOWN:
        return _receive(_again(row, task, now))
    told = replace(row, attempt=max(row.attempt, task.attempt), data_hash=task.data_hash, changed_at=now)
    return Verdict(rows=(told,) if greater else (), actions=(answer(task, Unknown()),))


def _receive(row: Row) -> Verdict:
    return Verdict(rows=(row,), actions=(Run(row=row),))


def _recorded(row: Row) -> Verdict:
    return Verdict(actions=(SendRecorded(interaction_id=row.interaction_id),))


def _again(row: Row, task: Asked, now: Instant) -> Row:
    """The row waits for its turn with this attempt; what is known of the effect stays known."""
    return replace(
        row,
        state=State.RECEIVED,
        attempt=task.attempt,
        operation=task.operation,
        data_hash=task.data_hash,
        expires_at=task.expires_at,
        process="",
        lease_until=0,
        changed_at=now,
    )


def _told_effect(row: Row) -> Effect:
    # It waits for its turn and may begin at any moment: "none" would be true only now.
    return Effect.UNKNOWN if row.state is State.RECEIVED else row.effect


def _effect_of(older: Chain, task: Asked, journal: JournalIdentity) -> tuple[Row | None, Effect]:
    """What is known of the effects of superseded interactions, and the one that is the reason.

    A missing row says nothing in a journal that would not hold it.
    """
    for row in older.rows:
        if row.effect is not Effect.NONE:
            return row, row.effect
    if older.missing is not None and not journal.would_hold(task.journal_id, task.first_sent):
        return None, Effect.UNKNOWN
    return None, Effect.NONE


def _superseded(task: Asked, older: Chain, now: Instant) -> tuple[Row, ...]:
    """The tombstones of what is superseded: none of its attempts ever runs."""
    rows = [row for row in older.rows if row.dead != FOR_EVER]
    if older.missing is not None:
        rows.append(replace(_never_run(task, older.missing, now), attempt=0, data_hash=None))
    return tuple(
        replace(row, state=State.TOMBSTONE, dead=FOR_EVER, dead_code="superseded", changed_at=now) for row in rows
    )


def _never_run(task: Asked, interaction_id: str, now: Instant) -> Row:
    return Row(
        interaction_id=interaction_id,
        operation=task.operation,
        reference=reference(interaction_id),
        test=task.test,
        state=State.TOMBSTONE,
        attempt=task.attempt,
        effect=Effect.NONE,
        data_hash=task.data_hash,
        first_sent=task.first_sent,
        changed_at=now,
    )


def _superseded_too_late(task: Asked, row: Row | None, old: Row | None, effect: Effect, now: Instant) -> Verdict:
    """The edit is void: its own tombstone, the failure, and once more what the old interaction came to."""
    void = row or _never_run(task, task.interaction_id, now)
    dead = max(void.dead, task.attempt)
    void = replace(
        void,
        state=State.TOMBSTONE,
        dead=dead,
        dead_code="superseded_too_late",
        supersedes=task.supersedes,
        changed_at=now,
    )
    actions: tuple[Action, ...] = (answer(task, failed("superseded_too_late", effect)),)
    if old is not None:
        actions = (*actions, *_told_again(old, now))
    return Verdict(rows=(void,), actions=actions)


def _told_again(old: Row, now: Instant) -> tuple[Action, ...]:
    match old.state:
        case State.COMPLETED | State.REFUSED:
            return (SendRecorded(interaction_id=old.interaction_id),)
        case State.UNREADABLE:
            return (BuildAgain(interaction_id=old.interaction_id, attempt=old.attempt),)
        case State.PENDING:
            return (AnswerAnew(interaction_id=old.interaction_id, attempt=old.attempt, reply=Pending()),)
    if is_live(old, now) or old.state is State.RECEIVED or not has_begun(old):
        return ()
    return (AnswerAnew(interaction_id=old.interaction_id, attempt=old.attempt, reply=Unknown()),)
