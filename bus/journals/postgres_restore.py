"""Whether a journal in PostgreSQL may be declared restored: it is there, and no host of its agency is connected."""

from __future__ import annotations

from typing import Final

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from bus.errors import ConfigurationError, Fault, StoreUnavailableError, TransientError
from bus.journals.postgres_link import schema_of

#: Not the name of a host, and asked where the hosts write.
_SETTINGS: Final = {"connect_timeout": "5", "application_name": "bus restore", "target_session_attrs": "read-write"}
#: Bytes of a program's name that PostgreSQL keeps.
_LONGEST_NAME: Final = 63
_IS_THERE = "SELECT to_regclass(%s) IS NOT NULL"
_HOSTS = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name = %s
"""


def refuse_unready(url: str, *, agency: str, password: str | None = None) -> None:
    """ConfigurationError where there is no journal of the agency, which must not be made by a slip, or no right to it.

    TransientError while a host of the agency is connected; StoreUnavailableError if the database cannot be reached.
    """
    table = sql.Identifier(schema_of(agency), "journal").as_string(None)
    try:
        with psycopg.connect(make_conninfo(url, password=password, **_SETTINGS)) as asked:
            (is_there,) = asked.execute(_IS_THERE, (table,)).fetchone() or (False,)
            (hosts,) = asked.execute(_HOSTS, (_name_of_hosts(url, agency),)).fetchone() or (0,)
    except psycopg.errors.InsufficientPrivilege as error:
        fault = Fault(
            code="journal-refused",
            message=f"This user may not use the journal of {agency} in PostgreSQL (table {table}).",
            mend="Name the user of its hosts in the journal's URL, or give this one their rights on the schema.",
        )
        raise ConfigurationError((fault,)) from error
    except psycopg.Error as error:
        raise StoreUnavailableError(
            f"The journal of {agency} in PostgreSQL cannot be reached ({type(error).__name__}).",
            mend="See that its server runs, can be reached from here, and lets this user in.",
        ) from error
    if not is_there:
        fault = Fault(
            code="no-journal",
            message=f"The database that the environment names has no journal of {agency} (no table {table}).",
            mend="Put the backup back first, or choose the right environment with --env.",
        )
        raise ConfigurationError((fault,))
    if hosts:
        raise TransientError(
            f"{hosts} hosts of {agency} are connected to their journal.",
            code="journal-in-use",
            mend="Stop every host of the agency, then try again.",
        )


def place_of(url: str, agency: str) -> str:
    """Where the journal stands, without what lets anybody in."""
    said = conninfo_to_dict(url)
    server = f"{said.get('host', 'this machine')}:{said.get('port', '5432')}"
    database = said.get("dbname", said.get("user", ""))
    return f"the schema {schema_of(agency)} of the database {database} on {server}"


def _name_of_hosts(url: str, agency: str) -> str:
    """As `postgres_link.connect` introduces a host, unless the URL says otherwise."""
    named = str(conninfo_to_dict(url).get("application_name", f"bus host of {agency}"))
    return named.encode()[:_LONGEST_NAME].decode(errors="ignore")
