"""What the pages of the desk read in one go: lists with titles, tasks with the shapes of their contracts."""

from __future__ import annotations

from dataclasses import dataclass

from bus.console.shape import Shape, shape_of
from bus.message.instant import Instant, from_rfc3339
from bus.message.text import Text
from bus.operations.caller import Caller, Role
from bus.operations.context import Context
from bus.operations.desk import DeskLine, DeskView, ListDesk, OneRow, list_desk, pinned, row_of, show_row
from bus.operations.operation import Operation
from bus.process.closure import input_contract, output_contract

_CLERKS = frozenset({Role.CLERK})


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardLine:
    """One task of the list: still no data."""

    line: DeskLine
    service_title: Text
    step_title: Text
    #: The code by which clerk and applicant can speak of the request.
    tracking: str
    due_at: Instant | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """A page of the list; ``next`` is the key after which the following page begins."""

    lines: tuple[BoardLine, ...]
    next: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One task as its page shows it."""

    view: DeskView
    tracking: str
    due_at: Instant | None
    opened_at: Instant
    changed_at: Instant | None
    asked: Shape
    answer: Shape
    #: Whether the clerk who looks is the one who has it.
    mine: bool


def board(context: Context, caller: Caller, given: ListDesk) -> Board:
    """The list of the clerk's agency."""
    found = list_desk(context, caller, given)
    return Board(lines=tuple(_line(context, line) for line in found.items), next=found.next)


def task(context: Context, caller: Caller, given: OneRow) -> Task:
    """One task of the clerk's agency; its data only if he has claimed it."""
    view = show_row(context, caller, given)
    row = row_of(context, caller, given.row)
    _, contracts = pinned(context, row)
    return Task(
        view=view,
        tracking=_tracking(context, view.request_id),
        due_at=_instant(view.due_at),
        opened_at=from_rfc3339(view.opened_at),
        changed_at=row.changed_at,
        asked=shape_of(contracts, input_contract(view.operation)),
        answer=shape_of(contracts, output_contract(view.operation)),
        mine=view.data is not None,
    )


BOARD: Operation[ListDesk, Board] = Operation(
    noun="desk",
    verb="board",
    method="GET",
    path="",
    roles=_CLERKS,
    input=ListDesk,
    output=Board,
    summary=Text(en="List the tasks of your desk with their titles.", ar="عرض معاملات مكتبك بعناوينها."),
    function=board,
)
TASK: Operation[OneRow, Task] = Operation(
    noun="desk",
    verb="task",
    method="GET",
    path="",
    roles=_CLERKS,
    input=OneRow,
    output=Task,
    summary=Text(en="Show one task with its form.", ar="عرض معاملة واحدة مع نموذجها."),
    function=task,
)


def _line(context: Context, line: DeskLine) -> BoardLine:
    request = context.store.request(line.request_id)
    service, step = Text(en=line.operation, ar=line.operation), Text(en=line.step, ar=line.step)
    if request is not None:
        definition, _ = context.pinned(request.revision)
        service, step = definition.title, definition.steps[line.step].title
    return BoardLine(
        line=line,
        service_title=service,
        step_title=step,
        tracking=_tracking(context, line.request_id),
        due_at=_instant(line.due_at),
    )


def _tracking(context: Context, request_id: str) -> str:
    submission = context.store.submission_of(request_id)
    return submission.tracking if submission is not None else ""


def _instant(text: str | None) -> Instant | None:
    return None if text is None else from_rfc3339(text)
