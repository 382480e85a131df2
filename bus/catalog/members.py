"""The members of groups: tables in CSV, read into the routes with the line and column of each cell."""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bus.catalog.document import MOST_BYTES, Document, Place, Position, read_bytes, suggest
from bus.catalog.shape import shape_faults
from bus.errors import Fault
from bus.message.reply import Data

_COLUMNS = ("code", "id", "name_en", "name_ar")
_DESK = "desk"
_WORDS = {"true": True, "false": False}
#: Column of the table -> place below a member.
_PLACES: Mapping[str, Place] = {
    "code": ("code",),
    "id": ("id",),
    "name_en": ("name", "en"),
    "name_ar": ("name", "ar"),
    "desk": ("desk",),
}


def with_members(root: Path, document: Document, schema: Data) -> tuple[Document, tuple[Fault, ...]]:
    """The routes with every table of members read in; a group whose table is faulty has no members there."""
    faults: tuple[Fault, ...] = ()
    rules = {"$ref": "#/$defs/members", "$defs": schema.get("$defs", {})}
    for name, group in document.value.get("groups", {}).items():
        if isinstance(group, dict) and isinstance(group.get("members"), str):
            at = ("groups", name, "members")
            document, found = _with_table(root, document, at, group["members"], rules)
            faults += found
    return document, faults


def group_faults(document: Document) -> Iterator[Fault]:
    """Codes and ids of members that are taken already: by another member, an agency or a group."""
    ids: dict[str, Place] = {name: ("agencies", name) for name in document.value.get("agencies", {})}
    for group in document.value.get("groups", {}):
        if group in ids:
            message = f"The group {group} has the id of an agency."
            yield _taken(document, ("groups", group), ids[group], message, name=True)
        ids.setdefault(group, ("groups", group))
    for group, content in document.value.get("groups", {}).items():
        codes: dict[str, Place] = {}
        for index, member in enumerate(members_of(content)):
            at: Place = ("groups", group, "members", index)
            for name, taken in (("code", codes), ("id", ids)):
                if (key := member[name]) in taken:
                    message = f"The {name} {key} is given twice."
                    yield _taken(document, (*at, name), taken[key], message)
                taken.setdefault(key, (*at, name))


