"""The SQLite journal keeps the journal's contract, and its own promises about the file."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bus.errors import StoreUnavailableError
from bus.journals.sqlite import SqliteJournal
from tests.conformance.journal_contract import JournalContract, OpenJournal, a_reply, a_row, load, write

_TABLES = "SELECT name, sql FROM sqlite_master WHERE name IN ('task', 'result')"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "land_office" / "journal.db"


@pytest.fixture
def open_journal(path: Path) -> Iterator[OpenJournal]:
    opened: list[SqliteJournal] = []

    def one_more() -> SqliteJournal:
        opened.append(SqliteJournal(path))
        return opened[-1]

    yield one_more
    for journal in opened:
        journal.close()


class TestSqliteJournal(JournalContract):
    def test_the_file_and_its_folder_are_for_their_owner_alone(self, open_journal: OpenJournal, path: Path) -> None:
        write(open_journal(), rows=[a_row()])
        for file in path.parent.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file.name
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700

    def test_every_commit_reaches_the_disk(self, open_journal: OpenJournal) -> None:
        connection = open_journal()._connection  # type: ignore[attr-defined]  # noqa: SLF001
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)

    def test_two_files_are_two_journals(self, tmp_path: Path) -> None:
        one, other = SqliteJournal(tmp_path / "1.db"), SqliteJournal(tmp_path / "2.db")
        assert one.identity().journal_id != other.identity().journal_id
        one.close()
        other.close()

    def test_a_process_killed_within_a_transaction_leaves_nothing_of_it(
        self, open_journal: OpenJournal, path: Path
    ) -> None:
        # Given a journal with one row
        write(open_journal(), rows=[a_row("kept")])
        # When another process dies after its write and before its commit
        program = (
            "import os, sys, signal; from pathlib import Path\n"
            "from bus.journals.sqlite import SqliteJournal\n"
            "from bus.ports import JournalChanges\n"
            "from tests.conformance.journal_contract import a_row\n"
            "with SqliteJournal(Path(sys.argv[1])).transaction() as transaction:\n"
            "    transaction.write(JournalChanges(rows=[a_row('lost')]))\n"
            "    os.kill(os.getpid(), signal.SIGKILL)\n"
        )
        dead = subprocess.run([sys.executable, "-c", program, str(path)], check=False, env={**os.environ})
        # Then only that row is there
        assert dead.returncode == -signal.SIGKILL
        assert load(open_journal(), "kept", "lost").keys() == {"kept"}

    def test_a_file_that_is_no_journal_is_an_error_with_the_mend(self, path: Path) -> None:
        path.parent.mkdir()
        path.write_bytes(b"this is a letter, not a database. " * 100)
        with pytest.raises(StoreUnavailableError, match="cannot be used"):
            SqliteJournal(path)

    @pytest.mark.parametrize("count", [1, 5, 63, 64, 150])
    def test_a_batch_of_any_length_is_written_whole_and_in_order(self, open_journal: OpenJournal, count: int) -> None:
        names = [f"n{number}" for number in range(count)]
        journal = open_journal()
        write(journal, rows=[a_row(name) for name in names], outbox=[a_reply(name) for name in names])
        assert load(journal, *names).keys() == {*names}
        assert [reply.message_id for reply in journal.outbox(1_000)] == names
        write(journal, confirmed=names)
        assert journal.outbox(1_000) == ()

    def test_a_journal_of_a_newer_version_is_left_alone(self, open_journal: OpenJournal, path: Path) -> None:
        open_journal().close()
        with sqlite3.connect(path) as connection:
            connection.execute("PRAGMA user_version = 99")
        connection.close()
        with pytest.raises(StoreUnavailableError, match="newer version"):
            SqliteJournal(path)
