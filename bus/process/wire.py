"""The messages that the bus itself emits, built once from the state they speak of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bus.message.envelope import DATA_CONTENT_TYPE, Envelope, Message, MessageType, encode
from bus.message.identity import interaction_id, message_id
from bus.message.instant import Instant, to_rfc3339
from bus.message.reply import Data
from bus.process.definition import Definition
from bus.process.mapping import cut
from bus.process.state import Kind, Request, RequestState, Step, StepKey, StepState

SOURCE = "/bus"

_OUTCOME_TYPES: Mapping[RequestState, MessageType] = {
    RequestState.COMPLETED: MessageType.REQUEST_COMPLETED,
    RequestState.PARTIALLY_FULFILLED: MessageType.REQUEST_PARTIALLY_FULFILLED,
    RequestState.REJECTED: MessageType.REQUEST_REJECTED,
    RequestState.FAILED: MessageType.REQUEST_FAILED,
    RequestState.CANCELLED: MessageType.REQUEST_CANCELLED,
    RequestState.EXPIRED: MessageType.REQUEST_EXPIRED,
}


def operation_of(definition: Definition, key: StepKey) -> str:
    """The operation that a row asks for."""
    step = definition.steps[key.step]
    if key.kind is Kind.TASK:
        return step.operation
    if step.compensate is None:
        raise LookupError(f"step {key.step} has no compensation")
    return step.compensate.operation


def task_id(request: Request, key: StepKey) -> str:
    """The message id of the task of a row's current attempt."""
    return message_id(request.interaction(key), request.steps[key].attempt, MessageType.TASK_REQUESTED)


def task(request: Request, key: StepKey, definition: Definition, data: Data, subject: str | None) -> Message:
    """The task of a row that was just dispatched; its times are the row's."""
    step = request.steps[key]
    return _to_provider(
        request,
        key,
        definition,
        MessageType.TASK_REQUESTED,
        data,
        time=step.changed_at,
        expirytime=step.expires_at,
        subject=subject,
        purposeid=request.purpose or None,
        legalbasis=definition.purposes[request.purpose].legal_basis if request.purpose in definition.purposes else None,
        supersedes=_superseded(request, step),
    )


def query(request: Request, key: StepKey, definition: Definition) -> Message:
    """Asks what became of a row's interaction; the same attempt gives the same bytes."""
    return _to_provider(request, key, definition, MessageType.TASK_QUERIED, None)


def withdrawal(request: Request, key: StepKey, definition: Definition) -> Message:
    """Advises the provider not to begin; the same attempt gives the same bytes."""
    return _to_provider(request, key, definition, MessageType.TASK_WITHDRAWN, None)


def _to_provider(
    request: Request, key: StepKey, definition: Definition, kind: MessageType, data: Data | None, **more: Any
) -> Message:
    step = request.steps[key]
    interaction = request.interaction(key)
    envelope = Envelope(
        id=message_id(interaction, step.attempt, kind),
        source=SOURCE,
        type=kind,
        correlationid=request.id,
        interactionid=interaction,
        edit=step.edit,
        attempt=step.attempt,
        service=request.service,
        step=key.step,
        item=key.item,
        kind=key.kind.value,
        consumer=request.consumer,
        provider=step.agency,
        operation=operation_of(definition, key),
        journalid=step.journal_id,
        firstsent=step.first_sent,
        test=True if request.test else None,
        datacontenttype=None if data is None else DATA_CONTENT_TYPE,
        **more,
    )
    return encode(envelope, data)


def _superseded(request: Request, step: Step) -> str | None:
    if step.superseded is None:
        return None
    return interaction_id(request.id, step.key.step, step.key.item, step.key.kind, step.superseded.edit)


def returned(request: Request, key: StepKey, reply: Data, until: Instant | None, now: Instant) -> Message:
    """Tells the consumer what the applicant must bring, until when."""
    data = {"step": key.step, "needs": reply["needs"]}
    data |= {} if key.item is None else {"item": key.item}
    data |= {} if until is None else {"until": to_rfc3339(until)}
    return _to_consumer(request, MessageType.REQUEST_RETURNED, data, now)


def result(
    request: Request, definition: Definition, output: Data | None, refusals: Mapping[StepKey, Data], now: Instant
) -> Message:
    """The one result: the granted part of the output, or the reasons for each step and no data.

    ``refusals``: by row, the agency's own words for its "no", in both languages.
    """
    grant = definition.consumers.get(request.consumer)
    data: dict[str, Any] = {"outcome": request.state.value}
    if output is not None:
        kept, withheld = cut(output, grant.fields if grant else ())
        data |= {"result": kept, **({"withheld": list(withheld)} if withheld else {})}
    data["steps"] = _reasons(request, definition, refusals)
    left = left_behind(request)
    return _to_consumer(request, _OUTCOME_TYPES[request.state], data | ({"left_behind": left} if left else {}), now)


def left_behind(request: Request) -> list[str]:
    """The steps (with items: ``step/item``) whose effect may still exist though the request does not stand by it."""
    compensating = {StepState.PARKED, StepState.FAILED}
    names = (
        key.step if key.item is None else f"{key.step}/{key.item}"
        for key, step in request.steps.items()
        if step.left_behind or (key.kind is Kind.COMPENSATION and step.state in compensating)
    )
    return list(dict.fromkeys(names))


def _reasons(request: Request, definition: Definition, refusals: Mapping[StepKey, Data]) -> list[dict[str, Any]]:
    rows = in_order(request, definition)
    return [_reason(request, key, step, refusals.get(key)) for key, step in rows if key.kind is Kind.TASK]


def _reason(request: Request, key: StepKey, step: Step, refusal: Data | None) -> dict[str, Any]:
    reason: dict[str, Any] = {"step": key.step}
    if key.item is not None:
        reason["item"] = key.item
    reason["state"] = step.state.value
    if step.reason:
        reason["reason"] = step.reason
    if refusal is not None:
        reason["text"] = dict(refusal)
    if taken_back(request, key):
        reason["taken_back"] = True
    return reason


def in_order(request: Request, definition: Definition) -> list[tuple[StepKey, Step]]:
    """The rows as people read them: as the service has the steps, item after item, what was done before what undoes."""
    place = {name: index for index, name in enumerate(definition.steps)}
    return sorted(
        request.steps.items(), key=lambda row: (place[row[0].step], row[0].item or 0, row[0].kind is Kind.COMPENSATION)
    )


def taken_back(request: Request, key: StepKey) -> bool:
    """Whether the effect of a step was undone by its compensation."""
    compensation = request.steps.get(StepKey(step=key.step, item=key.item, kind=Kind.COMPENSATION))
    return compensation is not None and compensation.state is StepState.SUCCEEDED


def _to_consumer(request: Request, kind: MessageType, data: Data, now: Instant) -> Message:
    envelope = Envelope(
        id=message_id(request.id, request.version, kind),
        source=SOURCE,
        type=kind,
        time=now,
        correlationid=request.id,
        sequence=request.version,
        service=request.service,
        consumer=request.consumer,
        purposeid=request.purpose or None,
        test=True if request.test else None,
    )
    return encode(envelope, data)
