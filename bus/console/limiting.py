"""How often one address may ask, so that nobody tries codes or tokens until one fits."""

from __future__ import annotations

import math
import time
from ipaddress import IPv6Address

from limits import parse
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from bus.console.visit import parse_address


class Limit:
    """A window for each address, kept in the memory of this process until it has passed."""

    def __init__(self, limit: str) -> None:
        """``limit`` as in ``30 per minute``."""
        self._limit = parse(limit)
        self._windows = SlidingWindowCounterRateLimiter(MemoryStorage())

    def wait(self, address: str) -> int:
        """Seconds until the address may ask again; 0 if it may now."""
        name = _network(address)
        if self._windows.test(self._limit, name):
            return 0
        until = self._windows.get_window_stats(self._limit, name).reset_time
        return max(1, math.ceil(until - time.time()))

    def count(self, address: str) -> None:
        """It has asked once."""
        self._windows.hit(self._limit, _network(address))


def _network(address: str) -> str:
    """The address, or for version 6 the /64 that one household or office has."""
    parsed = parse_address(address)
    return str(IPv6Address(int(parsed) >> 64 << 64)) if isinstance(parsed, IPv6Address) else str(parsed or address)
