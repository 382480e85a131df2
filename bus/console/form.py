"""A form made from a contract: what was typed is kept as it was typed, and read as data beside it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from bus.console import writing
from bus.console.shape import Choice, Shape
from bus.errors import InvalidMessageError
from bus.message.reply import Data
from bus.message.strict_json import dump, nfc, parse, pointer_to

#: Before the pointer of a list, in the name of the field that says how many rows it has.
ROWS = "rows:"
#: More rows than this are not added.
MOST_ROWS = 200
YES, NO = "yes", "no"


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """What stands in a form: texts by JSON pointer, and how many rows each list has."""

    texts: Mapping[str, str] = field(default_factory=dict)
    rows: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One part of a form as it is shown."""

    pointer: str
    shape: Shape
    value: str
    #: What is wrong with it, in words.
    errors: tuple[str, ...]
    members: tuple[Field, ...]
    #: Of a list; a row's shape is the list's item.
    rows: tuple[Field, ...]
    #: Of a choice: what the form sends, and the choice.
    choices: tuple[tuple[str, Choice], ...]

    @property
    def id(self) -> str:
        """Its place in the page."""
        return place(self.pointer)


def place(pointer: str) -> str:
    """The id of the element that a JSON pointer's field has: without blanks, and never empty."""
    return "answer" + quote(pointer, safe="/")


def posted(pairs: Iterable[tuple[str, str]]) -> Filled:
    """What a browser sent; of a name that comes twice the last one counts."""
    texts: dict[str, str] = {}
    rows: dict[str, int] = {}
    for name, value in pairs:
        if name.startswith("/"):
            texts[name] = nfc(writing.lines(value))
        elif name.startswith(ROWS) and value.isascii() and value.isdecimal():
            rows[name.removeprefix(ROWS)] = min(int(value[:9]), MOST_ROWS)
    return Filled(texts=texts, rows=rows)


def filled(shape: Shape, data: Any, path: tuple[str, ...] = ()) -> Filled:
    """The form of a draft: the texts that would give this data."""
    texts: dict[str, str] = {}
    rows: dict[str, int] = {}
    _fill(shape, data, path, texts, rows)
    return Filled(texts=texts, rows=rows)


def data_of(shape: Shape, form: Filled) -> dict[str, Any]:
    """The data that is typed. What cannot be read as its type stays the text that it is, so that nothing is lost."""
    value = _value(shape, form, ())
    return value if isinstance(value, dict) else {}


def without_blank_rows(shape: Shape, form: Filled) -> Filled:
    """The form without rows in which nothing is typed, so that rows and items of the data have the same numbers."""
    texts: dict[str, str] = {}
    rows: dict[str, int] = {}
    _close_up(shape, form, (), (), texts, rows)
    return Filled(texts=texts, rows=rows)


def with_row(form: Filled, pointer: str, shown: int) -> Filled:
    """One more row at the end of a list that shows so many."""
    return Filled(texts=form.texts, rows={**form.rows, pointer: min(shown + 1, MOST_ROWS)})


def without_row(form: Filled, pointer: str, index: int, shown: int) -> Filled:
    """A list without one of its rows; those after it move up."""
    after = {str(number): number for number in range(index, shown)}

    def moved(name: str) -> str | None:
        if not name.startswith(pointer + "/"):
            return name
        number, slash, rest = name.removeprefix(pointer + "/").partition("/")
        if number not in after:
            return name
        return None if after[number] == index else f"{pointer}/{after[number] - 1}{slash}{rest}"

    texts = {new: text for name, text in form.texts.items() if (new := moved(name)) is not None}
    rows = {new: count for name, count in form.rows.items() if (new := moved(name)) is not None}
    return Filled(texts=texts, rows={**rows, pointer: max(shown - 1, 0)})


def fields(shape: Shape, form: Filled, errors: Mapping[str, tuple[str, ...]]) -> Field:
    """The whole form as it is shown."""
    return _field(shape, form, errors, ())


def each(root: Field) -> Iterator[Field]:
    """Every part of a form, from top to bottom."""
    yield root
    for part in (*root.members, *root.rows):
        yield from each(part)


