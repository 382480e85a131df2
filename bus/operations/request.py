"""Following a request, and what its consumer may do with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from bus.audit.fact import Fact
from bus.errors import BusError, ConflictError, Fault, InvalidMessageError
from bus.killpoint import reach
from bus.message.envelope import decode
from bus.message.identity import parse_tracking
from bus.message.instant import Instant, to_rfc3339
from bus.message.reply import Data
from bus.message.strict_json import dump
from bus.message.text import Text
from bus.operations.caller import Caller
from bus.operations.conflict import applied, request_unknown
from bus.operations.context import Context
from bus.operations.given import Reason, RequestName
from bus.operations.operation import Command, Given
from bus.operations.titles import REQUEST_TITLES
from bus.ports import Decided, Incoming, Payload
from bus.process.closure import input_contract
from bus.process.event import CancelAsked, Supplemented
from bus.process.mapping import patch
from bus.process.state import Request, Step, StepKey, StepState


@dataclass(frozen=True, slots=True, kw_only=True)
class OneRequest:
    """One request."""

    request: RequestName


@dataclass(frozen=True, slots=True, kw_only=True)
class FactView:
    """One thing that happened to a request. Whoever only asks does not learn who acted in other agencies, or why."""

    version: int
    at: str
    kind: str
    step: str | None
    item: int | None
    step_kind: str | None
    provider: str | None
    #: State of the step or the request after it, where it changed.
    state: str | None
    actor: str | None
    reason: str | None
    fields: tuple[str, ...]
    message_id: str | None
    digest: str | None
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FactViews:
    """Every fact of a request, in order."""

    items: tuple[FactView, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """Take a request back."""

    request: RequestName
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Supplement:
    """Bring what an agency asked for."""

    request: RequestName
    values: Annotated[
        dict[str, Any],
        Field(min_length=1, max_length=100),
        Given(
            place="member",
            summary=Text(
                en="JSON pointer to value, for the asked pointers only.",
                ar="قيمة لمسار كل حقل مطلوب، ولا شيء غيره.",
            ),
        ),
    ]
    step: Annotated[
        str | None,
        Field(max_length=64),
        Given(
            place="member",
            summary=Text(
                en="The step that asked; needed only where several wait.",
                ar="الخطوة التي طلبت؛ تلزم فقط عند انتظار أكثر من خطوة.",
            ),
        ),
    ] = None
    item: Annotated[
        int | None,
        Field(ge=0, lt=2**31),
        Given(
            place="member",
            summary=Text(
                en="The item of the step that asked; needed only where several wait.",
                ar="عنصر الخطوة الذي طلب؛ يلزم فقط عند انتظار أكثر من عنصر.",
            ),
        ),
    ] = None
    attempt: Annotated[
        int | None,
        Field(ge=1, lt=2**53),
        Given(
            place="member",
            summary=Text(
                en="The attempt that was asked about, to be sure that nobody was faster.",
                ar="رقم المحاولة المقصودة، للتأكد من أن أحدًا لم يسبقك.",
            ),
        ),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """How a request stands after a command."""

    request_id: str
    state: str
    state_title: Text
    version: int


def list_facts(context: Context, caller: Caller, given: OneRequest) -> FactViews:
    """The timeline of a request."""
    request = request_of(context, caller, given.request)
    facts = context.store.facts(request.id)
    return FactViews(items=tuple(_fact(fact, caller) for fact in facts))


def cancel(context: Context, caller: Caller, given: Cancel) -> Command[Moved]:
    """Ask for the end of a request; what was done already is taken back. Too late once the final step was sent."""
    request = request_of(context, caller, given.request)
    event = CancelAsked(actor=caller.actor(), reason=given.reason)
    return Command(incoming=Incoming(request_id=request.id, event=event), answer=lambda decided: moved(decided, caller))


def supplement(context: Context, caller: Caller, given: Supplement) -> Command[Moved]:
    """The asked values replace those in the step's own data; the step runs again with a new attempt."""
    request = request_of(context, caller, given.request)
    step = _returned_step(request, given.step, given.item)
    definition, contracts = context.pinned(request.revision)
    data = patch(task_data(context, step), given.values, step.asked)
    contracts.check(input_contract(definition.steps[step.key.step].operation), data)
    input_id = context.keys.next()
    event = Supplemented(
        step=step.key,
        attempt=given.attempt or step.attempt,
        input_id=input_id,
        actor=caller.actor(),
        fields=tuple(given.values),
    )
    payload = Payload(id=input_id, request_key=request.key, bytes=dump(data))
    incoming = Incoming(request_id=request.id, event=event, payloads=(payload,))
    return Command(incoming=incoming, answer=lambda decided: moved(decided, caller))


def request_of(context: Context, caller: Caller, name: str) -> Request:
    """The request of this id or tracking code, if the caller may see it; NotFoundError else."""
    try:
        name = parse_tracking(name)
    except ValueError:
        name = name.strip().lower()
    id_ = context.store.find(name)
    request = context.store.request(id_) if id_ is not None else None
    if request is None or not (caller.sees_all or request.consumer == caller.agency):
        raise request_unknown()
    return request


def task_data(context: Context, step: Step) -> Data:
    """The data of the task that the step sent last."""
    raw = context.store.payloads([step.task_id]).get(step.task_id) if step.task_id is not None else None
    if raw is None:
        raise BusError("The bytes of the task are not in the store.", code="payload-missing")
    return decode(raw).data or {}


def moved(decided: Decided, caller: Caller) -> Moved:
    """The answer to a command that moves a request."""
    reach("gateway.committed")
    request = applied(decided, caller)
    return Moved(
        request_id=request.id,
        state=request.state.value,
        state_title=REQUEST_TITLES[request.state],
        version=request.version,
    )


def when(instant: Instant | None) -> str | None:
    """An instant as text, where there is one."""
    return None if instant is None else to_rfc3339(instant)


def _returned_step(request: Request, name: str | None, item: int | None) -> Step:
    waiting = [
        step
        for step in request.steps.values()
        if step.state is StepState.RETURNED and name in {None, step.key.step} and item in {None, step.key.item}
    ]
    if not waiting:
        raise ConflictError(
            "No step of this request waits for the applicant.",
            code="nothing-asked",
            mend="Look at the request: the step may have gone on, or its time may be over.",
        )
    if len(waiting) > 1:
        names = ", ".join(sorted(row_name(step.key) for step in waiting))
        fault = Fault(
            code="step-needed",
            message="Several steps wait for the applicant.",
            mend=f"Name one of: {names}; what follows / is the item.",
            pointer="/step",
        )
        raise InvalidMessageError((fault,))
    return waiting[0]


def row_name(key: StepKey) -> str:
    """A row as people call it: the step, with ``/item`` where it is one of several."""
    return key.step if key.item is None else f"{key.step}/{key.item}"


def _fact(fact: Fact, caller: Caller) -> FactView:
    own = caller.sees_all or (fact.actor or "").startswith(f"{caller.agency}/")
    state: Mapping[str, Any] = fact.changes
    return FactView(
        version=fact.version,
        at=to_rfc3339(fact.at),
        kind=fact.kind,
        step=fact.step,
        item=fact.item,
        step_kind=fact.step_kind,
        provider=fact.provider,
        state=str(state["state"]) if "state" in state else None,
        actor=fact.actor if own else None,
        reason=fact.reason if own else None,
        fields=fact.fields,
        message_id=fact.message_id,
        digest=fact.digest,
        hash=fact.hash,
    )
