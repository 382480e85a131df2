"""Which rows a step has where the route does not say it alone: an item each of a list, a provider chosen for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bus.message.reply import Data
from bus.process.definition import Definition, OneOf, Path, StepDefinition
from bus.process.mapping import find


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRow:
    """A row that a request gets: one item of a step, or a step whose provider is chosen."""

    step: str
    #: None for a step without items, and for the one row of an empty list.
    item: int | None
    #: "" where nobody is to be asked: an empty list, or a code that no member of the group has.
    agency: str
    desk: bool


def sources(step: StepDefinition) -> frozenset[str]:
    """The earlier steps whose output decides how many rows this one has and who is asked."""
    return frozenset(path.step for path in _deciding(step) if path.root == "steps")


def is_plain(step: StepDefinition) -> bool:
    """Whether the route alone says that there is one row, and whose."""
    return step.for_each is None and isinstance(step.provider, str)


def rows_from_request(definition: Definition, request: Data) -> tuple[NewRow, ...]:
    """The rows of the steps that are not plain and that the request alone decides."""
    wanted = [step for step in definition.steps.values() if not is_plain(step) and not sources(step)]
    return tuple(row for step in wanted for row in _rows(step, request, {}))


def rows_after(definition: Definition, step: str, request: Data, steps: Mapping[str, Any]) -> tuple[NewRow, ...]:
    """The rows that are known now that ``step`` has its output; ``steps`` are the outputs so far, that one included."""
    wanted = [other for other in definition.steps.values() if step in sources(other) and sources(other) <= steps.keys()]
    return tuple(row for other in wanted for row in _rows(other, request, steps))


def items_of(step: StepDefinition, request: Data, steps: Mapping[str, Any]) -> Sequence[Any]:
    """The list of which each item is a row; empty where there is none."""
    found = find(step.for_each, request=request, steps=steps) if step.for_each is not None else None
    return found if isinstance(found, list) else ()


def unknown_members(definition: Definition, request: Data) -> tuple[tuple[str, str], ...]:
    """(step, path) of each provider that the request chooses by a code which no member of the group has."""
    found = (
        (step.name, _shown(step.provider.by, step.for_each, row.item))
        for step in definition.steps.values()
        if isinstance(step.provider, OneOf)
        for row in _rows(step, request, {})
        if not row.agency and not _is_empty(step, row) and _chooses(step, request, row)
    )
    # Many items may be chosen for by one code.
    return tuple(dict.fromkeys(found))


def _deciding(step: StepDefinition) -> tuple[Path, ...]:
    by = (step.provider.by,) if isinstance(step.provider, OneOf) else ()
    return by if step.for_each is None else (step.for_each, *by)


def _rows(step: StepDefinition, request: Data, steps: Mapping[str, Any]) -> list[NewRow]:
    if step.for_each is None:
        return [_row(step, None, None, request, steps)]
    items = items_of(step, request, steps)
    if not items:
        return [NewRow(step=step.name, item=None, agency="", desk=False)]
    return [_row(step, index, item, request, steps) for index, item in enumerate(items)]


def _row(step: StepDefinition, index: int | None, item: Any, request: Data, steps: Mapping[str, Any]) -> NewRow:
    agency = _chosen(step, item, request, steps)
    return NewRow(step=step.name, item=index, agency=agency, desk=bool(agency) and step.is_desk(agency))


def _chosen(step: StepDefinition, item: Any, request: Data, steps: Mapping[str, Any]) -> str:
    if isinstance(step.provider, str):
        return step.provider
    code = find(step.provider.by, request=request, steps=steps, item=item)
    return step.provider.members.get(code, "") if isinstance(code, str) else ""


def _is_empty(step: StepDefinition, row: NewRow) -> bool:
    return step.for_each is not None and row.item is None


def _chooses(step: StepDefinition, request: Data, row: NewRow) -> bool:
    """Whether there is a code at all: where it is absent, ``when`` will have the step skipped."""
    if not isinstance(step.provider, OneOf):
        return False
    item = None if row.item is None else items_of(step, request, {})[row.item]
    return find(step.provider.by, request=request, steps={}, item=item) is not None


def _shown(by: Path, for_each: Path | None, item: int | None) -> str:
    """The JSON pointer to the code in the request."""
    root = (*for_each.members, str(item)) if by.root == "item" and for_each is not None else ()
    return "".join(f"/{part}" for part in (*root, *by.members))
