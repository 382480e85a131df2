#!/usr/bin/env python3
"""Whether a role of the bus runs here and is connected to what it needs: the health check of roles without a port.

    connected.py ROLE HOST:PORT...

ROLE is what `bus serve --role` was started with. Exits 0 if one process of that role has an established TCP connection
to each PORT, as the kernel says; else 1, and tells what is missing. It asks nobody and needs no secret: that the other
end is the right one was checked by whoever connected. Linux only, standard library only.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

_ESTABLISHED = "01"


def main(arguments: list[str]) -> int:
    """The program."""
    role, *addresses = arguments
    wanted = {int(address.rpartition(":")[2]) for address in addresses}
    found = [_ports(process) for process in _processes(role)]
    if any(wanted <= ports for ports in found):
        return 0
    missing = min((wanted - ports for ports in found), key=len, default=None)
    what = "does not run" if missing is None else f"has no connection to port {', '.join(map(str, sorted(missing)))}"
    sys.stderr.write(f"{role} {what}\n")
    return 1


def _processes(role: str) -> Iterator[Path]:
    """Those of this user whose command line has ``--role ROLE``."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended meanwhile
            command = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if ("--role", role) in pairwise(command):
                yield folder


def _ports(process: Path) -> set[int]:
    """The ports at the other end of its established connections."""
    sockets: set[str] = set()
    with suppress(OSError):  # it ended meanwhile, or belongs to another user
        for file in (process / "fd").iterdir():
            with suppress(OSError):
                sockets.add(str(file.readlink()))
    ports: set[int] = set()
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in (process / "net" / table).read_text(encoding="ascii").splitlines()[1:]:
                _, _, remote, state, *rest = line.split()
                if state == _ESTABLISHED and f"socket:[{rest[5]}]" in sockets:
                    ports.add(int(remote.rpartition(":")[2], 16))
    return ports


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
