"""Connections to PostgreSQL that never hang: every wait has an end, here and in the server."""

from __future__ import annotations

import logging
import select
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, Self, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict
from psycopg.waiting import Ready
from sqlalchemy import Connection, Engine, create_engine, event, exc

from bus.errors import ConfigurationError, Fault, StaleVersionError, StoreUnavailableError
from bus.message.instant import Milliseconds
from bus.stores import postgres_packing
from bus.stores.postgres_in_use import MIGRATING, SESSION

_T = TypeVar("_T")

#: Somebody was first, or two waited for one another: the whole batch is decided again.
_STALE = frozenset({"23505", "40001", "40P01"})
#: Codes, or their classes, that say "not now": the connection, resources, an operator, the system, a lock, a standby.
_UNAVAILABLE = ("08", "53", "57", "58", "55P03", "25006", "25P03", "42501")
#: What a statement meets whose tables were changed under the process: it has nothing to do with what was to be written.
_OF_ANOTHER_SCHEMA = frozenset({"42804", "0A000", "42703", "42P01"})

#: What runs all the time leads from keys to a few rows, and a plan is kept as long as its connection. One that was made
#: while a table was young, and walks through all of it, would do so until the database has counted its rows anew.
_BY_INDEX = {"enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off", "jit": "off"}

#: In bytes; the server cuts what is longer.
_LONGEST_NAME = 63


class Driver(psycopg.Connection[tuple[Any, ...]]):
    """A connection that gives up when the server says nothing for too long, as one that was paused or cut off does."""

    #: In seconds; None to wait for ever.
    patience: float | None = None
    #: Which connections of its address it was made with.
    generation: int = 0
    #: The numbers of the tables' row types in this database, once somebody has asked.
    row_types: Mapping[str, int] = MappingProxyType({})

    def reads(self, reads: bool) -> None:  # noqa: FBT001  # its name says it
        """What the next transaction is for: to read one committed state, or to write what the server lets it."""
        isolation = psycopg.IsolationLevel.REPEATABLE_READ if reads else None
        if self.isolation_level != isolation:
            self.isolation_level = isolation
            self.read_only = True if reads else None

    def wait(self, gen: PQGen[_T], *args: Any, **kwargs: Any) -> _T:
        """Wait for an answer; OperationalError after the patience, and then the connection is closed."""
        if self.patience is None:
            return super().wait(gen, *args, **kwargs)
        try:
            return super().wait(_within(gen, self.patience), *args, **kwargs)
        except _NoAnswerError:
            # Whatever the server does with what it was told, nobody hears of it any more.
            self.pgconn.finish()
            raise


class _Cursor(psycopg.Cursor[tuple[Any, ...]]):
    """Outside a transaction it only looks: there neither the driver nor the server keeps a statement from writing."""

    def execute(self, query: Any, *args: Any, **kwargs: Any) -> Self:
        if self.connection.autocommit and not _is_look(query):
            raise psycopg.ProgrammingError("Outside a transaction only a SELECT may run: take `reading` or `writing`.")
        return super().execute(query, *args, **kwargs)


def _is_look(query: Any) -> bool:
    return bool(query.lstrip().startswith("SELECT" if isinstance(query, str) else b"SELECT"))


class _NoAnswerError(psycopg.OperationalError):
    pass


def _within(gen: PQGen[_T], patience: float) -> PQGen[_T]:
    until = time.monotonic() + patience
    try:
        wait = next(gen)
        while True:
            ready = yield wait
            if ready == Ready.NONE and time.monotonic() > until:
                raise _NoAnswerError(f"the server has said nothing for {patience:g} s")
            wait = gen.send(ready)
    except StopIteration as done:
        result: _T = done.value
        return result


