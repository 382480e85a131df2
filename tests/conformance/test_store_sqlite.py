"""The SQLite store keeps the promises of every store, in a file that only its owner may read."""

from __future__ import annotations

import re
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, create_engine, event

from bus.errors import ConfigurationError, StoreUnavailableError
from bus.ports import Payload, Store
from bus.process.state import StepState
from bus.stores.schema import metadata
from bus.stores.sqlite import SqliteStore, migrate
from tests.conformance import store_values as values
from tests.conformance.store_contract import ROOT, StoreContract
from tests.conformance.store_failures_contract import FailuresContract, assert_joined, leave_failures
from tests.conformance.store_hosts_contract import HostsContract
from tests.conformance.store_migrations import old_store
from tests.conformance.store_people_contract import PeopleContract
from tests.conformance.store_recount_contract import RecountContract
from tests.conformance.store_values import accept, accepted, put


class SqlitePlace:
    """A store in a new directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.source = (
            "from pathlib import Path\nfrom bus.stores.sqlite import SqliteStore\n"
            f"store = SqliteStore(Path({str(path)!r}))"
        )

    def open(self) -> Store:
        return SqliteStore(self.path)

    def damage(self, statement: str) -> None:
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            assert connection.execute(statement).rowcount == 1

    def look(self, statement: str) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(self.path)) as connection:
            return connection.execute(statement).fetchall()


@pytest.fixture(scope="session")
def new_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store just made: copying it is quicker than making another one."""
    path = tmp_path_factory.mktemp("new") / "data" / "bus.sqlite"
    migrate(path)
    return path


@pytest.fixture
def place(tmp_path: Path, new_file: Path) -> SqlitePlace:
    path = tmp_path / "bus.sqlite"
    shutil.copy(new_file, path)
    return SqlitePlace(path)


@pytest.fixture
def store(place: SqlitePlace) -> Store:
    return place.open()


class TestSqliteStore(StoreContract):
    """The contract, over SQLite."""


class TestSqliteFailures(FailuresContract):
    """Failures that stand for a cause, over SQLite."""


class TestSqliteHosts(HostsContract):
    """Starts of hosts, over SQLite."""


class TestSqlitePeople(PeopleContract):
    """What people need, over SQLite."""


class TestSqliteRecount(RecountContract):
    """The recount, over SQLite."""


def test_only_its_owner_may_read_any_file_of_the_store(tmp_path: Path) -> None:
    path = tmp_path / "data" / "bus.sqlite"
    path.parent.parent.joinpath("wide").mkdir()
    migrate(path)
    with SqliteStore(path).transaction():
        rights = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}

    assert rights == {"bus.sqlite": 0o600, "bus.sqlite-wal": 0o600, "bus.sqlite-shm": 0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_migrating_again_changes_nothing_and_takes_back_rights_that_were_given_away(place: SqlitePlace) -> None:
    request = accept(place.open(), accepted())
    installation = place.open().installation()
    place.path.chmod(0o644)

    migrate(place.path)

    assert place.open().request(request.id) == request
    assert place.open().installation() == installation
    assert stat.S_IMODE(place.path.stat().st_mode) == 0o600


def test_processes_that_migrate_at_the_same_time_make_one_store(tmp_path: Path) -> None:
    path = tmp_path / "data" / "bus.sqlite"
    script = (
        "from pathlib import Path\nfrom bus.stores.sqlite import SqliteStore, migrate\n"
        f"path = Path({str(path)!r})\nmigrate(path)\nprint(SqliteStore(path).installation())"
    )

    with ThreadPoolExecutor(4) as pool:
        ids = set(pool.map(_run, [script] * 4))

    assert ids == {SqliteStore(path).installation() + "\n"}


def test_an_sqlite_that_is_too_old_is_named_before_anything_is_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 31, 1))

    with pytest.raises(ConfigurationError, match=r"SQLite 3\.38\.0 or newer"):
        SqliteStore(tmp_path / "bus.sqlite")


def test_two_stores_have_different_installation_ids(tmp_path: Path) -> None:
    ids = set()
    for name in ("one", "two"):
        migrate(tmp_path / name)
        ids.add(SqliteStore(tmp_path / name).installation())

    assert len(ids) == 2


