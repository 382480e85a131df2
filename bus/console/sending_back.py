"""Two ways to answer without an answer: a paper is missing, or the agency says no. Both are confirmed on a page."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from starlette.responses import Response

from bus.console import writing
from bus.console.desk_pages import DESK, asked_of, conflict, read_task
from bus.console.house import House, Page, keep_language, see_other
from bus.console.language import Language, languages
from bus.console.reading import Task
from bus.console.refusals import TELLINGS, status_of
from bus.console.visit import Visit
from bus.errors import InvalidMessageError, TransientError
from bus.message.hidden import hidden
from bus.message.instant import DAY
from bus.message.reply import Need
from bus.message.strict_json import nfc
from bus.message.text import Text
from bus.operations.conflict import MovedError
from bus.operations.desk_answer import Refuse, Return

Way: TypeAlias = Literal["return", "refuse"]
_CODE = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_LONGEST = 2000
_MOST_DAYS = 365


@dataclass(frozen=True, slots=True, kw_only=True)
class Reasons:
    """What the clerk filled in."""

    pointers: tuple[str, ...] = ()
    reason_code: str = ""
    en: str = ""
    ar: str = ""
    days: str = ""

    @property
    def text(self) -> Text:
        """The reason in words."""
        return Text(en=self.en, ar=self.ar)


def show(way: Way) -> Page:
    """The empty page of one of the two ways."""

    async def page(house: House, visit: Visit) -> Response:
        task = await read_task(house, visit)
        if not task.mine or task.view.state != "claimed":
            return see_other(f"/desk/{task.view.row}")
        return _page(house, visit, way, task, Reasons())

    return page


def send(way: Way) -> Page:
    """What the button asks for: the other language, a look before sending, back to the form, or sending."""

    async def page(house: House, visit: Visit) -> Response:
        task = await read_task(house, visit)
        given, what = _given(visit), visit.one("do")
        if what.startswith("language:") and (code := what.removeprefix("language:")) in languages():
            changed = replace(visit, language=languages()[code])
            response = _page(house, changed, way, task, given)
            keep_language(response, changed, code)
            return response
        errors = _errors(way, task, given, visit.language)
        if what not in {"review", "confirm"}:
            return _page(house, visit, way, task, given)
        if errors:
            return _page(house, visit, way, task, given, status=422, errors=errors)
        if what == "review":
            return _page(house, visit, way, task, given, template="confirm.html")
        return await _send(house, visit, way, task, given)

    return page


async def _send(house: House, visit: Visit, way: Way, task: Task, given: Reasons) -> Response:
    row = int(task.view.row)
    try:
        if way == "refuse":
            refusal = Refuse(row=row, reason_code=given.reason_code, text=given.text)
            await house.door.perform(DESK["refuse"], visit.who, refusal)
            return see_other("/desk?note=refused")
        needs = tuple(
            Need(pointer=pointer, reason_code=given.reason_code, text=given.text) for pointer in given.pointers
        )
        within = f"{writing.whole(given.days)}d" if given.days else None
        await house.door.perform(DESK["return"], visit.who, Return(row=row, needs=needs, within=within))
        return see_other("/desk?note=returned")
    except MovedError as moved:
        say = visit.language.gettext
        written = [(say("The reason in Arabic"), given.ar), (say("The reason in English"), given.en)]
        return await conflict(house, visit, moved, reasons=written)
    except (InvalidMessageError, TransientError) as error:
        status = status_of(error)
        title, mend = TELLINGS[status]
        text = f"{visit.language.gettext(title)} {visit.language.gettext(mend)}"
        return _page(house, visit, way, task, given, status=status, errors={"work": text})


def _given(visit: Visit) -> Reasons:
    return Reasons(
        # Each field once, however often a browser names it.
        pointers=tuple(dict.fromkeys(visit.every("pointer"))),
        reason_code=writing.code(visit.one("reason_code")),
        en=nfc(writing.lines(visit.one("text_en"))),
        ar=nfc(writing.lines(visit.one("text_ar"))),
        days=writing.western(visit.one("days")).strip(),
    )


def _errors(way: Way, task: Task, given: Reasons, language: Language) -> Mapping[str, str]:
    found = dict(_faults_of_text(given, language))
    say = language.gettext
    if not _CODE.fullmatch(given.reason_code):
        found["reason_code"] = say("Write a short code in small Latin letters, for example paper_missing.")
    if way == "return":
        known = {field.pointer for field in task.view.fields}
        if not given.pointers or not known.issuperset(given.pointers):
            found["pointer"] = say("Choose at least one field that the applicant is to bring or correct.")
        days = writing.whole(given.days) if given.days else 1
        if days is None or not 1 <= days <= _MOST_DAYS:
            found["days"] = say("Write a number of days from 1 to %(most)s.", most=_MOST_DAYS)
    return {name: found[name] for name in ("pointer", "reason_code", "text_ar", "text_en", "days") if name in found}


def _faults_of_text(given: Reasons, language: Language) -> Iterator[tuple[str, str]]:
    say, count = language.gettext, language.ngettext
    for name, text in (("text_ar", given.ar), ("text_en", given.en)):
        if not text:
            yield name, say("Fill in this field.")
        elif len(text) > _LONGEST:
            yield (
                name,
                count("Write at most %(num)d character.", "Write at most %(num)d characters.", _LONGEST),
            )
        elif next(hidden(text), None) is not None:
            yield name, say("The text holds signs that nobody can see. Write it anew instead of pasting it.")


def _page(
    house: House,
    visit: Visit,
    way: Way,
    task: Task,
    given: Reasons,
    *,
    status: int = 200,
    template: str = "sending_back.html",
    errors: Mapping[str, str] | None = None,
) -> Response:
    shown = {field.pointer: field for field in asked_of(task).members if not field.members and field.shape.item is None}
    return house.page(
        visit,
        template,
        status,
        way=way,
        task=task,
        shown=shown,
        given=given,
        errors=errors or {},
        usual_days=house.door.context.settings.returned_within // DAY,
    )
