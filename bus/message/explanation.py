"""Why a value does not obey its schema, told in the words of the schema: no fault repeats a part of the value."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

import jsonschema_rs
from jsonschema import Draft202012Validator, FormatChecker, ValidationError
from jsonschema.validators import extend
from referencing import Registry

from bus.errors import Fault
from bus.message.formats import FORMATS
from bus.message.reply import Data
from bus.message.strict_json import shown_pointer


def explain(schema: Data, registry: Registry[Any], value: Any, known: frozenset[str]) -> tuple[Fault, ...]:
    """The faults of a plain JSON value, each once; () if it obeys. ``known`` are member names that may be shown."""
    errors = errors_of(schema, registry, value)
    return tuple(dict.fromkeys(fault for error in errors for fault in _explained(error, known)))


def errors_of(schema: Data, registry: Registry[Any], value: Any) -> Iterator[ValidationError]:
    """The same faults as the library tells them, for those who word them themselves; nothing is ever fetched."""
    yield from _Judge(schema, registry=registry, format_checker=_FORMAT_CHECKER).iter_errors(value)


@lru_cache(maxsize=1024)
def _pattern(pattern: str) -> jsonschema_rs.Validator:
    # The linear engine: no value can make it search for ever, and ECMA's meaning of $ is kept, unlike in Python.
    return jsonschema_rs.validator_for({"pattern": pattern}, pattern_options=jsonschema_rs.RegexOptions())


def is_linear(pattern: str) -> bool:
    """Whether a pattern is one for the linear engine: no look-around and no back references."""
    try:
        _pattern(pattern)
    except (ValueError, jsonschema_rs.ValidationError):
        return False
    return True


def _explain_pattern(judge: Any, pattern: str, value: Any, _schema: Data) -> Iterator[ValidationError]:
    if judge.is_type(value, "string") and not _pattern(pattern).is_valid(value):
        yield ValidationError("")


def _explain_multiple(judge: Any, step: float, value: Any, _schema: Data) -> Iterator[ValidationError]:
    # As decimals: in binary 0.07 is no multiple of 0.01.
    if judge.is_type(value, "number") and Decimal(str(value)) % Decimal(str(step)):
        yield ValidationError("")


def _explain_properties(judge: Any, members: Data, value: Any, _schema: Data) -> Iterator[ValidationError]:
    if judge.is_type(value, "object"):
        for name, schema in members.items():
            if name in value:
                # The library forgets the place of what a plain ``false`` forbids.
                yield from judge.descend(
                    value[name], _NOTHING if schema is False else schema, path=name, schema_path=name
                )


_NOTHING: Data = {"not": {}}


def _format_checker() -> FormatChecker:
    checker = FormatChecker(formats=())
    for name, obeys in FORMATS.items():
        checker.checks(name)(_only_texts(obeys))
    return checker


def _only_texts(obeys: Callable[[str], bool]) -> Callable[[object], bool]:
    return lambda value: not isinstance(value, str) or obeys(value)


_FORMAT_CHECKER = _format_checker()
_Judge = extend(  # type: ignore[no-untyped-call]
    Draft202012Validator,
    {"pattern": _explain_pattern, "multipleOf": _explain_multiple, "properties": _explain_properties},
)
_KINDS = {"object": "an object", "array": "a list", "integer": "a whole number", "null": "null"}


def _explained(error: ValidationError, known: frozenset[str]) -> Iterator[Fault]:
    """The faults behind one error, told in the words of the schema and never in those of the value."""
    path = tuple(error.absolute_path)
    allowed: Any = error.validator_value
    instance: Any = error.instance
    schema: Any = error.schema
    # None where the schema is just ``false``, against the annotation of the library.
    keyword: Any = error.validator
    if keyword == "required":
        for member in allowed:
            if member not in instance:
                yield _value_fault("missing", "A member is missing.", "Add it.", (*path, member), known)
    elif keyword == "additionalProperties" and allowed is False:
        declared = schema.get("properties", {})
        for member in instance:
            if member not in declared:
                close = get_close_matches(member, declared, 1)
                mend = f"Did you mean {close[0]}?" if close else "Leave it out."
                yield _value_fault("unknown-member", "The contract knows no such member.", mend, (*path, member), known)
    elif keyword is None or (keyword == "not" and allowed in ({}, True)):
        yield _value_fault("forbidden", "The contract forbids a value here.", "Leave it out.", path, known)
    else:
        message, mend = _told(keyword, allowed)
        yield _value_fault(keyword, message, mend, path, known)


def _told(keyword: str, allowed: Any) -> tuple[str, str]:
    match keyword:
        case "type":
            kinds = [allowed] if isinstance(allowed, str) else allowed
            return "The type is wrong.", f"Send {' or '.join(_KINDS.get(kind, f'a {kind}') for kind in kinds)}."
        case "enum":
            return "The value is not one of those allowed.", f"Send one of {', '.join(map(str, allowed))}."
        case "const":
            return "The value is not the one allowed.", f"Send {allowed}."
        case "pattern":
            return "The text has the wrong form.", f"Match {allowed}."
        case "format":
            return "The text has the wrong form.", f"Send a {allowed}{_EXAMPLES.get(allowed, '')}."
        case "anyOf" | "oneOf":
            return f"The value fits {'none' if keyword == 'anyOf' else 'none or several'} of the alternatives.", (
                f"Obey one of the {len(allowed)} alternatives."
            )
    limit = f": {allowed}" if isinstance(allowed, int | float) else ""
    return f"The value breaks {keyword}{limit}.", "See the contract."


_EXAMPLES = {"date": ", as 2026-01-05", "date-time": ", as 2026-01-05T08:30:00.000Z", "uuid": " in lower case"}


def _value_fault(keyword: str, message: str, mend: str, path: tuple[str | int, ...], known: frozenset[str]) -> Fault:
    return Fault(code=f"contract-{keyword}", message=message, mend=mend, pointer=shown_pointer(path, known))
