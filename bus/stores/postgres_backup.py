"""Backups of a store in PostgreSQL, with its own programs: pg_dump, pg_restore and psql."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import psycopg

from bus.errors import ConfigurationError, Fault, StoreUnavailableError, TransientError
from bus.ports import Act, Mode
from bus.stores.postgres import PostgresStore, migrate

#: Where distributions keep what is not on the path.
_ELSEWHERE = Path("/usr/lib/postgresql")
#: Of several hosts in the address: a standby knows none of those who use the store, takes nothing, and may lag behind.
_THE_ONE_THAT_WRITES = "read-write"
_OTHERS = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""
_TABLES = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
#: Before the backup is read in: also what newer releases have made.
_EMPTY = """
DO $$ DECLARE one record; BEGIN
    FOR one IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
        EXECUTE format('DROP TABLE public.%I CASCADE', one.tablename);
    END LOOP;
END $$;
"""
#: In the same transaction: never is there a moment at which a restored store looks like one that may be acted on.
_MODE = f"""
DELETE FROM public.outbox;
INSERT INTO public.setting (name, value) VALUES ('mode', '{Mode.RECONCILE}')
    ON CONFLICT (name) DO UPDATE SET value = EXCLUDED.value;
"""


def dump(url: str, into: Path, *, password: str | None = None) -> None:
    """One committed state of the store, which goes on being written meanwhile."""
    into.touch(mode=0o600)
    _run(["pg_dump", "--format=custom", "--no-owner", "--no-privileges", f"--file={into}"], url, password)


def refuse_in_use(url: str, *, password: str | None = None, replace: bool = False) -> None:
    """TransientError while others are connected to the database; ConfigurationError if it is not empty.

    With ``replace`` it need not be empty.
    """
    try:
        with psycopg.connect(url, password=password, target_session_attrs=_THE_ONE_THAT_WRITES) as connection:
            others, tables = (_count(connection, query) for query in (_OTHERS, _TABLES))
    except psycopg.OperationalError as error:
        raise StoreUnavailableError(f"The store cannot be reached: {error}.") from error
    if others:
        raise TransientError(
            f"{others} others are connected to the database of the store.",
            code="store-in-use",
            mend="Stop every role of the bus that uses it, then try again.",
        )
    if tables and not replace:
        fault = Fault(
            code="store-exists",
            message="The database is not empty.",
            mend="Name an empty one, or add --replace: then what is there is gone for ever.",
        )
        raise ConfigurationError((fault,))


def restore(dumped: Path, url: str, act: Act, *, password: str | None = None) -> None:
    """Put a dump in the place of whatever is in the database, whole or not at all, and have it say so."""
    script = dumped.with_suffix(".sql")
    _run(["pg_restore", "--no-owner", "--no-privileges", f"--file={script}", str(dumped)], None, password)
    with script.open("a", encoding="utf-8") as more:
        more.write(_MODE)
    first = dumped.with_suffix(".first.sql")
    first.write_text(_EMPTY, encoding="utf-8")
    quiet = ["--no-psqlrc", "--quiet", "--no-password", "--set=ON_ERROR_STOP=1", "--output=/dev/null"]
    _run(["psql", *quiet, "--single-transaction", f"--file={first}", f"--file={script}"], url, password)
    migrate(url, password=password)
    store = PostgresStore(url, password=password)
    try:
        store.begin_reconcile(act)
    finally:
        store.close()


def _count(connection: psycopg.Connection[tuple[int]], query: str) -> int:
    row = connection.execute(query.encode()).fetchone()
    return row[0] if row else 0


def _run(command: Sequence[str], url: str | None, password: str | None) -> None:
    """Run one of its programs; ConfigurationError if it is not there, StoreUnavailableError with its words."""
    program, *rest = command
    where = [f"--dbname={url}"] if url is not None else []
    environ = os.environ | {"PGTARGETSESSIONATTRS": _THE_ONE_THAT_WRITES}
    environ |= {"PGPASSWORD": password} if password is not None else {}
    done = subprocess.run([_found(program), *rest, *where], env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StoreUnavailableError(
            f"{program} could not do it: {done.stderr.strip().splitlines()[0] if done.stderr.strip() else 'no word'}",
            mend="Its release must not be older than the server's; look at the address, the rights and the disk too.",
        )


def _found(program: str) -> str:
    known = sorted(_ELSEWHERE.glob(f"*/bin/{program}"), key=lambda file: float(file.parts[-3]), reverse=True)
    # The newest reads and writes what older servers have; Debian's wrapper on the path picks by cluster instead.
    found = str(known[0]) if known else shutil.which(program)
    if found is None:
        fault = Fault(
            code="program-missing",
            message=f"The program {program} is not on this machine.",
            mend="Install PostgreSQL's client programs (on Debian: apt install postgresql-client).",
        )
        raise ConfigurationError((fault,))
    return found
