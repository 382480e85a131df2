"""Whether the store of a bus that was loaded adds up: without that its figures are worth nothing."""

from __future__ import annotations

from bus.bench.report import BenchError
from bus.ports import Store


def recount(store: Store, *, least: int = 0) -> int:
    """How many submissions it ever accepted; BenchError if it does not add up, or has fewer than ``least``."""
    if faults := store.recount():
        raise BenchError(f"The store does not add up: {faults[0]}")
    accepted = store.accepted()
    if accepted < least:
        raise BenchError(f"The store has {accepted} submissions, and {least} were accepted.")
    return accepted
