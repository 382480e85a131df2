"""The load of the gateway's benchmark: a program of its own, which shares no interpreter with what it measures."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from http import HTTPStatus
from urllib.parse import urlsplit

import orjson

from bus.bench import fanout
from bus.bench.http_line import Line, Questions
from bus.bench.report import BenchError

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

    #: Seconds that were measured, from the moment when every connection stood.
    took: float
    #: HTTP status -> answers within the measured time, and those after it that say no.
    statuses: Mapping[str, int]
    #: Milliseconds from question to answer, of the answers within the measured time.
    latencies: list[float] = field(default_factory=list)

    def count(self, status: int) -> int:
        """Answers of this status."""
        return self.statuses.get(str(status), 0)


def load(order: Order) -> Heard:
    """Run the order in a process of its own; BenchError if it broke off."""
    command = [sys.executable, "-m", "bus.bench.load"]
    ran = subprocess.run(command, input=orjson.dumps(asdict(order)), stdout=subprocess.PIPE, check=False)
    if ran.returncode:
        raise BenchError("The load broke off; what it said of it stands above.")
    return Heard(**orjson.loads(ran.stdout))


class _Run:
    """A closed loop over all connections.

    The first answer on each counts also when it is late: who is slow is measured as slow, and not as nothing at all.
    """

    def __init__(self, order: Order) -> None:
        self._order = order
        self._target = urlsplit(order.url).path
        self._questions = Questions(order.url, order.headers)
        self._number = 0
        self._begun_at = 0.0
        #: Of the last answer that counts.
        self._ended_at = 0.0
        #: Since when each connection waits for its answer.
        self._asked: dict[Line, float] = {}
        self._has_heard: set[Line] = set()
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._statuses: Counter[str] = Counter()
        self._latencies: list[float] = []

    async def run(self) -> Heard:
        """Load; ConnectionError if the server hangs up."""
        lines = [await Line.open(self._questions, self._answered) for _ in range(self._order.connections)]
        self._begun_at = self._ended_at = time.perf_counter()
        for line in lines:
            self._ask(line)
        within = self._order.seconds + _LAST_ANSWERS
        awaited = {self._done, *(line.broken for line in lines)}
        await asyncio.wait(awaited, timeout=within, return_when=asyncio.FIRST_COMPLETED)
        if not self._done.done():
            raise ConnectionError(f"the server hung up, or did not answer within {within:g} s")
        for line in lines:
            line.close()
        took = max(self._order.seconds, self._ended_at - self._begun_at)
        return Heard(took=took, statuses=dict(self._statuses), latencies=self._latencies)

    def _ask(self, line: Line) -> None:
        self._number += 1
        body = orjson.dumps(fanout.submission(self._number))
        self._asked[line] = time.perf_counter()
        line.ask(self._questions.post(self._target, body, f"{self._order.prefix}-{self._number}"))

    def _answered(self, line: Line, status: int, _: bytes) -> None:
        now, asked = time.perf_counter(), self._asked.pop(line)
        is_over = now >= self._begun_at + self._order.seconds
        if not is_over or line not in self._has_heard or status >= HTTPStatus.BAD_REQUEST:
            self._ended_at = now
            self._statuses[str(status)] += 1
            self._latencies.append((now - asked) * 1000)
        self._has_heard.add(line)
        if not is_over:
            self._ask(line)
        elif not self._asked:
            self._done.set_result(None)


async def _main() -> None:
    order = Order(**orjson.loads(sys.stdin.buffer.read()))
    sys.stdout.buffer.write(orjson.dumps(asdict(await _Run(order).run())))


if __name__ == "__main__":
    asyncio.run(_main())
