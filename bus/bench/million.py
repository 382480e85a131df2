"""``bus bench rabbitmq --preloaded N``: whether the bus becomes slower with many finished requests in its store."""

from __future__ import annotations

import math
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from bus.bench.contender import Turn, take_turn
from bus.bench.cost import of_pairs, tell
from bus.bench.installation import install
from bus.bench.pace import Order
from bus.bench.preload import preload, tidy
from bus.bench.rabbitmq import Row, services

#: Quantiles of Student's t, two-sided 95 %, by degrees of freedom. Between two of them that of fewer degrees is taken,
#: so that an interval is rather too wide.
_FIRST = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
_T: Final = dict(enumerate(_FIRST, 1)) | {12: 2.179, 15: 2.131, 20: 2.086, 30: 2.042, 60: 2.000, 120: 1.980}
EMPTY, FULL = "empty", "full"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Turns of the same bus over an empty and a full store, one after the other."""

    preloaded: int
    #: Of the full database before the first turn.
    size: int
    window: int
    empty: Sequence[Turn]
    full: Sequence[Turn]

    def to_json(self) -> dict[str, Any]:
        """Both rows, and the ratio full : empty as the geometric mean of the pairs with its 95 % interval."""
        ratios = [full.ran.speed / empty.ran.speed for full, empty in zip(self.full, self.empty, strict=True)]
        mean, least, greatest = interval(ratios)
        rows = {EMPTY: self.empty, FULL: self.full}
        return {
            "bench": "rabbitmq-preloaded",
            "settings": {"preloaded": self.preloaded, "pairs": len(ratios), "window": self.window},
            "bytes": self.size,
            "rows": {name: Row(name=name, window=self.window, turns=turns).to_json() for name, turns in rows.items()},
            "ratio": {"mean": round(mean, 3), "least": round(least, 3), "greatest": round(greatest, 3)},
            "ratios": [round(ratio, 3) for ratio in ratios],
        }


def interval(ratios: Sequence[float]) -> tuple[float, float, float]:
    """The geometric mean of ratios, and the ends of its 95 % interval (Student's t on the logarithms).

    ValueError for less than two.
    """
    logs = [math.log(ratio) for ratio in ratios]
    mean = statistics.fmean(logs)
    if len(logs) < 2:
        raise ValueError("an interval needs two ratios at least")
    quantile = _T[max(degrees for degrees in _T if degrees < len(logs))]
    half = quantile * statistics.stdev(logs) / math.sqrt(len(logs))
    return math.exp(mean), math.exp(mean - half), math.exp(mean + half)


def measure_preloaded(
    copies: int, *, pairs: int, seconds: float, window: int, meta: Path, progress: Callable[[str], None]
) -> Pairs:
    """Fill one of two stores, and let both take turns; who begins changes from pair to pair.

    ConfigurationError, and nothing started, where the disk has no room for it.
    """
    wanted = of_pairs(copies, pairs=pairs, seconds=seconds)
    tell(wanted, Path(tempfile.gettempdir()), progress, mend="copy fewer requests with --preloaded")
    order = Order(window=window, seconds=seconds)
    with services(progress) as (shared, folder):
        made = {name: install(shared, folder, meta, name) for name in (EMPTY, FULL)}
        contenders = {name: one.contender(name=name) for name, one in made.items()}
        log = folder / "loaders.log"
        # Both have run once, so both have a request to copy, and neither is colder than the other.
        for name, contender in contenders.items():
            take_turn(contender, Order(window=10, seconds=1.0, prefix=f"{name}-first"), shared, log)
        size = preload(made[FULL].database, copies, progress)
        # The full store's statistics are fresh and its pages tidied: so are the empty one's.
        tidy(made[EMPTY].database)
        turns: dict[str, list[Turn]] = {EMPTY: [], FULL: []}
        for number in range(pairs):
            for name in (EMPTY, FULL) if number % 2 == 0 else (FULL, EMPTY):
                progress(f"pair {number + 1} of {pairs}: {name}")
                named = replace(order, prefix=f"{name}-{number}")
                turns[name].append(take_turn(contenders[name], named, shared, log))
        made[EMPTY].recount()
    return Pairs(preloaded=copies, size=size, window=window, empty=turns[EMPTY], full=turns[FULL])
