"""The store in one SQLite file: write-ahead log, a disk flush for every commit, one writer at a time."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, exc
from sqlalchemy.pool import QueuePool

from bus.errors import ConfigurationError, Fault, StaleVersionError, StoreUnavailableError
from bus.message.instant import Milliseconds
from bus.stores import migrate as migrations
from bus.stores.sql import SqlStore
from bus.stores.sqlite_statements import SqliteStatements

#: How long a writer waits for another one, by default.
PATIENCE: Milliseconds = 5_000

#: Primary result codes that say "not now": somebody else, the disk, or the rights; never the statement.
_UNAVAILABLE = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
    }
)
#: The first with all that the statements use: RETURNING, UPDATE FROM, and JSON without asking for it.
_OLDEST = (3, 38, 0)
_TAKEN = frozenset({sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_UNIQUE})


def migrate(path: Path) -> None:
    """Make the store, or bring it to the newest schema: a file that only its owner may read.

    A directory that is missing is made for the owner alone; one that is there keeps its rights.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        path.chmod(0o600)
    except OSError as error:
        raise StoreUnavailableError(f"The store {path} cannot be made: {error.strerror}.") from error
    with _mapped(path):
        with closing(sqlite3.connect(path)) as driver:
            driver.execute("PRAGMA journal_mode = WAL")
        engine = _engine(path, PATIENCE)
        try:
            with engine.connect().execution_options(writes=True) as connection, connection.begin():
                migrations.upgrade(connection)
        finally:
            engine.dispose()


class SqliteStore(SqlStore):
    """The store in the file at ``path``, which `migrate` has made. Any thread may use it; each process has its own."""

    def __init__(self, path: Path, *, patience: Milliseconds = PATIENCE) -> None:
        super().__init__(_engine(path, patience))
        self._path = path
        self._patience = patience
        # Threads of this process queue here, and do not poll the file against one another.
        self._writer = threading.Lock()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that sees one committed state throughout."""
        with _mapped(self._path), self.engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A connection in a write transaction; StoreUnavailableError if it cannot begin within the patience."""
        if not self._writer.acquire(timeout=self._patience / 1_000):
            raise StoreUnavailableError(
                f"Another thread kept the store {self._path} for more than {self._patience} ms.",
                mend="Try again; no transaction may wait for the network or begin within another one.",
            )
        try:
            with (
                _mapped(self._path),
                self.engine.connect().execution_options(writes=True) as connection,
                connection.begin(),
            ):
                yield connection
        finally:
            self._writer.release()

    def hot(self, connection: Connection) -> SqliteStatements:
        """The hot statements on this connection."""
        driver = connection.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)  # noqa: S101  # for the type; the engine below made it
        return SqliteStatements(driver.cursor())


def _engine(path: Path, patience: Milliseconds) -> Engine:
    """An engine on a file that must be there: SQLite would make an empty one where none is."""
    if sqlite3.sqlite_version_info < _OLDEST:
        fault = Fault(
            code="sqlite-too-old",
            message=f"This Python brings SQLite {sqlite3.sqlite_version}.",
            mend=f"Use a Python with SQLite {'.'.join(map(str, _OLDEST))} or newer.",
        )
        raise ConfigurationError((fault,))
    engine = create_engine(
        "sqlite://",
        creator=lambda: sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw",
            uri=True,
            timeout=patience / 1_000,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        ),
        poolclass=QueuePool,
        pool_size=8,
        max_overflow=32,
        pool_timeout=patience / 1_000,
    )
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def _prepare(connection: sqlite3.Connection, _record: Any) -> None:
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


def _begin(connection: Connection) -> None:
    # A transaction that reads first and takes the write lock later may find that it read the past.
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def _mapped(path: Path) -> Iterator[None]:
    """SQLite's errors as the bus's; those that no retry can mend stay as they are."""
    try:
        yield
    except exc.TimeoutError as error:
        raise StoreUnavailableError(f"Too many threads read the store {path} at once.") from error
    except (sqlite3.Error, exc.DBAPIError) as error:
        mapped = _as_ours(error.orig if isinstance(error, exc.DBAPIError) else error, path)
        if mapped is None:
            raise
        raise mapped from error


def _as_ours(error: BaseException | None, path: Path) -> StaleVersionError | StoreUnavailableError | None:
    code = getattr(error, "sqlite_errorcode", 0)
    if code in _TAKEN:
        return StaleVersionError(f"Somebody else wrote the same row first: {error}.", mend="Decide the batch again.")
    if code & 0xFF in _UNAVAILABLE:
        return StoreUnavailableError(
            f"The store {path} cannot be used now: {error}.",
            mend="Look at the disk's space and rights, and for another process that holds the file.",
        )
    return None
