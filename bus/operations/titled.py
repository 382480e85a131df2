"""The fields of a contract with their titles, so that a clerk reads words instead of names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bus.message.reply import Data
from bus.message.strict_json import pointer_to
from bus.message.text import Text


@dataclass(frozen=True, slots=True, kw_only=True)
class TitledField:
    """One field: where it is, what it means, its type and, where it has one, its value."""

    pointer: str
    title: Text
    type: str
    required: bool
    value: Any


def titled(schema: Data, data: Data) -> tuple[TitledField, ...]:
    """Every field of an object's contract that is no object itself, with its value in ``data`` or None."""
    return tuple(_fields(schema, data, ()))


def _fields(schema: Data, data: Any, path: tuple[str, ...]) -> Iterator[TitledField]:
    required = schema.get("required", ())
    for name, member in schema.get("properties", {}).items():
        value = data.get(name) if isinstance(data, Mapping) else None
        if isinstance(member, Mapping) and "properties" in member:
            yield from _fields(member, value, (*path, name))
        else:
            described = member if isinstance(member, Mapping) else {}
            yield TitledField(
                pointer=pointer_to((*path, name)),
                title=Text(en=described.get("title", name), ar=described.get("x-title-ar", name)),
                type=str(described.get("type", "any")),
                required=name in required,
                value=value,
            )