def test_the_migrations_make_the_tables_that_the_code_knows(place: SqlitePlace, tmp_path: Path) -> None:
    fresh = SqlitePlace(tmp_path / "fresh.sqlite")
    engine = create_engine(f"sqlite:///{fresh.path}")
    metadata.create_all(engine)
    engine.dispose()
    migrated = create_engine(f"sqlite:///{place.path}")
    with migrated.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    migrated.dispose()

    # The comparison above does not see conditions of indexes and the like: the text of the statements has it all.
    assert _tables(place) == _tables(fresh)


def _tables(place: SqlitePlace) -> dict[object, list[str]]:
    """The lines of each statement that made a table or an index; the order of constraints means nothing."""
    found = place.look("SELECT name, sql FROM sqlite_master WHERE sql != '' AND tbl_name != 'alembic_version'")
    return {name: sorted(line.strip(" \t,") for line in str(sql).splitlines()) for name, sql in found}


def test_a_store_of_an_earlier_schema_keeps_what_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "old.sqlite"
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        kept = old_store(connection, "0002")
        leave_failures(connection)
    engine.dispose()

    migrate(path)

    store = SqliteStore(path)
    assert store.submission_of(kept.request.id) == kept.submission
    assert_joined(store)


def test_a_store_of_a_newer_release_is_not_migrated(place: SqlitePlace) -> None:
    place.damage("UPDATE alembic_version SET version_num = '9999'")

    with pytest.raises(ConfigurationError, match="schema 9999, which this code does not know"):
        migrate(place.path)


def test_every_connection_flushes_each_commit_and_watches_foreign_keys(place: SqlitePlace) -> None:
    store = SqliteStore(place.path)

    for way in (store.reading, store.writing):
        with way() as connection:
            told = [
                connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                for name in ("synchronous", "journal_mode", "foreign_keys")
            ]
            assert told == [2, "wal", 1]


