"""Where a store is: two ways to a connection that a dialect provides, and the clock."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from sqlalchemy import Connection, Engine

from bus.message.instant import Instant
from bus.ports import Act, Transaction
from bus.stores import commands
from bus.stores.sql_transaction import HotStatements, SqlTransaction


class SqlPlace(ABC):
    """What the parts of the store work with; the hot statements are the dialect's own."""

    #: Added to the clock; only tests set it.
    offset: int = 0

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @abstractmethod
    def reading(self) -> AbstractContextManager[Connection]:
        """A connection that sees one committed state throughout; StoreUnavailableError."""

    def looking(self) -> AbstractContextManager[Connection]:
        """As `reading`, for what asks one statement and no more."""
        return self.reading()

    @abstractmethod
    def writing(self) -> AbstractContextManager[Connection]:
        """A connection in a write transaction, committed at the end, rolled back on an exception."""

    @abstractmethod
    def hot(self, connection: Connection) -> HotStatements:
        """The hot statements on this connection."""

    def transaction(self) -> AbstractContextManager[Transaction]:
        """A write transaction; an exception rolls back; StoreUnavailableError if it cannot begin or commit."""
        return self._transaction()

    @contextmanager
    def _transaction(self) -> Iterator[Transaction]:
        with self.writing() as connection:
            yield SqlTransaction(connection, self.hot(connection), self.now())

    def reading_at_length(self) -> AbstractContextManager[Connection]:
        """As `reading`, for what reads whole tables."""
        return self.reading()

    def now(self) -> Instant:
        """The wall clock in milliseconds; it goes back when somebody sets the machine's clock back."""
        return time.time_ns() // 1_000_000 + self.offset

    def close(self) -> None:
        """Let go of connections."""
        self.engine.dispose()

    def _note(self, connection: Connection, act: Act | None) -> None:
        if act is not None:
            commands.note_act(connection, act, self.now())
