"""``bus bench gateway``: submissions that the gateway accepts, with everything on, beside the bare framework."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from bus.bench import fanout
from bus.bench.doors import Open, door
from bus.bench.load import Heard, Order, load
from bus.bench.report import Report
from bus.bootstrap import open_store

#: Bus and yardstick take turns, so that what else the machine does meets both.
ROUNDS = 5
#: Seconds within which everything that was accepted has ended.
_QUIET_WITHIN = 120.0


@dataclass(slots=True)
class _Side:
    """One of the two, and what was heard from it, round by round."""

    name: str
    opened: Open
    connections: int
    heard: list[Heard] = field(default_factory=list)
    cpu: float = 0.0

    def slice(self, number: int, seconds: float) -> float:
        """Load it for so many seconds; accepted submissions per second."""
        headers = {"Authorization": f"Bearer {self.opened.token}"} if self.opened.token else {}
        url = f"{self.opened.url}/v1/services/{fanout.SERVICE}/requests"
        before = self.opened.cpu()
        order = Order(
            url=url, connections=self.connections, seconds=seconds, headers=headers, prefix=f"{self.name}-{number}"
        )
        heard = load(order)
        if set(heard.statuses) != {"202"}:
            raise AssertionError(f"{self.name} answered {dict(heard.statuses)}")
        self.cpu += self.opened.cpu() - before
        self.heard.append(heard)
        return heard.count(202) / heard.took

    @property
    def accepted(self) -> int:
        return sum(heard.count(202) for heard in self.heard)

    @property
    def speed(self) -> float:
        return self.accepted / sum(heard.took for heard in self.heard)

    @property
    def cpu_ms(self) -> float:
        return 1000 * self.cpu / self.accepted


def gateway(
    *, seconds: float, connections: int, agencies: int, is_hosted: bool, progress: Callable[[str], None]
) -> Report:
    """Load both for ``seconds`` altogether each, in turns; the store must add up at the end.

    ``is_hosted``: the agencies' hosts run in the same process and answer at once; else their steps wait for them.
    """
    with tempfile.TemporaryDirectory(prefix="bus-bench-") as name:
        folder = Path(name)
        hosted = agencies if is_hosted else 0
        with (
            door("bare", folder / "bare") as bare,
            door("bus", folder / "bus", agencies=agencies, hosted=hosted) as opened,
        ):
            sides = _Side("bare", bare, connections), _Side("bus", opened, connections)
            ratios = []
            for number in range(ROUNDS):
                progress(f"round {number + 1} of {ROUNDS}: {connections} connections")
                yardstick, ours = (side.slice(number, seconds / ROUNDS) for side in sides)
                ratios.append(ours / yardstick)
                _quiet(opened, is_hosted=is_hosted)
        _recount(folder / "bus", sides[1].accepted)
    latencies = [latency for heard in sides[1].heard for latency in heard.latencies]
    return Report(
        bench="gateway",
        settings={
            "seconds": seconds,
            "connections": connections,
            "agencies": agencies,
            "hosts": is_hosted,
            "rounds": ROUNDS,
        },
        requests_per_s=sides[1].speed,
        latencies=latencies,
        yardsticks={"bare": sides[0].speed},
        more={"cpu_ms": sides[1].cpu_ms, "bare_cpu_ms": sides[0].cpu_ms, "ratio_median": statistics.median(ratios)},
        spread={"bare": (min(ratios), max(ratios))},
    )


def _quiet(opened: Open, *, is_hosted: bool) -> None:
    """Wait until everything accepted has ended: its work must not fall into the yardstick's turn."""
    until = time.monotonic() + _QUIET_WITHIN
    with httpx.Client(headers={"Authorization": f"Bearer {opened.operator}"}, timeout=30) as client:
        while is_hosted and client.get(f"{opened.url}/v1/status").raise_for_status().json()["alive"]:
            if time.monotonic() > until:
                raise TimeoutError("accepted requests did not end")
            time.sleep(0.1)


def _recount(data: Path, accepted: int) -> None:
    with closing(open_store(data)) as store:
        if store.recount() or store.accepted() < accepted:
            raise AssertionError("the store does not add up")
