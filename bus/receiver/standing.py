"""What tasks, queries and withdrawals have in common: the first row of an interaction, tombstones, answers."""

from __future__ import annotations

from bus.message.identity import reference
from bus.message.instant import Instant
from bus.message.reply import Effect, Reply
from bus.receiver.ask import Asked
from bus.receiver.row import SETTLED, JournalIdentity, Row, State
from bus.receiver.verdict import AnswerAnew


def answer(task: Asked, reply: Reply) -> AnswerAnew:
    """That reply, built for the attempt that was asked."""
    return AnswerAnew(interaction_id=task.interaction_id, attempt=task.attempt, reply=reply)


def first_seen(task: Asked, journal: JournalIdentity, now: Instant, state: State) -> Row:
    """The first row of an interaction.

    A journal that would not hold it cannot tell that it never began: it counts as begun without result. Its call was
    not before it was first sent, and not after now.
    """
    known = journal.would_hold(task.journal_id, task.first_sent)
    return Row(
        interaction_id=task.interaction_id,
        operation=task.operation,
        reference=reference(task.interaction_id),
        test=task.test,
        state=state,
        attempt=task.attempt,
        effect=Effect.NONE if known else Effect.UNKNOWN,
        data_hash=task.data_hash,
        supersedes=task.supersedes,
        first_sent=task.first_sent,
        expires_at=task.expires_at,
        begun_at=None if known else task.first_sent,
        called_at=None if known else now,
        changed_at=now,
    )


def is_dead(row: Row, attempt: int) -> bool:
    """Whether a tombstone ended this attempt; a row that has an effect, or a lasting answer, tells that instead."""
    return attempt <= row.dead and row.effect is Effect.NONE and row.state not in SETTLED
