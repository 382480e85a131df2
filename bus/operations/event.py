"""Submitting by an event: one CloudEvent in structured mode, kept as the exact bytes that the consumer sent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError

from bus.errors import Fault, InvalidMessageError
from bus.message.contract import urn
from bus.message.envelope import CONTENT_TYPE, SCHEMA, Envelope, Message, MessageType, decode
from bus.message.strict_json import dump
from bus.message.text import Text
from bus.operations.caller import Caller
from bus.operations.context import Context
from bus.operations.given import Exact, Media, PreferredWait
from bus.operations.grant import granted_purpose
from bus.operations.operation import Command, Given
from bus.operations.submission import Receipt, Submit, digest_of, proposed

#: What a consumer says of its own submission, beside what every CloudEvent has; all else is for the bus to say.
_SAID = ("service", "purposeid", "actor", "onbehalfof", "test", "expirytime", "consumer", "traceparent", "tracestate")
_OF_EVERY_EVENT = ("specversion", "id", "source", "type", "time", "datacontenttype", "dataschema", "data")
_NEEDED = ("service", "data")
#: Attribute -> the same value of a plain submission, whose limits hold here, too.
_AS_PLAIN = {"id": "key", "service": "service", "actor": "actor", "onbehalfof": "on_behalf_of", "purposeid": "purpose"}
_ATTRIBUTES = {name: attribute for attribute, name in _AS_PLAIN.items()} | {"data": "data", "test": "test"}
_SUBMIT = TypeAdapter(Submit)
_STRUCTURED = Media(
    name=CONTENT_TYPE,
    code="event-mode",
    message=f"The event is not sent in structured mode: its Content-Type is not {CONTENT_TYPE}.",
    mend=f"Put all attributes and the data into one JSON object and send Content-Type: {CONTENT_TYPE}.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitEvent:
    """A question to the agencies as a CloudEvent; its ``id`` is the submission key."""

    event: Annotated[
        Exact,
        _STRUCTURED,
        Given(
            place="body",
            summary=Text(
                en="One CloudEvent of the type bus.request.submitted.v1; its id is your key of this submission.",
                ar="حدث CloudEvents واحد من النوع bus.request.submitted.v1؛ ومعرّفه هو مفتاحك لهذا التقديم.",
            ),
        ),
    ]
    wait: PreferredWait = 0


def submit_event(context: Context, caller: Caller, given: SubmitEvent) -> Command[Receipt]:
    """As a plain submission: the same key space, the same checks, the same receipt.

    InvalidMessageError with every fault of the attributes, then of the data, each with its pointer into the event.
    """
    consumer = caller.acting_agency()
    message = _decoded(given.event)
    faults = [*_contradictions(context, message, consumer), *_forbidden(given.event.value)]
    submit = _plain(message, given.wait, faults)
    if submit is None or faults:
        raise _refused(faults)
    _refuse_expired(context, message.envelope, consumer, submit)
    try:
        return proposed(context, caller, submit, event=given.event.raw)
    except InvalidMessageError as error:
        raise _inside_event(error) from error


def schema_of_event(service: str | None = None, data: dict[str, Any] | None = None) -> dict[str, Any]:
    """The JSON Schema of such an event: the part of the envelope's contract that a consumer fills."""
    shapes = SCHEMA["properties"]
    said = {name: shapes[name] for name in (*_OF_EVERY_EVENT, *_SAID)}
    said["type"] = {"const": MessageType.REQUEST_SUBMITTED.value}
    said["id"] = {"type": "string", "maxLength": 128, "pattern": "^[\\x21-\\x7e]+$"}
    if service is not None:
        said["service"] = {"const": service}
    return {
        "type": "object",
        "required": ["specversion", "id", "source", "type", *_NEEDED],
        "properties": said | ({"data": data} if data is not None else {}),
        "additionalProperties": False,
    }


def _decoded(event: Exact) -> Message:
    return decode(dump(event.value))


def _contradictions(context: Context, message: Message, consumer: str) -> Iterator[Fault]:
    envelope = message.envelope
    source = f"/agency/{consumer}"
    if envelope.type is not MessageType.REQUEST_SUBMITTED:
        yield _fault("type", f"An event of this type submits nothing: {envelope.type}.", _type_wanted())
    if envelope.source != source and not envelope.source.startswith(f"{source}/"):
        yield _fault("source", "The source is not your own.", f"Send {source}, or an address below it.")
    if envelope.consumer not in {None, consumer}:
        yield _fault("consumer", "The consumer is not you.", f"Send {consumer}, or leave it out.")
    service = context.workspace.services.get(envelope.service or "")
    if envelope.dataschema is not None and service is not None:
        wanted = urn(service.definition.request_contract)
        if envelope.dataschema != wanted:
            yield _fault("dataschema", "The service asks for another contract.", f"Send {wanted}, or leave it out.")


def _type_wanted() -> str:
    return f"Send {MessageType.REQUEST_SUBMITTED}."


def _forbidden(event: dict[str, Any]) -> Iterator[Fault]:
    for name in event:
        if name not in {*_SAID, *_OF_EVERY_EVENT}:
            yield _fault(name, "This attribute is not for a submission to say.", "Leave it out.")
    for name in _NEEDED:
        if name not in event:
            yield _fault(name, f"The {'data is' if name == 'data' else 'service is'} missing.", f"Send {name}.")


def _plain(message: Message, wait: int, faults: list[Fault]) -> Submit | None:
    """The same as a plain submission, whose limits on each value hold; what they refuse is added to ``faults``."""
    envelope = message.envelope
    values = {name: getattr(envelope, attribute) for attribute, name in _AS_PLAIN.items()}
    given = {name: value for name, value in values.items() if value is not None}
    named = {_pointer(fault.pointer) for fault in faults}
    try:
        return _SUBMIT.validate_python({**given, "data": message.data, "test": bool(envelope.test), "wait": wait})
    except ValidationError as error:
        for wrong in error.errors(include_url=False, include_context=False, include_input=False):
            attribute = _ATTRIBUTES[str(wrong["loc"][0])]
            if attribute not in named:
                faults.append(_fault(attribute, f"{wrong['msg']}.", "Compare it with /v1/openapi.json."))
        return None


def _refuse_expired(context: Context, envelope: Envelope, consumer: str, submit: Submit) -> None:
    """What was accepted in time stays accepted, however late it is sent again."""
    if envelope.expirytime is None or envelope.expirytime > context.store.now():
        return
    service = context.service(submit.service)
    purpose = granted_purpose(service, consumer, submit.purpose)
    before = context.store.submission_under(consumer, submit.key)
    if before is None or before.digest != digest_of(submit.service, purpose, submit.data):
        raise _refused([_fault("expirytime", "The event says that its time is over.", "Send a new one.")])


def _inside_event(error: InvalidMessageError) -> InvalidMessageError:
    """The same faults, with pointers into the event instead of its data."""
    is_purpose = error.code == "purpose-needed"
    at = "/purposeid" if is_purpose else "/data"
    faults = tuple(
        replace(
            each,
            pointer=at + each.pointer,
            message="The attribute purposeid is missing." if is_purpose else each.message,
        )
        for each in error.faults
    )
    inside = InvalidMessageError(faults)
    inside.code = error.code
    return inside


def _refused(faults: list[Fault]) -> InvalidMessageError:
    error = InvalidMessageError(tuple(faults))
    error.code = "event"
    return error


def _fault(attribute: str, message: str, mend: str) -> Fault:
    return Fault(code="event", message=message, mend=mend, pointer=f"/{attribute}")


def _pointer(pointer: str) -> str:
    return pointer.removeprefix("/")
