"""The store in PostgreSQL, for many processes on many machines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, text

from bus.message.instant import SECOND, Instant, Milliseconds
from bus.ports import Disclosure, Place
from bus.stores import migrate as migrations
from bus.stores.locks import Lock
from bus.stores.postgres_clock import APART, DatabaseClock, monotonic
from bus.stores.postgres_connections import Address, Driver, is_standby
from bus.stores.postgres_in_use import refuse_in_use
from bus.stores.postgres_statements import PostgresStatements
from bus.stores.sql import SqlStore

#: How long a writer waits for another one. A statement may take twice as long, an answer may be missing three times.
PATIENCE: Milliseconds = 5 * SECOND

_CLOCK = "SELECT extract(epoch FROM clock_timestamp())::float8 * 1000"
#: Every writer says that it writes before it reads the clock, so that `_HORIZON` sees it.
_BEGIN = f"{_CLOCK}, pg_advisory_xact_lock_shared({int(Lock.WRITING)})"
#: The least time that a transaction which is open now may have read: what is before it is not preceded any more.
#: One that ended between the two looks does not count, and of one that another user began nothing is known.
_HORIZON = f"""
SELECT least(extract(epoch FROM clock_timestamp())::float8 * 1000, min(CASE
    WHEN pg_stat_activity.xact_start IS NOT NULL THEN extract(epoch FROM xact_start)::float8 * 1000
    WHEN pg_stat_activity.pid IS NOT NULL AND coalesce(state, 'disabled') = 'disabled' THEN 0 END))
FROM pg_locks LEFT JOIN pg_stat_activity USING (pid)
WHERE locktype = 'advisory' AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND (classid::bigint << 32 | objid::bigint) = {int(Lock.WRITING)} AND objsubid = 1
"""
#: Whole tables are read otherwise than by their indexes.
_AT_LENGTH = (
    "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0;"
    " SET LOCAL enable_seqscan = on; SET LOCAL enable_hashjoin = on; SET LOCAL enable_mergejoin = on"
)


def migrate(url: str, *, password: str | None = None) -> None:
    """Make the store in an empty database, or bring it to the newest schema; of several at once one does it.

    The roles never do: they refuse a store of another schema than theirs. TransientError while one of them is connected
    to a store that has to change: it would go on with the tables that it knows.
    """
    address = Address(url, password, PATIENCE, migrates=True)
    with address.mapped(), _disposing(address.engine()) as engine, engine.begin() as connection:
        _driver(connection).patience = None
        connection.execute(text(f"{_AT_LENGTH}; SET LOCAL lock_timeout = '60s'"))
        connection.execute(text(f"SELECT pg_advisory_xact_lock({int(Lock.MIGRATING)})"))
        if migrations.is_behind(connection):
            refuse_in_use(connection, address.session)
        migrations.upgrade(connection)


@contextmanager
def _disposing(engine: Engine) -> Iterator[Engine]:
    try:
        yield engine
    finally:
        engine.dispose()


class PostgresStore(SqlStore):
    """The store at ``url``, which `migrate` has made. Any thread may use it; each process has its own.

    The URL is libpq's: ``postgresql://bus@host1,host2:5432/bus?sslmode=verify-full&sslrootcert=…``; of several hosts
    the one that takes writes is used. StoreUnavailableError if nobody answers there, ConfigurationError if the schema
    is not the one of this code. A connection that died is left, and the next use makes another.
    """

    def __init__(self, url: str, *, password: str | None = None, patience: Milliseconds = PATIENCE) -> None:
        self._address = Address(url, password, patience)
        super().__init__(self._address.engine())
        self._clock = DatabaseClock()
        try:
            with self.reading() as connection:
                migrations.check(connection)
        except BaseException:
            self.close()
            raise

    def now(self) -> Instant:
        """The database's clock, as it was measured a few seconds ago."""
        return self._clock.now() + self.offset

    def hot(self, connection: Connection) -> PostgresStatements:
        """The hot statements on this connection."""
        return PostgresStatements(_driver(connection))

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that sees one committed state throughout and cannot write."""
        with self._connected(reads=True) as connection:
            if self._clock.is_old():
                self._read_clock(connection, _CLOCK)
            yield connection

    @contextmanager
    def looking(self) -> Iterator[Connection]:
        """A connection for one SELECT and nothing else: alone it sees one state, without a transaction around it."""
        with self._connected(reads=True) as connection:
            driver = _driver(connection)
            driver.autocommit = True
            try:
                if self._clock.is_old():
                    self._read_clock(connection, _CLOCK)
                yield connection
            finally:
                if not driver.closed:
                    driver.autocommit = False

    @contextmanager
    def reading_at_length(self) -> Iterator[Connection]:
        """As `reading`, for what reads whole tables: nothing hurries it."""
        with self._connected(reads=True) as connection:
            driver = _driver(connection)
            patience, driver.patience = driver.patience, None
            try:
                connection.execute(text(_AT_LENGTH))
                yield connection
            finally:
                driver.patience = patience

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A connection in a write transaction: it sees what is committed, and what it locks stays as it is."""
        with self._connected(reads=False) as connection:
            # The transaction begins here and not at the first statement, so that its time is not before it.
            self._read_clock(connection, _BEGIN)
            yield connection

    def disclosures(
        self,
        *,
        after: Place,
        until: Instant | None,
        most: int,
        request_id: str | None = None,
        agency: str | None = None,
        purpose: str | None = None,
    ) -> tuple[Disclosure, ...]:
        """Who was told what, oldest first, as far as no open transaction may yet add something before it."""
        # Asked in a transaction of its own: who is gone by then has become visible to the next one.
        with self.reading() as connection:
            horizon = int(connection.scalar(text(_HORIZON)) or 0) - APART + self.offset
        return super().disclosures(
            after=after,
            until=horizon if until is None else min(until, horizon),
            most=most,
            request_id=request_id,
            agency=agency,
            purpose=purpose,
        )

    @contextmanager
    def _connected(self, *, reads: bool) -> Iterator[Connection]:
        with self._address.mapped(), self._address.connection(self.engine) as connection, connection.begin():
            driver = _driver(connection)
            driver.reads(reads)
            try:
                yield connection
            except BaseException as error:
                if driver.closed or is_standby(error):
                    # The others of the pool were connected to the same server.
                    self._address.forget_connections()
                    connection.invalidate(error)
                raise

    def _read_clock(self, connection: Connection, statement: str) -> None:
        driver = _driver(connection)
        asked = monotonic()
        with driver.pipeline():
            cursor = driver.execute(statement, prepare=True)
        told = cursor.fetchone()
        if told is not None and self._clock.is_old():
            self._clock.measured(asked, told[0])


def _driver(connection: Connection) -> Driver:
    driver = connection.connection.driver_connection
    assert isinstance(driver, Driver)  # noqa: S101  # for the type; the engine's creator made it
    return driver
