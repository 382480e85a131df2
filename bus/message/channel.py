"""Channels: the logical addresses of the bus; only brokers know what queue or exchange stands behind one."""

from __future__ import annotations

import re
from typing import NewType

#: ``requests``, ``tasks.<agency>``, ``control.<agency>``, ``replies.<agency>``, ``results.<consumer>``, ``invalid``.
Channel = NewType("Channel", str)

#: Submissions of all consumers.
REQUESTS = Channel("requests")
#: What cannot be understood, with its raw bytes.
INVALID = Channel("invalid")

_AGENCY = re.compile(r"[a-z][a-z0-9_-]{0,63}", re.ASCII)


def tasks(agency: str) -> Channel:
    """Tasks, queries and withdrawals for an agency's host."""
    return _channel("tasks", agency)


def control(agency: str) -> Channel:
    """What the bus tells an agency's host about itself: its admission."""
    return _channel("control", agency)


def replies(agency: str) -> Channel:
    """What an agency's host answers and announces, and the ticks that prove that this channel is heard."""
    return _channel("replies", agency)


def results(consumer: str) -> Channel:
    """The results of a consumer's requests."""
    return _channel("results", consumer)


def agency_of(channel: Channel) -> str | None:
    """The agency (or consumer) that the channel belongs to; None for ``requests`` and ``invalid``."""
    _, _, agency = channel.partition(".")
    return agency or None


def _channel(kind: str, agency: str) -> Channel:
    if not _AGENCY.fullmatch(agency):
        raise ValueError(f"{agency!r} cannot name an agency: use a-z, 0-9, _ and -, a letter first, at most 64.")
    return Channel(f"{kind}.{agency}")
