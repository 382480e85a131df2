"""The fields of a contract with their titles, so that a clerk reads words instead of names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bus.message.contract import Contracts, urn
from bus.message.reply import Data
from bus.message.strict_json import pointer_to
from bus.message.text import Text

#: Objects inside objects are followed so far: a contract may contain itself.
MOST_DEEP = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class TitledField:
    """One field: where it is, what it means, its type and, where it has one, its value."""

    pointer: str
    title: Text
    type: str
    required: bool
    value: Any


class Folded:
    """Contracts as a form reads them: what ``$ref`` and ``allOf`` say stands in the schema that holds them."""

    def __init__(self, contracts: Contracts) -> None:
        self._wholes = {urn(name): _absolute(contracts.schema(name), urn(name)) for name in contracts.names()}

    def whole(self, name: str) -> Data:
        """The contract of this name, folded."""
        return self.fold(self._wholes[urn(name)])

    def fold(self, schema: Any) -> Data:
        """A part of `whole` with its own references followed; those of the parts inside it wait for their turn.

        A schema that is just true or false says nothing to a reader and comes out empty.
        """
        if not isinstance(schema, Mapping):
            return {}
        merged: dict[str, Any] = {}
        if "$ref" in schema:
            merged = _both(merged, self.fold(self._target(schema["$ref"])))
        for part in schema.get("allOf", ()):
            merged = _both(merged, self.fold(part))
        own = {keyword: value for keyword, value in schema.items() if keyword not in {"$ref", "allOf"}}
        return _both(merged, own)

    def _target(self, reference: str) -> Any:
        uri, _, pointer = reference.partition("#")
        found: Any = self._wholes[uri]
        for part in pointer.split("/")[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            found = found[int(name)] if isinstance(found, list) else found[name]
        return found


def titled(schema: Data, data: Data, folded: Folded | None = None) -> tuple[TitledField, ...]:
    """Every field of an object's contract that is no object itself, with its value in ``data`` or None.

    With ``folded``, from which the schema comes, the fields behind references are found too.
    """
    return tuple(_fields(folded.fold if folded else _as_it_is, schema, data, ()))


def title_of(schema: Data, name: str) -> Text:
    """What a schema calls itself in both languages; the name of its member where it says nothing."""
    return Text(en=str(schema.get("title", name)), ar=str(schema.get("x-title-ar", name)))


def _fields(fold: Callable[[Any], Data], schema: Data, data: Any, path: tuple[str, ...]) -> Iterator[TitledField]:
    required = schema.get("required", ())
    for name, member in schema.get("properties", {}).items():
        value = data.get(name) if isinstance(data, Mapping) else None
        described = fold(member)
        if "properties" in described and len(path) < MOST_DEEP:
            yield from _fields(fold, described, value, (*path, name))
        else:
            yield TitledField(
                pointer=pointer_to((*path, name)),
                title=title_of(described, name),
                type=str(described.get("type", "any")),
                required=name in required,
                value=value,
            )


def _as_it_is(schema: Any) -> Data:
    return schema if isinstance(schema, Mapping) else {}


def _absolute(schema: Any, uri: str) -> Any:
    """A copy in which each reference names its contract, so that it can be read from anywhere."""
    if isinstance(schema, Mapping):
        return {
            keyword: uri + value if keyword == "$ref" and str(value).startswith("#") else _absolute(value, uri)
            for keyword, value in schema.items()
        }
    return [_absolute(item, uri) for item in schema] if isinstance(schema, list | tuple) else schema


def _both(first: Data, second: Data) -> dict[str, Any]:
    """What holds for a value that obeys both; the second has the last word where only one can be told."""
    merged = {**first, **second}
    if "properties" in first and "properties" in second:
        members = first["properties"]
        merged["properties"] = {
            **members,
            **{
                name: {"allOf": [members[name], schema]} if name in members else schema
                for name, schema in second["properties"].items()
            },
        }
    if "required" in first and "required" in second:
        merged["required"] = [*first["required"], *second["required"]]
    return merged
