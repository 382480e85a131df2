"""Tells the garbage collector and the C library what a server is like."""

from __future__ import annotations

import ctypes
import gc
import platform

#: New objects between two looks at the young ones, by default 700. A batch makes tens of thousands of records, nearly
#: all of which go by themselves when it ends; looking at them again and again while it lasts finds nothing.
_YOUNG = 50_000
#: Of glibc's `mallopt`, as <malloc.h> has them.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
#: Bytes that may stay free at the end of a heap, and from which on a block has a mapping of its own. What is given
#: stays; by itself the library would raise both.
_LARGE = 262_144


def spare_the_collector() -> None:
    """Call it once everything is loaded: what is there by now stays for the life of the process."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, 20, 20)


def share_one_heap() -> None:
    """Call it before any thread starts: all threads allocate from one heap, and large blocks go back when freed.

    glibc gives threads heaps of their own, each of which keeps what its largest burst took: a process of many threads
    grew that way, though what it held did not (docs/performance.md). Python's threads mostly take turns anyhow. Does
    nothing beside other C libraries.
    """
    if platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        library.mallopt(_M_ARENA_MAX, 1)
        library.mallopt(_M_TRIM_THRESHOLD, _LARGE)
        library.mallopt(_M_MMAP_THRESHOLD, _LARGE)
