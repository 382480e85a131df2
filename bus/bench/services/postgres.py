"""Private PostgreSQL clusters, and fresh databases in any."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psycopg
from psycopg import sql

from bus.bench.services.node import Node
from bus.bench.services.place import MEND, Image, Place, Start, docker_works, run
from bus.bench.services.ports import free_ports
from bus.bench.services.waiting import ServiceError

#: Of every private cluster, whom nobody asks for a password.
SUPERUSER = "postgres"
#: Where Debian puts the programs of each release: not on the PATH.
RELEASES = Path("/usr/lib/postgresql")
_IMAGE = Image(image="postgres:17", user=SUPERUSER)
#: Seconds for a start: one after a crash reads its log again.
_START = 60.0


def find() -> Place | Image:
    """Docker if it works, else the newest PostgreSQL of this machine."""
    if docker_works():
        return _IMAGE
    debian = sorted(RELEASES.glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("postgres")
    program = debian[-1] if debian else Path(on_path) if on_path else None
    if program is None:
        raise ServiceError(f"There is no PostgreSQL here. {MEND}")
    return Place(programs=program.parent, user=SUPERUSER)


def make_database(url: str, name: str, *, template: str = "template1") -> str:
    """Make a database in the cluster of an administrator's URL, as a copy of ``template``; its URL."""
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)
    start, question, settings = url.partition("?")
    return f"{start.rpartition('/')[0]}/{name}{question}{settings}"


def drop_database(url: str, name: str) -> None:
    """Drop a database with whoever is connected to it."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


class PostgresNode(Node):
    """A cluster of its own in ``folder``, on a port that stays; everything in it is gone after ``wipe``."""

    title = "PostgreSQL"
    start_within = _START
    # Asks for a fast shutdown: it does not wait until its clients have gone.
    stop_signal = signal.SIGINT

    def __init__(self, folder: Path, *, settings: Mapping[str, str] | None = None) -> None:
        """``settings`` are those of ``postgresql.conf``: ``{"max_connections": "300"}``."""
        super().__init__(folder, find())
        self._settings = {"max_connections": "200", **(settings or {})}
        (self.port,) = free_ports(1)

    @property
    def url(self) -> str:
        """Of the database ``postgres``, for the superuser, whom nobody asks for a password."""
        return f"postgresql://{SUPERUSER}@127.0.0.1:{self.port}/postgres"

    @property
    def version(self) -> str:
        """``15.18 (Debian …)``, as the running server says it."""
        with psycopg.connect(self.url) as connection:
            return str(connection.execute("SHOW server_version").fetchall()[0][0])

    def kill(self) -> None:
        """End the server and its backends with SIGKILL: a crash."""
        super().kill()
        # Its number may belong to another process by the next start, which would then refuse.
        (self.folder / "data" / "postmaster.pid").unlink(missing_ok=True)

    def make_database(self, name: str, *, template: str = "template1") -> str:
        """Make a database; its URL."""
        return make_database(self.url, name, template=template)

    def _prepare(self) -> None:
        super()._prepare()
        if not (self.folder / "data").exists():
            run(self._fill())

    def _fill(self) -> Start:
        """What makes its data where there is none."""
        data = ("-D", self._inside("data"), "-U", SUPERUSER, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8")
        return self._place.start("initdb", *data, "--no-sync", folder=self.folder)

    def _command(self) -> Start:
        # No socket files: the folder may be too deep for one, and TCP is what the bus uses.
        settings = {"port": self.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "", **self._settings}
        arguments = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return self._place.start("postgres", "-D", self._inside("data"), *arguments, folder=self.folder)

    def _answers(self) -> bool:
        with suppress(psycopg.OperationalError), psycopg.connect(self.url, connect_timeout=2):
            return True
        return False
