"""The one thread on which a host speaks with its legacy system, so that a hanging call holds up nothing else."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError, wait
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Final, TypeAlias, TypeVar

from bus.logs import Log
from bus.message.instant import Milliseconds
from bus.ports import JournalReply

T = TypeVar("T")

#: Calls that hang past their time-out, each on a thread that cannot be ended; with so many nothing new begins.
MOST_HUNG: Final = 4

#: What follows from the end of a piece of work; None: it did not end in time.
Finish: TypeAlias = Callable[[Future[Any] | None], list[JournalReply]]
#: What an end past the deadline is still good for.
Late: TypeAlias = Callable[[Future[Any]], list[JournalReply]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _UnderWay:
    """Something on the lane, and what follows from its end."""

    future: Future[Any]
    #: On the monotonic clock.
    deadline: Milliseconds
    finish: Finish
    late: Late | None


class Bounded:
    """One piece of work after the other, each with a time-out; what hangs is given up, up to `MOST_HUNG` times."""

    def __init__(self, agency: str, monotonic: Callable[[], Milliseconds], log: Log) -> None:
        self._name = f"legacy-{agency}"
        self._monotonic = monotonic
        self._log = log
        self._lane: Lane | None = None
        self._running: _UnderWay | None = None
        self._hung: list[_UnderWay] = []

    @property
    def is_busy(self) -> bool:
        """Whether something is under way."""
        return self._running is not None

    @property
    def is_free(self) -> bool:
        """Whether something may be started."""
        return self._running is None and len(self._hung) < MOST_HUNG

    def start(self, work: Callable[[], Any], timeout: Milliseconds, finish: Finish, late: Late | None = None) -> None:
        """Begin it on the lane; ``finish`` is called by `finish` once it has ended, or has not in time."""
        self._lane = self._lane or Lane(self._name)
        deadline = self._monotonic() + timeout
        self._running = _UnderWay(future=self._lane.start(work), deadline=deadline, finish=finish, late=late)

    def finish(self, patience: Milliseconds) -> list[JournalReply]:
        """What follows from what has ended, after waiting for it up to ``patience``."""
        replies = self._finish_hung()
        running = self._running
        if running is None:
            return replies
        left = max(0, running.deadline - self._monotonic())
        wait((running.future,), timeout=min(patience, left) / 1000)
        if running.future.done():
            replies += running.finish(running.future)
            self._running = None
        elif self._monotonic() >= running.deadline:
            replies += running.finish(None)
            self._give_up(running)
        return replies

    def close(self) -> None:
        """Let the lane end."""
        if self._lane is not None:
            self._lane.close()

    def _finish_hung(self) -> list[JournalReply]:
        replies: list[JournalReply] = []
        for hung in [one for one in self._hung if one.future.done()]:
            if hung.late is not None:
                replies += hung.late(hung.future)
            self._hung.remove(hung)
        return replies

    def _give_up(self, running: _UnderWay) -> None:
        self.close()
        self._lane, self._running = None, None
        self._hung.append(running)
        self._log.error("host_alarm", alarm="call_hangs", count=len(self._hung), limit=MOST_HUNG)


class Lane:
    """Runs one thing at a time on a thread of its own.

    Python cannot end a thread, so a lane whose work hangs is given up: it is left behind as a daemon, its result can
    still be read from the future, and the next work starts on a new lane.
    """

    def __init__(self, name: str) -> None:
        self._work: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def start(self, work: Callable[[], T]) -> Future[T]:
        """Begin it; the future has what it returns or raises."""
        future: Future[T] = Future()
        self._work.put((future, work))
        return future

    def close(self) -> None:
        """End the thread once it has nothing to do."""
        self._work.put(None)

    def _run(self) -> None:
        while (entry := self._work.get()) is not None:
            future, work = entry
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001  (whatever an adapter raises is its answer)
                _settle(future.set_exception, error)
            else:
                _settle(future.set_result, result)
            # Nothing is kept alive while the lane waits.
            del entry, future, work


def _settle(setter: Callable[[Any], None], value: Any) -> None:
    try:
        setter(value)
    except InvalidStateError:
        # Cancelled meanwhile: nobody waits for it.
        return
