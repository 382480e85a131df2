"""Private Redis servers, for what the bus is measured against."""

from __future__ import annotations

import shutil
import socket
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

from bus.bench.services.kept import Kept
from bus.bench.services.place import MEND, Image, Place, docker_works
from bus.bench.services.ports import free_ports
from bus.bench.services.waiting import ServiceError, wait_until

_IMAGE = Image(image="redis:7", user="redis")


def find() -> Place | Image:
    """Docker if it works, else the Redis of this machine."""
    if docker_works():
        return _IMAGE
    found = shutil.which("redis-server")
    if found is None:
        raise ServiceError(f"There is no Redis here. {MEND}")
    return Place(programs=Path(found).parent, user="redis")


class RedisNode:
    """A server of its own in ``folder``, with what Redis does by itself about keeping data."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.log = self.folder / "redis.log"
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
        """Of its first database."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pids(self) -> list[int]:
        """The server."""
        return self._kept.pids() if self._kept else []

    def start(self) -> None:
        """Start it; returns when it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._place.owned(self.folder)
        inside = self._place.folder_inside or self.folder
        arguments = ("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(inside))
        started = self._place.start("redis-server", *arguments, folder=self.folder)
        kept = self._kept = Kept(started, self.log)
        with ExitStack() as failed:
            failed.callback(self.kill)
            wait_until("Redis starts", self._answers, within=20.0, log=self.log, alive=lambda: kept.alive)
            failed.pop_all()

    def kill(self) -> None:
        """End it with SIGKILL."""
        if self._kept:
            self._kept.kill()

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 2) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
        return False
