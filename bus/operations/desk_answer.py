"""A clerk's answer: the same reply that an agency's own system would send."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from bus.config import duration
from bus.errors import Fault, InvalidMessageError
from bus.killpoint import reach
from bus.message.envelope import Envelope, Message, encode
from bus.message.identity import message_id
from bus.message.instant import Instant, Milliseconds
from bus.message.replies import data_digest, reply_to_data, reply_type
from bus.message.reply import Completed, Need, Refused, Reply, Returned
from bus.message.text import Text
from bus.operations.caller import Caller
from bus.operations.conflict import applied
from bus.operations.context import Context
from bus.operations.desk import pinned, row_of, taken, task_of
from bus.operations.given import Row
from bus.operations.operation import Command, Given
from bus.operations.titled import Folded, titled
from bus.ports import Decided, DeskAnswer, DeskRow, Fate, Incoming, Payload
from bus.process.closure import input_contract, output_contract
from bus.process.event import Replied

_CODE = r"^[a-z][a-z0-9_-]{0,63}$"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The task is done."""

    row: Row
    data: Annotated[
        dict[str, Any],
        Given(
            place="body",
            summary=Text(en="The answer, as the operation's contract says.", ar="الإجابة وفق صيغة العملية المعتمدة."),
        ),
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Return:
    """Something is missing, and only the applicant can bring it."""

    row: Row
    needs: Annotated[
        tuple[Need, ...],
        Field(min_length=1, max_length=50),
        Given(
            place="member",
            summary=Text(
                en="What is missing: pointer, reason_code and text in both languages.",
                ar="ما ينقص: مسار الحقل ورمز السبب ونص باللغتين.",
            ),
        ),
    ]
    within: Annotated[
        str | None,
        Given(
            place="member",
            summary=Text(en="How long the applicant has: 10d, 12h.", ar="المهلة لمقدّم الطلب: 10d أو 12h."),
        ),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse:
    """The agency's lawful "no"."""

    row: Row
    reason_code: Annotated[
        str,
        Field(pattern=_CODE),
        Given(place="member", summary=Text(en="Stable code of the reason.", ar="الرمز الثابت للسبب.")),
    ]
    text: Annotated[
        Text,
        Given(place="member", summary=Text(en="The reason in words, in both languages.", ar="السبب نصًا باللغتين.")),
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """The answer is written; what became of the step."""

    row: str
    request_id: str
    step: str
    item: int | None
    step_state: str
    request_state: str


def answer(context: Context, caller: Caller, given: Answer) -> Command[Answered]:
    """Complete the task; the answer obeys the operation's output contract, or every fault is named."""
    row = row_of(context, caller, given.row)
    _, contracts = pinned(context, row)
    contracts.check(output_contract(row.operation), given.data)
    return _reply(context, caller, row, Completed(data=given.data))


def return_(context: Context, caller: Caller, given: Return) -> Command[Answered]:
    """Ask the applicant, through the consumer, for what is missing."""
    row = row_of(context, caller, given.row)
    _, contracts = pinned(context, row)
    folded = Folded(contracts)
    known = {field.pointer for field in titled(folded.whole(input_contract(row.operation)), {}, folded)}
    faults = [fault for index, need in enumerate(given.needs) for fault in _faults(need, index, known)]
    within: Milliseconds | None = None
    if given.within is not None:
        try:
            within = duration(given.within)
        except ValueError as error:
            faults.append(Fault(code="duration", message=str(error), pointer="/within"))
    if within == 0:
        mend = "Give the applicant some time: 10d, 12h."
        faults.append(Fault(code="duration", message="No time is given.", mend=mend, pointer="/within"))
    if faults:
        raise InvalidMessageError(tuple(faults))
    return _reply(context, caller, row, Returned(needs=given.needs, within=within))


def refuse(context: Context, caller: Caller, given: Refuse) -> Command[Answered]:
    """Refuse the task for a reason."""
    row = row_of(context, caller, given.row)
    return _reply(context, caller, row, Refused(reason_code=given.reason_code, text=given.text))


def _faults(need: Need, index: int, known: set[str]) -> list[Fault]:
    if need.pointer in known:
        return []
    return [
        Fault(
            code="pointer-unknown",
            message="The task has no such field.",
            mend=f"Ask for one of: {', '.join(sorted(known))}.",
            pointer=f"/needs/{index}/pointer",
        )
    ]


def _reply(context: Context, caller: Caller, row: DeskRow, reply: Reply) -> Command[Answered]:
    clerk = caller.actor()
    now = context.store.now()
    message = _message(task_of(context, row), row, reply, clerk=clerk, now=now)
    payload = Payload(id=context.keys.next(), request_key=row.request_key, bytes=message.body)
    data = message.data or {}
    event = Replied(
        interaction_id=row.interaction_id,
        provider=row.agency,
        attempt=row.attempt,
        reply=reply,
        message_id=message.envelope.id,
        payload_id=payload.id,
        digest=data_digest(data),
        actor=clerk,
    )
    incoming = Incoming(
        request_id=row.request_id,
        event=event,
        payloads=(payload,),
        step=row.step,
        desk=DeskAnswer(clerk=clerk, attempt=row.attempt),
    )
    return Command(incoming=incoming, answer=lambda decided: _answered(context, caller, row, decided))


def _message(task: Message, row: DeskRow, reply: Reply, *, clerk: str, now: Instant) -> Message:
    """The reply as the agency's own system would send it, answering the task's message."""
    asked = task.envelope
    type_ = reply_type(reply)
    envelope = Envelope(
        id=message_id(row.interaction_id, row.attempt, type_),
        source=f"/agency/{row.agency}/desk",
        type=type_,
        time=now,
        subject=asked.subject,
        correlationid=asked.correlationid,
        causationid=asked.id,
        traceparent=asked.traceparent,
        tracestate=asked.tracestate,
        interactionid=row.interaction_id,
        edit=row.edit,
        attempt=row.attempt,
        service=asked.service,
        step=asked.step,
        item=asked.item,
        kind=asked.kind,
        consumer=asked.consumer,
        provider=row.agency,
        operation=row.operation,
        purposeid=asked.purposeid,
        legalbasis=asked.legalbasis,
        actor=clerk,
        test=asked.test,
    )
    return encode(envelope, reply_to_data(reply))


def _answered(context: Context, caller: Caller, row: DeskRow, decided: Decided) -> Answered:
    reach("desk.committed")
    if decided.fate is Fate.CONFLICT:
        raise taken(context, row.key)
    request = applied(decided, caller)
    return Answered(
        row=str(row.key),
        request_id=request.id,
        step=row.step.step,
        item=row.step.item,
        step_state=request.steps[row.step].state.value,
        request_state=request.state.value,
    )
