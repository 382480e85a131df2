"""The agencies of a rehearsal: what each says to a task, a look-up or a withdrawal, and when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from bus.message.envelope import MessageType
from bus.message.instant import SECOND, Instant, Milliseconds
from bus.tools.rehearsal_answer import Answer, Conduct

#: Every answer comes after this, unless the author says otherwise.
ANSWERS_AFTER: Milliseconds = SECOND


class Says(StrEnum):
    """What an agency can say, before it has words."""

    COMPLETED = "completed"
    REFUSED = "refused"
    RETURNED = "returned"
    FAILED = "failed"
    PENDING = "pending"
    UNKNOWN = "unknown"
    UNREADABLE = "unreadable"
    UNAVAILABLE = "unavailable"


#: Said anew each time that it is asked for; everything else is recorded and said in the same message again.
ANEW = frozenset({Says.PENDING, Says.UNKNOWN})


@dataclass(slots=True)
class Interaction:
    """What an agency remembers of one interaction."""

    first_asked: Instant
    #: The attempts whose tasks arrived.
    attempts: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One message as it arrives at an agency."""

    type: MessageType
    attempt: int
    now: Instant
    #: To a clerk nothing is sent: the task lies on his desk.
    desk: bool
    #: The agency's system can be asked what became of an interaction.
    can_look_up: bool


def says(answer: Answer, asked: Asked, known: Interaction) -> Sequence[tuple[Milliseconds, Says]]:
    """What comes back and how long after it was asked; nothing at all is an answer, too."""
    is_task = asked.type is MessageType.TASK_REQUESTED
    is_new = is_task and asked.attempt not in known.attempts
    is_first = is_new and not known.attempts
    waited = asked.now - known.first_asked
    match answer.conduct:
        case Conduct.SILENT:
            return ()
        case Conduct.REFUSED:
            return _at_once(Says.REFUSED)
        case Conduct.FAILED:
            return _at_once(Says.FAILED)
        case Conduct.MALFORMED:
            return _at_once(Says.UNREADABLE)
        case Conduct.RETURNED:
            first = is_first or (not is_new and len(known.attempts) == 1)
            return _at_once(Says.RETURNED if first else Says.COMPLETED)
        case Conduct.DOWN if waited < answer.length:
            return _at_once(Says.UNAVAILABLE)
        case Conduct.LATE if waited < answer.length:
            return _late(answer, asked, is_first=is_first)
        case Conduct.LOST if is_first:
            return ()
        case Conduct.UNKNOWN if is_first or not (asked.can_look_up or is_new):
            return _at_once(Says.UNKNOWN)
    return _at_once(Says.COMPLETED)


def _late(answer: Answer, asked: Asked, *, is_first: bool) -> Sequence[tuple[Milliseconds, Says]]:
    not_yet = () if asked.desk else _at_once(Says.PENDING)
    return (*not_yet, (answer.length, Says.COMPLETED)) if is_first else not_yet


def _at_once(what: Says) -> tuple[tuple[Milliseconds, Says], ...]:
    return ((ANSWERS_AFTER, what),)
