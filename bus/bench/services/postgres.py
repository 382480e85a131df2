"""Private PostgreSQL clusters, and fresh databases in any."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

import psycopg
from psycopg import sql

from bus.bench.services.kept import Kept
from bus.bench.services.place import MEND, Image, Place, docker_works, run
from bus.bench.services.ports import free_ports
from bus.bench.services.waiting import ServiceError, wait_until

_SUPERUSER = "postgres"
#: Where Debian puts the programs of each release: not on the PATH.
RELEASES = Path("/usr/lib/postgresql")
_IMAGE = Image(image="postgres:17", user=_SUPERUSER)
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
    return Place(programs=program.parent, user=_SUPERUSER)


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


class PostgresNode:
    """A cluster of its own in ``folder``, on a port that stays; everything in it is gone after ``wipe``."""

    def __init__(self, folder: Path, *, settings: Mapping[str, str] | None = None) -> None:
        """``settings`` are those of ``postgresql.conf``: ``{"max_connections": "300"}``."""
        self.folder = folder.resolve()
        self.log = self.folder / "log" / "postgres.log"
        self._settings = {"max_connections": "200", **(settings or {})}
        self._place = find()
        (self.port,) = free_ports(1)
        self._kept: Kept | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def url(self) -> str:
        """Of the database ``postgres``, for the superuser, whom nobody asks for a password."""
        return f"postgresql://{_SUPERUSER}@127.0.0.1:{self.port}/postgres"

    @property
    def version(self) -> str:
        """``15.18 (Debian …)``, as the running server says it."""
        with psycopg.connect(self.url) as connection:
            return str(connection.execute("SHOW server_version").fetchall()[0][0])

    @property
    def pids(self) -> Sequence[int]:
        """The server, then its backends."""
        return self._kept.pids() if self._kept else ()

    def start(self) -> None:
        """Start it, with the data that it had; returns when it takes connections."""
        if self._kept and self._kept.alive:
            return
        if not (self.folder / "data").exists():
            self._initialise()
        inside = self._place.folder_inside or self.folder
        # No socket files: the folder may be too deep for one, and TCP is what the bus uses.
        settings = {"port": self.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "", **self._settings}
        arguments = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        started = self._place.start("postgres", "-D", str(inside / "data"), *arguments, folder=self.folder)
        # SIGINT asks PostgreSQL for a fast shutdown: it does not wait until its clients have gone.
        kept = self._kept = Kept(started, self.log, stop=signal.SIGINT)
        with ExitStack() as failed:
            failed.callback(self.kill)
            wait_until("PostgreSQL starts", self._answers, within=_START, log=self.log, alive=lambda: kept.alive)
            failed.pop_all()

    def kill(self) -> None:
        """End the server and its backends with SIGKILL: a crash."""
        if self._kept:
            self._kept.kill()
            (self.folder / "data" / "postmaster.pid").unlink(missing_ok=True)

    def stop(self) -> None:
        """Shut it down as an operator does, while clients are connected."""
        if self._kept:
            self._kept.stop()

    def restart(self) -> None:
        """Shut it down and start it again."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Stop every process of it where it stands: it is there, and answers nobody."""
        self._running().pause()

    def resume(self) -> None:
        """Let it go on."""
        self._running().resume()

    def wipe(self) -> None:
        """Kill it, and start it empty on the same port."""
        self.kill()
        shutil.rmtree(self.folder / "data")
        self.start()

    def make_database(self, name: str, *, template: str = "template1") -> str:
        """Make a database; its URL."""
        return make_database(self.url, name, template=template)

    def _initialise(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._place.owned(self.folder)
        inside = self._place.folder_inside or self.folder
        arguments = ("-D", str(inside / "data"), "-U", _SUPERUSER, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8")
        run(self._place.start("initdb", *arguments, "--no-sync", folder=self.folder))

    def _running(self) -> Kept:
        if self._kept is None:
            raise ServiceError("PostgreSQL was not started. Mend: use the node in a with statement.")
        return self._kept

    def _answers(self) -> bool:
        with suppress(psycopg.OperationalError), psycopg.connect(self.url, connect_timeout=2):
            return True
        return False
