"""A contract as a clerk meets it: fields with titles, lists with rows, choices in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from bus.message.contract import Contracts
from bus.message.reply import Data
from bus.message.text import Text
from bus.operations.titled import MOST_DEEP, Folded, title_of

#: ``free`` is what no form can show in fields: it is written as JSON.
Kind: TypeAlias = Literal["text", "long", "whole", "number", "truth", "date", "choice", "object", "list", "free"]

#: A text that may be longer than this gets several lines.
_ONE_LINE = 120
#: So many choices are shown all at once; more fold into a list.
MOST_OPEN = 5
#: Where a schema declares members that only some values have.
_BRANCHES = ("anyOf", "oneOf", "then", "else")


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One of the values that a field may have."""

    value: Any
    title: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """One part of a contract."""

    name: str
    title: Text
    hint: Text | None
    kind: Kind
    required: bool
    #: The folded schema: limits and examples stand there.
    schema: Data
    #: Of an object.
    members: tuple[Shape, ...] = ()
    #: Of a list: what each row is.
    item: Shape | None = None
    #: Of a choice.
    choices: tuple[Choice, ...] = ()

    def below(self, parts: tuple[str, ...]) -> Shape | None:
        """The part that a JSON pointer's parts lead to; None where the contract says nothing of it."""
        if not parts:
            return self
        if self.item is not None:
            return self.item.below(parts[1:])
        found = next((member for member in self.members if member.name == parts[0]), None)
        return None if found is None else found.below(parts[1:])


def shape_of(contracts: Contracts, name: str) -> Shape:
    """The shape of a whole contract."""
    folded = Folded(contracts)
    return _shape(folded, folded.whole(name), "", required=True, depth=0)


def _shape(folded: Folded, given: Any, name: str, *, required: bool, depth: int) -> Shape:
    schema = folded.fold(given)
    kind, choices = _kind(folded, schema, depth)
    return Shape(
        name=name,
        title=title_of(schema, name),
        hint=_hint(schema),
        kind=kind,
        required=required,
        schema=schema,
        members=tuple(_members(folded, schema, depth)) if kind == "object" else (),
        item=_shape(folded, schema["items"], name, required=True, depth=depth + 1) if kind == "list" else None,
        choices=choices,
    )


def _members(folded: Folded, schema: Data, depth: int) -> Iterator[Shape]:
    declared: dict[str, Any] = dict(schema.get("properties", {}))
    # Members of a branch may be filled in, and the contract decides about the whole.
    for branch in (part for keyword in _BRANCHES for part in _listed(schema.get(keyword, ()))):
        for name, member in folded.fold(branch).get("properties", {}).items():
            declared.setdefault(name, member)
    # What is pinned has its names sorted; the order that its author chose stands in the list of the required ones.
    required: list[str] = list(dict.fromkeys(schema.get("required", ())))
    first = {name: declared[name] for name in required if name in declared}
    for name, member in (first | declared).items():
        if member is not False:
            yield _shape(folded, member, name, required=name in required, depth=depth + 1)


def _listed(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _kind(folded: Folded, schema: Data, depth: int) -> tuple[Kind, tuple[Choice, ...]]:
    choices = tuple(_choices(folded, schema))
    if choices:
        return "choice", choices
    match _type(schema):
        case "string" if schema.get("format") == "date":
            return "date", ()
        case "string":
            return ("long" if schema.get("maxLength", 0) > _ONE_LINE else "text"), ()
        case "integer":
            return "whole", ()
        case "number":
            return "number", ()
        case "boolean":
            return "truth", ()
        case "object" if "properties" in schema and depth <= MOST_DEEP:
            return "object", ()
        case "array" if isinstance(schema.get("items"), Mapping) and _has_rows(folded, schema, depth):
            return "list", ()
    return "free", ()


def _has_rows(folded: Folded, schema: Data, depth: int) -> bool:
    """Rows of fields; a list of lists is no form any more."""
    return depth < MOST_DEEP and "prefixItems" not in schema and _type(folded.fold(schema["items"])) != "array"


def _type(schema: Data) -> str:
    """The one type, apart from null, that the schema allows; "" where it allows several."""
    types = [kind for kind in _listed(schema.get("type", ())) if kind != "null"]
    if not types and "properties" in schema:
        return "object"
    return str(types[0]) if len(types) == 1 else ""


def _choices(folded: Folded, schema: Data) -> Iterator[Choice]:
    if "const" in schema:
        yield _choice(schema["const"], schema)
    elif "enum" in schema:
        yield from (_choice(value, {}) for value in schema["enum"] if value is not None)
    else:
        options = [folded.fold(option) for option in schema.get("oneOf", ())]
        if options and all("const" in option for option in options):
            yield from (_choice(option["const"], option) for option in options)


def _choice(value: Any, schema: Data) -> Choice:
    return Choice(value=value, title=title_of(schema, str(value)))


def _hint(schema: Data) -> Text | None:
    english = schema.get("description")
    arabic = schema.get("x-description-ar", english)
    return Text(en=str(english or arabic), ar=str(arabic)) if arabic else None
