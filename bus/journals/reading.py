"""What is read from a journal, and how it is put together: the same for every database that keeps one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from typing import Any

from bus.journals import rows
from bus.journals.rows import COLUMNS, INVALID, REPLY, RESULT
from bus.message.instant import Instant
from bus.ports import JournalInvalid, JournalReply, JournalResult
from bus.receiver.row import JournalIdentity, Row

IDENTITY = "SELECT journal_id, seq, oldest FROM journal"


class Statements:
    """The reads in the words of one database."""

    def __init__(self, *, mark: str, among: str, link: str) -> None:
        """``mark`` stands for a value, ``among`` asks for one of a list, ``link`` joins a row to its task."""
        row, reply = ", ".join(f"interaction.{name}" for name in COLUMNS), ", ".join(REPLY)
        task, result = f"interaction JOIN task USING ({link})", f"interaction JOIN result USING ({link})"
        self.load = f"SELECT {row} FROM interaction WHERE interaction_id {among}"
        self.referred = f"SELECT {row} FROM interaction WHERE reference {among}"
        self.tasks = f"SELECT interaction_id, body FROM {task} WHERE interaction_id {among}"
        self.results = f"SELECT {', '.join(RESULT)} FROM {result} WHERE interaction_id {among}"
        self.waiting = (
            f"SELECT {row}, body FROM {task} "
            f"WHERE state = 'received' AND changed_at <= {mark} ORDER BY changed_at LIMIT {mark}"
        )
        self.outbox = f"SELECT place, {reply} FROM outbox WHERE place > {mark} ORDER BY place LIMIT {mark}"
        self.invalid = f"SELECT {', '.join(INVALID)} FROM invalid ORDER BY place DESC LIMIT {mark}"
        self.admission = f"SELECT journal_id, seq FROM admission WHERE start_id = {mark}"


class Reading(ABC):
    """What a journal tells outside of its transactions."""

    _statements: Statements

    @abstractmethod
    def _read(self, sql: str, *wanted: Any) -> Sequence[Any]:
        """The lines of one statement."""

    def waiting(self, until: Instant, most: int) -> tuple[tuple[Row, bytes], ...]:
        """Received interactions last changed up to ``until``, oldest first, with the bodies of their tasks."""
        return tuple((rows.row(line[:-1]), line[-1]) for line in self._read(self._statements.waiting, until, most))

    def outbox(self, most: int, after: int = 0) -> tuple[tuple[int, JournalReply], ...]:
        """Replies that wait to be published, each with its place, behind the place ``after``, oldest first."""
        lines = self._read(self._statements.outbox, after, most)
        return tuple((line[0], rows.reply(line[1:])) for line in lines)

    def invalid(self, most: int) -> tuple[JournalInvalid, ...]:
        """What could not be understood, newest first."""
        return tuple(map(rows.invalid, self._read(self._statements.invalid, most)))

    def admission(self, start_id: str) -> JournalIdentity | None:
        """What `admit` was told of that start."""
        for journal_id, seq in self._read(self._statements.admission, start_id):
            return JournalIdentity(journal_id=journal_id, seq=seq)
        return None


class TransactionReading(ABC):
    """What a transaction of a journal tells, before it writes."""

    _statements: Statements

    @abstractmethod
    def _among(self, sql: str, wanted: Collection[str]) -> Sequence[Any]:
        """The lines of a statement that asks for one of these; none of nothing."""

    def load(self, interaction_ids: Collection[str]) -> dict[str, Row]:
        """These interactions; unknown ones are absent."""
        lines = self._among(self._statements.load, interaction_ids)
        return {row.interaction_id: row for row in map(rows.row, lines)}

    def referred(self, references: Collection[str]) -> dict[str, Row]:
        """Interactions by their reference."""
        return {row.reference: row for row in map(rows.row, self._among(self._statements.referred, references))}

    def tasks(self, interaction_ids: Collection[str]) -> dict[str, bytes]:
        """Bodies of the latest tasks."""
        return dict(self._among(self._statements.tasks, interaction_ids))

    def results(self, interaction_ids: Collection[str]) -> dict[str, JournalResult]:
        """What was recorded of these."""
        lines = self._among(self._statements.results, interaction_ids)
        return {result.interaction_id: result for result in map(rows.result, lines)}


def identity(line: Sequence[Any] | None) -> JournalIdentity:
    """The journal of the line that `IDENTITY` reads."""
    journal_id, seq, oldest = line or ("", 0, 0)
    return JournalIdentity(journal_id=journal_id, seq=seq, oldest=oldest)
