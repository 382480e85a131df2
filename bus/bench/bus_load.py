"""The loader of the bus: submits as the gateway does, without HTTP, and reads the feed of results as a consumer does.

It is a process of the role gateway in which the loader sits where the HTTP server would: each submission is checked
and becomes a command, up to a batch of them are decided in one transaction, and the tasks are published from memory.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from bus import logs
from bus.bench import fanout
from bus.bench.layout import ENV
from bus.bench.orders import Load, obey
from bus.bench.pace import Order, Pace, Ran
from bus.bench.report import BenchError
from bus.bootstrap import Parts, assemble, load_workspace, running
from bus.bootstrap.memory import share_one_heap
from bus.gateway.batching import perform_all
from bus.operations.caller import Caller, Role
from bus.operations.operation import Command
from bus.operations.submission import Receipt, Submit, submit
from bus.ports import Store

#: Seconds between two looks at an empty feed: each costs a read of the store.
_LOOK = 0.01
_CALLER = Caller(user="bench", role=Role.CONSUMER, agency=fanout.CONSUMER)


class _Bus:
    """A gateway without HTTP, and a consumer."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._context = parts.context
        self._number = 0
        #: Request id -> id of the load.
        self._named: dict[str, str] = {}
        self._cursor = _end_of_feed(parts.store)

    def run(self, order: Order) -> Ran:
        pace = Pace(order, time.perf_counter())
        most = self._parts.tools.settings.batch_most
        while not pace.is_over(now := time.perf_counter()):
            ids = pace.begin(min(most, pace.wanted(now)), now)
            if ids:
                self._submit(ids)
            if not self._collect(pace) and not ids:
                time.sleep(_LOOK)
        return pace.ran()

    def _submit(self, ids: list[str]) -> None:
        outcomes = perform_all(
            self._context.decider, [partial(self._command, id_) for id_ in ids], self._parts.store.tracked
        )
        for id_, receipt in zip(ids, outcomes, strict=True):
            if not isinstance(receipt, Receipt):
                raise BenchError(f"A submission was not accepted: {receipt!r}")
            self._named[receipt.request_id] = id_

    def _command(self, key: str) -> Command[Receipt]:
        self._number += 1
        data = dict(fanout.submission(self._number))
        return submit(self._context, _CALLER, Submit(service=fanout.SERVICE, data=data, key=key))

    def _collect(self, pace: Pace) -> bool:
        """What has ended is told and acknowledged; whether there was any."""
        rows = self._parts.store.results(fanout.CONSUMER, after=self._cursor, most=500)
        if not rows:
            return False
        now = time.perf_counter()
        pace.end((self._named.pop(row.request_id, row.request_id) for row, _ in rows), now)
        self._cursor = rows[-1][0].key
        self._parts.store.collect(fanout.CONSUMER, [row.key for row, _ in rows])
        return True


def _end_of_feed(store: Store) -> int:
    """The cursor behind all that is in the feed, found in 63 looks however long the feed is."""
    low, high = 0, 1 << 62
    while low < high:
        middle = (low + high) // 2
        if store.results(fanout.CONSUMER, after=middle, most=1):
            low = middle + 1
        else:
            high = middle
    return low


def _connect(stack: ExitStack, order: Order) -> Load:
    logs.configure(json=True, level="info")
    workspace = load_workspace(Path(order.where["workspace"]), ENV)
    parts = assemble(workspace, Path(order.where["data"]))
    stack.enter_context(running(parts, hosts=False, roles=("gateway",)))
    return _Bus(parts).run


if __name__ == "__main__":
    share_one_heap()
    with ExitStack() as _stack:
        obey(partial(_connect, _stack))
