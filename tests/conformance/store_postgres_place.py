"""A store in PostgreSQL for one test, and waiting by looking."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator

import psycopg
import pytest

from bus.bench.services import drop_database, make_database
from bus.stores.postgres import PostgresStore, migrate
from bus.stores.schema import metadata


class PostgresPlace:
    """A store in a database of its own."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.source = f"from bus.stores.postgres import PostgresStore\nstore = PostgresStore({url!r})"

    def open(self) -> PostgresStore:
        return PostgresStore(self.url)

    def damage(self, statement: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            # Foreign keys are triggers, and a replica runs none.
            connection.execute("SET session_replication_role = replica")
            assert connection.execute(statement.encode()).rowcount == 1

    def look(self, statement: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []


@pytest.fixture(scope="session")
def emptied(shared_postgres: str) -> Iterator[PostgresPlace]:
    """One database for the run: emptying it is ten times quicker than making and dropping another one."""
    name = f"store_{secrets.token_hex(4)}"
    url = make_database(shared_postgres, name)
    migrate(url)
    yield PostgresPlace(url)
    drop_database(shared_postgres, name)


@pytest.fixture
def place(emptied: PostgresPlace) -> PostgresPlace:
    tables = ", ".join(table for table in metadata.tables if table != "setting")
    emptied.look(f"TRUNCATE {tables} RESTART IDENTITY")
    emptied.look("DELETE FROM setting WHERE name <> 'installation'")
    return emptied


def until(seen: Callable[[], bool], within: float = 20) -> None:
    """Look again and again; an AssertionError after so many seconds."""
    end = time.monotonic() + within
    while not seen():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.01)
