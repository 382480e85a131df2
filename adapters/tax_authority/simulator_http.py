"""The HTTP side of the simulated service: one thread for each connection, and every way to answer badly."""

from __future__ import annotations

import socket
import socketserver
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler
from typing import Any

_MOST_BYTES = 1_000_000
#: Longest wait for a request that does not come whole.
_PATIENCE_S = 5.0
_REASONS = {200: "OK", 401: "Unauthorized", 404: "Not Found", 500: "Internal Server Error", 503: "Unavailable"}


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAnswer:
    """An answer, and how it leaves."""

    status: int
    text: str
    content_type: str = "text/xml; charset=utf-8"
    #: Python's name of the encoding in which the body really is, whatever the headers say.
    encoding: str = "utf-8"
    retry_after: int | None = None
    #: The part of the text that leaves before the connection ends; None: all of it.
    sent: str | None = None
    #: Seconds between the first half and the second.
    pause_s: float = 0.0
    times: int = 1

    def with_(self, **changes: Any) -> HttpAnswer:
        """The same answer, leaving otherwise."""
        return replace(self, **changes)

    def send(self, connection: socket.socket) -> None:
        """Write it, as often and as far as it leaves."""
        body = self.text.encode(self.encoding)
        retry = f"Retry-After: {self.retry_after}\r\n" if self.retry_after is not None else ""
        head = (
            f"HTTP/1.1 {self.status} {_REASONS[self.status]}\r\nContent-Type: {self.content_type}\r\n"
            f"Content-Length: {len(body)}\r\n{retry}Connection: close\r\n\r\n"
        ).encode("ascii")
        leaving = body if self.sent is None else self.sent.encode(self.encoding)
        if self.pause_s:
            middle = len(leaving) // 2
            connection.sendall(head + leaving[:middle])
            time.sleep(self.pause_s)
            connection.sendall(leaving[middle:])
            return
        connection.sendall((head + leaving) * self.times)


class Server:
    """Listens on one port until it is stopped."""

    def __init__(self, port: int, answer: Callable[[str, bytes, socket.socket], HttpAnswer | None]) -> None:
        """``answer``: from Authorization, body and connection to the answer; None closes without a word."""

        class Handler(BaseHTTPRequestHandler):
            timeout = _PATIENCE_S

            def do_POST(self) -> None:
                if self.path != "/clearance":
                    HttpAnswer(status=404, text="<html>404</html>", content_type="text/html").send(self.connection)
                    return
                length = min(int(self.headers.get("Content-Length") or 0), _MOST_BYTES)
                made = answer(self.headers.get("Authorization", ""), self.rfile.read(length), self.connection)
                if made is not None:
                    made.send(self.connection)

            def log_message(self, *_: Any) -> None:
                """Nothing: what is asked here is about persons."""

        self._server = _Quiet(("127.0.0.1", port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def stop(self) -> None:
        """Stop listening, and wait for the answers that are still being written."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Quiet(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    request_queue_size = 128
    daemon_threads = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: a client that goes away in the middle is what this server is for."""
