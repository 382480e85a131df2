"""Misbehaviours on demand: a small file through which a test or a demo tells a simulator how to misbehave."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self

from bus.message.instant import SECOND, Instant

_BUSY_S = 10.0
_TABLES = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS armed (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    what TEXT NOT NULL,
    operation TEXT NOT NULL,
    about TEXT NOT NULL,
    times INTEGER,
    seconds REAL NOT NULL,
    until INTEGER
);
CREATE TABLE IF NOT EXISTS met (reference TEXT PRIMARY KEY) WITHOUT ROWID;
COMMIT;
"""


class Misbehaviour(StrEnum):
    """The ways in which a legacy system lets its clients down.

    A simulator takes no notice of those that its system cannot have: it works as it should.
    """

    #: Cannot be reached at all: connecting fails. For ``seconds``, or until disarmed.
    DOWN = "down"
    #: Can be reached, and refuses work because it is outside its hours. For ``seconds``, or until disarmed.
    CLOSED = "closed"
    #: Refuses the request because it has too much to do, and asks to come back in ``seconds``.
    BUSY = "busy"
    #: Does not see the request: something in front of it answers with a page for people.
    ERROR_PAGE = "error_page"
    #: Begins the work ``seconds`` later.
    SLOW = "slow"
    #: Loses the request: no effect, no answer.
    TIMEOUT_BEFORE_EFFECT = "timeout_before_effect"
    #: Does the work and loses the answer.
    EFFECT_THEN_TIMEOUT = "effect_then_timeout"
    #: Does the work at once and answers ``seconds`` later.
    ANSWER_LATE = "answer_late"
    #: Shows an unfinished answer and completes it ``seconds`` later.
    ANSWER_DRIPS = "answer_drips"
    #: Answers twice.
    ANSWER_TWICE = "answer_twice"
    #: Does the work two times over and answers once.
    EFFECT_TWICE = "effect_twice"
    #: Does the work; the answer is cut off.
    HALF_ANSWER = "half_answer"
    #: Does the work; the connection ends before the first byte of the answer.
    CUT_CONNECTION = "cut_connection"
    #: Does the work, and reports that it broke down.
    ERROR_AFTER_EFFECT = "error_after_effect"
    #: Does the work; the answer names somebody else's reference.
    WRONG_REFERENCE = "wrong_reference"
    #: Does the work; the answer holds declarations that could make its reader load or copy other things.
    HOSTILE_ANSWER = "hostile_answer"
    #: Does the work; the text of the answer is in another code page.
    WRONG_ENCODING = "wrong_encoding"
    #: Does not do the work, says so in the text, and answers with the code for success.
    BUSINESS_ERROR_WITH_SUCCESS_CODE = "business_error_with_success_code"
    #: Does not do the work; what says so has the form of an error and travels as a success.
    ERROR_WITH_SUCCESS_STATUS = "error_with_success_status"


#: Those that hold for a stretch of time, not for a request.
_OUTAGES = (Misbehaviour.DOWN, Misbehaviour.CLOSED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Armed:
    """One misbehaviour that waits for its request, or an outage that goes on."""

    id: int
    what: Misbehaviour
    #: Only this operation; "" for any.
    operation: str
    #: Only a request with this reference, or about this name or number; "" for any.
    about: str
    #: How many requests are left to it; None without limit.
    times: int | None
    #: Length of the delay where the misbehaviour has one.
    seconds: float
    #: End of an outage; None until disarmed.
    until: Instant | None


def wall_clock() -> Instant:
    """Now, by the machine's clock."""
    return time.time_ns() // 1_000_000


class Control:
    """Arms misbehaviours (tests and demos, from any process) and takes them (the simulator). One thread each."""

    def __init__(self, path: Path, *, now: Callable[[], Instant] = wall_clock) -> None:
        self._now = now
        self._connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA synchronous = OFF")
        self._connection.executescript(_TABLES)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file; what is armed stays armed."""
        self._connection.close()

    def arm(
        self,
        what: Misbehaviour,
        *,
        operation: str = "",
        about: str = "",
        times: int | None = 1,
        seconds: float | None = None,
    ) -> int:
        """Arm one misbehaviour and return its number.

        It meets the next ``times`` requests (None: all) of ``operation`` that are ``about`` a reference, name or
        number. An outage meets everybody instead: for ``seconds`` from now, or until disarmed.
        """
        outage = what in _OUTAGES
        until = self._now() + round(seconds * SECOND) if outage and seconds is not None else None
        cursor = self._connection.execute(
            "INSERT INTO armed (what, operation, about, times, seconds, until) VALUES (?, ?, ?, ?, ?, ?)",
            (what, operation, about, None if outage else times, seconds or 0.0, until),
        )
        return cursor.lastrowid or 0

    def disarm(self, number: int | None = None) -> None:
        """Take back one, or all."""
        self._connection.execute("DELETE FROM armed WHERE id = coalesce(?, id)", (number,))

    def armed(self) -> tuple[Armed, ...]:
        """What is armed now, oldest first; outages that are over are left out."""
        with closing(
            self._connection.execute(
                "SELECT id, what, operation, about, times, seconds, until FROM armed"
                " WHERE until IS NULL OR until > ? ORDER BY id",
                (self._now(),),
            )
        ) as rows:
            return tuple(
                Armed(
                    id=row[0],
                    what=Misbehaviour(row[1]),
                    operation=row[2],
                    about=row[3],
                    times=row[4],
                    seconds=row[5],
                    until=row[6],
                )
                for row in rows
            )

    def outage(self, what: Misbehaviour) -> Armed | None:
        """The outage of this kind that goes on now and ends last."""
        current = [armed for armed in self.armed() if armed.what is what]
        return max(current, key=lambda armed: float("inf") if armed.until is None else armed.until, default=None)

    def take(self, operation: str, about: Iterable[str]) -> Armed | None:
        """The oldest misbehaviour that is armed for such a request; it has one time less from now on."""
        keys = {"", *about}
        for armed in self.armed():
            if armed.what not in _OUTAGES and armed.operation in ("", operation) and armed.about in keys:
                self._use(armed)
                return armed
        return None

    def meet(self, reference: str) -> bool:
        """Whether this reference is met for the first time; remembered also over a restart of the simulator."""
        cursor = self._connection.execute("INSERT OR IGNORE INTO met (reference) VALUES (?)", (reference,))
        return cursor.rowcount == 1

    def _use(self, armed: Armed) -> None:
        self._connection.execute("UPDATE armed SET times = times - 1 WHERE id = ?", (armed.id,))
        self._connection.execute("DELETE FROM armed WHERE id = ? AND times <= 0", (armed.id,))
