"""Runs the gateway on 127.0.0.1: in the main thread of a program, or beside one."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from bus.errors import TransientError
from bus.gateway.app import create_app
from bus.operations.context import Context
from bus.operations.door import Pages

_START_WITHIN = 10.0


def listen(port: int) -> socket.socket:
    """A socket on 127.0.0.1, bound before anything else starts; TransientError if the port is not to be had."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(("127.0.0.1", port))
    except OSError as error:
        listening.close()
        why = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror})"
        raise TransientError(
            f"Port {port} {why}.", code="port-taken", mend="Stop the other program, or choose another with --port."
        ) from error
    listening.listen(128)
    return listening


def address_of(listening: socket.socket) -> str:
    """The address that clients use."""
    return f"http://127.0.0.1:{listening.getsockname()[1]}"


def serve_until_told(context: Context, listening: socket.socket, pages: Pages | None = None) -> None:
    """Answer until SIGTERM or SIGINT; what is being answered then may end within the drain time."""
    _server(context, pages).run(sockets=[listening])


@contextmanager
def serving(context: Context, pages: Pages | None = None) -> Iterator[str]:
    """A gateway on a free port beside this program, until the end of the ``with``; its address."""
    server = _server(context, pages)
    with listen(0) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="gateway", daemon=True)
        thread.start()
        try:
            yield address_of(listening)
        finally:
            server.should_exit = True
            thread.join(_START_WITHIN)


def _server(context: Context, pages: Pages | None) -> uvicorn.Server:
    bound = max(1, context.settings.drain_within // 1000)
    app = create_app(context, pages)
    return uvicorn.Server(
        uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=bound, server_header=False)
    )
