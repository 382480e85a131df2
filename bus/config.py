"""The intervals and limits of a running bus, with their defaults, and how they are written."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import TypeAlias

#: A length of time in milliseconds (this room stands beside `bus.message` and so has the word once more).
Milliseconds: TypeAlias = int
#: A number between 0 and 1.
Fraction: TypeAlias = float
#: A number of things, at least 1.
Count: TypeAlias = int

_UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"([0-9]{1,9})(ms|s|m|h|d)", re.ASCII)


def duration(text: str) -> Milliseconds:
    """The length of time that ``5ms``, ``5s``, ``10m``, ``2h`` or ``10d`` names; a ValueError with the mend if none."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a duration; write a whole number and a unit: 5ms, 5s, 10m, 2h, 10d.")
    return int(match[1]) * _UNITS[match[2]]


def to_duration(milliseconds: Milliseconds) -> str:
    """The shortest text that `duration` reads back: 90_000 is ``90s``, 3_600_000 is ``1h``."""
    for unit, size in reversed(_UNITS.items()):
        if milliseconds and milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return "0s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every interval and limit; ``intervals:`` of ``env/<name>.yaml`` overrides them by name."""

    #: How often the timekeeper proves on each reply channel that the bus can hear.
    tick_every: Milliseconds = 10_000
    #: A deadline fires this long after a tick that was published after it has been consumed.
    tick_margin: Milliseconds = 30_000
    #: How often a host says that it is alive.
    alive_every: Milliseconds = 15_000
    #: A host unheard of for this long gets no tasks.
    dead_after: Milliseconds = 45_000
    #: A dispatched task unanswered for this long is sent again, doubling up to `answer_most`.
    answer_within: Milliseconds = 600_000
    answer_most: Milliseconds = 86_400_000
    #: A pending or unknown step is asked about this often, doubling up to `ask_most`.
    ask_again: Milliseconds = 3_600_000
    ask_most: Milliseconds = 86_400_000
    #: Nothing begins and nothing is sent again later than the expiry time less this.
    late_margin: Milliseconds = 60_000
    #: The bus decides about a passed expiry time only this long after it.
    deadline_grace: Milliseconds = 120_000
    #: Transient replies or answer timeouts in a row that open an agency's breaker.
    breaker_opens_after: Count = 5
    #: An open breaker lets one task through after this, doubling up to `breaker_probe_most`.
    breaker_probe_first: Milliseconds = 30_000
    breaker_probe_most: Milliseconds = 600_000
    #: How many batches may be in flight to one agency.
    window_batches: Count = 4
    #: The most messages in one batch, and how long a batch waits to fill.
    batch_most: Count = 100
    batch_wait: Milliseconds = 5
    #: Which part of a request's time may pass before it warns.
    request_warn_at: Fraction = 0.8
    #: How long a returned step waits for the applicant where the agency named no time.
    returned_within: Milliseconds = 2_592_000_000
    #: With more messages than this waiting for the broker nothing new is accepted.
    outbox_most: Count = 50_000
    #: With more than this waiting for one agency nothing new is accepted that may ask it; more count to no total.
    channel_most: Count = 10_000
    #: How long a claim on a journal or outbox row outlives a silent process.
    lease: Milliseconds = 20_000
    #: How long a host's journal keeps what was answered. Longer than any request can live: past it, a task that comes
    #: again counts as one that may have been done.
    keep_journal: Milliseconds = 34_560_000_000
    #: Wall and monotonic clock may part by this much between two ticks.
    clock_drift: Milliseconds = 5_000
    #: A consumer's webhook answers within this.
    webhook_timeout: Milliseconds = 10_000
    #: What a webhook did not take is brought again after this, doubling up to `webhook_most`.
    webhook_first: Milliseconds = 5_000
    webhook_most: Milliseconds = 600_000
    #: A process told to stop lets go of its work within this.
    drain_within: Milliseconds = 10_000


#: Every name that ``intervals:`` may set.
NAMES: tuple[str, ...] = tuple(field.name for field in fields(Settings))
_KINDS: dict[str, str] = {field.name: str(field.type) for field in fields(Settings)}
#: Lengths of time that somebody stands waiting through, and how long that may be.
_LONGEST: dict[str, Milliseconds] = {"batch_wait": 1_000}


def setting(name: str, written: object) -> int | float:
    """The value of the setting ``name`` as it is written in a file; a ValueError with the mend if it cannot be."""
    kind = _KINDS[name]
    if kind == "Milliseconds":
        if isinstance(written, str) and (length := duration(written)) > 0:
            return _bounded(name, length)
        raise ValueError(f"{name} is a length of time above zero; write it like 5s, 10m, 2h.")
    if isinstance(written, bool) or not isinstance(written, int | float):
        raise ValueError(f"{name} is a number.")
    if kind == "Fraction":
        if 0 < written < 1:
            return float(written)
        raise ValueError(f"{name} lies between 0 and 1, for example 0.8.")
    if isinstance(written, int) and written >= 1:
        return written
    raise ValueError(f"{name} is a whole number of at least 1.")


def _bounded(name: str, length: Milliseconds) -> Milliseconds:
    longest = _LONGEST.get(name, length)
    if length > longest:
        raise ValueError(f"{name} is at most {to_duration(longest)}: everybody waits through it.")
    return length


def shown(name: str, value: float) -> str:
    """The value of the setting ``name`` as a file would write it."""
    return to_duration(int(value)) if _KINDS[name] == "Milliseconds" else str(value)
