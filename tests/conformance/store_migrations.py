"""Stores as earlier releases left them."""

from __future__ import annotations

from alembic import command
from sqlalchemy import Connection, Table, insert

from bus.stores import rows, schema
from bus.stores.migrate import config_on
from tests.conformance import store_values as values


def old_store(connection: Connection, revision: str) -> values.Accepted:
    """Make a store of that schema in an empty database, with one request in it."""
    command.upgrade(config_on(connection), revision)
    each = values.accepted(values.step())
    _insert(connection, schema.request, rows.request_row(each.request))
    _insert(connection, schema.submission, rows.submission_row(each.submission))
    for fact in each.facts:
        _insert(connection, schema.fact, rows.fact_row(each.request.key, fact))
    for step in each.request.steps.values():
        _insert(connection, schema.step, rows.step_row(each.request.key, step))
    for payload in each.payloads:
        _insert(connection, schema.payload, rows.payload_row(payload))
    return each


def _insert(connection: Connection, table: Table, row: rows.Row) -> None:
    named = {column.name: value for column, value in zip(table.columns, row, strict=True)}
    # A column that is not there yet is empty.
    connection.execute(insert(table), {name: value for name, value in named.items() if value is not None})
