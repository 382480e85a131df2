"""Many commands at once in one transaction: a commit costs the same for one as for a hundred."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeAlias

from bus.errors import StoreUnavailableError, TransientError
from bus.message.instant import Milliseconds
from bus.operations.operation import Command
from bus.ports import Decider
from bus.process.event import Submitted

#: Checks one request and says what is to be decided, or does it at once and gives the output.
Work: TypeAlias = Callable[[], Any]
#: Tracking code -> id of the request that has it: one look for a whole batch.
Tracked: TypeAlias = Callable[[Collection[str]], Mapping[str, str]]

#: So many full batches may wait; then the gateway says that it is busy.
_MOST_BATCHES_WAITING = 10


class Batcher:
    """Collects work for a few milliseconds and does it in one thread of its own, batch after batch.

    The fate of each is its own: one that fails its check, or meets a conflict, does not touch its neighbours.
    """

    def __init__(self, decider: Decider, *, most: int, wait: Milliseconds, tracked: Tracked = lambda _: {}) -> None:
        self._decider = decider
        self._tracked = tracked
        self._most = most
        self._wait = wait / 1000
        self._waiting: deque[tuple[Work, asyncio.Future[Any]]] = deque()
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="gateway")
        self._running: asyncio.Task[None] | None = None

    async def do(self, work: Work) -> Any:
        """The output of the work, after the commit; TransientError (``busy``) if too much waits already."""
        if len(self._waiting) >= self._most * _MOST_BATCHES_WAITING:
            raise TransientError("Too many commands wait.", code="busy")
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((work, future))
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        return await future

    def close(self) -> None:
        """Finish what was begun."""
        self._worker.shutdown()

    async def _run(self) -> None:
        try:
            while self._waiting:
                if len(self._waiting) < self._most:
                    await asyncio.sleep(self._wait)
                batch = [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]
                works = [work for work, _ in batch]
                for (_, future), outcome in zip(batch, await self._outcomes(works), strict=True):
                    _settle(future, outcome)
        finally:
            self._running = None

    async def _outcomes(self, works: Sequence[Work]) -> Sequence[Any]:
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._worker, perform_all, self._decider, works, self._tracked)
        except Exception as error:  # noqa: BLE001  (the worker is closed, or broken: none of the batch may wait for ever)
            return [error] * len(works)


def perform_all(decider: Decider, works: Sequence[Work], tracked: Tracked = lambda _: {}) -> list[Any]:
    """Check each, decide all that passed in one batch, answer each. An outcome is an output or an exception.

    Of several commands on one request the first is decided; the others are checked again after it, so that each is
    judged by what the one before it left.
    """
    outcomes: list[Any] = [None] * len(works)
    waiting = list(range(len(works)))
    while waiting:
        waiting = _round(decider, works, waiting, outcomes, tracked)
    return outcomes


def _round(
    decider: Decider, works: Sequence[Work], waiting: list[int], outcomes: list[Any], tracked: Tracked
) -> list[int]:
    """Settle what can be settled together; what is left for the next round."""
    commands: list[tuple[int, Command[Any]]] = []
    busy: set[str] = set()
    left: list[int] = []
    outcome: Any = None
    for index in waiting:
        # While the store is away each would wait for it in vain, one after the other, and all others behind them.
        if not isinstance(outcome, StoreUnavailableError):
            outcome = _attempt(works[index])
        if not isinstance(outcome, Command):
            outcomes[index] = outcome
        elif outcome.incoming.request_id in busy:
            left.append(index)
        else:
            commands.append((index, outcome))
            # The same submission many times needs no order among its copies.
            if not isinstance(outcome.incoming.event, Submitted):
                busy.add(outcome.incoming.request_id)
    decided = _decided(decider, [command for _, command in commands], tracked)
    for (index, _), outcome in zip(commands, decided, strict=True):
        outcomes[index] = outcome
    return left


def _decided(decider: Decider, commands: Sequence[Command[Any]], tracked: Tracked) -> list[Any]:
    if not commands:
        return []
    try:
        commands = _with_free_codes(commands, tracked)
        fates = decider.decide([command.incoming for command in commands])
    except Exception as error:  # noqa: BLE001  (whatever it is, each of the batch must hear of it)
        return [error] * len(commands)
    return [_attempt(partial(command.answer, decided)) for command, decided in zip(commands, fates, strict=True)]


def _with_free_codes(commands: Sequence[Command[Any]], tracked: Tracked) -> Sequence[Command[Any]]:
    """The commands, each submission with a tracking code that is free or its own."""
    while codes := {command.tracking for command in commands if command.tracking}:
        taken = tracked(codes)
        chosen = [_retracked(command) if _clashes(command, taken) else command for command in commands]
        if chosen == commands:
            break
        commands = chosen
    return commands


def _clashes(command: Command[Any], taken: Mapping[str, str]) -> bool:
    return taken.get(command.tracking, command.incoming.request_id) != command.incoming.request_id


def _retracked(command: Command[Any]) -> Command[Any]:
    return command if command.retracked is None else command.retracked()


def _attempt(work: Work) -> Any:
    try:
        return work()
    except Exception as error:  # noqa: BLE001  (it belongs to this one request)
        return error


def _settle(future: asyncio.Future[Any], outcome: Any) -> None:
    if future.done():
        # The asker has gone away; what was decided stays decided.
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
