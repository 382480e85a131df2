"""A connection to the schema of one agency's journal, whose tables are brought up to date when it is made."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, TypeVar
from uuid import uuid4

import psycopg
from psycopg import sql
from psycopg.abc import PQGen
from psycopg.rows import TupleRow

from bus.errors import StoreUnavailableError

_T = TypeVar("_T")

#: Seconds that a connection may take to come about; each host of the URL has as many.
_CONNECT = 5
#: Seconds after which a server that says nothing is given up: more than it may take by its own limits.
_ANSWER = 35.0
#: Limits that the server keeps itself, in milliseconds: for the other host of the agency, for a statement, and for a
#: host that hangs within a transaction and would hold up the others.
_LIMITS = {"lock_timeout": 5_000, "statement_timeout": 30_000, "idle_in_transaction_session_timeout": 10_000}
#: A peer that went without a word is found out within half a minute.
_KEEPALIVES = {
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}
#: PostgreSQL cuts longer names without a word.
_LONGEST_NAME = 63

#: The tables, step by step; ``version`` says how many steps they have.
_STEPS: tuple[str, ...] = (
    """
    CREATE TABLE version (steps integer NOT NULL);
    INSERT INTO version VALUES (0);
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
    """,
    "CREATE INDEX interaction_first_sent ON interaction (first_sent)",
)


class Connection(psycopg.Connection[TupleRow]):
    """Waits for an answer with a bound: a server that stands still must not take its host along."""

    def wait(self, gen: PQGen[_T], *how: Any, **named: Any) -> _T:
        """As the driver does it, but not for ever."""
        return super().wait(gen, *how, **{"timeout": _ANSWER, **named})


def schema_of(agency: str) -> str:
    """The schema of an agency's journal; several agencies may share a database."""
    name = f"journal_{agency}"
    if len(name) <= _LONGEST_NAME:
        return name
    digest = hashlib.sha256(agency.encode()).hexdigest()[:16]
    return f"{name[: _LONGEST_NAME - 17]}.{digest}"


def connect(parameters: Mapping[str, Any], agency: str) -> Connection:
    """Connect and make the tables, or bring them up to date; raises what the driver raises."""
    connection = Connection.connect(
        autocommit=True,
        **{
            "connect_timeout": _CONNECT,
            # A standby lets nobody write.
            "target_session_attrs": "read-write",
            "application_name": f"bus host of {agency}",
            **_KEEPALIVES,
            **parameters,
            "client_encoding": "UTF8",
        },
    )
    try:
        _prepare(connection, schema_of(agency))
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: Connection, schema: str) -> None:
    settings = {
        **{name: str(limit) for name, limit in _LIMITS.items()},
        "search_path": sql.Identifier(schema).as_string(connection),
        # What was answered must be there after a power cut, whatever this database does otherwise.
        "synchronous_commit": "on",
    }
    asked = ", ".join(["set_config(%s, %s, false)"] * len(settings))
    connection.execute(f"SELECT {asked}", [part for setting in settings.items() for part in setting])
    if _steps(connection) != len(_STEPS):
        with connection.transaction():
            _upgrade(connection, schema)


def _steps(connection: Connection) -> int:
    """How many steps the tables have."""
    (known,) = connection.execute("SELECT to_regclass('version') IS NOT NULL").fetchone() or (False,)
    if not known:
        return 0
    (steps,) = connection.execute("SELECT steps FROM version").fetchone() or (0,)
    return int(steps)


def _upgrade(connection: Connection, schema: str) -> None:
    # Hosts that start together wait here for the first one.
    connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"bus {schema}",))
    (exists,) = connection.execute(
        "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = %s)", (schema,)
    ).fetchone() or (False,)
    if not exists:
        # Not `IF NOT EXISTS`, which asks for the right to make schemas also where an administrator made this one.
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
    steps = _steps(connection)
    if steps > len(_STEPS):
        raise StoreUnavailableError(
            f"The journal has schema {steps}, this host knows {len(_STEPS)}: run the newer version of the bus."
        )
    for step in _STEPS[steps:]:
        connection.execute(step)
    if steps == 0:
        connection.execute("INSERT INTO journal (journal_id, seq, oldest) VALUES (%s, 0, 0)", (str(uuid4()),))
    connection.execute("UPDATE version SET steps = %s", (len(_STEPS),))
