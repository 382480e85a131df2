"""When a further try is due: exponential, bounded, with a jitter that anybody can compute again."""

from __future__ import annotations

import hashlib

from bus.message.instant import Milliseconds
from bus.process.definition import Backoff


def delay(backoff: Backoff, interaction_id: str, attempt: int) -> Milliseconds:
    """How long to wait before this attempt (2, 3 ...): between half and the whole of the exponential step.

    The jitter comes from (interaction id, attempt), so that a thousand requests that failed together come back apart
    while one decision can be repeated exactly.
    """
    # Beyond 64 steps every sensible bound is reached; an agency that is busy for ever must not overflow a float.
    full = min(backoff.most, backoff.first * backoff.factor ** min(64, max(0, attempt - 2)))
    digest = hashlib.sha256(f"{interaction_id}/{attempt}".encode()).digest()
    share = int.from_bytes(digest[:4]) / 0xFFFFFFFF
    return int(full * (0.5 + share / 2))


def doubling(first: Milliseconds, times: int, most: Milliseconds) -> Milliseconds:
    """``first``, doubled ``times`` times, at most ``most``."""
    return min(most, first << min(times, 32))