class Address:
    """Where a store is, as libpq understands it, and what may be said of it."""

    def __init__(self, url: str, password: str | None, patience: Milliseconds, *, migrates: bool = False) -> None:
        """ConfigurationError if nobody understands the URL; what is wrong in it is not told, it may hold a password."""
        try:
            given = conninfo_to_dict(url, **({} if password is None else {"password": password}))
        except psycopg.ProgrammingError:
            fault = Fault(
                code="store-url",
                message="The address of the store cannot be read.",
                mend="Write it like postgresql://bus@host:5432/bus, with the password apart from it.",
            )
            raise ConfigurationError((fault,)) from None
        self._secret = str(given.get("password") or "")
        self.patience = patience
        self._generation = 0
        #: What the sessions of those who use the store are called.
        self.session = str(given.get("application_name") or SESSION).encode()[:_LONGEST_NAME].decode(errors="ignore")
        self.name = f"postgresql://{given.get('host', '')}:{given.get('port', 5432)}/{given.get('dbname', '')}"
        session = {
            "synchronous_commit": "on",
            "timezone": "UTC",
            "lock_timeout": patience,
            "statement_timeout": 2 * patience,
            # A process that is paused in a transaction must not hold what others wait for.
            "idle_in_transaction_session_timeout": 2 * patience,
            **_BY_INDEX,
        }
        options = " ".join(f"-c {name}={value}" for name, value in session.items())
        self._parameters: dict[str, Any] = {
            "target_session_attrs": "read-write",
            "connect_timeout": max(2, patience // 1_000),
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 3 * patience,
            **given,
            "application_name": MIGRATING if migrates else self.session,
            "options": f"{options} {given.get('options', '')}".strip(),
        }

    def connect(self) -> Driver:
        """A new connection."""
        generation = self._generation
        driver = Driver.connect(cursor_factory=_Cursor, **self._parameters)
        driver.patience = 3 * self.patience / 1_000
        driver.generation = generation
        postgres_packing.register(driver)
        return driver

    def engine(self) -> Engine:
        """A pool of connections; one that died while nobody used it is not given to anybody."""
        # What matters comes as an error; the driver's own warnings quote the server, which quotes rows.
        logging.getLogger("psycopg").setLevel(logging.ERROR)
        engine = create_engine(
            "postgresql+psycopg://",
            creator=self.connect,
            pool_size=8,
            max_overflow=16,
            pool_timeout=self.patience / 1_000,
            pool_use_lifo=True,
            use_native_hstore=False,
            hide_parameters=True,
        )
        event.listen(engine, "checkout", self._refuse_dead)
        return engine

    def connection(self, engine: Engine) -> Connection:
        """One of the pool's; StoreUnavailableError where also the new one in its place ended before it was used."""
        try:
            return engine.connect()
        except exc.InvalidRequestError as error:
            raise StoreUnavailableError(
                f"The store {self.name} ends connections as soon as they are made.",
                mend="Look whether somebody ends its sessions, or PostgreSQL is starting or stopping.",
            ) from error

    def forget_connections(self) -> None:
        """Those that were made so far are not given to anybody any more."""
        self._generation += 1

    def _refuse_dead(self, driver: Driver, _record: Any, _proxy: Any) -> None:
        """A server that has something to say to a connection that asks nothing says good-bye."""
        if driver.closed or driver.generation != self._generation or _says_something(driver):
            raise exc.DisconnectionError

    @contextmanager
    def mapped(self) -> Iterator[None]:
        """PostgreSQL's errors as the bus's; those that no retry can mend stay as they are."""
        try:
            yield
        except exc.TimeoutError as error:
            raise StoreUnavailableError(
                f"Too many threads use the store {self.name} at once.", mend="Try again."
            ) from error
        except (psycopg.Error, exc.DBAPIError) as error:
            mapped = self._as_ours(error.orig if isinstance(error, exc.DBAPIError) else error)
            if mapped is None:
                raise
            raise mapped from error

    def _as_ours(self, error: BaseException | None) -> StaleVersionError | StoreUnavailableError | None:
        if not isinstance(error, psycopg.Error):
            return None
        code, said = error.sqlstate, self._said(error)
        if code in _STALE:
            return StaleVersionError(f"Somebody else was first: {said}.", mend="Decide the batch again.")
        if _is_of_another_schema(error):
            return StoreUnavailableError(
                f"The tables of the store {self.name} are not as this process knows them: {said}.",
                code="store-schema-changed",
                mend="A newer release has migrated the store: stop this process, and start it from that release.",
            )
        lost = code is None and isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError))
        if lost or (code or "").startswith(_UNAVAILABLE):
            return StoreUnavailableError(
                f"The store {self.name} cannot be used now: {said}.",
                mend="Look whether PostgreSQL runs there, takes connections and writes, and whether another"
                " transaction holds it up.",
            )
        return None

    def _said(self, error: psycopg.Error) -> str:
        """The first line of what is wrong, without the values of rows and without the password."""
        said = (error.diag.message_primary or str(error)).strip().partition("\n")[0].rstrip(".")
        return said.replace(self._secret, "***") if self._secret else said


def is_standby(error: BaseException) -> bool:
    """Whether a server refused to write because another one does now: connecting anew finds that one."""
    return isinstance(error.orig if isinstance(error, exc.DBAPIError) else error, psycopg.errors.ReadOnlySqlTransaction)


def _is_of_another_schema(error: psycopg.Error) -> bool:
    """Whether the tables are others than this process knows, or than this connection has planned for."""
    # A table that was made anew has another row type. The server's internal errors are never translated.
    return error.sqlstate in _OF_ANOTHER_SCHEMA or (error.sqlstate == "XX000" and "cache lookup failed" in str(error))


def _says_something(driver: Driver) -> bool:
    poll = select.poll()
    poll.register(driver.fileno(), select.POLLIN)
    return bool(poll.poll(0))
