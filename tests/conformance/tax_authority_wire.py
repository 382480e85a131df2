"""A server in the place of the tax authority, its samples, and what the adapter makes of an answer."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from adapters.tax_authority import translate
from adapters.tax_authority.adapter import TaxAuthority
from bus.adapter import Effect, Failed, Reply, Task

FOLDER = Path(__file__).parents[2] / "adapters" / "tax_authority"
SAMPLES = FOLDER / "samples"
ISSUE, CANCEL = "clearance.issue.v1", "clearance.cancel.v1"
REFERENCE = "ABCDEFGHIJKLMNOP"
PASSWORD = "open sesame"
TASK = Task(reference=REFERENCE, data={"national_id": "28501011234567"})


def sample(name: str, operation: str = ISSUE) -> bytes:
    return (SAMPLES / operation / f"{name}.native.http").read_bytes()


def http_of(raw: bytes) -> bytes:
    """The sample as it came over the wire."""
    return raw.split(b"\r\n", 1)[1]


GOOD = http_of(sample("reply-valid-issued"))
BODY_AT = GOOD.index(b"\r\n\r\n") + 4


class Wire:
    """A server that takes one request at a time and does with the connection what the test wants."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        #: What came, connection by connection.
        self.heard: list[bytes] = []
        #: One for each connection; the last one again and again.
        self.acts: list[Callable[[socket.socket], None]] = [lambda stream: stream.sendall(GOOD)]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def says(self, *answers: bytes) -> None:
        self.acts = [lambda stream, answer=answer: stream.sendall(answer) for answer in answers]  # type: ignore[misc]

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                stream, _ = self._listening.accept()
            except OSError:
                return
            with stream, suppress(OSError):
                stream.settimeout(30)
                self.heard.append(b"")
                self.heard[-1] = whole_request(stream)
                (self.acts.pop(0) if len(self.acts) > 1 else self.acts[0])(stream)

    def adapter(self, **settings: Any) -> TaxAuthority:
        return TaxAuthority(
            {"url": f"http://127.0.0.1:{self.port}/clearance", "user": "bus", "password": PASSWORD, **settings}
        )

    def call(self, operation: str = ISSUE, count: int = 1, **settings: Any) -> tuple[bytes, ...]:
        adapter = self.adapter(**settings)
        native = adapter.prepare(operation, [TASK])
        return adapter.call(operation, native * count)

    def ask(self, **settings: Any) -> Reply:
        [reply] = self.adapter(**settings).read(ISSUE, self.call(**settings))
        return reply


def whole_request(stream: socket.socket) -> bytes:
    heard = b""
    while b"\r\n\r\n" not in heard:
        piece = stream.recv(65_536)
        if not piece:
            return heard
        heard += piece
    head, body = heard.split(b"\r\n\r\n", 1)
    [length] = [int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    while len(body) < length and (piece := stream.recv(65_536)):
        body += piece
    return head + b"\r\n\r\n" + body


@pytest.fixture
def wire() -> Iterator[Wire]:
    wire = Wire()
    yield wire
    wire.close()


def read(raw: bytes, operation: str = ISSUE, read_as: str | None = None) -> Reply:
    [reply] = translate.replies(operation, [raw], read_as)
    return reply


def code_of(reply: Reply) -> tuple[str, Effect]:
    assert isinstance(reply, Failed), reply
    return reply.code, reply.effect