def test_a_writer_that_waits_too_long_for_another_process_says_so(place: SqlitePlace) -> None:
    impatient = SqliteStore(place.path, patience=50)
    with closing(sqlite3.connect(place.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")

        with pytest.raises(StoreUnavailableError, match="locked"):
            impatient.save_epoch("e1")

    impatient.save_epoch("e2")
    assert impatient.epoch() == "e2"


def test_a_writer_that_waits_too_long_for_another_thread_says_so(place: SqlitePlace) -> None:
    impatient = SqliteStore(place.path, patience=50)

    with impatient.transaction(), pytest.raises(StoreUnavailableError, match="Another thread"):
        impatient.save_epoch("e1")

    impatient.save_epoch("e2")


def test_a_store_that_is_not_there_is_not_made_by_opening_it(tmp_path: Path) -> None:
    missing = SqliteStore(tmp_path / "missing.sqlite")

    with pytest.raises(StoreUnavailableError, match="unable to open"):
        missing.epoch()

    assert not (tmp_path / "missing.sqlite").exists()


def test_a_store_cannot_be_made_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StoreUnavailableError, match="cannot be made"):
        migrate(tmp_path / "file" / "bus.sqlite")


def test_a_full_disk_says_so_and_the_batch_is_not_there(place: SqlitePlace) -> None:
    # A limit on the size of files stands for the end of the disk.
    script = f"""
{place.source}
import resource, signal
from bus.errors import ConfigurationError, StoreUnavailableError
from tests.conformance.store_values import accept, accepted, step
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
kept = accept(store, accepted(step()))
resource.setrlimit(resource.RLIMIT_FSIZE, (256 * 1024, resource.RLIM_INFINITY))
batch = None
try:
    while True:
        batch = accepted(step())
        accept(store, batch)
except StoreUnavailableError:
    assert store.request(kept.id) == kept
    assert store.request(batch.request.id) is None
    print("unavailable")
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
accept(store, batch)
"""
    assert _run(script) == "unavailable\n"
    assert place.open().recount() == ()


def test_a_store_that_may_only_be_read_says_so_when_it_is_written(place: SqlitePlace) -> None:
    # Root may write to any file, so the connection forbids it: SQLite gives the same error.
    store = SqliteStore(place.path)
    with store.reading() as connection:  # the pool has one connection, which the write gets again
        connection.exec_driver_sql("PRAGMA query_only = ON")

    with pytest.raises(StoreUnavailableError, match="readonly"):
        store.save_epoch("e1")

    assert store.epoch() is None


def _run(script: str) -> str:
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_no_column_but_the_bytes_of_payloads_holds_what_people_wrote(place: SqlitePlace, store: Store) -> None:
    name = "فاطمة الزهراء 29001011234567"
    each = values.with_message(accepted(values.step()))
    secret = Payload(id=values.key(), request_key=each.request.key, bytes=name.encode())
    each.payloads = (*each.payloads, secret)
    accept(store, each)

    found = [
        (table, column)
        for (table,) in place.look("SELECT name FROM sqlite_master WHERE type = 'table'")
        for (column,) in place.look(f"SELECT name FROM pragma_table_info('{table}')")
        if place.look(f"SELECT 1 FROM {table} WHERE instr(CAST({column} AS TEXT), '{name}')")
    ]

    assert found == [("payload", "bytes")]


def test_nothing_that_runs_all_the_time_scans_a_table(place: SqlitePlace) -> None:
    store = SqliteStore(place.path)
    request = accept(store, accepted(values.step()))
    ran: list[str] = []
    with store.reading() as connection:  # the pool has one connection, which everything below gets again
        driver = connection.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        driver.set_trace_callback(ran.append)

    store.request(request.id)
    store.find("T-free")
    store.facts(request.id)
    store.payloads([request.data_id])
    store.due(values.NOW, 10)
    store.next_due()
    store.counts(StepState.DISPATCHED)
    store.results("one_stop_shop", after=0, most=10)
    store.requests(consumer="one_stop_shop", states=[], after=0, most=10)
    store.told(request.id)
    store.desk("giza", states=["open", "claimed"], after=0, most=10)
    store.desk_claims(request.id)
    store.failures(is_open=True, after=0, most=10)
    store.open_failures(request.id)
    store.alive_requests(0, 10)
    store.leftovers(values.key(), 10, 1)
    with store.transaction() as transaction:
        transaction.load([request.id])
        transaction.ready("tax_authority", 10)
        transaction.desk_row(request.key, values.TAX)
        transaction.submission("one_stop_shop", "key")
        transaction.write(values.moved(request, values.step(answer_at=5))[1])

    reads = [sql for sql in ran if sql.startswith(("SELECT", "UPDATE"))]
    plans = {sql: [str(row[-1]) for row in place.look(f"EXPLAIN QUERY PLAN {sql}")] for sql in reads}
    scans = {sql: plan for sql, plan in plans.items() for line in plan if _is_scan_of_table(line)}
    assert len(reads) >= 21
    assert scans == {}


def test_the_few_that_wait_for_a_person_are_found_among_all_that_were_ever_done(place: SqlitePlace) -> None:
    store = SqliteStore(place.path)
    ran: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, sql: str, values: Any, _context: Any, _many: bool) -> None:  # noqa: FBT001  # as it is called
        ran.append((sql, values))

    # With the values still apart, as SQLite plans it: with them in the text it can prove more.
    event.listen(Engine, "before_cursor_execute", note)
    try:
        store.desk("giza", states=["open", "claimed"], after=0, most=10)
        store.failures(is_open=True, after=0, most=10)
        store.open_failures("id")
    finally:
        event.remove(Engine, "before_cursor_execute", note)

    with closing(sqlite3.connect(place.path)) as connection:
        plans = [
            str(line[-1])
            for sql, values_ in ran
            if sql.startswith("SELECT")
            for line in connection.execute(f"EXPLAIN QUERY PLAN {sql}", values_)
        ]
    for index in ("ix_desk_waiting", "ix_failure_open_key", "ix_failure_open"):
        assert [line for line in plans if re.search(rf"USING INDEX {index}\b", line)], plans


def _is_scan_of_table(line: str) -> bool:
    """Partial indexes are small and values are few: only a table that grows must not be run through."""
    return line.startswith("SCAN") and line.split()[1] in metadata.tables and "ix_" not in line


def test_threads_read_while_others_write(store: Store) -> None:
    request = accept(store, accepted(values.step()))
    stop = threading.Event()
    seen: list[int] = []

    def read() -> None:
        while not stop.is_set():
            found = store.request(request.id)
            assert found is not None
            # The request and its step are read from one state, never one before and one after a commit.
            assert found.steps[values.TAX].tries == found.version - 2
            seen.append(found.version)

    reader = threading.Thread(target=read)
    reader.start()
    for tries in range(1, 51):
        request, changes = values.moved(request, values.step(state=StepState.RETRYING, tries=tries))
        put(store, changes)
    stop.set()
    reader.join()

    assert seen == sorted(seen)
    assert seen
