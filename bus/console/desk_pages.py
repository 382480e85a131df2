"""The list of a desk, one task of it, and taking it or giving it back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import Response

from bus.console.form import Field, Filled, each, fields, filled
from bus.console.house import House, see_other
from bus.console.language import Language
from bus.console.reading import BOARD, TASK, Board, Task
from bus.console.refusals import gettext_noop
from bus.console.visit import PageError, Visit
from bus.operations.conflict import MovedError
from bus.operations.desk import ListDesk, OneRow
from bus.operations.operation import Operation
from bus.operations.registry import OPERATIONS

#: What the desk does, by name: the same operations as over the API.
DESK: Mapping[str, Operation[Any, Any]] = {each.verb: each for each in OPERATIONS if each.noun == "desk"}
_STATES = ("waiting", "answered", "withdrawn")
_PAGE = 20
_LAST_KEY = 2**63
#: What a page says after a change, by the note in its address.
NOTES: Mapping[str, str] = {
    "answered": gettext_noop("The answer is sent."),
    "returned": gettext_noop("The task went back to the applicant."),
    "refused": gettext_noop("The task is refused, and the applicant will be told why."),
    "released": gettext_noop("The task is open to the other clerks again."),
    "claimed": gettext_noop("The task is yours now."),
    "draft": gettext_noop("The draft is saved. Nothing has been sent yet."),
}


async def show_list(house: House, visit: Visit) -> Response:
    """Rows of the clerk's agency, oldest first."""
    query = visit.http.query_params
    state = query.get("state", "waiting")
    if state not in _STATES:
        raise PageError(404)
    after = _key(query.get("after", "0"))
    given = ListDesk(state=state, after=after, most=_PAGE)  # type: ignore[arg-type]
    found: Board = await house.door.perform(BOARD, visit.who, given)
    return house.page(
        visit,
        "list.html",
        board=found,
        state=state,
        states=_STATES,
        is_first=after == 0,
        note=NOTES.get(query.get("note", "")),
        me=visit.who.actor(),
    )


async def show_task(house: House, visit: Visit) -> Response:
    """One task: to be taken, or with its data and its form."""
    found = await read_task(house, visit)
    return task_page(house, visit, found, filled(found.answer, found.view.draft or {}))


async def claim(house: House, visit: Visit) -> Response:
    """Take the task; the second clerk learns who has it."""
    row = row_of(visit)
    try:
        await house.door.perform(DESK["claim"], visit.who, OneRow(row=row))
    except MovedError as moved:
        return await conflict(house, visit, moved)
    return see_other(f"/desk/{row}?note=claimed")


async def release(house: House, visit: Visit) -> Response:
    """Give the task back."""
    try:
        await house.door.perform(DESK["release"], visit.who, OneRow(row=row_of(visit)))
    except MovedError as moved:
        return await conflict(house, visit, moved)
    return see_other("/desk?note=released")


async def go_to_task(_: House, visit: Visit) -> Response:
    """An address that only forms use, typed or reloaded."""
    return see_other(f"/desk/{row_of(visit)}")


def row_of(visit: Visit) -> int:
    """The key of the task in the address; a PageError if there can be no such key."""
    return _key(visit.http.path_params["row"])


def _key(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text) < _LAST_KEY):
        raise PageError(404)
    return int(text)


async def read_task(house: House, visit: Visit) -> Task:
    """The task of the address."""
    found: Task = await house.door.perform(TASK, visit.who, OneRow(row=row_of(visit)))
    return found


def task_page(
    house: House,
    visit: Visit,
    task: Task,
    form: Filled,
    *,
    status: int = 200,
    errors: Mapping[str, tuple[str, ...]] | None = None,
    note: str = "",
) -> Response:
    """The page of a task, with its form as it is filled in."""
    said = NOTES.get(visit.http.query_params.get("note", ""), "") if not note and status == 200 else note
    shown = fields(task.answer, form, errors or {})
    found = problems(shown, errors or {}, visit.language)
    return house.page(visit, "task.html", status, task=task, asked=asked_of(task), form=shown, found=found, note=said)


def problems(form: Field, errors: Mapping[str, tuple[str, ...]], language: Language) -> list[tuple[str, str, str]]:
    """Every error in the order of the page: the id of its field or the nearest one around it, its title, the text."""
    places = {field.pointer: field for field in each(form)}
    order = {pointer: index for index, pointer in enumerate(places)}
    found = []
    for pointer, texts in errors.items():
        place = pointer
        while place not in places:
            place = place.rpartition("/")[0]
        title = language.of(places[place].shape.title) if place else ""
        found += [(order[place], places[place].id, title, text) for text in texts]
    return [(id_, title, text) for _, id_, title, text in sorted(found)]


async def conflict(
    house: House,
    visit: Visit,
    moved: MovedError,
    typed: Field | None = None,
    reasons: Sequence[tuple[str, str]] = (),
) -> Response:
    """The page of one who came too late: who has the task, since when, and what he had typed."""
    found = await read_task(house, visit)
    written = [field for field in each(typed) if field.value] if typed is not None else []
    mine = moved.changed_by == visit.who.actor()
    return house.page(visit, "conflict.html", 409, task=found, moved=moved, mine=mine, written=written, reasons=reasons)


def asked_of(task: Task) -> Field:
    """What a clerk was given, to be read: values in words where the contract has words for them."""
    return fields(task.asked, filled(task.asked, task.view.data or {}), {})
