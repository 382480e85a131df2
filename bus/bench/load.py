"""The load of the gateway's benchmark, as a program of its own, so that it shares no interpreter with what it measures.

Raw HTTP/1.1 over connections that stay open: the client must not be what is measured.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from urllib.parse import urlsplit

import orjson

from bus.bench import fanout

#: How long answers that are under way at the end are waited for.
_LAST_ANSWERS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to send: a submission a time on each connection, the next one when the answer is there."""

    url: str
    connections: int
    seconds: float
    #: Headers of every request; ``Idempotency-Key`` is added.
    headers: Mapping[str, str]
    #: Makes the keys of this load its own.
    prefix: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What came back."""

    #: Seconds from the first byte sent to the end of the measured time.
    took: float
    #: HTTP status -> answers within the measured time.
    statuses: Mapping[str, int]
    #: Milliseconds from question to answer, of the answers within the measured time.
    latencies: list[float] = field(default_factory=list)

    def count(self, status: int) -> int:
        """Answers of this status."""
        return self.statuses.get(str(status), 0)


def load(order: Order) -> Heard:
    """Run the order in a process of its own."""
    command = [sys.executable, "-m", "bus.bench.load"]
    ran = subprocess.run(command, input=orjson.dumps(asdict(order)), stdout=subprocess.PIPE, check=True)
    return Heard(**orjson.loads(ran.stdout))


class _Run:
    """Counts for all connections; a closed loop."""

    def __init__(self, order: Order) -> None:
        address = urlsplit(order.url)
        self.host, self.port = address.hostname or "", address.port or 80
        headers = {"Host": address.netloc, "Content-Type": "application/json", **order.headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._head = f"POST {address.path} HTTP/1.1\r\n{lines}Idempotency-Key: {order.prefix}-"
        self._number = 0
        self.until = 0.0
        self.statuses: Counter[str] = Counter()
        self.latencies: list[float] = []

    def question(self) -> bytes:
        """The next submission, as bytes of the wire."""
        self._number += 1
        body = orjson.dumps(fanout.submission(self._number))
        return f"{self._head}{self._number}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


class _Connection(asyncio.Protocol):
    """Asks, reads the whole answer, asks again until the time is up."""

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._read = b""
        self._asked = 0.0
        self._transport: asyncio.Transport | None = None
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  # for the type; it is a socket's
        self._transport = transport
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._read += data
        head, found, rest = self._read.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(rest) < length:
            return
        self._read = b""
        self._answered(head[9:12].decode())

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(error or ConnectionError("the server closed the connection"))

    def _ask(self) -> None:
        assert self._transport is not None  # noqa: S101  # for the type; it is asked once the connection is made
        self._asked = time.perf_counter()
        self._transport.write(self._run.question())

    def _answered(self, status: str) -> None:
        now = time.perf_counter()
        if now < self._run.until:
            self._run.statuses[status] += 1
            self._run.latencies.append((now - self._asked) * 1000)
            self._ask()
        else:
            self.done.set_result(None)


async def _run(order: Order) -> Heard:
    run, loop = _Run(order), asyncio.get_running_loop()
    begun = time.perf_counter()
    run.until = begun + order.seconds
    made = [
        await loop.create_connection(lambda: _Connection(run), run.host, run.port) for _ in range(order.connections)
    ]
    await asyncio.wait_for(asyncio.gather(*(connection.done for _, connection in made)), order.seconds + _LAST_ANSWERS)
    for transport, _ in made:
        transport.close()
    return Heard(took=order.seconds, statuses=dict(run.statuses), latencies=run.latencies)


if __name__ == "__main__":
    sys.stdout.buffer.write(orjson.dumps(asdict(asyncio.run(_run(Order(**orjson.loads(sys.stdin.buffer.read())))))))
