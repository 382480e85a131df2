"""What a long benchmark takes of time and disk: told before it begins, and refused where there is no room for it."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bus.errors import ConfigurationError, Fault

#: Bytes of a finished request in the store, tables and indexes together, and with its journals and logs.
_STORED: Final = 25_000
_KEPT_ALTOGETHER: Final = 60_000
#: Bytes of everything else: PostgreSQL's log, what it sorts for its indexes, RabbitMQ.
_BESIDE: Final = 3_000_000_000
#: Seconds for one copy with its part of the indexes, as measured on 2 cores and a disk of some 200 MB/s.
_COPY: Final = 0.00032
#: Seconds for services to start, and around each turn for programs to start, warm up and end.
_SERVICES, _AROUND = 20.0, 12.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Roughly."""

    seconds: float
    bytes: int

    def __str__(self) -> str:
        took = f"{self.seconds / 60:,.0f} minutes" if self.seconds >= 120 else f"{self.seconds:.0f} s"
        return f"about {took} and {self.bytes / 1e9:.1f} GB of disk"


def of_pairs(copies: int, *, pairs: int, seconds: float) -> Cost:
    """Filling a store with copies, and pairs of turns of so many seconds."""
    turns = (2 * pairs * (seconds + _AROUND)) + 2 * _AROUND
    return Cost(seconds=_SERVICES + copies * _COPY + turns, bytes=copies * _STORED + _BESIDE)


def of_soak(seconds: float, *, rate: float) -> Cost:
    """So many seconds of requests at a rate."""
    return Cost(seconds=seconds + _AROUND, bytes=math.ceil(seconds * rate) * _KEPT_ALTOGETHER + _BESIDE)


def tell(cost: Cost, folder: Path, progress: Callable[[str], None], *, mend: str) -> None:
    """Say it; ConfigurationError with the mend where the disk of the folder has no room for it."""
    free = shutil.disk_usage(folder).free
    if free < cost.bytes:
        message = f"This takes {cost}, and {folder} has {free / 1e9:.1f} GB free."
        mended = f"Set TMPDIR to a folder on a larger disk, or {mend}."
        raise ConfigurationError((Fault(code="disk-too-small", message=message, mend=mended, file=str(folder)),))
    progress(f"this takes {cost}, in {folder} ({free / 1e9:.0f} GB free)")
