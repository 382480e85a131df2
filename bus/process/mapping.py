"""How data moves between a request, the steps and the result: paths and literals, no expressions."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any

from bus.errors import Fault, InvalidMessageError
from bus.message.reply import Data
from bus.message.strict_json import pointer_to
from bus.process.definition import Condition, Const, Definition, Path, Value

#: What a path finds where there is nothing; JSON's null is something.
_ABSENT: Any = object()

_MEMBER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_NO_STEPS: Mapping[str, Any] = {}


def parse_path(text: str) -> Path:
    """The path that a dotted text names; a ValueError with the mend if it names none. ``str(path)`` is its inverse."""
    root, *rest = text.split(".")
    wrong = next((part for part in rest if not _MEMBER.fullmatch(part)), None)
    if wrong is not None:
        raise ValueError(f"{text!r} has the part {wrong!r}; a part is letters, digits and _, joined by single dots.")
    if root == "request":
        return Path(root="request", step="", members=tuple(rest))
    if root == "item":
        return Path(root="item", step="", members=tuple(rest))
    if root == "input":
        return Path(root="input", step="", members=tuple(rest))
    if root == "steps" and rest:
        return Path(root="steps", step=rest[0], members=tuple(rest[1:]))
    raise ValueError(f"{text!r} is not a path; write request.<member>, steps.<step>.<member> or {{const: value}}.")


def resolve(
    values: Mapping[str, Value],
    *,
    request: Data,
    steps: Mapping[str, Any],
    item: Any = None,
    own_input: Data | None = None,
) -> dict[str, Any]:
    """The object that ``values`` describe; a member whose source is absent is left out.

    ``steps`` holds the output of every step that succeeded, by name; a step without output is absent, and one with
    items has a list of outputs, of which a path reads the list of one member. ``item`` is the item of the list that
    the step is asked about. ``own_input`` is what a step was given, for its compensation.
    """
    roots = {"request": request, "item": item, "input": own_input}
    found = {}
    for target, value in values.items():
        if isinstance(value, Const):
            found[target] = value.value
        else:
            source = _follow(value, roots, steps)
            if source is not _ABSENT:
                found[target] = source
    return found


def find(path: Path, *, request: Data, steps: Mapping[str, Any], item: Any = None) -> Any:
    """What stands at the path; None where nothing does."""
    value = _follow(path, {"request": request, "item": item}, steps)
    return None if value is _ABSENT else value


def holds(condition: Condition, request: Data, steps: Mapping[str, Any]) -> bool:
    """Whether the path is present and not false, or, with ``among``, is one of those values."""
    value = _follow(condition.path, {"request": request}, steps)
    if value is _ABSENT:
        return False
    if condition.among is None:
        return value is not False
    return any(_same(value, wanted) for wanted in condition.among)


def conditions_from_request(definition: Definition, request: Data) -> dict[str, bool]:
    """The ``when`` of every step that reads the request: known as soon as the request is."""
    return {
        name: holds(step.when, request, _NO_STEPS)
        for name, step in definition.steps.items()
        if step.when is not None and step.when.path.root == "request"
    }


def conditions_from_step(definition: Definition, step: str, output: Data) -> dict[str, bool]:
    """The ``when`` of every step that reads the output of ``step``; a step that ended without output gives ``{}``."""
    return {
        name: holds(other.when, {}, {step: output})
        for name, other in definition.steps.items()
        if other.when is not None and other.when.path.root == "steps" and other.when.path.step == step
    }


def cut(result: Data, pointers: Collection[str]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The part of ``result`` that ``pointers`` grant, and pointers to the parts withheld.

    A pointer grants what it names with all below it, "" grants everything, and one that names nothing grants
    nothing. Arrays are granted whole. The order of members is kept.
    """
    data, withheld = _cut(result, _parts(tuple(pointers)), "")
    return data, tuple(withheld)


