"""Giving a request the rows that become known after it was accepted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from bus.process.definition import StepDefinition
from bus.process.draft import Draft
from bus.process.rows import NewRow, is_plain, sources
from bus.process.state import FINAL


def new_rows(rows: Iterable[NewRow]) -> list[dict[str, Any]]:
    """Rows as a fact carries them."""
    return [
        {"step": row.step, "agency": row.agency}
        | ({} if row.item is None else {"item": row.item})
        | ({"desk": True} if row.desk else {})
        for row in rows
    ]


def plan(draft: Draft, rows: Sequence[NewRow]) -> None:
    """Add these rows, of steps that have none yet; a request that closes begins nothing new."""
    wanted = [row for row in rows if not draft.rows(row.step)]
    if wanted and draft.open:
        draft.change_request("rows_known", steps=new_rows(wanted))


def plan_without(draft: Draft, step: StepDefinition) -> None:
    """Where a step that was to decide the rows of this one ended without output, there is nothing to do or to ask."""
    if not is_plain(step) and not draft.rows(step.name) and _are_over(draft, sources(step)):
        plan(draft, [NewRow(step=step.name, item=None, agency="", desk=False)])


def _are_over(draft: Draft, steps: frozenset[str]) -> bool:
    return all(rows and all(row.state in FINAL for row in rows) for rows in map(draft.rows, steps))
