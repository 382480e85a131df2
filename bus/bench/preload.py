"""A store with many finished requests in it: copies, made by the database itself, of one that ran through the bus.

Each copy has all rows of the original, with the same sizes, ids of the same randomness and keys that lie before those
of anything new. Only what hashes were made of does not fit the copies: such a store is for measuring
and never recounts. Its indexes are made in one go: those over random ids are denser than a year would leave them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final, LiteralString

import psycopg
from psycopg import sql

#: Table -> columns that hold keys or payload ids, and are moved back in time.
_KEYS: Final[dict[str, Sequence[str]]] = {
    "request": ("key", "data_id"),
    "submission": ("request_key", "said_id"),
    "step": ("request_key", "input_id", "task_id", "output_id"),
    "fact": ("request_key",),
    "inbox": ("request_key",),
    "payload": ("id", "request_key"),
    "result": ("key", "request_key", "payload_id"),
}
#: Of the same length as what stands there, and random over the copies as it is over requests. `n` numbers the copies.
_UUID: Final[LiteralString] = "md5('request' || n)::uuid::text"
_OTHER: Final[dict[str, dict[str, LiteralString]]] = {
    "request": {"id": _UUID},
    "result": {"request_id": _UUID},
    "submission": {
        "submission_key": "md5('submission' || n)",
        "tracking": "upper(substr(md5('tracking' || n), 1, 13))",
        "subject": "md5('subject' || n)",
    },
    "inbox": {"message_id": "md5(t.message_id || n)::uuid::text"},
    "fact": {"message_id": "md5(t.message_id || n)::uuid::text", "hash": "md5(t.hash || n) || md5(n || t.hash)"},
}
#: Copies of one transaction.
_CHUNK: Final = 20_000


#: Keys and indexes of the tables with what makes them again; what refers to a key before the key.
_CONSTRAINTS: Final[LiteralString] = """
    SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE contype = 'f' AND confrelid = ANY(%(tables)s::regclass[])
        OR contype IN ('p', 'u', 'f', 'x') AND conrelid = ANY(%(tables)s::regclass[])
    ORDER BY contype = 'f' DESC, conname
"""
_INDEXES: Final[LiteralString] = """
    SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index
    WHERE indrelid = ANY(%(tables)s::regclass[]) ORDER BY indexrelid
"""


def preload(url: str, copies: int, progress: Callable[[str], None]) -> int:
    """Copy the first request of the store; bytes that the database takes up at the end, tables and indexes together.

    Nobody uses the store meanwhile: its indexes are taken off, and made again in one go over all rows.
    """
    with psycopg.connect(url, autocommit=True) as connection:
        key, lowest, highest = _template(connection)
        with connection.transaction():
            again = _without_indexes(connection)
            begun = time.monotonic()
            for first in range(1, copies + 1, _CHUNK):
                last = min(copies, first + _CHUNK - 1)
                values = {"key": key, "first": first, "last": last, "by": highest - lowest + 1}
                for table in _KEYS:
                    connection.execute(_statement(connection, table), values)
                left = (time.monotonic() - begun) / last * (copies - last)
                progress(f"{last:,} of {copies:,} requests copied, {left:.0f} s to go")
            for number, statement in enumerate(again, 1):
                progress(f"index {number} of {len(again)}")
                connection.execute(statement)
        progress("VACUUM, CHECKPOINT")
        _tidy(connection)
        return int(_one(connection, "SELECT pg_database_size(current_database())")[0])


def tidy(url: str) -> None:
    """What PostgreSQL would do some time later by itself: fresh statistics, and everything on the disk."""
    with psycopg.connect(url, autocommit=True) as connection:
        _tidy(connection)


def _tidy(connection: psycopg.Connection[Any]) -> None:
    connection.execute("VACUUM ANALYZE")
    connection.execute("CHECKPOINT")


def _without_indexes(connection: psycopg.Connection[Any]) -> list[sql.SQL]:
    """Take the indexes off; the statements that make them again, in their order."""
    tables, again = {"tables": list(_KEYS)}, []
    for table, name, definition in connection.execute(_CONSTRAINTS, tables).fetchall():
        connection.execute(sql.SQL(f"ALTER TABLE {table} DROP CONSTRAINT {name}"))
        again.append(sql.SQL(f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition}"))
    for name, definition in connection.execute(_INDEXES, tables).fetchall():
        connection.execute(sql.SQL(f"DROP INDEX {name}"))
        again.append(sql.SQL(definition))
    # What refers to others comes back when they are there.
    return again[::-1]


def _template(connection: psycopg.Connection[Any]) -> tuple[int, int, int]:
    """The key of the oldest request that has ended, and the least and greatest key of all its rows."""
    (key,) = _one(connection, "SELECT min(key) FROM request WHERE ended_at IS NOT NULL")
    if key is None:
        raise LookupError("no request has ended in this store: there is nothing to copy")
    lowest, highest = _one(
        connection,
        """
        SELECT min(k), max(k) FROM (
            SELECT key AS k FROM request WHERE key = %(key)s
            UNION ALL SELECT id FROM payload WHERE request_key = %(key)s
            UNION ALL SELECT key FROM result WHERE request_key = %(key)s
        ) AS keys
        """,
        {"key": key},
    )
    return key, lowest, highest


def _statement(connection: psycopg.Connection[Any], table: str) -> sql.Composed:
    """INSERT … SELECT of every column, some of them changed: correct for whatever columns the table has by now."""
    found = connection.execute(
        "SELECT column_name FROM information_schema.columns WHERE table_name = %s AND table_schema = current_schema()"
        " ORDER BY ordinal_position",
        (table,),
    )
    columns = [name for (name,) in found]
    return sql.SQL(
        "INSERT INTO {table} ({columns}) SELECT {values} FROM {table} AS t,"
        " generate_series(%(first)s::bigint, %(last)s::bigint) AS n WHERE t.{owner} = %(key)s"
    ).format(
        table=sql.Identifier(table),
        columns=sql.SQL(", ").join(map(sql.Identifier, columns)),
        values=sql.SQL(", ").join(_value(table, column) for column in columns),
        owner=sql.Identifier("key" if table == "request" else "request_key"),
    )


def _value(table: str, column: str) -> sql.Composable:
    own = sql.SQL("t.{}").format(sql.Identifier(column))
    if column in _KEYS[table]:
        return own + sql.SQL(" - n * %(by)s::bigint")
    changed = _OTHER.get(table, {}).get(column)
    # What is not there in the original is not there in the copies.
    return (
        own if changed is None else sql.SQL("CASE WHEN {} IS NULL THEN NULL ELSE {} END").format(own, sql.SQL(changed))
    )


def _one(connection: psycopg.Connection[Any], statement: LiteralString, values: Any = None) -> Any:
    row = connection.execute(statement, values).fetchone()
    if row is None:
        raise LookupError("the database gave no row")
    return row