def patch(data: Data, supplement: Mapping[str, Any], asked: Collection[str]) -> dict[str, Any]:
    """``data`` with each pointer of ``supplement`` set to its value; ``data`` itself is left as it was.

    Only pointers in ``asked`` may be set. Missing objects on the way are made; an array takes its own indexes and
    one more. Raises InvalidMessageError with every fault. The caller checks the whole against the contract.
    """
    faults = [
        Fault(
            code="not-asked",
            message="The supplement sets a member that was not asked for.",
            mend=f"Send only what was asked: {', '.join(sorted(asked)) or 'nothing'}.",
            pointer=pointer,
        )
        for pointer in supplement
        if pointer not in asked
    ]
    patched: Any = dict(data)
    for pointer, value in supplement.items():
        if pointer in asked:
            try:
                patched = _set(patched, split_pointer(pointer), value)
            except ValueError as error:
                faults.append(Fault(code="no-such-place", message=str(error), pointer=pointer))
    if not isinstance(patched, dict):
        faults.append(Fault(code="no-such-place", message="The whole is an object and stays one."))
    if faults:
        raise InvalidMessageError(tuple(faults))
    return dict(patched)


def split_pointer(pointer: str) -> tuple[str, ...]:
    """The members that an RFC 6901 JSON pointer names in turn; a ValueError if it is none."""
    if pointer and not pointer.startswith("/"):
        raise ValueError(f"{pointer!r} is not a JSON pointer; it begins with /.")
    if re.search(r"~(?![01])", pointer):
        raise ValueError(f"{pointer!r} is not a JSON pointer; ~ is written ~0, and / inside a name ~1.")
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:])


def _follow(path: Path, roots: Mapping[str, Any], steps: Mapping[str, Any]) -> Any:
    value: Any = steps.get(path.step, _ABSENT) if path.root == "steps" else roots.get(path.root)
    if path.root == "steps" and isinstance(value, list):
        found = (_walk(path, one) for one in value)
        return [one for one in found if one is not _ABSENT]
    return _walk(path, value)


def _walk(path: Path, value: Any) -> Any:
    for member in path.members:
        if not isinstance(value, Mapping) or member not in value:
            return _ABSENT
        value = value[member]
    return _ABSENT if value is None and not path.members else value


def _same(one: Any, other: Any) -> bool:
    """Equality as JSON has it: true is not 1, and 1 is 1.0."""
    return isinstance(one, bool) is isinstance(other, bool) and bool(one == other)


# Those of the grants, which are few.
@lru_cache(maxsize=1_024)
def _parts(pointers: tuple[str, ...]) -> Sequence[tuple[str, ...]]:
    return [split_pointer(pointer) for pointer in pointers]


def _cut(value: Data, granted: Sequence[tuple[str, ...]], at: str) -> tuple[dict[str, Any], list[str]]:
    if () in granted:
        return dict(value), []
    kept: dict[str, Any] = {}
    withheld: list[str] = []
    for name, member in value.items():
        below = [pointer[1:] for pointer in granted if pointer[0] == name]
        if () in below:
            kept[name] = member
            continue
        here = f"{at}{pointer_to((name,))}"
        if isinstance(member, Mapping) and below:
            part, more = _cut(member, below, here)
            withheld += more
            if part:
                kept[name] = part
        else:
            withheld.append(here)
    return kept, withheld


def _set(value: Any, parts: tuple[str, ...], new: Any) -> Any:
    if not parts:
        return new
    name, *rest = parts
    if isinstance(value, list):
        index = int(name) if name.isdecimal() and str(int(name)) == name else -1
        if not 0 <= index <= len(value):
            raise ValueError(f"The array has no place {name!r}; its places are 0 to {len(value)}.")
        old = value[index] if index < len(value) else {}
        return [*value[:index], _set(old, tuple(rest), new), *value[index + 1 :]]
    if not isinstance(value, Mapping):
        raise ValueError(f"There is no member {name!r} below a single value.")
    return {**value, name: _set(value.get(name, {}), tuple(rest), new)}
