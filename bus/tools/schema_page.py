"""The words of the workspace's own files as Markdown: a section for each record that a schema describes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

Schema: TypeAlias = Mapping[str, Any]

_PLAIN = {
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "`true` or `false`",
    "object": "a record",
    "array": "a list",
    "null": "nothing",
}


def reference(schema: Schema, *, level: int = 3) -> str:
    """Every record that the schema describes, from the outermost inwards, each as a heading and a table."""
    parts = []
    for record in _records(schema):
        rows = "".join(_row(cells) for cells in _members(record, schema))
        header = _row(["name", "required", "value", "default", "meaning"]) + _row(["---"] * 5)
        parts.append(f"{'#' * level} {_heading(record)}\n\n{header}{rows}")
    return "\n".join(parts)


def _records(root: Schema) -> list[Schema]:
    """The outermost record, those that it leads to, and those that nothing leads to; each once."""
    found = [root]
    for record in found:
        found += [below for below in _reached(record, root) if below not in found]
    return found + [one for one in root.get("$defs", {}).values() if _is_record(one) and one not in found]


def _reached(schema: Schema, root: Schema) -> Iterator[Schema]:
    """The records that a schema leads to, directly or through lists and records by name."""
    seen: list[Schema] = []
    for reference_ in _references(schema):
        target = _target(reference_, root)
        for one in (target,) if _is_record(target) else _reached(target, root):
            if one not in seen:
                seen.append(one)
                yield one


def _is_record(schema: Schema) -> bool:
    return "properties" in schema and "title" in schema and schema.get("type") == "object"


def _references(schema: Any) -> Iterator[str]:
    """The definitions that a schema names, in the order of the file."""
    if isinstance(schema, Mapping):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"]
        for name, member in schema.items():
            if name not in ("$defs", "propertyNames"):
                yield from _references(member)


def _target(reference_: str, root: Schema) -> Schema:
    target: Schema = root["$defs"][reference_.rpartition("/")[2]]
    return target


def _members(record: Schema, root: Schema, prefix: str = "") -> Iterator[list[str]]:
    for name, member in record["properties"].items():
        required = "yes" if name in record.get("required", ()) else ""
        default = f"`{_written(member['default'])}`" if "default" in member else ""
        yield [f"`{prefix}{name}`", required, _value(member, root), default, member.get("title", "")]
        if "properties" in member and "$ref" not in member:
            yield from _members(member, root, f"{prefix}{name}.")


def _written(value: Any) -> str:
    words = {True: "true", False: "false"}
    return words[value] if isinstance(value, bool) else str(value)


def _value(member: Schema, root: Schema) -> str:
    """What may stand there."""
    if "$ref" in member:
        target = _target(member["$ref"], root)
        if _is_record(target):
            return f"[{_lower(target['title'])}](#{_anchor(target)})"
        if "title" in target and not isinstance(target.get("type"), str):
            return _lower(target["title"])
        return _value({**target, **{name: value for name, value in member.items() if name != "$ref"}}, root)
    if "const" in member:
        return f"`{member['const']}`"
    if "enum" in member:
        return ", ".join(f"`{choice}`" for choice in member["enum"])
    kinds = [member["type"]] if isinstance(member.get("type"), str) else member.get("type", [])
    return " or ".join(_kind(kind, member, root) for kind in kinds) or "any value"


def _kind(kind: str, member: Schema, root: Schema) -> str:
    if kind == "object" and isinstance(member.get("additionalProperties"), Mapping):
        return f"by name: {_value(member['additionalProperties'], root)}"
    if kind == "array" and "items" in member:
        return f"a list, each {_value(member['items'], root)}"
    if kind == "string" and "description" in member and member.get("type") == "string":
        return str(member["description"])
    if kind in ("integer", "number") and "maximum" in member:
        return f"{member['minimum']} to {member['maximum']}"
    return _PLAIN[kind]


def _heading(record: Schema) -> str:
    return str(record["title"]).replace("<", "&lt;").replace(">", "&gt;")


def _lower(title: str) -> str:
    return title[0].lower() + title[1:]


def _anchor(record: Schema) -> str:
    """As pages on the web make them of a heading."""
    letters = (sign for sign in str(record["title"]).lower() if sign.isalnum() or sign in " -_")
    return "".join(letters).replace(" ", "-")


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"
