"""A store filled with copies of a finished request has all that a store filled by requests has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from bus.bench.preload import preload
from bus.stores.postgres import migrate

_INDEXES = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY indexdef"
_KEYS = (
    "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid), convalidated FROM pg_constraint"
    " WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2"
)


def ask(url: str, question: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(question.encode()).fetchall()


@pytest.fixture
def store(database: str) -> str:
    """An empty store."""
    migrate(database)
    return database


def finish_a_request(store: str) -> None:
    """One request with a row in several tables: only columns that must be there."""
    with psycopg.connect(store) as connection:
        for table, values in (
            ("request", {"key": 1_000, "id": "r", "ended_at": 7, "data_id": 1_001}),
            ("payload", {"id": 1_001, "request_key": 1_000}),
            ("fact", {"request_key": 1_000, "version": 1}),
            ("fact", {"request_key": 1_000, "version": 2}),
        ):
            insert(connection, table, values)


def insert(connection: psycopg.Connection[Any], table: str, values: dict[str, Any]) -> None:
    """A row with these values, and anything in the other columns that want a value."""
    wanted = connection.execute(
        "SELECT column_name, data_type FROM information_schema.columns"
        " WHERE table_name = %s AND is_nullable = 'NO' AND column_default IS NULL",
        (table,),
    ).fetchall()
    made: dict[str, Callable[[], Any]] = {"bytea": lambda: b"x", "text": lambda: "x", "boolean": lambda: False}
    row = {name: made.get(kind, lambda: 0)() for name, kind in wanted} | values
    names, places = ", ".join(row), ", ".join(["%s"] * len(row))
    connection.execute(f"INSERT INTO {table} ({names}) VALUES ({places})".encode(), list(row.values()))


def test_every_copy_has_all_rows_and_the_store_has_its_indexes_and_keys_as_before(store: str) -> None:
    # Given a store with one finished request
    finish_a_request(store)
    indexes, keys, told = ask(store, _INDEXES), ask(store, _KEYS), list[str]()
    # When it is copied
    size = preload(store, 50, told.append)
    # Then there are so many more of everything, with keys of their own before it
    assert ask(store, "SELECT count(*), count(DISTINCT id), max(key) FROM request") == [(51, 51, 1_000)]
    assert ask(store, "SELECT count(*), count(DISTINCT request_key) FROM fact") == [(102, 51)]
    assert ask(store, "SELECT count(*) FROM request JOIN payload ON data_id = payload.id") == [(51,)]
    # And what was taken off for it is there again, every key checked
    assert (ask(store, _INDEXES), ask(store, _KEYS)) == (indexes, keys)
    assert len(indexes) > 10
    assert size > 1_000_000
    assert told[0] == "50 of 50 requests copied, 0 s to go"


def test_a_copy_that_fails_leaves_the_store_as_it_was(store: str) -> None:
    # Given a store where the copies are in the way of what is there: the same keys
    finish_a_request(store)
    with psycopg.connect(store) as connection:
        insert(connection, "payload", {"id": 1_001 - 2, "request_key": None})
    before = [ask(store, question) for question in (_INDEXES, _KEYS, "SELECT count(*) FROM payload")]
    # When it is copied
    with pytest.raises(psycopg.errors.UniqueViolation):
        preload(store, 50, lambda _: None)
    # Then nothing was copied, and no index is missing
    assert [ask(store, question) for question in (_INDEXES, _KEYS, "SELECT count(*) FROM payload")] == before


def test_a_store_in_which_nothing_has_ended_cannot_be_copied(store: str) -> None:
    with pytest.raises(LookupError, match="no request has ended"):
        preload(store, 1, lambda _: None)
