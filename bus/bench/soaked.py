"""What a long load came to, and whether it showed what it is to show."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bus.bench import fanout
from bus.bench.pace import Ran
from bus.bench.report import percentile
from bus.config import Settings
from bus.runtime.agency import window

#: Most that a process of the bus may have grown by, from the first third of the time to the last.
_STEADY: Final = 1.05
#: Processes that are not the bus's own; the loader is its gateway.
_NOT_OURS: Final = frozenset({"broker", "postgresql", "redis"})
#: Most tasks that are in flight: the window of each host, by the settings that nobody changed.
ALLOWED: Final = window(Settings()) * len(fanout.AGENCIES)
#: What may stand among the replies beside them: for each agency a tick and a sign of life.
_SIGNS: Final = 2 * len(fanout.AGENCIES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One look at everything."""

    #: Seconds since the load began.
    at: float
    #: Process -> bytes of resident memory.
    memory: Mapping[str, int]
    #: Messages in the queues of tasks, and in those of replies, ready or unacknowledged. A host acknowledges a task
    #: when its reply is confirmed: for that while both count.
    tasks: int
    replies: int
    #: Rows that wait to be published.
    outbox: int

    @property
    def queued(self) -> int:
        """All messages in queues of the bus."""
        return self.tasks + self.replies


@dataclass(frozen=True, slots=True, kw_only=True)
class Soak:
    """What a long load came to."""

    rate: float
    maximum: float
    ran: Ran
    samples: Sequence[Sample]
    #: Submissions that the store accepted for it, and requests of the store that have not ended.
    accepted: int
    alive: int

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
    def is_sound(self) -> bool:
        """Whether all that a long load is to show was seen."""
        return all(self.verdicts().values())

    def verdicts(self) -> dict[str, bool]:
        """What a long load is to show."""
        ours = {name: share for name, share in self.growth().items() if name not in _NOT_OURS}
        return {
            "nothing_lost": self.alive == 0 and self.accepted >= self.ran.ended,
            "memory_steady": all(share <= _STEADY for share in ours.values()),
            "queues_bounded": all(one.tasks <= ALLOWED and one.replies <= ALLOWED + _SIGNS for one in self.samples),
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
                "requests": self.ran.ended,
                "repeated": self.ran.repeated,
                "accepted": self.accepted,
                "alive": self.alive,
                "most_queued": max(one.queued for one in self.samples),
                "most_tasks": max(one.tasks for one in self.samples),
                "most_replies": max(one.replies for one in self.samples),
                "most_outbox": max(one.outbox for one in self.samples),
            },
            "growth": {name: round(share, 3) for name, share in self.growth().items()},
            "verdicts": self.verdicts(),
            "samples": [
                {
                    "at": round(one.at, 1),
                    "memory_mb": {name: round(size / 1e6, 1) for name, size in one.memory.items()},
                    "queued": one.queued,
                    "tasks": one.tasks,
                    "replies": one.replies,
                    "outbox": one.outbox,
                }
                for one in self.samples
            ],
        }
