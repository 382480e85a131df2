"""Whether a document has the shape that its meta-schema describes: names, kinds of values, enumerations."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from referencing import Registry

from bus.catalog.document import Document, Place, suggest
from bus.errors import Fault
from bus.message.explanation import errors_of
from bus.process.mapping import split_pointer

_KINDS = {
    "object": "a record",
    "array": "a list",
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "nothing",
}


def shape_faults(document: Document, schema: Mapping[str, Any], *, below: Place = ()) -> tuple[Fault, ...]:
    """Every way in which the document (or its part ``below``) is not what the schema says, in the order of the file.

    Never quotes a value.
    """
    value = document.value
    for part in below:
        value = value[part]
    faults = {fault for error in errors_of(schema, Registry(), value) for fault in _faults(document, below, error)}
    return tuple(sorted(faults, key=lambda fault: (fault.file, fault.line, fault.column, fault.pointer, fault.message)))


def pruned(document: Document, faults: Iterable[Fault]) -> Document:
    """The document without the values that these faults of shape are about, so that the rest can be judged further.

    What is left has the kinds that the schema names, but any name may be missing. An item of a list goes with its
    list, since the places of its neighbours must not move; a badly written name keeps its value.
    """
    value = copy.deepcopy(document.value)
    for fault in faults:
        if fault.code not in ("missing-name", "bad-name"):
            value = _without(value, split_pointer(fault.pointer))
    return replace(document, value=value)


def _without(value: Any, parts: Sequence[str]) -> Any:
    if not parts or not isinstance(value, dict):
        return None
    name, *rest = parts
    below = _without(value[name], rest) if name in value else None
    return {key: member for key, member in value.items() if key != name} | ({} if below is None else {name: below})


def _faults(document: Document, below: Place, error: Any) -> Iterator[Fault]:
    at: Place = (*below, *error.absolute_path)
    match error.validator:
        case "additionalProperties":
            yield from _unknown_names(document, at, error)
        case "required":
            yield from _missing_names(document, at, error)
        case "dependentRequired":
            yield from _missing_companions(document, at, error)
        case "type":
            wanted = error.validator_value if isinstance(error.validator_value, list) else [error.validator_value]
            kinds = " or ".join(_KINDS[kind] for kind in wanted)
            yield document.fault(at, "wrong-kind", f"{_name(at)} is not {kinds}.", f"Write {kinds}.")
        case "enum":
            choices = ", ".join(str(choice) for choice in error.validator_value)
            mend = suggest(str(error.instance), map(str, error.validator_value)) or f"Choose from: {choices}."
            yield document.fault(at, "not-a-choice", f"{_name(at)} is not one of: {choices}.", mend)
        case _ if "propertyNames" in error.absolute_schema_path:
            # The instance is the name itself.
            yield document.fault((*at, str(error.instance)), "bad-name", *_rule(error, error.instance), name=True)
        case _:
            yield document.fault(at, "bad-value", *_rule(error, _name(at)))


def _unknown_names(document: Document, at: Place, error: Any) -> Iterator[Fault]:
    known = error.schema.get("properties", {})
    open_names = [name for name in known if name not in error.instance]
    for name in error.instance:
        if name not in known:
            message = f"{name} is not known here."
            yield document.fault((*at, name), "unknown-name", message, suggest(name, open_names), name=True)


def _missing_names(document: Document, at: Place, error: Any) -> Iterator[Fault]:
    for name in error.validator_value:
        if name not in error.instance:
            yield document.fault(at, "missing-name", f"{_name(at)} has no {name}.", f"Add {name}.")


def _missing_companions(document: Document, at: Place, error: Any) -> Iterator[Fault]:
    for name, needed in error.validator_value.items():
        for other in needed:
            if name in error.instance and other not in error.instance:
                message = f"{name} is given without {other}."
                yield document.fault(
                    (*at, name), "missing-name", message, f"Add {other}, or take {name} out.", name=True
                )


def _rule(error: Any, name: str) -> tuple[str, str]:
    """What rule was broken and how to keep it."""
    described = str(error.schema.get("description") or error.schema.get("title") or "")
    if error.validator in ("oneOf", "anyOf"):
        forms = [str(form["title"]) for form in error.validator_value if "title" in form]
        return f"{name} has none of the forms that it may have.", f"Forms: {'; '.join(forms)}." if forms else ""
    rule = f"{error.validator} {error.validator_value}"
    return f"{name} breaks the rule {rule}.", f"Expected: {described}." if described else ""


def _name(at: Place) -> str:
    return str(at[-1]) if at else "The file"
