"""The loader of the bus over HTTP: a portal, which submits at the gateway and reads its feed of results there."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final

import orjson

from bus.bench import fanout
from bus.bench.http_line import Line, Questions
from bus.bench.orders import Load, obey
from bus.bench.pace import Order, Pace, Ran

#: Submissions whose receipts are waited for at the same time.
CONNECTIONS: Final = 50
#: Messages of one page of the feed, the most that the gateway gives; and seconds that it may wait for the first one.
_PAGE, _WAIT = 200, 1
#: Seconds between two looks at the clock.
_LOOK: Final = 0.005
_SUBMIT: Final = f"/v1/services/{fanout.SERVICE}/requests"


class _Portal:
    """Keeps its place in the feed from load to load."""

    def __init__(self, url: str, token: str) -> None:
        self._questions = Questions(url, {"Authorization": f"Bearer {token}"})
        self._feed = _Feed(self._questions)

    def run(self, order: Order) -> Ran:
        return asyncio.run(self._run(order))

    async def _run(self, order: Order) -> Ran:
        # Before anything is submitted, or the first result would lie behind the end of the feed.
        await self._feed.go_to_end()
        pace = Pace(order, time.perf_counter())
        counter = _Counter(self._questions, pace)
        await counter.open(min(CONNECTIONS, order.window))
        stop = asyncio.Event()
        feed = asyncio.create_task(self._feed.read(counter.ended, stop))
        try:
            while not (feed.done() or pace.is_over(time.perf_counter())):
                counter.begin()
                await asyncio.sleep(_LOOK)
                await counter.mend()
        finally:
            stop.set()
            await feed
            counter.close()
        return pace.ran()


class _Feed:
    """The consumer's results, page after page."""

    def __init__(self, questions: Questions) -> None:
        self._questions = questions
        self._cursor = 0

    async def read(self, tell: Callable[[Iterable[str]], None], stop: asyncio.Event) -> None:
        """Tell the requests that have ended, and acknowledge them; what was read when it stops is acknowledged."""
        call = await _Call.open(self._questions)
        try:
            while not stop.is_set():
                items = await self._page(call, self._cursor, most=_PAGE, wait=_WAIT)
                if items:
                    tell(item["request_id"] for item in items)
                    cursors = [item["cursor"] for item in items]
                    self._cursor = int(cursors[-1])
                    await call(self._questions.post("/v1/results/ack", orjson.dumps({"cursors": cursors})))
        finally:
            call.close()

    async def go_to_end(self) -> None:
        """Behind all that is in the feed now, found in 63 looks however long it is; nothing where that is known."""
        if self._cursor:
            return
        call = await _Call.open(self._questions)
        low, high = 0, (1 << 63) - 1
        while low < high:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if await self._page(call, middle, most=1, wait=0) else (low, middle)
        self._cursor = low
        call.close()

    async def _page(self, call: _Call, after: int, *, most: int, wait: int) -> list[dict[str, Any]]:
        found = await call(self._questions.get(f"/v1/results?after={after}&most={most}&wait={wait}"))
        return list(found["items"])


class _Counter:
    """Where submissions are handed in: on each line one at a time.

    It knows by which id of the load the gateway's requests are known; a result may overtake its receipt.
    """

    def __init__(self, questions: Questions, pace: Pace) -> None:
        self._questions = questions
        self._pace = pace
        self._number = 0
        #: Longest without a question first: the gateway gives up a line that says nothing for long.
        self._idle: deque[Line] = deque()
        self._asked: dict[Line, str] = {}
        self._ids: dict[str, str] = {}
        self._early: set[str] = set()

    async def open(self, lines: int) -> None:
        for _ in range(lines):
            self._idle.append(await Line.open(self._questions, self._received))

    async def mend(self) -> None:
        """Open other lines for those that the gateway gave up; ConnectionError if one of them waits for a receipt."""
        if any(line.broken.done() for line in self._asked):
            raise ConnectionError("the gateway hung up before its receipt, or gave none")
        given_up = [line for line in self._idle if line.broken.done()]
        for line in given_up:
            self._idle.remove(line)
        await self.open(len(given_up))

    def begin(self) -> None:
        """Submit what is to begin now."""
        now = time.perf_counter()
        for id_ in self._pace.begin(min(len(self._idle), self._pace.wanted(now)), now):
            line = self._idle.popleft()
            self._number += 1
            self._asked[line] = id_
            line.ask(self._questions.post(_SUBMIT, orjson.dumps(fanout.submission(self._number)), id_))

    def ended(self, request_ids: Iterable[str]) -> None:
        """These have ended."""
        now = time.perf_counter()
        for request_id in request_ids:
            # It stays known: a result that comes once more is counted as such.
            id_ = self._ids.get(request_id)
            if id_ is None:
                self._early.add(request_id)
            else:
                self._pace.end([id_], now)
        self.begin()

    def close(self) -> None:
        for line in (*self._idle, *self._asked):
            line.close()

    def _received(self, line: Line, status: int, body: bytes) -> None:
        request_id = _content(status, body, 202)["request_id"]
        id_ = self._asked.pop(line)
        self._ids[request_id] = id_
        if request_id in self._early:
            self._early.remove(request_id)
            self._pace.end([id_], time.perf_counter())
        self._idle.append(line)
        self.begin()


class _Call:
    """A line on which one asks and waits."""

    def __init__(self) -> None:
        self._line: Line | None = None
        self._answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()

    @classmethod
    async def open(cls, questions: Questions) -> _Call:
        call = cls()
        call._line = await Line.open(questions, call._heard)
        return call

    async def __call__(self, question: bytes) -> dict[str, Any]:
        assert self._line is not None  # noqa: S101  # for the type; `open` set it
        self._answer = asyncio.get_running_loop().create_future()
        self._line.ask(question)
        awaited: set[asyncio.Future[Any]] = {self._answer, self._line.broken}
        await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
        if not self._answer.done():
            raise ConnectionError("the gateway hung up")
        return self._answer.result()

    def close(self) -> None:
        if self._line is not None:
            self._line.close()

    def _heard(self, _: Line, status: int, body: bytes) -> None:
        try:
            self._answer.set_result(_content(status, body, 200))
        except RuntimeError as error:
            self._answer.set_exception(error)


def _content(status: int, body: bytes, wanted: int) -> dict[str, Any]:
    if status != wanted:
        raise RuntimeError(f"the gateway answered {status}: {body[:300]!r}")
    content = orjson.loads(body)
    assert isinstance(content, dict)  # noqa: S101  # for the type; the gateway answers with objects
    return content


def _connect(order: Order) -> Load:
    return _Portal(order.where["url"], order.where["token"]).run


if __name__ == "__main__":
    obey(_connect)
