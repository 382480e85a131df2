"""The one shape of every benchmark's report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bus.errors import BusError


class BenchError(BusError):
    """A benchmark whose figures would be worth nothing: something was lost, refused, or does not add up."""

    code = "bench"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was measured: figures of ours, yardsticks of the same run, and the ratios between them."""

    bench: str
    settings: Mapping[str, Any]
    requests_per_s: float
    #: Milliseconds from submission to end, one for each request.
    latencies: Sequence[float]
    #: Yardstick -> requests per second.
    yardsticks: Mapping[str, float] = field(default_factory=dict)
    #: Further figures of this benchmark alone.
    more: Mapping[str, float] = field(default_factory=dict)
    #: Yardstick -> the least and the greatest ratio of a round, where the two took turns.
    spread: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """``{"bench", "settings", "figures", "yardsticks", "ratios"}``, and ``"spread"`` where rounds were measured."""
        figures = {"requests_per_s": round(self.requests_per_s, 1)}
        figures |= {f"p{share}_ms": round(percentile(self.latencies, share), 1) for share in (50, 95, 99)}
        figures |= {name: round(value, 3) for name, value in self.more.items()}
        # Where nothing of ours was measured, or nothing of theirs ended in time, there is nothing to compare.
        compared = {name: speed for name, speed in self.yardsticks.items() if speed and self.latencies}
        ratios = {name: round(self.requests_per_s / speed, 3) for name, speed in compared.items()}
        return {
            "bench": self.bench,
            "settings": dict(self.settings),
            "figures": figures,
            "yardsticks": {name: round(speed, 1) for name, speed in self.yardsticks.items()},
            "ratios": ratios,
        } | (
            {"spread": {name: [round(end, 3) for end in ends] for name, ends in self.spread.items()}}
            if self.spread
            else {}
        )


def percentile(values: Sequence[float], share: int) -> float:
    """The value that ``share`` percent of the values do not exceed (nearest rank); 0 where there is none."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -(-len(ordered) * share // 100) - 1))]
