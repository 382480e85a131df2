"""Advisory locks of PostgreSQL: who holds one makes the others wait until his transaction has ended."""

from __future__ import annotations

from enum import IntEnum


class Lock(IntEnum):
    """A number for each; the first half keeps them apart from those of other programs in the same database."""

    #: One migration at a time.
    MIGRATING = 0x627573 << 16 | 1
    #: Every write transaction shares it, so that readers see which ones are open.
    WRITING = 0x627573 << 16 | 2
    #: Keys of the feeds of results follow the commits.
    RESULTS = 0x627573 << 16 | 3
    #: Keys of acts follow the commits.
    ACTS = 0x627573 << 16 | 4
