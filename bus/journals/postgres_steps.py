"""The tables of a journal in PostgreSQL, and how they are made and brought up to date while other hosts use them."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final
from uuid import uuid4

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from bus.errors import StoreUnavailableError

Connection = psycopg.Connection[TupleRow]

#: Seconds after which a host looks again whether another one has made the index.
_LOOK_AGAIN: Final = 0.5

_TABLES: Final = """
CREATE TABLE version (steps integer NOT NULL);
CREATE TABLE journal (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    journal_id text NOT NULL,
    seq bigint NOT NULL,
    oldest bigint NOT NULL
);
CREATE TABLE interaction (
    interaction_id text COLLATE "C" PRIMARY KEY,
    operation text NOT NULL,
    reference text COLLATE "C" NOT NULL,
    test boolean NOT NULL,
    state text NOT NULL,
    attempt bigint NOT NULL,
    effect text NOT NULL,
    data_hash bytea,
    dead bigint NOT NULL,
    dead_code text NOT NULL,
    supersedes text,
    first_sent bigint NOT NULL,
    expires_at bigint,
    intent bigint NOT NULL,
    request_hash bytea,
    process text NOT NULL,
    lease_until bigint NOT NULL,
    begun_at bigint,
    called_at bigint,
    changed_at bigint NOT NULL
);
CREATE INDEX interaction_waiting ON interaction (changed_at) WHERE state = 'received';
CREATE INDEX interaction_reference ON interaction (reference);
CREATE TABLE task (interaction_id text COLLATE "C" PRIMARY KEY, body bytea NOT NULL);
CREATE TABLE result (
    interaction_id text COLLATE "C" PRIMARY KEY,
    raw bytea,
    message_id text NOT NULL,
    type text NOT NULL,
    correlation_id text NOT NULL,
    body bytea NOT NULL
);
CREATE TABLE outbox (
    place bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id text COLLATE "C" NOT NULL UNIQUE,
    type text NOT NULL,
    correlation_id text NOT NULL,
    body bytea NOT NULL
);
CREATE TABLE invalid (
    place bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    origin text NOT NULL,
    code text NOT NULL,
    body bytea NOT NULL,
    at bigint NOT NULL
);
CREATE TABLE admission (start_id text PRIMARY KEY, journal_id text NOT NULL, seq bigint NOT NULL);
"""
_INDEX: Final = "interaction_first_sent"
#: What the tables mean, as ``version`` tells it: a host refuses a greater number than it knows. What an older host can
#: live with, like one more index, does not raise it, for hosts of two releases may run side by side: that is looked
#: for itself. The next meaning is 3, for 2 was once written for the index.
_MEANING: Final = 1
_SAME_MEANING: Final = 2


def is_current(connection: Connection) -> bool:
    """Whether there is nothing to do, as a rule."""
    return _meaning(connection) == _MEANING and _is_indexed(connection)


def upgrade(connection: Connection, schema: str) -> bool:
    """Make what is not there, within a transaction of the caller; whether nothing is left to `finish`.

    StoreUnavailableError where a newer version of the bus has made the tables.
    """
    # Hosts that start together wait here for the first one.
    connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"bus {schema}",))
    (exists,) = connection.execute(
        "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = %s)", (schema,)
    ).fetchone() or (False,)
    if not exists:
        # Not `IF NOT EXISTS`, which asks for the right to make schemas also where an administrator made this one.
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
    meaning = _meaning(connection)
    if meaning > _SAME_MEANING:
        raise StoreUnavailableError(
            f"The journal has schema {meaning}, this host knows {_MEANING}: run the newer version of the bus."
        )
    if meaning == 0:
        connection.execute(_TABLES)
        connection.execute(f"CREATE INDEX {_INDEX} ON interaction (first_sent)")
        connection.execute("INSERT INTO journal (journal_id, seq, oldest) VALUES (%s, 0, 0)", (str(uuid4()),))
        connection.execute("INSERT INTO version VALUES (%s)", (_MEANING,))
    elif meaning == _SAME_MEANING:
        connection.execute("UPDATE version SET steps = %s", (_MEANING,))
    return _is_indexed(connection)


def finish(connection: Connection, schema: str, patience: Callable[[], AbstractContextManager[None]]) -> None:
    """Make the index of a journal that has rows, while its other hosts go on writing; each statement for itself.

    It takes as long as the rows and the transactions of others take, for which PostgreSQL waits: a backup, too.
    Within ``patience`` a statement may take that long. Where it raises, the connection is to be closed.
    """
    one = (f"bus {schema} index",)
    # Not a lock that is waited for: whoever makes an index waits for those who wait, too.
    while not _is_true(connection, "SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", *one):
        time.sleep(_LOOK_AGAIN)
    if not _is_indexed(connection):
        with patience():
            _make_index(connection)
    connection.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", one)


def _make_index(connection: Connection) -> None:
    # What was broken off stays behind, costs with every write, and is used by nobody.
    if _is_true(connection, "SELECT NOT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)", _INDEX):
        connection.execute(f"DROP INDEX CONCURRENTLY {_INDEX}")
    connection.execute(f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {_INDEX} ON interaction (first_sent)")


def _is_indexed(connection: Connection) -> bool:
    """Whether the index is there, and whole."""
    return _is_true(connection, "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)", _INDEX)


def _meaning(connection: Connection) -> int:
    """What ``version`` says; 0 where there are no tables."""
    if not _is_true(connection, "SELECT to_regclass('version') IS NOT NULL"):
        return 0
    (meaning,) = connection.execute("SELECT steps FROM version").fetchone() or (0,)
    return int(meaning)


def _is_true(connection: Connection, asked: str, *arguments: str) -> bool:
    (answer,) = connection.execute(asked, arguments).fetchone() or (False,)
    return bool(answer)
