"""Examples made from contracts: a value that a person can read and that its contract accepts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias
from urllib.parse import unquote

from bus.message.contract import Contracts, urn
from bus.message.formats import FORMATS
from bus.message.reply import Data
from bus.message.strict_json import pointer_to

#: From the ``$id`` of another schema (``urn:bus:operation:name.reserve.v1.input``) to that schema; KeyError if none.
Resolve: TypeAlias = Callable[[str], Data]

#: One fixed value of each format: an example that changes with the day is none.
_OF_FORMAT: Mapping[str, str] = {
    "date": "2026-01-05",
    "date-time": "2026-01-05T09:00:00Z",
    "json-pointer": "/member",
    "uuid": "0f7e9c1e-4c6b-5d0a-9a53-0d8f2b7c6e11",
}
#: One piece of a pattern and how often it stands there: a class, an escape, a letter.
_PIECE = re.compile(r"(\[[^\]^\\][^\]\\]*\]|\\[dw./()+*?-]|[^\\\[\](){}*+?.|^$])(?:\{([0-9]+)(,[0-9]*)?\}|([*+?]))?")
_ESCAPED = {"d": "0", "w": "a"}
_KINDS = {
    "object": ("properties", "required", "additionalProperties"),
    "array": ("items", "prefixItems", "minItems", "maxItems"),
    "string": ("pattern", "format", "minLength", "maxLength"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "multipleOf"),
}


def example_of(schema: Data, resolve: Resolve, *, whole: bool = True) -> Any:
    """An instance of the schema: its own ``examples`` wherever there are some, else made from what it says.

    ``whole``: with the optional members, as far as they can be made; else only with what is required. It reads
    ``const``, ``enum``, ``default``, types, bounds, formats, simple patterns, ``$ref``, ``allOf`` and the first of
    ``anyOf`` and ``oneOf``; who needs certainty asks the contract (`contract_example`). A ValueError names the JSON
    pointer into the example of the member that cannot be made, and the mend.
    """
    return _Maker(resolve, whole=whole).make(_Place(schema=schema, document=schema))


def contract_example(contracts: Contracts, name: str) -> Any:
    """An example of the contract ``name`` that obeys it; a ValueError with the mend where none can be made."""
    named = {urn(one): one for one in contracts.names()}

    def made(*, whole: bool) -> Any:
        return example_of(contracts.schema(name), lambda uri: contracts.schema(named[uri]), whole=whole)

    example = made(whole=True)
    if not contracts.accepts(name, example):
        # Members that exclude one another are most often optional.
        example = made(whole=False)
    if not contracts.accepts(name, example):
        faults = "; ".join(str(fault) for fault in contracts.explain(name, example))
        raise ValueError(f"What can be made from {name} does not obey it: {faults}. Give the schema `examples`.")
    return example


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """A schema, and where in the example its value will stand."""

    schema: Any
    #: Where a ``$ref`` that begins with # is looked up.
    document: Data
    pointer: str = ""
    #: The references that led here: a schema that holds itself has no end.
    through: frozenset[tuple[int, str]] = frozenset()


class _Maker:
    def __init__(self, resolve: Resolve, *, whole: bool) -> None:
        self._resolve = resolve
        self._whole = whole

    def make(self, *places: _Place) -> Any:
        """One value for all that is said of the same place."""
        parts = [part for place in places for part in self._expanded(place)]
        said = [part.schema for part in parts]
        stated = _stated(said)
        if stated:
            return stated[0]
        match _kind(said):
            case "object":
                return self._object(parts)
            case "array":
                return self._array(parts)
            case "string":
                return _string(said, parts[0].pointer)
            case "integer" | "number" as kind:
                return _number(said, is_whole=kind == "integer")
            case "boolean":
                return True
            case _:
                return None

    def _expanded(self, place: _Place) -> Iterator[_Place]:
        if place.schema is False:
            raise ValueError(_cannot(place.pointer, "nothing may stand there"))
        if not isinstance(place.schema, Mapping):
            return
        yield place
        if "$ref" in place.schema:
            yield from self._expanded(self._target(place, place.schema["$ref"]))
        for part in place.schema.get("allOf", ()):
            yield from self._expanded(replace(place, schema=part))
        for word in ("anyOf", "oneOf"):
            for part in place.schema.get(word, ())[:1]:
                yield from self._expanded(replace(place, schema=part))

    def _target(self, place: _Place, reference: str) -> _Place:
        uri, _, fragment = reference.partition("#")
        document = self._resolve(uri) if uri else place.document
        step = (id(document), fragment)
        if step in place.through:
            raise ValueError(_cannot(place.pointer, "its schema holds itself without end"))
        found: Any = document
        for part in unquote(fragment).split("/")[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            found = found[int(name)] if isinstance(found, list) else found[name]
        return replace(place, schema=found, document=document, through=place.through | {step})

    def _object(self, parts: list[_Place]) -> dict[str, Any]:
        required = {name for part in parts for name in part.schema.get("required", ())}
        below: dict[str, list[_Place]] = {}
        for part in parts:
            for name, schema in part.schema.get("properties", {}).items():
                inner = replace(part, schema=schema, pointer=part.pointer + pointer_to([name]))
                below.setdefault(name, []).append(inner)
        missing = sorted(required - below.keys())
        if missing:
            raise ValueError(_cannot(parts[0].pointer + pointer_to(missing[:1]), "the schema does not describe it"))
        made: dict[str, Any] = {}
        for name, places in below.items():
            if name in required:
                made[name] = self.make(*places)
            elif self._whole:
                made |= self._optional(name, places)
        return made

    def _optional(self, name: str, places: list[_Place]) -> dict[str, Any]:
        try:
            return {name: self.make(*places)}
        except ValueError:
            return {}

    def _array(self, parts: list[_Place]) -> list[Any]:
        least = max((part.schema.get("minItems", 0) for part in parts), default=0)
        most = min((part.schema["maxItems"] for part in parts if "maxItems" in part.schema), default=max(least, 1))
        first = [part.schema.get("prefixItems", ()) for part in parts]
        length = min(most, max(least, 1 if self._whole else 0, *map(len, first)))
        return [self._item(parts, index) for index in range(length)]

    def _item(self, parts: list[_Place], index: int) -> Any:
        places = []
        for part in parts:
            prefix = part.schema.get("prefixItems", ())
            schema = prefix[index] if index < len(prefix) else part.schema.get("items", True)
            places.append(replace(part, schema=schema, pointer=f"{part.pointer}/{index}"))
        return self.make(*places)


def _stated(said: list[Any]) -> list[Any]:
    """The values that the schemas name themselves, the best first."""
    const = [schema["const"] for schema in said if "const" in schema]
    examples = [value for schema in said for value in schema.get("examples", ())]
    choices = [schema["enum"] for schema in said if "enum" in schema]
    allowed = [value for value in choices[0] if all(value in other for other in choices)] if choices else []
    defaults = [schema["default"] for schema in said if "default" in schema]
    return [*const, *examples, *defaults, *allowed]


def _kind(said: list[Any]) -> str:
    for schema in said:
        kinds = schema.get("type", ())
        for kind in [kinds] if isinstance(kinds, str) else kinds:
            if kind != "null" or kinds == "null":
                return str(kind)
    words = {word for schema in said for word in schema}
    return next((kind for kind, known in _KINDS.items() if words & set(known)), "null")


def _string(said: list[Any], pointer: str) -> str:
    least = max((schema.get("minLength", 0) for schema in said), default=0)
    most = min((schema["maxLength"] for schema in said if "maxLength" in schema), default=1_000_000)
    patterns = [schema["pattern"] for schema in said if "pattern" in schema]
    formats = [schema["format"] for schema in said if "format" in schema]
    title = next((schema["title"] for schema in said if "title" in schema), "text")
    # Filled up with its own letters, because a blank at the end is refused by many a pattern.
    candidates = [_OF_FORMAT[name] for name in formats if name in _OF_FORMAT] or [
        (title * (least // len(title) + 1))[: max(least, min(most, len(title)))],
        *(made for made in map(_of_pattern, patterns) if made is not None),
    ]
    for text in candidates:
        fits = least <= len(text) <= most and all(re.search(pattern, text) for pattern in patterns)
        if fits and all(FORMATS[name](text) for name in formats if name in FORMATS):
            return text
    raise ValueError(_cannot(pointer, f"its pattern {' and '.join(patterns)} is not simple" if patterns else "no text"))


def _of_pattern(pattern: str) -> str | None:
    """The shortest text of a pattern that is a row of classes and letters; None for any other."""
    inside = pattern.removeprefix("^").removesuffix("$")
    text, at = "", 0
    while at < len(inside):
        piece = _PIECE.match(inside, at)
        if piece is None:
            return None
        what, least, _, often = piece.groups()
        times = int(least) if least is not None else {"*": 0, "?": 0}.get(often or "", 1)
        text += _letter(what) * times
        at = piece.end()
    return text


def _letter(piece: str) -> str:
    if piece.startswith("["):
        return piece[1]
    return _ESCAPED.get(piece[1], piece[1]) if piece.startswith("\\") else piece


def _number(said: list[Any], *, is_whole: bool) -> int | float:
    """The least number allowed; where none is the least, the greatest, or the one in the middle."""
    lowest = [schema[word] for word in ("minimum", "exclusiveMinimum") for schema in said if word in schema]
    highest = [schema[word] for word in ("maximum", "exclusiveMaximum") for schema in said if word in schema]
    step = next((schema["multipleOf"] for schema in said if "multipleOf" in schema), 1 if is_whole else None)
    excluded = {schema[word] for word in ("exclusiveMinimum", "exclusiveMaximum") for schema in said if word in schema}
    if not lowest and not highest:
        return step or 1
    bound: int | float = max(lowest) if lowest else min(highest)
    if step is not None:
        bound = bound // step * step
        toward = step if lowest else -step
        while bound in excluded or (lowest and bound < max(lowest)):
            bound += toward
        return int(bound) if bound == int(bound) else bound
    if bound in excluded:
        return (bound + min(highest)) / 2 if lowest and highest else bound + (1 if lowest else -1)
    return bound


def _cannot(pointer: str, why: str) -> str:
    return f"No example can be made for {pointer or 'the whole'}: {why}. Give its schema `examples`."
