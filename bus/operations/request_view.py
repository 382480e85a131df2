"""One request as its consumer sees it, and as those who run the bus see it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from bus.message.envelope import Message, MessageType, decode
from bus.message.instant import to_rfc3339
from bus.message.text import Text
from bus.operations.agency import AgencyView, agencies
from bus.operations.caller import Caller
from bus.operations.context import Context
from bus.operations.given import RequestName, Wait
from bus.operations.operation import Given
from bus.operations.request import request_of, when
from bus.operations.titles import PUBLIC_STATES, REQUEST_TITLES, STEP_TITLES, TAKEN_BACK
from bus.ports import DeskClaim, FailureRow
from bus.process.definition import Definition
from bus.process.state import ALIVE, FINAL, Kind, Request, Step, StepState
from bus.process.wire import in_order, taken_back


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowRequest:
    """One request, at once or when something has happened to it."""

    request: RequestName
    wait: Wait = 0
    version: Annotated[
        int | None,
        Field(ge=0, lt=2**53),
        Given(
            place="query",
            summary=Text(
                en="Wait for a version beyond this; without it, for the end or for a question to the applicant.",
                ar="انتظار إصدار أحدث من هذا؛ وبدونه انتظار النهاية أو سؤالٍ لمقدّم الطلب.",
            ),
        ),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepInside:
    """What only those who run the bus see of a step."""

    kind: str
    effect: str
    edit: int
    attempt: int
    tries: int
    reason: str | None
    left_behind: bool
    changed_by: str | None
    #: The journal of the host that was asked.
    journal_id: str | None
    #: Name of the timer -> when it is due.
    timers: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepView:
    """One step. A consumer sees a simpler state: how the bus gets on with an agency is not its business."""

    step: str
    #: Of a step that is done for each item of a list, which one: counted from 0.
    item: int | None
    title: Text
    #: "" where no agency could be chosen.
    agency: str
    agency_name: Text
    state: str
    state_title: Text
    #: When it came into this state, and by when its agency is to have answered.
    since: str | None
    expected_by: str | None
    inside: StepInside | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedView:
    """What one step asks of the applicant."""

    step: str
    item: int | None
    title: Text
    #: To be named in the supplement.
    attempt: int
    #: JSON pointers that a supplement may set.
    pointers: tuple[str, ...]
    until: str | None
    #: The question as the agency put it.
    question: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultView:
    """How the request ended."""

    type: str
    at: str
    data: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenFailure:
    """Something about this request that a person must see."""

    key: str
    code: str
    step: str | None
    item: int | None
    agency: str | None
    opened_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimView:
    """A clerk took a task of this request, and could read its data from then on."""

    step: str
    item: int | None
    clerk: str
    at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestView:
    """One request."""

    request_id: str
    tracking: str
    consumer: str
    service: str
    title: Text
    purpose: str
    test: bool
    state: str
    state_title: Text
    waiting_for: str | None
    version: int
    accepted_at: str
    expected_by: str | None
    ended_at: str | None
    steps: tuple[StepView, ...]
    asked: tuple[AskedView, ...]
    #: For its consumer, once it has ended.
    result: ResultView | None
    #: For those who run the bus: the providers that it concerns, with their hosts.
    hosts: tuple[AgencyView, ...]
    #: For those who run the bus.
    failures: tuple[OpenFailure, ...]
    #: For those who run the bus.
    desk_claims: tuple[ClaimView, ...]


def show_request(context: Context, caller: Caller, given: ShowRequest) -> RequestView:
    """The request as the caller may see it. Those who run the bus see codes and times, and no data."""
    request = request_of(context, caller, given.request)
    definition, _ = context.pinned(request.revision)
    submission = context.store.submission_of(request.id)
    told = () if caller.sees_all else _told(context, request)
    rows = [step for _, step in in_order(request, definition)]
    return RequestView(
        request_id=request.id,
        tracking=submission.tracking if submission else "",
        consumer=request.consumer,
        service=request.service,
        title=definition.title,
        purpose=request.purpose,
        test=request.test,
        state=request.state.value,
        state_title=REQUEST_TITLES[request.state],
        waiting_for=request.waiting_for,
        version=request.version,
        accepted_at=to_rfc3339(request.accepted_at),
        expected_by=when(request.deadline_at),
        ended_at=when(request.ended_at),
        steps=tuple(
            _step(context, request, definition, step, inside=caller.sees_all)
            for step in rows
            if _is_shown(step, caller)
        ),
        asked=tuple(_asked(definition, step, told) for step in rows if step.state is StepState.RETURNED),
        result=_result(told),
        hosts=_hosts(context, request) if caller.sees_all else (),
        failures=tuple(_failure(row) for row in context.store.open_failures(request.id)) if caller.sees_all else (),
        desk_claims=tuple(_claim(each) for each in context.store.desk_claims(request.id)) if caller.sees_all else (),
    )


def is_settled(given: ShowRequest, view: RequestView) -> bool:
    """Whether what the follower waits for is there."""
    if given.version is not None:
        return view.version > given.version
    return view.state not in ALIVE or view.waiting_for == "applicant"


def _is_shown(step: Step, caller: Caller) -> bool:
    return caller.sees_all or step.key.kind is Kind.TASK


def _step(context: Context, request: Request, definition: Definition, step: Step, *, inside: bool) -> StepView:
    state, title = (step.state.value, STEP_TITLES[step.state]) if inside else PUBLIC_STATES[step.state]
    if not inside and taken_back(request, step.key):
        state, title = TAKEN_BACK
    defined = definition.steps[step.key.step]
    return StepView(
        step=defined.name,
        item=step.key.item,
        title=defined.title,
        agency=step.agency,
        agency_name=context.agency_name(step.agency),
        state=state,
        state_title=title,
        since=when(step.changed_at or request.accepted_at),
        expected_by=None if step.state in FINAL else when(step.expires_at),
        inside=_inside(step) if inside else None,
    )


def _inside(step: Step) -> StepInside:
    names = ("answer_at", "ask_at", "next_at", "deadline_at", "until_at")
    timers = {name.removesuffix("_at"): getattr(step, name) for name in names}
    return StepInside(
        kind=step.key.kind.value,
        effect=step.effect.value,
        edit=step.edit,
        attempt=step.attempt,
        tries=step.tries,
        reason=step.reason,
        left_behind=step.left_behind,
        changed_by=step.changed_by,
        journal_id=step.journal_id,
        timers={name: to_rfc3339(at) for name, at in timers.items() if at is not None},
    )


def _told(context: Context, request: Request) -> tuple[Message, ...]:
    """Everything that the consumer was told of this request, oldest first."""
    return tuple(decode(raw) for raw in context.store.told(request.id))


def _asked(definition: Definition, step: Step, told: Iterable[Message]) -> AskedView:
    questions = [
        message.data
        for message in told
        if message.envelope.type is MessageType.REQUEST_RETURNED and _speaks_of(message, step)
    ]
    return AskedView(
        step=step.key.step,
        item=step.key.item,
        title=definition.steps[step.key.step].title,
        attempt=step.attempt,
        pointers=step.asked,
        until=when(step.until_at),
        question=questions[-1] if questions else None,
    )


def _speaks_of(message: Message, step: Step) -> bool:
    data = message.data or {}
    return (data.get("step"), data.get("item")) == (step.key.step, step.key.item)


def _hosts(context: Context, request: Request) -> tuple[AgencyView, ...]:
    asked = {step.agency for step in request.steps.values()}
    return tuple(view for view in agencies(context) if view.agency in asked)


def _result(told: tuple[Message, ...]) -> ResultView | None:
    ends = [message for message in told if message.envelope.type is not MessageType.REQUEST_RETURNED]
    if not ends:
        return None
    last = ends[-1]
    return ResultView(type=last.envelope.type.value, at=to_rfc3339(last.envelope.time or 0), data=last.data)


def _failure(row: FailureRow) -> OpenFailure:
    return OpenFailure(
        key=str(row.key),
        code=row.code,
        step=row.step.step if row.step else None,
        item=row.step.item if row.step else None,
        agency=row.agency,
        opened_at=to_rfc3339(row.opened_at),
    )


def _claim(claim: DeskClaim) -> ClaimView:
    return ClaimView(step=claim.step.step, item=claim.step.item, clerk=claim.clerk, at=to_rfc3339(claim.at))
