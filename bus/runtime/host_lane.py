"""The one thread on which a host speaks with its legacy system, so that a hanging call holds up nothing else."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


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
