"""``bus bench rabbitmq --soak MINUTES``: half the maximum for long; does memory grow, is all there?"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

import httpx

from bus.bench.contender import Contender, Machines, take_turn
from bus.bench.cost import of_soak, tell
from bus.bench.installation import install
from bus.bench.meter import Pids, resident
from bus.bench.orders import loader
from bus.bench.pace import Order, Ran
from bus.bench.rabbitmq import services
from bus.bench.report import BenchError
from bus.bench.soaked import Sample, Soak
from bus.ports import Store
from bus.process.state import ALIVE

_EVERY: Final = 5.0
#: Samples of which one is told: a minute's.
_TOLD: Final = 12
#: Seconds for the broker's own figures to catch up: it gathers them every five.
_SETTLE: Final = 30.0
#: More than an open loop ever has in flight. One that falls behind for good has requests that do not end in time.
_WINDOW: Final = 50_000


def soak(minutes: float, *, window: int, meta: Path, progress: Callable[[str], None]) -> Soak:
    """Measure the maximum, load with half of it, look every few seconds, and count everything at the end."""
    with services(progress) as (shared, folder):
        installation = install(shared, folder, meta, "bus")
        contender, log = installation.contender(), folder / "loaders.log"
        progress("measuring the maximum")
        most = take_turn(contender, Order(window=window, seconds=10.0, prefix="most"), shared, log).ran
        order = Order(window=_WINDOW, seconds=60 * minutes, rate=most.speed / 2, prefix="soak")
        tell(of_soak(order.seconds, rate=most.speed / 2), folder, progress, mend="let it run for less")
        progress(f"loading for {order.seconds:g} s at {most.speed / 2:.0f} requests/s")
        with closing(installation.store()) as store:
            before = store.accepted()
            ran, samples = _load(contender, order, shared, store, log, progress)
            progress("recounting the store")
            accepted, totals = installation.recount() - before, store.totals()
    return Soak(
        rate=most.speed / 2,
        maximum=most.speed,
        ran=ran,
        samples=samples,
        accepted=accepted,
        alive=sum(totals.get(state, 0) for state in ALIVE),
    )


def _load(
    contender: Contender, order: Order, shared: Machines, store: Store, log: Path, progress: Callable[[str], None]
) -> tuple[Ran, list[Sample]]:
    """One long turn, watched."""
    # The thread that waits for the loader is left last: where watching breaks off, the loader is ended first.
    with (
        contender.open() as ready,
        ThreadPoolExecutor(1) as pool,
        loader(ready.load, replace(order, where=ready.where), log) as load,
    ):
        groups: Mapping[str, Pids] = {**shared.groups(), **ready.programs, "loader": lambda: (load.pid,)}
        loading = pool.submit(load.load)
        samples = _watch(loading, groups, shared, store, progress)
        return loading.result(), samples


def _watch(
    loading: Future[Ran],
    groups: Mapping[str, Pids],
    shared: Machines,
    store: Store,
    progress: Callable[[str], None],
) -> list[Sample]:
    """A sample every few seconds, and one of when all is done."""
    begun = time.monotonic()
    samples: list[Sample] = []
    while True:
        is_last = bool(wait([loading], timeout=_EVERY).done)
        queued = _settled(shared) if is_last else _queued(shared)
        if queued is None:
            continue
        samples.append(
            Sample(
                at=time.monotonic() - begun,
                memory={name: resident(pids()) for name, pids in groups.items()},
                tasks=queued.tasks,
                replies=queued.replies,
                outbox=store.outbox_depth(),
            )
        )
        if is_last:
            return samples
        if len(samples) % _TOLD == 1:
            now = samples[-1]
            progress(f"{now.at:.0f} s: {now.queued} messages in queues, {now.outbox} rows in the outbox")


class _Queued(NamedTuple):
    """Messages in queues, unacknowledged ones included."""

    tasks: int
    replies: int


def _settled(shared: Machines) -> _Queued:
    """What is left in the queues when nothing is on its way any more; ticks and signs of life come and go."""
    until = time.monotonic() + _SETTLE
    while (queued := _queued(shared)) != (0, 0) and time.monotonic() < until:
        time.sleep(0.5)
    if queued is None:
        raise BenchError("RabbitMQ did not tell what was left in its queues at the end.")
    return queued


def _queued(shared: Machines) -> _Queued | None:
    """What stands in the queues now; None: the broker is too busy to say."""
    with suppress(httpx.TransportError):
        queues = shared.rabbit.admin.ask("GET", "/api/queues/bus?columns=name,messages")
        tasks, replies = (
            sum(int(queue.get("messages", 0)) for queue in queues if queue["name"].startswith(kind))
            for kind in ("tasks.", "replies.")
        )
        return _Queued(tasks, replies)
    return None
