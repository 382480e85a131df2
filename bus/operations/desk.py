"""The desk of an agency without its own system: its clerks see the tasks, and take them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from bus.errors import BusError, NotFoundError
from bus.message.contract import Contracts
from bus.message.envelope import Message, decode
from bus.message.instant import to_rfc3339
from bus.message.reply import Data
from bus.message.strict_json import dump, parse
from bus.message.text import Text
from bus.operations.caller import Caller
from bus.operations.conflict import MovedError
from bus.operations.context import Context
from bus.operations.given import After, Most, Row, Wait
from bus.operations.operation import Given
from bus.operations.request import when
from bus.operations.titled import Folded, TitledField, titled
from bus.ports import DeskRow, Payload
from bus.process.closure import input_contract, output_contract
from bus.process.definition import Definition

_WAITING = frozenset({"open", "claimed"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ListDesk:
    """Which rows of the desk."""

    state: Annotated[
        Literal["waiting", "open", "claimed", "answered", "withdrawn"],
        Given(
            place="query",
            summary=Text(en="Only rows in this state.", ar="المعاملات في هذه الحالة فقط."),
        ),
    ] = "waiting"
    after: After = 0
    most: Most = 50
    wait: Wait = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskLine:
    """One task of the desk in a list: no data."""

    row: str
    request_id: str
    step: str
    #: Of a step that is done for each item of a list, which one.
    item: int | None
    agency: str
    operation: str
    attempt: int
    state: str
    clerk: str | None
    opened_at: str
    due_at: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskLines:
    """A page of the desk."""

    items: tuple[DeskLine, ...]
    next: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OneRow:
    """One task of the desk."""

    row: Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """An answer that is not finished."""

    row: Row
    data: Annotated[
        dict[str, Any],
        Given(place="body", summary=Text(en="The answer so far.", ar="الإجابة حتى الآن.")),
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskView:
    """One task with everything that the clerk needs to answer it; the data only for the clerk who has claimed it.

    A claim is recorded with clerk and time, so that each reading of a person's data has somebody to answer for it.
    """

    row: str
    request_id: str
    service_title: Text
    step: str
    item: int | None
    step_title: Text
    agency: str
    operation: str
    attempt: int
    state: str
    clerk: str | None
    opened_at: str
    due_at: str | None
    #: None for all but the clerk who has the task.
    data: Data | None
    #: The task's fields with their titles and, with ``data``, their values.
    fields: tuple[TitledField, ...]
    #: What an answer consists of.
    answer_fields: tuple[TitledField, ...]
    draft: Any


def list_desk(context: Context, caller: Caller, given: ListDesk) -> DeskLines:
    """Rows of the clerk's agency, oldest first."""
    states = _WAITING if given.state == "waiting" else {given.state}
    rows = context.store.desk(caller.acting_agency(), states=states, after=given.after, most=given.most)
    following = str(rows[-1].key) if len(rows) == given.most else None
    return DeskLines(items=tuple(_line(row) for row in rows), next=following)


def has_rows(_: ListDesk, found: DeskLines) -> bool:
    """Whether there is anything to do."""
    return bool(found.items)


def show_row(context: Context, caller: Caller, given: OneRow) -> DeskView:
    """One task of the clerk's agency; its data once he has claimed it."""
    row = row_of(context, caller, given.row)
    return _view(context, row, reads=row.clerk == caller.actor())


def claim(context: Context, caller: Caller, given: OneRow) -> DeskView:
    """Take a task, so that no other clerk works on it too; a MovedError says who has it."""
    row = row_of(context, caller, given.row)
    if not context.store.claim(row.key, caller.actor(), None):
        raise taken(context, row.key)
    return show_row(context, caller, given)


def release(context: Context, caller: Caller, given: OneRow) -> DeskLine:
    """Give a task back to the other clerks."""
    row = row_of(context, caller, given.row)
    if not context.store.release(row.key, caller.actor()):
        raise taken(context, row.key)
    return _line(row_of(context, caller, given.row))


def save_draft(context: Context, caller: Caller, given: Draft) -> DeskLine:
    """Keep an unfinished answer, and claim the task with it. A draft need not obey the contract."""
    row = row_of(context, caller, given.row)
    draft = Payload(id=context.keys.next(), request_key=row.request_key, bytes=dump(given.data))
    if not context.store.claim(row.key, caller.actor(), draft):
        raise taken(context, row.key)
    return _line(row_of(context, caller, given.row))


def row_of(context: Context, caller: Caller, key: int) -> DeskRow:
    """A row of the caller's own desk; NotFoundError for every other."""
    row = context.store.desk_row(key)
    if row is None or row.agency != caller.acting_agency():
        raise NotFoundError(
            "There is no such task on your desk.",
            code="row-unknown",
            mend="List the desk with GET /v1/desk (`bus desk list`).",
        )
    return row


def taken(context: Context, key: int) -> MovedError:
    """Why a clerk came too late: who has the row, since when."""
    row = context.store.desk_row(key)
    if row is None:
        return MovedError(code="row-taken", state="gone")
    return MovedError(code="row-taken", state=row.state, changed_by=row.clerk, changed_at=row.changed_at)


def task_of(context: Context, row: DeskRow) -> Message:
    """The task's message."""
    raw = context.store.payloads([row.task_id]).get(row.task_id)
    if raw is None:
        raise BusError("The bytes of the task are not in the store.", code="payload-missing")
    return decode(raw)


def pinned(context: Context, row: DeskRow) -> tuple[Definition, Contracts]:
    """The service as the row's request was pinned to it."""
    request = context.store.request(row.request_id)
    if request is None:
        raise NotFoundError("The request of this row is not in the store.", code="request-unknown")
    return context.pinned(request.revision)


def _view(context: Context, row: DeskRow, *, reads: bool) -> DeskView:
    data = (task_of(context, row).data or {}) if reads else None
    definition, contracts = pinned(context, row)
    folded = Folded(contracts)
    drafts = context.store.payloads([row.draft_id]) if reads and row.draft_id is not None else {}
    draft = drafts.get(row.draft_id) if row.draft_id is not None else None
    line = _line(row)
    return DeskView(
        row=line.row,
        request_id=row.request_id,
        service_title=definition.title,
        step=row.step.step,
        item=row.step.item,
        step_title=definition.steps[row.step.step].title,
        agency=row.agency,
        operation=row.operation,
        attempt=row.attempt,
        state=row.state,
        clerk=row.clerk,
        opened_at=line.opened_at,
        due_at=line.due_at,
        data=data,
        fields=titled(folded.whole(input_contract(row.operation)), data or {}, folded),
        answer_fields=titled(folded.whole(output_contract(row.operation)), {}, folded),
        draft=None if draft is None else parse(draft),
    )


def _line(row: DeskRow) -> DeskLine:
    return DeskLine(
        row=str(row.key),
        request_id=row.request_id,
        step=row.step.step,
        item=row.step.item,
        agency=row.agency,
        operation=row.operation,
        attempt=row.attempt,
        state=row.state,
        clerk=row.clerk,
        opened_at=to_rfc3339(row.opened_at),
        due_at=when(row.due_at),
    )
