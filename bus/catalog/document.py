"""YAML with positions: a strict, safe subset, so that every later fault can name its file, line and column."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from bus.errors import Fault
from bus.message.strict_json import MOST_INTEGER, pointer_to

#: Members and indexes that lead to a value: ``("agencies", "tax_office", "desk")``.
Place: TypeAlias = tuple[str | int, ...]

MOST_BYTES = 1024 * 1024
MOST_DEPTH = 40

_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?", re.ASCII)
_WORDS: Mapping[str, bool | None] = {"true": True, "false": False, "null": None, "~": None, "": None}
#: Words that YAML 1.1 took for more than a text; readers disagree about them, so they are told, and what they meant.
_QUARRELSOME: Mapping[str, bool | None] = {
    "yes": True,
    "on": True,
    "true": True,
    "no": False,
    "off": False,
    "false": False,
    "null": None,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """One-based."""

    #: Relative to the workspace.
    file: str
    line: int
    column: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """Values (JSON's own kinds, text in NFC) and where each of them stands: in one file, or in several joined ones."""

    #: Relative to the workspace; of several files the one that names the others.
    file: str
    value: Any
    #: Where each value begins.
    values: Mapping[Place, Position]
    #: Where each member's name begins.
    names: Mapping[Place, Position]

    def fault(self, at: Place, code: str, message: str, mend: str = "", *, name: bool = False) -> Fault:
        """A fault at the value in that place (or at its ``name``); what does not exist is placed at its parent."""
        marks = self.names if name else self.values
        position = marks.get(at)
        above = at
        while position is None and above:
            above = above[:-1]
            position = self.values.get(above)
        return Fault(
            code=code,
            message=message,
            mend=mend,
            file=position.file if position else self.file,
            line=position.line if position else 0,
            column=position.column if position else 0,
            pointer=pointer_to(at),
        )


def read_bytes(root: Path, file: Path) -> tuple[bytes, tuple[Fault, ...]]:
    """The content of a file of the workspace, or b"" and why it cannot be read."""
    shown = file.relative_to(root).as_posix()
    try:
        return file.read_bytes(), ()
    except FileNotFoundError:
        return b"", (Fault(code="file-missing", message="There is no such file.", mend="Add it.", file=shown),)
    except OSError as error:
        message = f"The file cannot be read: {error.strerror}."
        return b"", (Fault(code="unreadable", message=message, mend="Look at its kind and its rights.", file=shown),)


def read_document(file: str, raw: bytes) -> tuple[Document, tuple[Fault, ...]]:
    """The document in these bytes, and what is wrong with it as YAML; with faults the values may be incomplete.

    Refused: anchors and aliases, tags, duplicate names, names that are no text, more than one document, over 1 MiB,
    over 40 levels. Plain ``yes``, ``no``, ``on``, ``off`` are refused rather than guessed.
    """
    empty = Document(file=file, value=None, values={}, names={})
    if len(raw) > MOST_BYTES:
        message = f"The file has {len(raw)} bytes; at most {MOST_BYTES} are read."
        return empty, (Fault(code="too-large", message=message, mend="Split it.", file=file),)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        message = f"Byte {error.start} is not UTF-8."
        return empty, (Fault(code="not-utf-8", message=message, mend="Save it as UTF-8.", file=file, line=line),)
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        return empty, (_syntax_fault(file, error),)
    except yaml.YAMLError as error:
        return empty, (Fault(code="yaml", message=str(error), mend="Remove that character.", file=file),)
    reading = _Reading(file)
    reading.faults += [_at(file, mark, code, message, mend) for mark, code, message, mend in loader.refused]
    value = None if node is None else reading.read(node, ())
    return Document(file=file, value=value, values=reading.values, names=reading.names), tuple(reading.faults)


def suggest(wrong: str, known: Iterable[str]) -> str:
    """The mend for an unknown name: the nearest known one, or all of them where there are few, or nothing."""
    names = sorted(known)
    near = difflib.get_close_matches(wrong, names, n=1, cutoff=0.6)
    if near:
        return f"Did you mean {near[0]}?"
    return f"Known: {', '.join(names)}." if 0 < len(names) <= 12 else ""


class _Loader(yaml.SafeLoader):
    """The safe loader up to nodes, noting what this subset refuses and never following an alias."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.refused: list[tuple[yaml.Mark, str, str, str]] = []
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        mark: Any = event.start_mark
        if isinstance(event, yaml.AliasEvent):
            self.get_event()  # type: ignore[no-untyped-call]
            self.refused.append((mark, "anchor", f"The alias *{event.anchor} is not read.", "Write the value out."))
            return yaml.ScalarNode(tag="tag:yaml.org,2002:null", value="", start_mark=mark, end_mark=mark)
        if event.anchor is not None:
            self.refused.append((mark, "anchor", f"The anchor &{event.anchor} is not read.", "Remove it."))
            event.anchor = None
        if getattr(event, "tag", None) is not None:
            self.refused.append((mark, "tag", f"The tag {event.tag} is not read.", "Remove it."))
            event.tag = None
        self._depth += 1
        if self._depth > MOST_DEPTH:
            raise yaml.composer.ComposerError(None, None, f"deeper than {MOST_DEPTH} levels", mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


class _Reading:
    """Turns nodes into values and keeps the marks."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.values: dict[Place, Position] = {}
        self.names: dict[Place, Position] = {}
        self.faults: list[Fault] = []

    def read(self, node: yaml.Node, at: Place) -> Any:
        self.values[at] = self._position(node.start_mark)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, at)
        if isinstance(node, yaml.SequenceNode):
            return [self.read(item, (*at, index)) for index, item in enumerate(node.value)]
        return self._scalar(node)

    def _mapping(self, node: yaml.MappingNode, at: Place) -> dict[str, Any]:
        members: dict[str, Any] = {}
        for name_node, value_node in node.value:
            if not isinstance(name_node, yaml.ScalarNode):
                self._refuse(name_node, "name-not-text", "A name is a text.", "Put the record under a name.")
                continue
            name = unicodedata.normalize("NFC", name_node.value)
            if name in members:
                first = self.names[(*at, name)]
                message = f"{name} is given twice; first in line {first.line}."
                self._refuse(name_node, "duplicate-name", message, "Keep one of the two.")
                continue
            self.names[(*at, name)] = self._position(name_node.start_mark)
            members[name] = self.read(value_node, (*at, name))
        return members

    def _scalar(self, node: Any) -> str | int | float | bool | None:
        text = unicodedata.normalize("NFC", node.value)
        if node.style is not None:
            return text
        if text in _WORDS:
            return _WORDS[text]
        if text.lower() in _QUARRELSOME:
            mend = f'Write true or false, or "{text}" with quotes if it is a text.'
            self._refuse(node, "quarrelsome-word", f"{text} is read differently by different readers.", mend)
            return _QUARRELSOME[text.lower()]
        return self._number(node, text) if _NUMBER.fullmatch(text) else text

    def _number(self, node: yaml.Node, text: str) -> int | float:
        # float() takes any length; int() refuses thousands of digits.
        number = float(text)
        if abs(number) > MOST_INTEGER:
            message = f"The number {text[:40]} is larger than every reader can keep."
            self._refuse(node, "number-too-large", message, "Put it in quotes if it is an identifier.")
            return 0
        # JSON has one kind of number; 2.0 and 2 are the same.
        return int(number) if number.is_integer() else number

    def _refuse(self, node: yaml.Node, code: str, message: str, mend: str) -> None:
        self.faults.append(_at(self.file, node.start_mark, code, message, mend))

    def _position(self, mark: yaml.Mark) -> Position:
        return Position(file=self.file, line=mark.line + 1, column=mark.column + 1)


def _at(file: str, mark: yaml.Mark, code: str, message: str, mend: str) -> Fault:
    return Fault(code=code, message=message, mend=mend, file=file, line=mark.line + 1, column=mark.column + 1)


def _syntax_fault(file: str, error: yaml.MarkedYAMLError) -> Fault:
    mark = error.problem_mark or error.context_mark
    message = f"This is not YAML: {' '.join(part for part in (error.context, error.problem) if part)}."
    if mark is None:
        return Fault(code="yaml", message=message, file=file)
    return _at(file, mark, "yaml", message, "Look at the indentation and the quotes in this line and above it.")