def members_of(group: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The members of a group as written; () where they are faulty."""
    return group["members"] if is_whole(group) else ()


def is_whole(group: Mapping[str, Any]) -> bool:
    """Whether it can be said who is a member of the group and who is not."""
    members = group.get("members")
    return isinstance(members, list) and all({"code", "id", "name"} <= member.keys() for member in members)


def roster(routes: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Every agency as it is written, by id; the members of groups as if each were written out, with its ``group``."""
    written = (routes.get("agencies") or {}).items()
    agencies: dict[str, Mapping[str, Any]] = {name: agency for name, agency in written if isinstance(agency, dict)}
    for name, group in (routes.get("groups") or {}).items():
        for member in members_of(group):
            agencies.setdefault(member["id"], {"name": member["name"], "group": name, **_way(member, group)})
    return agencies


def _way(member: Mapping[str, Any], group: Mapping[str, Any]) -> Mapping[str, Any]:
    if member.get("desk", group.get("desk", False)):
        return {"desk": True}
    return {"adapter": group["adapter"]} if "adapter" in group else {}


def _taken(document: Document, at: Place, first: Place, message: str, *, name: bool = False) -> Fault:
    position = document.values.get(first) or document.names[first]
    where = f"First in {position.file}:{position.line}:{position.column}."
    return document.fault(at, "duplicate-name", f"{message} {where}", "Give one of them another.", name=name)


def _with_table(
    root: Path, document: Document, at: Place, file: str, rules: Data
) -> tuple[Document, tuple[Fault, ...]]:
    path = root / file
    if not path.is_file() or not path.resolve().is_relative_to(root.resolve()):
        known = [found.relative_to(root).as_posix() for found in sorted(root.glob(f"{Path(file).parent}/*.csv"))]
        fault = document.fault(at, "file-missing", f"The workspace has no file {file}.", suggest(file, known))
        return _set(document, at, None), (fault,)
    raw, unreadable = read_bytes(root, path)
    if unreadable:
        return _set(document, at, None), unreadable
    members, positions, faults = read_table(file, at, raw)
    joined = _set(replace(document, values={**document.values, **positions}), at, members)
    if members or not faults:
        faults += shape_faults(joined, rules, below=at)
    return (_set(joined, at, None) if faults else joined), faults


def read_table(
    file: str, at: Place, raw: bytes
) -> tuple[list[dict[str, Any]], dict[Place, Position], tuple[Fault, ...]]:
    """The members in a table as a file of the routes would write them, where each cell stands, and what is no table.

    The places begin with ``at``. What the cells say is not judged here.
    """
    table = _Table(file, at)
    table.read(raw)
    return table.members, table.values, tuple(table.faults)


def _set(document: Document, at: Place, value: Any) -> Document:
    """The document with this value at that place, or without the place if it is None."""
    return replace(document, value=_replaced(document.value, at, value))


def _replaced(value: dict[str | int, Any], at: Place, new: Any) -> Any:
    name, *rest = at
    if rest:
        return {**value, name: _replaced(value[name], tuple(rest), new)}
    return {**{key: member for key, member in value.items() if key != name}, **({} if new is None else {name: new})}


class _Table:
    """Reads one table: UTF-8, a header, then a line a member; no cell goes over a line end."""

    def __init__(self, file: str, at: Place) -> None:
        self.members: list[dict[str, Any]] = []
        self.values: dict[Place, Position] = {at: Position(file=file, line=1, column=1)}
        self.faults: list[Fault] = []
        self._file = file
        self._at = at

    def read(self, raw: bytes) -> None:
        if len(raw) > MOST_BYTES:
            self._fault(
                0, 0, "too-large", f"The file has {len(raw)} bytes; at most {MOST_BYTES} are read.", "Split it."
            )
            return
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            line = raw.count(b"\n", 0, error.start) + 1
            before = raw[raw.rfind(b"\n", 0, error.start) + 1 : error.start].decode("utf-8")
            message = f"Byte {error.start} is not UTF-8."
            self._fault(line, len(before) + 1, "not-utf-8", message, "Save it as UTF-8.")
            return
        # Spreadsheets begin a UTF-8 table with a byte order mark; it says nothing here.
        header, *rows = [row.removesuffix("\r") for row in text.removeprefix("\ufeff").split("\n")]
        columns = self._header(header)
        for number, row in enumerate(rows, start=2):
            if row and columns:
                self._row(number, row, columns)
        if columns and not self.members and not self.faults:
            self._fault(2, 1, "no-members", "The table has no members.", "Add a line for each.")

    def _header(self, line: str) -> tuple[str, ...]:
        columns = tuple(line.split(","))
        if columns in (_COLUMNS, (*_COLUMNS, _DESK)):
            return columns
        mend = f"Write {','.join(_COLUMNS)}, and {_DESK} as a fifth column if it is needed."
        self._fault(1, 1, "bad-header", "The first line does not name the columns.", mend)
        return ()

    def _row(self, number: int, line: str, columns: Sequence[str]) -> None:
        try:
            (cells,) = csv.reader([line], strict=True)
        except csv.Error as error:
            mend = 'Quote a cell that has a comma or a quote, and write " in it as "".'
            self._fault(number, 1, "bad-line", f"This is no line of CSV: {error}.", mend)
            return
        if len(cells) != len(columns):
            message = f"The line has {len(cells)} cells, and there are {len(columns)} columns."
            self._fault(number, 1, "cell-count", message, "Give each column one cell; quote a cell that has a comma.")
            return
        at = (*self._at, len(self.members))
        self.values[at] = Position(file=self._file, line=number, column=1)
        member: dict[str, Any] = {"name": {}}
        for column, cell, start in zip(columns, cells, _starts(line), strict=True):
            self._cell(member, at, column, unicodedata.normalize("NFC", cell), number, start)
        self.members.append(member)

    def _cell(self, member: dict[str, Any], at: Place, column: str, cell: str, line: int, start: int) -> None:
        place = _PLACES[column]
        position = Position(file=self._file, line=line, column=start)
        self.values[(*at, *place)] = position
        if column == _DESK:
            if cell in _WORDS:
                member[_DESK] = _WORDS[cell]
            elif cell:
                self._fault(line, start, "not-a-choice", "desk is not one of: true, false.", "Write true or false.")
        elif len(place) == 1:
            member[column] = cell
        else:
            self.values.setdefault((*at, place[0]), position)
            member["name"][place[1]] = cell

    def _fault(self, line: int, column: int, code: str, message: str, mend: str) -> None:
        fault = Fault(code=code, message=message, mend=mend, file=self._file, line=line, column=column)
        self.faults.append(fault)


def _starts(line: str) -> Iterator[int]:
    """The column, one-based, at which each cell of a sound line begins."""
    start, is_quoted, was_quoted = 1, False, False
    yield start
    for index, sign in enumerate(line, start=1):
        if sign == '"' and (was_quoted or index == start):
            is_quoted, was_quoted = not is_quoted, True
        elif sign == "," and not is_quoted:
            start, was_quoted = index + 1, False
            yield start