def _field(shape: Shape, form: Filled, errors: Mapping[str, tuple[str, ...]], path: tuple[str, ...]) -> Field:
    pointer = pointer_to(path)
    items: tuple[Field, ...] = ()
    if shape.item is not None:
        items = tuple(
            _field(shape.item, form, errors, (*path, str(index))) for index in range(_rows(shape, form, pointer))
        )
    return Field(
        pointer=pointer,
        shape=shape,
        value=form.texts.get(pointer, ""),
        errors=errors.get(pointer, ()),
        members=tuple(_field(member, form, errors, (*path, member.name)) for member in shape.members),
        rows=items,
        choices=tuple((_text(choice.value), choice) for choice in shape.choices),
    )


def _rows(shape: Shape, form: Filled, pointer: str) -> int:
    least = max(int(shape.schema.get("minItems", 0)), 1 if shape.required else 0)
    return form.rows.get(pointer, min(least, MOST_ROWS))


def _fill(shape: Shape, data: Any, path: tuple[str, ...], texts: dict[str, str], rows: dict[str, int]) -> None:
    if shape.kind == "object" and isinstance(data, Mapping):
        for member in shape.members:
            if member.name in data:
                _fill(member, data[member.name], (*path, member.name), texts, rows)
    elif shape.item is not None and isinstance(data, list):
        rows[pointer_to(path)] = min(len(data), MOST_ROWS)
        for index, item in enumerate(data):
            _fill(shape.item, item, (*path, str(index)), texts, rows)
    elif data is not None:
        texts[pointer_to(path)] = _written(shape, data)


def _written(shape: Shape, data: Any) -> str:
    if shape.kind == "truth" and isinstance(data, bool):
        return YES if data else NO
    return writing.shown_day(data) if shape.kind == "date" and isinstance(data, str) else _text(data)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else dump(value).decode()


def _value(shape: Shape, form: Filled, path: tuple[str, ...]) -> Any:
    """The typed value; None for nothing."""
    if shape.kind == "object":
        members = {member.name: _value(member, form, (*path, member.name)) for member in shape.members}
        return {name: value for name, value in members.items() if value is not None} or ({} if shape.required else None)
    pointer = pointer_to(path)
    if shape.item is not None:
        items = [_value(shape.item, form, (*path, str(index))) for index in range(_rows(shape, form, pointer))]
        return [item for item in items if item not in (None, {})] or ([] if shape.required else None)
    text = form.texts.get(pointer, "")
    return _read(shape, text) if text else None


def _read(shape: Shape, text: str) -> Any:
    match shape.kind:
        case "whole":
            return _or(writing.whole(text), text)
        case "number":
            return _or(writing.number(text), text)
        case "date":
            return _or(writing.day(text), text)
        case "truth":
            return {YES: True, NO: False}.get(text, text)
        case "choice":
            return next((choice.value for choice in shape.choices if _text(choice.value) == text), text)
        case "free":
            try:
                return nfc(parse(text.encode()))
            except InvalidMessageError:
                return text
    return text


def _or(value: Any, text: str) -> Any:
    return text if value is None else value


def _close_up(
    shape: Shape,
    form: Filled,
    old: tuple[str, ...],
    new: tuple[str, ...],
    texts: dict[str, str],
    rows: dict[str, int],
) -> None:
    pointer, moved = pointer_to(old), pointer_to(new)
    if shape.item is not None:
        full = [
            index
            for index in range(_rows(shape, form, pointer))
            if _value(shape.item, form, (*old, str(index))) not in (None, {})
        ]
        rows[moved] = len(full)
        for position, index in enumerate(full):
            _close_up(shape.item, form, (*old, str(index)), (*new, str(position)), texts, rows)
    for member in shape.members:
        _close_up(member, form, (*old, member.name), (*new, member.name), texts, rows)
    if pointer in form.texts:
        texts[moved] = form.texts[pointer]


def as_json(data: Data) -> str:
    """Data that has no fields of its own, for a reader."""
    return dump(data).decode()
