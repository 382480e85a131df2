"""Signs that a reader cannot see and that make a text look like another: no applicant needs them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from bus.message.strict_json import Path

#: Control characters but tab and line feed, and the marks that turn the direction of what follows.
_HIDDEN = re.compile("[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u202a-\\u202e\\u2066-\\u2069]")


def hidden(value: Any, path: Path = ()) -> Iterator[Path]:
    """The paths of the texts, member names included, that hold such a sign."""
    if isinstance(value, str):
        if _HIDDEN.search(value):
            yield path
    elif isinstance(value, Mapping):
        for key, member in value.items():
            if _HIDDEN.search(key):
                yield (*path, key)
            yield from hidden(member, (*path, key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from hidden(item, (*path, index))
