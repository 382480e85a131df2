"""A connection to the schema of one agency's journal, whose tables are brought up to date when it is made."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from psycopg import sql
from psycopg.abc import PQGen
from psycopg.rows import TupleRow

from bus.journals.postgres_steps import finish, is_current, upgrade

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


class Connection(psycopg.Connection[TupleRow]):
    """Waits for an answer with a bound: a server that stands still must not take its host along."""

    _is_patient = False

    def wait(self, gen: PQGen[_T], *how: Any, **named: Any) -> _T:
        """As the driver does it, but not for ever."""
        return super().wait(gen, *how, **{"timeout": None if self._is_patient else _ANSWER, **named})

    @contextmanager
    def patience(self) -> Iterator[None]:
        """Statements may take as long as they do, while the server's machine answers; not to be used after an error."""
        self.settle(dict.fromkeys(_LIMITS, 0))
        self._is_patient = True
        yield
        self._is_patient = False
        self.settle(_LIMITS)

    def settle(self, settings: Mapping[str, str | int]) -> None:
        """Set these for the session, in one round trip."""
        asked = ", ".join(["set_config(%s, %s, false)"] * len(settings))
        self.execute(f"SELECT {asked}", [str(part) for setting in settings.items() for part in setting])


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
    connection.settle(
        {
            **_LIMITS,
            "search_path": sql.Identifier(schema).as_string(connection),
            # What was answered must be there after a power cut, whatever this database does otherwise.
            "synchronous_commit": "on",
        }
    )
    if is_current(connection):
        return
    with connection.transaction():
        is_done = upgrade(connection, schema)
    if not is_done:
        finish(connection, schema, connection.patience)
