"""Rows that are sent to PostgreSQL as one parameter come to it as they are, whatever is in them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import BigInteger, Boolean, Integer, LargeBinary, Table

from bus.stores import schema
from bus.stores.postgres_connections import Address, Driver
from bus.stores.postgres_packing import RowType, bigints, texts
from tests.conformance.store_postgres_place import PostgresPlace, emptied, place

#: Every type that a column can have, with and without NULL.
TABLES = (schema.step, schema.inbox, schema.payload, schema.result)
_SETTINGS = settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
__all__ = ["emptied", "place"]


@pytest.fixture
def driver(place: PostgresPlace) -> Iterator[Driver]:
    driver = Address(place.url, None, 5_000).connect()
    driver.autocommit = True
    yield driver
    driver.close()


def _values(column: Any) -> st.SearchStrategy[Any]:
    """Few of them, so that a column often holds the same in all rows."""
    if isinstance(column.type, BigInteger):
        found: st.SearchStrategy[Any] = st.sampled_from([0, -1, 2**63 - 1, -(2**63), 383_075_362_601_177_090])
    elif isinstance(column.type, Integer):
        found = st.sampled_from([0, -1, 2**31 - 1, -(2**31)])
    elif isinstance(column.type, Boolean):
        found = st.booleans()
    elif isinstance(column.type, LargeBinary):
        found = st.binary(max_size=3)
    else:
        found = st.sampled_from(["", "agency_a", "فاطمة الزهراء", "{NULL,\\", "🕊"])
    return found | st.none() if column.nullable else found


def _rows(table: Table) -> st.SearchStrategy[list[tuple[Any, ...]]]:
    return st.lists(st.tuples(*map(_values, table.columns)), min_size=1, max_size=5)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_rows_of_a_table_come_as_they_were_sent(driver: Driver, table: Table) -> None:
    number = driver.execute("SELECT reltype::bigint FROM pg_class WHERE oid = %s::regclass", (table.name,)).fetchall()
    statement = f"SELECT * FROM unnest(%b::{table.name}[])"

    @_SETTINGS
    @given(rows=_rows(table))
    def same(rows: list[tuple[Any, ...]]) -> None:
        sent = RowType.of(table).array(number[0][0], rows)
        assert driver.execute(statement.encode(), (sent,), binary=True).fetchall() == rows

    same()


@_SETTINGS
@given(
    numbers=st.lists(st.integers(-(2**63), 2**63 - 1)),
    words=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"))),
)
def test_lists_come_as_they_were_sent(driver: Driver, numbers: list[int], words: list[str]) -> None:
    sent = (bigints(numbers), texts(words))

    assert driver.execute("SELECT %b::bigint[], %b::text[]", sent, binary=True).fetchall() == [(numbers, words)]


def test_a_table_of_the_database_has_its_columns_in_the_order_in_which_rows_are_written(place: PostgresPlace) -> None:
    # A row type knows its fields by their places: two texts that changed them would be taken for one another.
    found = place.look(
        "SELECT attrelid::regclass::text, array_agg(attname::text ORDER BY attnum) FROM pg_attribute"
        " JOIN pg_class ON pg_class.oid = attrelid WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
        " AND attnum > 0 AND NOT attisdropped GROUP BY 1"
    )

    known = {table.name: [column.name for column in table.columns] for table in schema.metadata.tables.values()}
    assert {name: columns for name, columns in found if name != "alembic_version"} == known
