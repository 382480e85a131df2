"""``bus bench rabbitmq --soak MINUTES``: half the maximum for long; does memory grow, is all there?"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from bus.bench import fanout
from bus.bench.contender import Machines, take_turn
from bus.bench.cost import of_soak, tell
from bus.bench.installation import install
from bus.bench.meter import Pids, resident
from bus.bench.orders import loader
from bus.bench.pace import Order, Ran
from bus.bench.rabbitmq import services
from bus.bench.report import percentile
from bus.config import Settings
from bus.ports import Store
from bus.process.state import ALIVE

_EVERY: Final = 5.0
#: Samples of which one is told: a minute's.
_TOLD: Final = 12
#: Seconds for the broker's own figures to catch up: it gathers them every five.
_SETTLE: Final = 30.0
#: Most in flight; an open loop that falls behind for good fails by it.
_WINDOW: Final = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One look at everything."""

    #: Seconds since the load began.
    at: float
    #: Process -> bytes of resident memory.
    memory: Mapping[str, int]
    #: Messages in all queues of the bus, ready or unacknowledged.
    queued: int
    #: Rows that wait to be published.
    outbox: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Soak:
    """What a long load came to."""

    rate: float
    maximum: float
    ran: Ran
    samples: Sequence[Sample]
    #: Submissions that the store accepted in all, and those of them that have not ended.
    accepted: int
    alive: int
    most_queued_allowed: int = field(default=4 * Settings().batch_most * len(fanout.AGENCIES))

    def growth(self) -> dict[str, float]:
        """Process -> mean resident memory of the last third of the time by that of the first."""
        third = max(1, len(self.samples) // 3)
        first, last = self.samples[:third], self.samples[-third:]
        return {
            name: statistics.fmean(one.memory[name] for one in last)
            / (statistics.fmean(one.memory[name] for one in first) or 1.0)
            for name in self.samples[0].memory
        }

    @property
    def most_queued(self) -> int:
        """Messages in all queues together, when there were most."""
        return max(sample.queued for sample in self.samples)

    @property
    def is_whole(self) -> bool:
        """Whether everything that was accepted has ended, and nothing was left lying about."""
        verdicts = self.verdicts()
        return verdicts["nothing_lost"] and verdicts["queues_empty_at_the_end"]

    def verdicts(self) -> dict[str, bool]:
        """What a long load is to show."""
        theirs = {"broker", "postgresql", "loader"}
        return {
            "nothing_lost": self.alive == 0 and self.accepted >= self.ran.ended,
            "memory_steady": all(share <= 1.05 for name, share in self.growth().items() if name not in theirs),
            "queues_bounded": self.most_queued <= self.most_queued_allowed,
            "queues_empty_at_the_end": self.samples[-1].queued == 0,
        }

    def to_json(self) -> dict[str, Any]:
        """Figures, verdicts and samples."""
        return {
            "bench": "rabbitmq-soak",
            "settings": {"seconds": self.ran.took, "rate": round(self.rate, 1), "maximum": round(self.maximum, 1)},
            "figures": {
                "requests_per_s": round(self.ran.speed, 1),
                **{f"p{share}_ms": round(percentile(self.ran.latencies, share), 1) for share in (50, 95, 99)},
                "accepted": self.accepted,
                "alive": self.alive,
                "most_queued": self.most_queued,
                "most_outbox": max(sample.outbox for sample in self.samples),
            },
            "growth": {name: round(share, 3) for name, share in self.growth().items()},
            "verdicts": self.verdicts(),
            "samples": [
                {
                    "at": round(one.at, 1),
                    "memory_mb": {name: round(size / 1e6, 1) for name, size in one.memory.items()},
                    "queued": one.queued,
                    "outbox": one.outbox,
                }
                for one in self.samples
            ],
        }


def soak(minutes: float, *, window: int, meta: Path, progress: Callable[[str], None]) -> Soak:
    """Measure the maximum, load with half of it, look every few seconds, and count everything at the end."""
    with services(progress) as (shared, folder):
        installation = install(shared, folder, meta, "bus")
        contender, log = installation.contender(), folder / "loaders.log"
        progress("measuring the maximum")
        most = take_turn(contender, Order(window=window, seconds=10.0, prefix="most"), shared, log).ran
        order = Order(window=_WINDOW, seconds=60 * minutes, rate=most.speed / 2, prefix="soak")
        tell(of_soak(order.seconds, rate=most.speed / 2), folder, progress, mend="let it run for less")
        with contender.open() as ready, loader(ready.load, replace(order, where=ready.where), log) as load:
            progress(f"loading for {60 * minutes:g} s at {most.speed / 2:.0f} requests/s")
            with ThreadPoolExecutor(1) as pool, closing(installation.store()) as store:
                groups: Mapping[str, Pids] = {**shared.groups(), **ready.programs, "loader": lambda: (load.pid,)}
                loading = pool.submit(load.load)
                samples = _watch(loading, groups, shared, store, progress)
            ran = loading.result()
        progress("recounting the store")
        accepted = installation.recount()
        with closing(installation.store()) as store:
            totals = store.totals()
    return Soak(
        rate=most.speed / 2,
        maximum=most.speed,
        ran=ran,
        samples=samples,
        accepted=accepted,
        alive=sum(totals.get(state, 0) for state in ALIVE),
    )


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
        samples.append(
            Sample(
                at=time.monotonic() - begun,
                memory={name: resident(pids()) for name, pids in groups.items()},
                queued=_settled(shared) if is_last else _queued(shared),
                outbox=store.outbox_depth(),
            )
        )
        if is_last:
            return samples
        if len(samples) % _TOLD == 1:
            now = samples[-1]
            progress(f"{now.at:.0f} s: {now.queued} messages in queues, {now.outbox} rows in the outbox")


def _settled(shared: Machines) -> int:
    """What is left in the queues when nothing is on its way any more; ticks and signs of life come and go."""
    until = time.monotonic() + _SETTLE
    while (queued := _queued(shared)) and time.monotonic() < until:
        time.sleep(0.5)
    return queued


def _queued(shared: Machines) -> int:
    """Messages in the queues of tasks and replies, unacknowledged ones included."""
    queues = shared.rabbit.admin.ask("GET", "/api/queues/bus?columns=name,messages")
    return sum(queue.get("messages", 0) for queue in queues if queue["name"].startswith(("tasks.", "replies.")))
