"""Tells Python's garbage collector what a server is like."""

from __future__ import annotations

import gc

#: New objects between two looks at the young ones, by default 700. A batch makes tens of thousands of records, nearly
#: all of which go by themselves when it ends; looking at them again and again while it lasts finds nothing.
_YOUNG = 50_000


def spare_the_collector() -> None:
    """Call it once everything is loaded: what is there by now stays for the life of the process."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, 20, 20)
