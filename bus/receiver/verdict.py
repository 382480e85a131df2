"""What a decision of the receiver consists of: rows to write and things to do once they are written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from bus.message.reply import Reply
from bus.receiver.row import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The interaction waits for its turn; whether its call may begin is judged again when the turn comes."""

    row: Row


@dataclass(frozen=True, slots=True, kw_only=True)
class SendRecorded:
    """The recorded reply again: the same bytes."""

    interaction_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerAnew:
    """A reply built now, for the attempt that was asked; it is a message of its own."""

    interaction_id: str
    attempt: int
    reply: Reply


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildAgain:
    """What the recorded reply says, built anew for the attempt that was asked."""

    interaction_id: str
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LookUpFirst:
    """Ask the legacy system whether it happened; what it says answers this attempt."""

    row: Row
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadAgain:
    """Translate the kept raw answer again, for this attempt; never call again."""

    row: Row
    attempt: int


Action: TypeAlias = Run | SendRecorded | AnswerAnew | BuildAgain | LookUpFirst | ReadAgain


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Rows that are written in one transaction, then actions in this order; neither means: nothing."""

    rows: tuple[Row, ...] = ()
    actions: tuple[Action, ...] = ()


NOTHING = Verdict()
