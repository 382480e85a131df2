"""Answers for people: aligned plain tables, in the reader's language where there are two."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias
from unicodedata import category

from rich.cells import cell_len

from bus.cli.headings import heading

Language: TypeAlias = Literal["en", "ar"]

_YES: Mapping[Language, str] = {"en": "yes", "ar": "نعم"}
_NO: Mapping[Language, str] = {"en": "no", "ar": "لا"}
_NOTHING: Mapping[Language, str] = {"en": "There is nothing to show.", "ar": "لا يوجد ما يُعرض."}
#: Controls, with line ends and tabs, which would break a table.
_COMMANDING = frozenset({"Cc", "Zl", "Zp"})
#: Overrides and embeddings; the marks that Arabic needs beside numbers stay.
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def language() -> Language:
    """The language of the locale: Arabic or English."""
    names = (os.environ.get(name, "") for name in ("LC_ALL", "LC_MESSAGES", "LANG"))
    return "ar" if next(filter(None, names), "").startswith("ar") else "en"


def as_json(value: Any) -> str:
    """For programs: one JSON value, letters as they are."""
    return json.dumps(value, ensure_ascii=False, indent=2)


def as_text(value: Mapping[str, Any], lang: Language) -> str:
    """For people. A page of items is a table; anything else is a list of names and values, tables below."""
    return "\n".join(_lines(_localised(value, lang), "", lang)) or "-"


def table(rows: Sequence[Mapping[str, Any]], lang: Language = "en") -> list[str]:
    """Aligned columns under their names; a column without any value is left out."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    shown = [name for name in names if any(_cell(row.get(name), lang) for row in rows)]
    heads = [heading(name, arabic=lang == "ar").upper() for name in shown]
    cells = [heads, *([_cell(row.get(name), lang) for name in shown] for row in rows)]
    widths = [max(cell_len(line[column]) for line in cells) for column in range(len(shown))]
    return [
        "  ".join(_padded(cell, width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells
    ]


def _lines(value: Mapping[str, Any], indent: str, lang: Language) -> list[str]:
    if "items" in value and _is_table(value["items"]):
        lines = table(value["items"], lang) if value["items"] else [_NOTHING[lang]]
        rest = {name: member for name, member in value.items() if name != "items" and member is not None}
        for name, member in rest.items():
            if _is_nested(member):
                lines += ["", f"{_named(name, lang)}:", *_below(member, "  ", lang)]
            elif member != []:
                lines.append(f"{_named(name, lang)}: {_cell(member, lang)}")
        return lines
    plain = {
        _named(name, lang): _cell(member, lang)
        for name, member in value.items()
        if not _is_nested(member) and _cell(member, lang)
    }
    width = max(map(cell_len, plain), default=0)
    lines = [f"{indent}{_padded(name, width)}  {cell}" for name, cell in plain.items()]
    for name, member in value.items():
        if _is_nested(member) and member:
            lines.append(f"{indent}{_named(name, lang)}:")
            lines += _below(member, indent + "  ", lang)
    return lines


def _below(member: Any, indent: str, lang: Language) -> list[str]:
    if isinstance(member, Mapping):
        return _lines(member, indent, lang)
    return [indent + line for line in table([_flat(row) for row in member], lang)]


def _named(name: str, lang: Language) -> str:
    return heading(name, arabic=lang == "ar")


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """Members of an object inside a row become columns of their own."""
    flat: dict[str, Any] = {}
    for name, member in row.items():
        flat |= _flat(member) if isinstance(member, Mapping) else {name: member}
    return flat


def _localised(value: Any, lang: Language) -> Any:
    """Every text that is there in both languages, in the wanted one."""
    if isinstance(value, Mapping):
        if set(value) == {"en", "ar"}:
            return value[lang]
        return {name: _localised(member, lang) for name, member in value.items()}
    return [_localised(item, lang) for item in value] if isinstance(value, list) else value


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(row, Mapping) for row in value)


def _is_nested(value: Any) -> bool:
    return isinstance(value, Mapping) or (_is_table(value) and bool(value))


def _cell(value: Any, lang: Language) -> str:
    """A value on one line: members of an object with their names, items of a list one behind the other."""
    if value is None or value in ([], {}):
        return ""
    if isinstance(value, bool):
        return _YES[lang] if value else _NO[lang]
    if isinstance(value, Mapping):
        members = {_named(name, lang): _cell(member, lang) for name, member in value.items()}
        return ", ".join(f"{_harmless(name)}: {cell}" for name, cell in members.items() if cell)
    if isinstance(value, list):
        nested = any(isinstance(item, dict | list) for item in value)
        return ("; " if nested else ", ").join(_cell(item, lang) for item in value)
    return _harmless(str(value))


def _harmless(text: str) -> str:
    """Without the signs that command a terminal or turn the order of letters: others wrote the text."""
    return "".join("\ufffd" if category(sign) in _COMMANDING or sign in _TURNING else sign for sign in text)


def _padded(text: str, width: int) -> str:
    # Arabic and Latin letters take one cell, their marks none: len() would not align them.
    return text + " " * (width - cell_len(text))
