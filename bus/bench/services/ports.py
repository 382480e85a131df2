"""Ports for private nodes."""

from __future__ import annotations

import random
import socket
from contextlib import suppress

#: Below the range from which Linux takes the ports of clients: there, one that connects again and again to a node
#: that is down may take the node's port itself, or even be connected to itself.
_FIRST, _LAST = 20_000, 29_999


def free_ports(count: int) -> tuple[int, ...]:
    """So many different TCP ports of 127.0.0.1 on which nobody listens."""
    chosen: set[int] = set()
    while len(chosen) < count:
        port = random.randint(_FIRST, _LAST)  # noqa: S311  # no cryptography
        with suppress(OSError), socket.socket() as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind(("127.0.0.1", port))
            chosen.add(port)
    return tuple(chosen)
