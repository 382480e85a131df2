"""Reads of the store off the event loop: a few threads, and a bound to how many may wait for one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from bus.errors import TransientError

T = TypeVar("T")

#: More would only wait for one another: the interpreter runs one at a time, the disk a few.
_THREADS = 8
#: So many may wait; then the gateway says that it is busy.
_MOST_WAITING = 2_000


class Threads:
    """Does pieces of work that block, a few at a time, in the order in which they came."""

    def __init__(self, *, most_waiting: int = _MOST_WAITING) -> None:
        self._pool = ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="reading")
        self._most = most_waiting
        self._under_way = 0

    async def do(self, work: Callable[[], T]) -> T:
        """What the work gives; TransientError (``busy``) if too much waits already."""
        if self._under_way >= self._most:
            raise TransientError("Too many reads wait.", code="busy")
        self._under_way += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._under_way -= 1

    def close(self) -> None:
        """Finish what was begun."""
        self._pool.shutdown()
