"""Those who wait for news: one look at the store for all of them, and no thread for any."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from bus.errors import TransientError

#: Seconds between two looks.
_LOOK_EVERY = 0.1
#: So many may wait at once; each holds a connection and little else.
_MOST = 5_000
#: So many looks are done before those who have something are told.
_SLICE = 50

#: Request id -> its version, for the requests among these: one statement for all.
Versions: TypeAlias = Callable[[Collection[str]], Mapping[str, int]]
#: What is waited for; None while it is not there.
Look: TypeAlias = Callable[[], Any]


@dataclass(slots=True, eq=False)
class _Waiter:
    look: Look
    #: The request whose version tells that something happened; None where only looking tells.
    about: str | None
    #: Equal for those who would see the same.
    key: Hashable
    future: asyncio.Future[Any] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    version: int | None = None


class WaitingRoom:
    """Looks for everybody in one thread of its own, ten times a second while anybody waits."""

    def __init__(self, versions: Versions, *, most: int = _MOST) -> None:
        self._versions = versions
        self._most = most
        self._waiters: set[_Waiter] = set()
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="waiting")
        self._running: asyncio.Task[None] | None = None

    async def wait(self, look: Look, *, about: str | None, key: Hashable, seconds: float) -> Any:
        """What ``look`` sees first, or None after so many seconds; TransientError (``busy``) if too many wait."""
        if len(self._waiters) >= self._most:
            raise TransientError("Too many wait for news.", code="busy")
        waiter = _Waiter(look, about, key)
        self._waiters.add(waiter)
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        try:
            done, _ = await asyncio.wait([waiter.future], timeout=seconds)
            return waiter.future.result() if done else None
        finally:
            self._waiters.discard(waiter)
            waiter.future.cancel()

    def __len__(self) -> int:
        return len(self._waiters)

    def close(self) -> None:
        """Look no more; whoever still waits hears what it has."""
        self._worker.shutdown(cancel_futures=True)
        for waiter in self._waiters:
            if not waiter.future.done():
                waiter.future.set_result(None)

    async def _run(self) -> None:
        try:
            while self._waiters:
                await asyncio.sleep(_LOOK_EVERY)
                await self._round()
        finally:
            self._running = None

    async def _round(self) -> None:
        waiting = [waiter for waiter in self._waiters if not waiter.future.done()]
        try:
            moved = await self._in_thread(_moved, self._versions, waiting)
            for start in range(0, len(moved), _SLICE):
                piece = moved[start : start + _SLICE]
                for waiters, seen in zip(piece, await self._in_thread(_look, piece), strict=True):
                    _tell(waiters, seen)
        except Exception as error:  # noqa: BLE001  (the store is away, or the room is closed: nobody may wait in vain)
            _tell(waiting, error)

    async def _in_thread(self, work: Callable[..., Any], *given: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._worker, work, *given)


def _moved(versions: Versions, waiting: Sequence[_Waiter]) -> list[list[_Waiter]]:
    """Those for whom a look may show something new; together where it would show the same."""
    names = {waiter.about for waiter in waiting if waiter.about is not None}
    found = versions(names) if names else {}
    together: dict[Hashable, list[_Waiter]] = {}
    for waiter in waiting:
        # The version is read before the look, so that what happens between the two is seen by the next one.
        version = None if waiter.about is None else found.get(waiter.about, 0)
        if version is None or version != waiter.version:
            waiter.version = version
            together.setdefault(waiter.key, []).append(waiter)
    return list(together.values())


def _look(groups: Sequence[Sequence[_Waiter]]) -> list[Any]:
    return [_attempt(group[0].look) for group in groups]


def _attempt(look: Look) -> Any:
    try:
        return look()
    except Exception as error:  # noqa: BLE001  (it belongs to those who asked this)
        return error


def _tell(waiters: Sequence[_Waiter], seen: Any) -> None:
    for waiter in waiters:
        if seen is None or waiter.future.done():
            continue
        if isinstance(seen, Exception):
            waiter.future.set_exception(seen)
        else:
            waiter.future.set_result(seen)
