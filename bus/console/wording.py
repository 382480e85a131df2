"""What is wrong with a field, in the clerk's own language and never in the words of a schema."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bus.console.language import Language
from bus.console.shape import Shape
from bus.errors import Fault


def by_field(faults: Iterable[Fault], shape: Shape, language: Language) -> Mapping[str, tuple[str, ...]]:
    """The texts of all faults by JSON pointer, each once."""
    found: dict[str, dict[str, None]] = {}
    for fault in faults:
        part = shape.below(tuple(_parts(fault.pointer)))
        found.setdefault(fault.pointer, {})[wording(fault, part, language)] = None
    return {pointer: tuple(texts) for pointer, texts in found.items()}


def wording(fault: Fault, part: Shape | None, language: Language) -> str:
    """One fault of one field."""
    say, keyword = language.gettext, fault.code.removeprefix("contract-")
    kind = part.kind if part is not None else "free"
    match keyword, kind:
        case "missing", "choice" | "truth":
            return say("Choose an answer.")
        case "missing", _:
            return say("Fill in this field.")
        case "type", "whole":
            return say("Write a whole number, for example 12.")
        case "type", "number":
            return say("Write a number, for example 12.5. The fraction stands after a point.")
        case ("type", "choice" | "truth") | ("enum" | "const" | "oneOf", "choice"):
            return say("Choose one of the answers offered.")
        case "format", "date":
            return say("Write a day of the calendar, for example 31/01/2026.")
        case "pattern" | "format", _:
            return _form(part, language)
        case ("type", "free") | ("not-json", _):
            return say("This is not written as the form needs it. Ask those who run the bus for help.")
        case "hidden-character", _:
            return say("The text holds signs that nobody can see. Write it anew instead of pasting it.")
        case "unknown-member" | "forbidden", _:
            return say("Leave this empty.")
    return _limit(keyword, part, language) or say("This does not fit what the agreement on this task allows.")


def _form(part: Shape | None, language: Language) -> str:
    examples = part.schema.get("examples", ()) if part is not None else ()
    if examples:
        return language.gettext("The form is not right. For example: %(example)s", example=examples[0])
    return language.gettext("The form is not right. Compare it with the paper, sign by sign.")


def _limit(keyword: str, part: Shape | None, language: Language) -> str:
    limit = part.schema.get(keyword) if part is not None else None
    if not isinstance(limit, int | float) or isinstance(limit, bool):
        return language.gettext("Two rows are the same.") if keyword == "uniqueItems" else ""
    say, count, whole = language.gettext, language.ngettext, int(limit)
    match keyword:
        case "minLength":
            return count("Write at least %(num)d character.", "Write at least %(num)d characters.", whole)
        case "maxLength":
            return count("Write at most %(num)d character.", "Write at most %(num)d characters.", whole)
        case "minItems":
            return count("At least %(num)d row is needed.", "At least %(num)d rows are needed.", whole)
        case "maxItems":
            return count("At most %(num)d row is allowed.", "At most %(num)d rows are allowed.", whole)
        case "minimum":
            return say("Write %(limit)s or more.", limit=limit)
        case "maximum":
            return say("Write %(limit)s or less.", limit=limit)
        case "exclusiveMinimum":
            return say("Write more than %(limit)s.", limit=limit)
        case "exclusiveMaximum":
            return say("Write less than %(limit)s.", limit=limit)
        case "multipleOf":
            return say("Write a multiple of %(limit)s.", limit=limit)
    return ""


def _parts(pointer: str) -> list[str]:
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]
