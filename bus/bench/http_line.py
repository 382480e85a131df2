"""A connection of HTTP/1.1 that stays open, as bare as it can be: the client must not be what is measured."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TypeAlias
from urllib.parse import urlsplit

#: The line on which it came, the status, the body.
Heard: TypeAlias = Callable[["Line", int, bytes], None]


class Questions:
    """Makes the bytes of questions to one address, all with the same headers."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        address = urlsplit(url)
        self.host, self.port = address.hostname or "", address.port or 80
        lines = {"Host": address.netloc, "Content-Type": "application/json", **headers}
        self._lines = "".join(f"{name}: {value}\r\n" for name, value in lines.items())

    def get(self, target: str) -> bytes:
        """A GET of a path with its query."""
        return f"GET {target} HTTP/1.1\r\n{self._lines}\r\n".encode()

    def post(self, target: str, body: bytes, key: str = "") -> bytes:
        """A POST; ``key`` is its Idempotency-Key."""
        once = f"Idempotency-Key: {key}\r\n" if key else ""
        return f"POST {target} HTTP/1.1\r\n{self._lines}{once}Content-Length: {len(body)}\r\n\r\n".encode() + body


class Line(asyncio.Protocol):
    """One question at a time; each whole answer is told. A server that hangs up is told by `broken`."""

    def __init__(self, heard: Heard) -> None:
        self._heard = heard
        self._read = b""
        self._transport: asyncio.Transport | None = None
        #: Set once the server hung up, or the connection broke.
        self.broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @classmethod
    async def open(cls, questions: Questions, heard: Heard) -> Line:
        """Connect."""
        loop = asyncio.get_running_loop()
        _, line = await loop.create_connection(lambda: cls(heard), questions.host, questions.port)
        return line

    def ask(self, question: bytes) -> None:
        """Send one question."""
        assert self._transport is not None  # noqa: S101  # for the type; `open` has waited for it
        self._transport.write(question)

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()

    # --- what asyncio calls -----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It stands."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  # for the type; it is a socket's
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """A part of an answer."""
        self._read += data
        head, found, rest = self._read.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(rest) < length:
            return
        self._read = b""
        self._heard(self, int(head[9:12]), rest)

    def connection_lost(self, error: Exception | None) -> None:
        """It is gone."""
        if not self.broken.done():
            self.broken.set_result(None)
