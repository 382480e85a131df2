"""Runs the gateway: in the main thread of a program, or beside one."""

from __future__ import annotations

import errno
import ipaddress
import resource
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from bus.config import Settings
from bus.errors import ConfigurationError, Fault, TransientError
from bus.gateway.app import create_app
from bus.gateway.wire import MOST_CONNECTIONS, Wire
from bus.message.instant import Milliseconds
from bus.operations.context import Context
from bus.operations.door import Pages

#: Only programs of this machine reach it.
LOOPBACK = "127.0.0.1"
_START_WITHIN = 10.0
#: Connections that may knock at the same moment; the system may allow fewer.
_BACKLOG = 2_048


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine reach the host; ConfigurationError if it is no IP address."""
    return _address(host).is_loopback


def listen(port: int, host: str = LOOPBACK) -> socket.socket:
    """A socket, bound before anything else starts; TransientError if the port is not to be had there."""
    family = socket.AF_INET6 if _address(host).version == 6 else socket.AF_INET
    # With the protocol named, asyncio sends small answers at once; else each may wait 40 ms for an acknowledgement.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        mend = "Stop the other program, or choose another with --port."
        if error.errno == errno.EADDRNOTAVAIL:
            raise TransientError(
                f"This machine has no address {host}.", code="address-unknown", mend="Choose another with --host."
            ) from error
        why = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror})"
        raise TransientError(f"Port {port} {why}.", code="port-taken", mend=mend) from error
    listening.listen(_BACKLOG)
    return listening


def address_of(listening: socket.socket) -> str:
    """The address that clients use; those of this machine, where it listens on every address."""
    host, port = listening.getsockname()[:2]
    known = _address(host)
    if known.is_unspecified:
        known = ipaddress.ip_address("::1" if known.version == 6 else LOOPBACK)
    return f"http://[{known}]:{port}" if known.version == 6 else f"http://{known}:{port}"


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        message = "The host is no IP address."
        fault = Fault(code="host", message=message, mend="Write one of this machine's, such as 127.0.0.1 or 0.0.0.0.")
        raise ConfigurationError((fault,)) from None


def serve_until_told(context: Context, listening: socket.socket, pages: Pages | None = None) -> None:
    """Answer until SIGTERM or SIGINT; what is being answered then may end within the drain time."""
    _server(create_app(context, pages), context.settings.drain_within).run(sockets=[listening])


def serve_app(app: FastAPI, listening: socket.socket) -> None:
    """Answer with any other application, served in the same way."""
    _server(app, Settings().drain_within).run(sockets=[listening])


@contextmanager
def serving(context: Context, pages: Pages | None = None) -> Iterator[str]:
    """A gateway on a free port beside this program, until the end of the ``with``; its address."""
    server = _server(create_app(context, pages), context.settings.drain_within)
    with listen(0) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="gateway", daemon=True)
        thread.start()
        try:
            yield address_of(listening)
        finally:
            server.should_exit = True
            thread.join(_START_WITHIN)


def _server(app: FastAPI, drain_within: Milliseconds) -> uvicorn.Server:
    _allow_many_connections()
    bound = max(1, drain_within // 1000)
    return uvicorn.Server(
        uvicorn.Config(
            app,
            http=Wire,
            ws="none",
            proxy_headers=False,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=bound,
            server_header=False,
        )
    )


def _allow_many_connections() -> None:
    """Each takes a file descriptor; many systems give a program 1,024 until it asks for more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * MOST_CONNECTIONS if hard == resource.RLIM_INFINITY else min(hard, 2 * MOST_CONNECTIONS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
