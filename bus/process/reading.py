"""What deciding reads and makes besides the decision itself, from the request and the payloads that it names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from bus.message.contract import Contracts
from bus.message.envelope import MessageType
from bus.message.quick import changed
from bus.message.reply import Completed, Data, Effect, Failed, Returned
from bus.message.strict_json import field_pointers
from bus.process.closure import output_contract
from bus.process.definition import Definition
from bus.process.event import Replied
from bus.process.mapping import conditions_from_step, resolve
from bus.process.reply import answered_row
from bus.process.rows import NewRow, is_plain, items_of, rows_after, sources
from bus.process.state import Kind, Request, Step, StepKey, StepState
from bus.process.wire import operation_of

#: From the id of a payload to its content: data, or a whole message.
Read: TypeAlias = Callable[[int], Data]


def task_data(definition: Definition, request: Request, key: StepKey, read: Read) -> Data:
    """What the task of a row says: what a person set, what an earlier attempt said, else what the route makes of it."""
    step, defined = request.steps[key], definition.steps[key.step]
    if step.input_id is not None:
        return read(step.input_id)
    if step.task_id is not None:
        return sent_data(step, read)
    submitted, found = read(request.data_id), outputs(request, read)
    item = None if key.item is None else items_of(defined, submitted, found)[key.item]
    if key.kind is Kind.TASK or defined.compensate is None:
        return resolve(defined.input, request=submitted, steps=found, item=item)
    task = request.steps[StepKey(step=key.step, item=key.item)]
    if task.output_id is not None:
        # What taking back reads of its step is the very answer that is taken back, of an item about that item alone.
        found |= {key.step: answered_data(task, read)}
    given = sent_data(task, read) if task.task_id is not None else None
    return resolve(defined.compensate.input, request=submitted, steps=found, item=item, own_input=given)


def outputs(request: Request, read: Read) -> dict[str, Any]:
    """What each step answered that succeeded; of a step with items the list of its answers, in their order.

    What a step did although the bus had ended it, or may have done twice, is no output: it is taken back, or listed.
    """
    found: dict[str, Any] = {}
    items: dict[str, dict[int, Data]] = {}
    for key, step in request.steps.items():
        if key.kind is Kind.TASK and step.state is StepState.SUCCEEDED and step.output_id is not None:
            if read(step.output_id).get("type") != MessageType.TASK_COMPLETED:
                continue
            if key.item is None:
                found[key.step] = answered_data(step, read)
            else:
                items.setdefault(key.step, {})[key.item] = answered_data(step, read)
    return found | {name: [of[index] for index in sorted(of)] for name, of in items.items()}


def refusals(request: Request, read: Read) -> dict[StepKey, Data]:
    """By row, the agency's own words for its "no"."""
    return {
        key: answered_data(step, read)["text"]
        for key, step in request.steps.items()
        if step.state is StepState.REFUSED and key.kind is Kind.TASK and step.output_id is not None
    }


def sent_data(step: Step, read: Read) -> Data:
    """The data of the task that the row sent last."""
    return {} if step.task_id is None else read(step.task_id).get("data") or {}


def answered_data(step: Step, read: Read) -> Data:
    """The data of the reply that settled the row."""
    return {} if step.output_id is None else read(step.output_id).get("data") or {}


def understood(definition: Definition, contracts: Contracts, request: Request, event: Replied, read: Read) -> Replied:
    """The reply with the fields that it names and what its data decides.

    Data that break their contract cannot be read, though it was done.
    """
    if isinstance(event.reply, Returned):
        return changed(event, {"fields": tuple(dict.fromkeys(need.pointer for need in event.reply.needs))})
    found = answered_row(request, event)
    if found is None or not isinstance(event.reply, Completed):
        return event
    key, data = found[0], event.reply.data
    if not contracts.accepts(output_contract(operation_of(definition, key)), data):
        return changed(event, {"reply": Failed(code="answer_unreadable", effect=Effect.DONE, retryable=False)})
    if key.kind is not Kind.TASK:
        return changed(event, {"fields": field_pointers(data)})
    rows = _rows_after(definition, request, key, data, read)
    conditions = conditions_from_step(definition, key.step, data)
    return changed(event, {"conditions": conditions, "rows": rows, "fields": field_pointers(data)})


def _rows_after(definition: Definition, request: Request, key: StepKey, data: Data, read: Read) -> tuple[NewRow, ...]:
    if not any(key.step in sources(step) for step in definition.steps.values() if not is_plain(step)):
        return ()
    return rows_after(definition, key.step, read(request.data_id), outputs(request, read) | {key.step: data})
