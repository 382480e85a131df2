"""What a provider may answer to a task: six kinds, no seventh."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

from bus.message.instant import Milliseconds
from bus.message.text import Text

#: A JSON object: the data of a message.
Data: TypeAlias = Mapping[str, Any]


class Effect(StrEnum):
    """Whether something happened at the legacy system."""

    NONE = "none"
    UNKNOWN = "unknown"
    DONE = "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """It is done; ``data`` obeys the output contract of the operation."""

    data: Data


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The agency's lawful "no": an answer, not a failure."""

    reason_code: str
    text: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """One thing that the applicant must bring or correct, named by a pointer into the task's data."""

    pointer: str
    reason_code: str
    text: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class Returned:
    """Something is missing and only the applicant can bring it, within ``within`` of the answer."""

    needs: Sequence[Need]
    within: Milliseconds | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """The agency has it and will answer later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """Not done, and it says honestly what happened at the legacy system."""

    code: str
    effect: Effect
    retryable: bool
    text: Text = field(default_factory=lambda: Text(en="The system failed.", ar="تعطّل النظام."))
    retry_after: Milliseconds | None = None
    legacy_code: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """It may or may not have happened; nobody pretends to know."""


Reply: TypeAlias = Completed | Refused | Returned | Pending | Failed | Unknown
