"""Channels: the logical addresses of the bus; only brokers know what queue or exchange stands behind one."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NewType

#: ``requests``, ``tasks.<agency>``, ``control.<agency>``, ``replies.<agency>``, ``results.<consumer>``, ``invalid``,
#: ``poison``.
Channel = NewType("Channel", str)

#: Submissions of all consumers.
REQUESTS = Channel("requests")
#: What cannot be understood, with its raw bytes.
INVALID = Channel("invalid")

#: What the broker gave up after it had brought it too often.
POISON = Channel("poison")

#: The user of a broker under whose name every part of the bus speaks.
BUS_USER = "bus"

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


def host_user(agency: str) -> str:
    """The user of a broker under whose name the hosts of an agency speak; no agency can have the bus's own."""
    return f"agency.{agency}"


def is_from(sender: str | None, user: str) -> bool:
    """Whether a message came from this user, for all that the broker knows.

    ``sender`` is whom the broker vouches for, "" if for nobody; None means a broker inside this process, where no
    stranger can speak.
    """
    return sender is None or sender == user


def agency_of(channel: Channel) -> str | None:
    """The agency (or consumer) that the channel belongs to; None for ``requests``, ``invalid`` and ``poison``."""
    _, _, agency = channel.partition(".")
    return agency or None


# The same few for every message.
@lru_cache(maxsize=4_096)
def _channel(kind: str, agency: str) -> Channel:
    if not _AGENCY.fullmatch(agency):
        raise ValueError(f"{agency!r} cannot name an agency: use a-z, 0-9, _ and -, a letter first, at most 64.")
    return Channel(f"{kind}.{agency}")
