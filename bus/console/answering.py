"""Answering a task: rows, drafts and answers, with nothing lost that was typed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from starlette.responses import Response

from bus.console import writing
from bus.console.desk_pages import DESK, conflict, read_task, task_page
from bus.console.form import Field, Filled, data_of, each, fields, posted, with_row, without_blank_rows, without_row
from bus.console.house import House, keep_language, see_other
from bus.console.language import languages
from bus.console.reading import Task
from bus.console.refusals import TELLINGS, gettext_noop, status_of
from bus.console.visit import Visit
from bus.console.wording import by_field
from bus.errors import BusError, Fault, InvalidMessageError, TransientError
from bus.message.hidden import hidden
from bus.message.strict_json import pointer_to
from bus.operations.conflict import MovedError
from bus.operations.desk import Draft
from bus.operations.desk_answer import Answer

_NOT_SENT = gettext_noop("You are signed in again. Nothing has been sent yet: look at your answer and send it.")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """One posted form of one task."""

    house: House
    visit: Visit
    task: Task
    form: Filled

    @property
    def row(self) -> int:
        return int(self.task.view.row)

    @property
    def shown(self) -> Field:
        return fields(self.task.answer, self.form, {})


async def answer(house: House, visit: Visit) -> Response:
    """What the button asks for: a row more or less, the other language, a draft, or the answer."""
    task = await read_task(house, visit)
    work = _Work(house=house, visit=visit, task=task, form=posted(visit.form))
    if task.view.state not in {"open", "claimed"} or (task.view.state == "claimed" and not task.mine):
        moved = MovedError(
            code="row-taken", state=task.view.state, changed_by=task.view.clerk, changed_at=task.changed_at
        )
        return await conflict(house, visit, moved, work.shown)
    what, _, where = visit.one("do").partition(":")
    match what:
        case "add" | "remove":
            return _with_rows(work, what, where)
        case "language" if where in languages():
            return _in_language(work, where)
        case "draft" | "answer":
            return await _keep_or_send(work, what)
    return task_page(house, visit, task, work.form)


async def resume(house: House, visit: Visit) -> Response:
    """The form as it was typed before the session ended."""
    task = await read_task(house, visit)
    return task_page(house, visit, task, posted(visit.form), note=_NOT_SENT)


def _with_rows(work: _Work, what: str, where: str) -> Response:
    pointer, _, index = (where, "", "") if what == "add" else where.rpartition("/")
    place = next((field for field in each(work.shown) if field.pointer == pointer and field.shape.item), None)
    form = work.form
    if place is not None and what == "add":
        form = with_row(form, pointer, len(place.rows))
    elif place is not None and index in {str(row) for row in range(len(place.rows))}:
        form = without_row(form, pointer, int(index), len(place.rows))
    return task_page(work.house, work.visit, work.task, form)


def _in_language(work: _Work, code: str) -> Response:
    visit = replace(work.visit, language=languages()[code])
    response = task_page(work.house, visit, work.task, work.form)
    keep_language(response, visit, code)
    return response


async def _keep_or_send(work: _Work, what: str) -> Response:
    work = replace(work, form=without_blank_rows(work.task.answer, work.form))
    try:
        _refuse_hidden(work.form)
        await (_send(work) if what == "answer" else _keep(work))
    except InvalidMessageError as error:
        errors = by_field(error.faults, work.task.answer, work.visit.language)
        return task_page(work.house, work.visit, work.task, work.form, status=422, errors=errors)
    except MovedError as moved:
        return await conflict(work.house, work.visit, moved, work.shown)
    except TransientError as error:
        return _later(work, error)
    return see_other("/desk?note=answered" if what == "answer" else f"/desk/{work.row}?note=draft")


async def _keep(work: _Work) -> None:
    given = Draft(row=work.row, data=data_of(work.task.answer, work.form))
    await work.house.door.perform(DESK["draft"], work.visit.who, given)


async def _send(work: _Work) -> None:
    """The answer; a number in a text, typed with other digits than its pattern wants, is tried with Western ones."""
    perform, who = work.house.door.perform, work.visit.who
    try:
        await perform(DESK["answer"], who, Answer(row=work.row, data=data_of(work.task.answer, work.form)))
    except InvalidMessageError as error:
        again = _with_western_digits(work.form, error.faults)
        if again == work.form:
            raise
        await perform(DESK["answer"], who, Answer(row=work.row, data=data_of(work.task.answer, again)))


def _with_western_digits(form: Filled, faults: Sequence[Fault]) -> Filled:
    wrong = {fault.pointer for fault in faults if fault.code == "contract-pattern"}
    texts = {name: writing.western(text) if name in wrong else text for name, text in form.texts.items()}
    return replace(form, texts=texts)


def _refuse_hidden(form: Filled) -> None:
    faults = tuple(_hidden(form))
    if faults:
        raise InvalidMessageError(faults)


def _hidden(form: Filled) -> Iterator[Fault]:
    for name, text in form.texts.items():
        if next(hidden(text), None) is not None:
            yield Fault(code="hidden-character", message="The text holds signs that nobody can see.", pointer=name)


def _later(work: _Work, error: BusError) -> Response:
    """The store is busy: the form stays as it is, to be sent again."""
    title, mend = TELLINGS[status_of(error)]
    say = work.visit.language.gettext
    errors = {pointer_to(()): (f"{say(title)} {say(mend)}",)}
    return task_page(work.house, work.visit, work.task, work.form, status=503, errors=errors)
