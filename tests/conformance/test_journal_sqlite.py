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
from bus.journals.rows import COLUMNS, result_values, values
from bus.journals.sqlite import SqliteJournal
from bus.journals.sqlite_schema import STEPS
from bus.ports import JournalResult
from bus.receiver.row import JournalIdentity, State
from tests.conformance.journal_contract import NOW, JournalContract, OpenJournal, a_reply, a_row, load, write

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
        assert [reply.message_id for _, reply in journal.outbox(1_000)] == names
        write(journal, confirmed=names)
        assert journal.outbox(1_000) == ()

    def test_an_older_file_keeps_all_that_it_has(self, open_journal: OpenJournal, path: Path) -> None:
        # Given a file of the first version, with an interaction of each kind, out of order
        path.parent.mkdir(parents=True)
        rows = [a_row("late", first_sent=NOW + 9), a_row("early", state=State.COMPLETED)]
        result = JournalResult(interaction_id="early", raw=b"raw", reply=a_reply("m", b"said"))
        with sqlite3.connect(path) as old:
            for statement in STEPS[0].split(";"):
                old.execute(statement)
            old.execute("INSERT INTO journal VALUES (1, 'the-journal', 7, 3)")
            for row in rows:
                old.execute(f"INSERT INTO interaction VALUES ({', '.join('?' * len(COLUMNS))})", values(row))
                old.execute("INSERT INTO task VALUES (?, ?)", (row.interaction_id, row.interaction_id.encode()))
            old.execute(f"INSERT INTO result VALUES ({', '.join('?' * 6)})", result_values(result))
            old.execute("INSERT INTO outbox VALUES (41, 'm', 'bus.task.completed.v1', 'r', 'said')")
            old.execute("PRAGMA user_version = 1")
        old.close()
        # When a host opens it
        journal = open_journal()
        # Then everything is there
        assert journal.identity() == JournalIdentity(journal_id="the-journal", seq=7, oldest=3)
        assert load(journal, "late", "early") == {row.interaction_id: row for row in rows}
        with journal.transaction() as transaction:
            assert transaction.tasks(["late", "early"]) == {"late": b"late", "early": b"early"}
            assert transaction.results(["late", "early"]) == {"early": result}
        assert [place for place, _ in journal.outbox(10)] == [41]
        # And it goes on
        write(journal, rows=[a_row("new")], tasks=[("new", b"new"), ("late", b"again")])
        with journal.transaction() as transaction:
            assert transaction.tasks(["new", "late"]) == {"new": b"new", "late": b"again"}

    def test_whoever_asks_by_reference_has_an_index_of_them_and_nobody_else(
        self, open_journal: OpenJournal, path: Path
    ) -> None:
        def indexes() -> set[str]:
            with sqlite3.connect(path) as connection:
                found = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'index'")}
            connection.close()
            return found

        # Given two hosts that have asked for nothing by its reference
        one, other = open_journal(), open_journal()
        write(one, rows=[a_row("a")])
        assert "interaction_reference" not in indexes()
        # When one of them does
        for _ in range(2):
            with one.transaction() as transaction:
                assert transaction.referred(["REF-a"]).keys() == {"REF-a"}
        # Then there is an index, of what comes later, too
        assert "interaction_reference" in indexes()
        write(other, rows=[a_row("b")])
        with one.transaction() as transaction:
            assert transaction.referred(["REF-a", "REF-b"]).keys() == {"REF-a", "REF-b"}

    def test_nothing_is_filed_under_an_interaction_that_is_not_there(self, open_journal: OpenJournal) -> None:
        journal = open_journal()
        with pytest.raises(StoreUnavailableError):
            write(journal, rows=[a_row("a")], tasks=[("b", b"whose?")])
        assert load(journal, "a", "b") == {}

    def test_a_journal_of_a_newer_version_is_left_alone(self, open_journal: OpenJournal, path: Path) -> None:
        open_journal().close()
        with sqlite3.connect(path) as connection:
            connection.execute("PRAGMA user_version = 99")
        connection.close()
        with pytest.raises(StoreUnavailableError, match="newer version"):
            SqliteJournal(path)
