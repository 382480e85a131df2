"""A network of its own for the nodes of a cluster, in which each pair of them can be cut apart without a sound."""

from __future__ import annotations

import os
import random
import secrets
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from bus.bench.services.kept import Kept
from bus.bench.services.place import MEND, Start
from bus.bench.services.waiting import ServiceError, wait_until

#: What makes namespaces, enters them, and lays the wires between them.
_PROGRAMS = ("unshare", "nsenter", "ip")


class Network:
    """Hosts 1, 2, … on one wire, with this machine. It needs root and Linux, and is gone with this process.

    Each host is a network namespace that a sleeping program holds. What is sent over a cut vanishes, as between two
    machine rooms, while both sides hear their clients as before.
    """

    def __init__(self, folder: Path, hosts: int) -> None:
        missing = [program for program in _PROGRAMS if shutil.which(program) is None]
        if missing:
            raise ServiceError(f"There is no {', '.join(missing)}, which a cluster's private network needs. {MEND}")
        if os.geteuid() != 0:
            raise ServiceError("A cluster's private network needs root. Mend: run this as root.")
        self._folder = folder
        self._hosts = hosts
        self._prefix = f"10.{random.randint(64, 127)}.{random.randint(0, 255)}"  # noqa: S311  # no cryptography
        self._cuts: set[tuple[int, int]] = set()
        self._stack = ExitStack()
        self._pids: dict[int, int] = {}

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            wire = self._hold(stack, "wire")
            self._ip("link", "add", "wire", "type", "bridge", at=wire)
            self._ip("link", "set", "wire", "up", at=wire)
            # Its end in this machine goes with the wire's namespace.
            near = f"bus-{secrets.token_hex(4)}"
            self._ip("link", "add", near, "type", "veth", "peer", "name", "machine", "netns", str(wire))
            self._ip("link", "set", "machine", "master", "wire", "up", at=wire)
            self._ip("address", "add", f"{self._prefix}.254/24", "dev", near)
            self._ip("link", "set", near, "up")
            for host in range(1, self._hosts + 1):
                pid = self._pids[host] = self._hold(stack, f"host-{host}")
                self._ip(
                    "link", "add", f"host{host}", "type", "veth", "peer", "name", "eth0", "netns", str(pid), at=wire
                )
                self._ip("link", "set", f"host{host}", "master", "wire", "up", at=wire)
                self._ip("address", "add", f"{self.address(host)}/24", "dev", "eth0", at=pid)
                self._ip("link", "set", "lo", "up", at=pid)
                self._ip("link", "set", "eth0", "up", at=pid)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def address(self, host: int) -> str:
        """Of a host."""
        return f"{self._prefix}.{host}"

    def namespace(self, host: int) -> int:
        """A process that lives in the host's network."""
        return self._pids[host]

    def cut(self, one: int, other: int) -> None:
        """Let everything vanish that these two send to each other."""
        self._ip("route", "add", "blackhole", self.address(other), at=self._pids[one])
        self._ip("route", "add", "blackhole", self.address(one), at=self._pids[other])
        self._cuts.add((one, other))

    def heal(self) -> None:
        """Undo every cut."""
        for one, other in self._cuts:
            self._ip("route", "del", "blackhole", self.address(other), at=self._pids[one])
            self._ip("route", "del", "blackhole", self.address(one), at=self._pids[other])
        self._cuts.clear()

    def _hold(self, stack: ExitStack, name: str) -> int:
        """Start a program in a network namespace of its own; its process."""
        log = self._folder / f"{name}.log"
        kept = Kept(Start(command=("unshare", "--net", "sleep", "infinity")), log)
        stack.callback(kept.kill)

        def apart() -> int | None:
            return next((pid for pid in kept.pids() if _namespace(pid) not in {"", _namespace(os.getpid())}), None)

        return wait_until("a network namespace", apart, within=10.0, log=log, alive=lambda: kept.alive)

    @staticmethod
    def _ip(*arguments: str, at: int | None = None) -> None:
        enter = [] if at is None else ["nsenter", f"--net=/proc/{at}/ns/net"]
        done = subprocess.run([*enter, "ip", *arguments], capture_output=True, text=True, check=False)
        if done.returncode:
            raise ServiceError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


def _namespace(pid: int) -> str:
    try:
        return str(Path(f"/proc/{pid}/ns/net").readlink())
    except OSError:  # it has ended
        return ""
