"""Private Redis servers, for what the bus is measured against."""

from __future__ import annotations

import shutil
import socket
from contextlib import suppress
from pathlib import Path

from bus.bench.services.node import Node
from bus.bench.services.place import MEND, Image, Place, Start, docker_works
from bus.bench.services.ports import free_ports
from bus.bench.services.waiting import ServiceError

_IMAGE = Image(image="redis:7", user="redis")


def find() -> Place | Image:
    """Docker if it works, else the Redis of this machine."""
    if docker_works():
        return _IMAGE
    found = shutil.which("redis-server")
    if found is None:
        raise ServiceError(f"There is no Redis here. {MEND}")
    return Place(programs=Path(found).parent, user="redis")


class RedisNode(Node):
    """A server of its own in ``folder``, which keeps data as Redis does by itself: a snapshot now and then, no log."""

    title = "Redis"
    start_within = 20.0

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, find())
        (self.port,) = free_ports(1)

    @property
    def url(self) -> str:
        """Of its first database."""
        return f"redis://127.0.0.1:{self.port}/0"

    def _prepare(self) -> None:
        super()._prepare()
        self._own(self.folder / "data")

    def _command(self) -> Start:
        arguments = ("--port", str(self.port), "--bind", "127.0.0.1", "--dir", self._inside("data"))
        return self._place.start("redis-server", *arguments, folder=self.folder)

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 2) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
        return False
