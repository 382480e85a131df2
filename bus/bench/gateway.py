"""``bus bench gateway``: submissions that the gateway accepts, with everything on, beside the bare framework."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import httpx

from bus.bench import fanout
from bus.bench.doors import Open, door
from bus.bench.lifeline import ended_in_order
from bus.bench.load import Heard, Order, load
from bus.bench.recount import recount
from bus.bench.report import BenchError, Report
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
    #: Seconds of CPU until all that was accepted had ended, and seconds after the turns until it had.
    cpu: float = 0.0
    after: float = 0.0

    def turn(self, number: int, seconds: float, wait: Callable[[], None]) -> float:
        """Load it for so many seconds, and ``wait`` until all has ended; accepted submissions per second."""
        headers = {"Authorization": f"Bearer {self.opened.token}"} if self.opened.token else {}
        url = f"{self.opened.url}/v1/services/{fanout.SERVICE}/requests"
        before = self.opened.cpu()
        order = Order(
            url=url, connections=self.connections, seconds=seconds, headers=headers, prefix=f"{self.name}-{number}"
        )
        heard = load(order)
        if set(heard.statuses) != {"202"}:
            raise BenchError(f"{self.name} answered {dict(heard.statuses)}, and not 202 each time.")
        loaded = time.monotonic()
        wait()
        self.after += time.monotonic() - loaded
        # What an accepted request costs later is its cost, too.
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
    def ended_speed(self) -> float:
        """Requests a second that were carried through: the time until the last one had ended counts, too."""
        return self.accepted / (sum(heard.took for heard in self.heard) + self.after)

    @property
    def cpu_ms(self) -> float:
        return 1000 * self.cpu / self.accepted


def gateway(
    *, seconds: float, connections: int, agencies: int, is_hosted: bool, progress: Callable[[str], None]
) -> Report:
    """Load both for ``seconds`` altogether each, in turns; the store must add up at the end.

    ``is_hosted``: the agencies' hosts run in the same process and answer at once; else their steps wait for them.
    """
    with ended_in_order(), tempfile.TemporaryDirectory(prefix="bus-bench-") as name:
        folder = Path(name)
        hosted = agencies if is_hosted else 0
        with (
            door("bare", folder / "bare") as bare,
            door("bus", folder / "bus", agencies=agencies, hosted=hosted) as opened,
        ):
            yardstick, ours = _Side("bare", bare, connections), _Side("bus", opened, connections)
            ratios, quiet = [], partial(_quiet, opened) if is_hosted else _at_once
            for number in range(ROUNDS):
                progress(f"round {number + 1} of {ROUNDS}: {connections} connections")
                theirs = yardstick.turn(number, seconds / ROUNDS, _at_once)
                ratios.append(ours.turn(number, seconds / ROUNDS, quiet) / theirs)
        with closing(open_store(folder / "bus")) as store:
            recount(store, least=ours.accepted)
    latencies = [latency for heard in ours.heard for latency in heard.latencies]
    return Report(
        bench="gateway",
        settings={
            "seconds": seconds,
            "connections": connections,
            "agencies": agencies,
            "hosts": is_hosted,
            "rounds": ROUNDS,
        },
        requests_per_s=ours.speed,
        latencies=latencies,
        yardsticks={"bare": yardstick.speed},
        more={
            "cpu_ms": ours.cpu_ms,
            "bare_cpu_ms": yardstick.cpu_ms,
            "ratio_median": statistics.median(ratios),
        }
        | ({"ended_per_s": ours.ended_speed} if is_hosted else {}),
        spread={"bare": (min(ratios), max(ratios))},
    )


def _at_once() -> None:
    """Nothing goes on after its answer."""


def _quiet(opened: Open) -> None:
    """Wait until everything accepted has ended: its work must not fall into the yardstick's turn."""
    until = time.monotonic() + _QUIET_WITHIN
    with httpx.Client(headers={"Authorization": f"Bearer {opened.operator}"}, timeout=30) as client:
        while client.get(f"{opened.url}/v1/status").raise_for_status().json()["alive"]:
            if time.monotonic() > until:
                raise BenchError(f"Accepted requests did not end within {_QUIET_WITHIN:g} s.")
            time.sleep(0.1)
