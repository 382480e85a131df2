"""Tells the garbage collector and the C library what a server is like."""

from __future__ import annotations

import ctypes
import gc
import platform

#: New objects between two looks at the young ones, by default 700. A batch makes tens of thousands of records, nearly
#: all of which go by themselves when it ends; looking at them again and again while it lasts finds nothing.
_YOUNG = 50_000


def spare_the_collector() -> None:
    """Call it once everything is loaded: what is there by now stays for the life of the process."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, 20, 20)


#: Of `mallopt`, by their numbers in <malloc.h>: bytes at the end of a heap that may stay free, the least size of a
#: block with a mapping of its own, and heaps. A size that is given stays; by itself the library would raise it.
_OPTIONS = {-1: 262_144, -3: 262_144, -8: 1}


def share_one_heap() -> None:
    """Call it before any thread starts: all threads allocate from one heap, and large blocks go back when freed.

    glibc gives threads heaps of their own, each of which keeps what its largest burst took: a process of many threads
    grew that way, though what it held did not (docs/performance.md). Python's threads mostly take turns anyhow. Does
    nothing beside other C libraries.
    """
    if platform.libc_ver()[0] == "glibc":
        for option, value in _OPTIONS.items():
            ctypes.CDLL(None).mallopt(option, value)
