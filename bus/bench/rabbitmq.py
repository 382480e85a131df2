"""``bus bench rabbitmq``: the bus in processes of its own, beside what others would build, in turns on one broker."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import redis

from bus.bench.contender import Contender, Machines, Turn, machines, take_turn, take_watched_turn
from bus.bench.installation import APART, OVER_HTTP, TOGETHER, Installation, install
from bus.bench.lifeline import ended_in_order
from bus.bench.pace import Order
from bus.bench.report import Report, percentile
from bus.bench.yardsticks.open import yardsticks

BUS: Final = "bus"
#: The bus with its gateway in a process of its own, where all goes over HTTP: submissions, and the feed of results.
BUS_HTTP: Final = "bus-http"
#: The bus with every host in a process of its own.
BUS_APART: Final = "bus-apart"
#: The bus below its maximum: latency without a queue in front.
BUS_OPEN: Final = "bus-open"
#: In the order of the table. ``ceiling`` carries ten messages, ``ceiling-8`` the eight that the bus puts on the broker.
NAMES: Final = (BUS, BUS_HTTP, BUS_APART, BUS_OPEN, "ceiling", "ceiling-8", "dramatiq", "celery")
_OURS: Final = frozenset({BUS, BUS_HTTP, BUS_APART, BUS_OPEN})
#: Left out unless they are asked for by name.
_EXTRA: Final = frozenset({BUS_APART})
DEFAULT: Final = tuple(name for name in NAMES if name not in _EXTRA)
#: More than an open loop ever has in flight, unless it falls behind for good.
_OPEN_WINDOW: Final = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be measured."""

    seconds: float
    window: int
    rounds: int
    #: Requests a second of the open loop.
    rate: float
    #: Among `NAMES`.
    contenders: Collection[str] = DEFAULT


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """All turns of one contender."""

    name: str
    #: Most requests in flight; None: an open loop.
    window: int | None
    turns: Sequence[Turn]

    @property
    def speeds(self) -> list[float]:
        """Requests a second, turn by turn."""
        return [turn.ran.speed for turn in self.turns]

    @property
    def latencies(self) -> list[float]:
        """Milliseconds, of all turns."""
        return [latency for turn in self.turns for latency in turn.ran.latencies]

    @property
    def cpu_ms(self) -> dict[str, float]:
        """Process -> milliseconds of CPU a request, the median of the turns; what used none is left out."""
        names = dict.fromkeys(name for turn in self.turns for name in turn.cpu_ms)
        used = {name: statistics.median(turn.cpu_ms[name] for turn in self.turns) for name in names}
        return {name: value for name, value in used.items() if value >= 0.005}

    @property
    def broker(self) -> dict[str, Any]:
        """What RabbitMQ told: messages a request and a second, and the most that it held; empty if it was not asked."""
        asked = [turn for turn in self.turns if turn.broker]
        figures = [turn.broker for turn in asked if turn.broker]
        if not figures:
            return {}
        ended, speed = sum(turn.ran.ended for turn in asked), statistics.median(self.speeds)
        messages = {name: sum(one.messages[name] for one in figures) for name in figures[0].messages}
        return {
            "a_request": {name: round(count / ended, 2) for name, count in messages.items()},
            "per_s": {name: round(count / ended * speed, 1) for name, count in messages.items()},
            "redelivered": messages["redelivered"],
            "most_queued": max(one.most_queued for one in figures),
            "most_memory_mb": round(max(one.most_memory for one in figures) / 1e6, 1),
        }

    def to_json(self) -> dict[str, Any]:
        """One row of the table."""
        latencies = self.latencies
        speeds = {"median": statistics.median(self.speeds), "least": min(self.speeds), "greatest": max(self.speeds)}
        cpu = self.cpu_ms
        return {
            "window": self.window,
            "requests_per_s": {name: round(value, 1) for name, value in speeds.items()},
            **{f"p{share}_ms": round(percentile(latencies, share), 1) for share in (50, 95)},
            "most_ms": round(max(latencies, default=0.0), 1),
            "requests": sum(turn.ran.ended for turn in self.turns),
            "repeated": sum(turn.ran.repeated for turn in self.turns),
            "cpu_ms": {name: round(value, 2) for name, value in cpu.items()},
            "cpu_ms_sum": round(sum(cpu.values()), 2),
        } | ({"broker": broker} if (broker := self.broker) else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Every contender's row, of one run on one machine."""

    wanted: Wanted
    versions: Mapping[str, str]
    rows: Mapping[str, Row]

    def to_json(self) -> dict[str, Any]:
        """The shape of every benchmark's report, with ``versions`` and ``rows``, by contender."""
        wanted, ours = self.wanted, self.rows.get(BUS)
        others = {name: row for name, row in self.rows.items() if name not in _OURS}
        report = Report(
            bench="rabbitmq",
            settings={
                "seconds": wanted.seconds,
                "window": wanted.window,
                "rounds": wanted.rounds,
                "rate": wanted.rate,
                "agencies": 4,
                "submission": "the gateway's operation, without HTTP but for bus-http",
            },
            requests_per_s=statistics.median(ours.speeds) if ours else 0.0,
            latencies=ours.latencies if ours else (),
            yardsticks={name: statistics.median(row.speeds) for name, row in others.items()},
            spread={name: _spread(ours, row) for name, row in others.items()} if ours else {},
        ).to_json()
        rows = {name: row.to_json() for name, row in self.rows.items()}
        return {**report, "versions": dict(self.versions), "rows": rows}


def _spread(ours: Row, other: Row) -> tuple[float, float]:
    ratios = [a / b for a, b in zip(ours.speeds, other.speeds, strict=True) if b]
    return (min(ratios), max(ratios)) if ratios else (0.0, 0.0)


def compare(wanted: Wanted, meta: Path, progress: Callable[[str], None]) -> Comparison:
    """Start private services, let everybody take turns, round after round, and recount the bus's store at the end.

    ``meta`` holds the schemas of a workspace's own files.
    """
    with services(progress) as (shared, folder):
        names = [name for name in NAMES if name in wanted.contenders]
        installation = install(shared, folder, meta, "bus") if _OURS.intersection(names) else None
        contenders = yardsticks(shared, folder) | (_ours(installation) if installation else {})
        turns: dict[str, list[Turn]] = {name: [] for name in names}
        for number in range(wanted.rounds):
            # Who was early is late in the next round: what the machine does meanwhile meets everybody.
            for name in names if number % 2 == 0 else names[::-1]:
                progress(f"round {number + 1} of {wanted.rounds}: {name}")
                order = replace(_order(name, wanted), prefix=f"{name}-{number}")
                take = take_watched_turn if name in _OURS else take_turn
                turns[name].append(take(contenders[name], order, shared, folder / "loaders.log"))
        if installation:
            progress("recounting the store")
            installation.recount(least=sum(turn.ran.ended for name in names if name in _OURS for turn in turns[name]))
        versions = _versions(shared)
    rows = {
        name: Row(name=name, window=None if name == BUS_OPEN else wanted.window, turns=taken)
        for name, taken in turns.items()
    }
    return Comparison(wanted=wanted, versions=versions, rows=rows)


@contextmanager
def services(progress: Callable[[str], None]) -> Iterator[tuple[Machines, Path]]:
    """Private RabbitMQ, PostgreSQL and Redis, and a folder; all gone at the end, also if that is Ctrl-C or SIGTERM."""
    with ended_in_order(), tempfile.TemporaryDirectory(prefix="bus-bench-") as name:
        folder = Path(name)
        # The services run as users of their own, who must be able to reach their folders in it.
        folder.chmod(0o755)
        progress("starting RabbitMQ, PostgreSQL and Redis")
        with machines(folder) as shared:
            yield shared, folder


def _ours(installation: Installation) -> dict[str, Contender]:
    """The bus in all its forms, over one store."""
    processes = {BUS: TOGETHER, BUS_OPEN: TOGETHER, BUS_HTTP: OVER_HTTP, BUS_APART: APART}
    return {name: installation.contender(spread, name) for name, spread in processes.items()}


def _versions(shared: Machines) -> dict[str, str]:
    """What was measured, and on what."""
    told = redis.Redis.from_url(shared.redis.url).info("server")
    return {
        "rabbitmq": shared.rabbit.version,
        "postgresql": shared.postgres.version,
        "redis": str(told["redis_version"]),
        **{name: metadata.version(name) for name in ("pika", "dramatiq", "celery")},
    }


def _order(name: str, wanted: Wanted) -> Order:
    if name == BUS_OPEN:
        return Order(window=_OPEN_WINDOW, seconds=wanted.seconds, rate=wanted.rate)
    return Order(window=wanted.window, seconds=wanted.seconds)
