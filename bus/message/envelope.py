"""The envelope of a message (a CloudEvents 1.0 event in structured JSON) and the way between it and its bytes."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Literal, NoReturn, TypeAlias

import jsonschema_rs

from bus.errors import Fault, InvalidMessageError
from bus.message.contract import DIALECT, Contracts, urn
from bus.message.instant import Instant, from_rfc3339, to_rfc3339
from bus.message.quick import changed, made, quick
from bus.message.reply import Data
from bus.message.strict_json import MOST_FAULTS, dump, not_nfc, parse, shown_pointer

CONTENT_TYPE = "application/cloudevents+json"
DATA_CONTENT_TYPE = "application/json"
#: The name of the envelope's contract.
CONTRACT = "envelope/v1"

Kind: TypeAlias = Literal["task", "compensation"]


class MessageType(StrEnum):
    """Everything that a message can say."""

    REQUEST_SUBMITTED = "bus.request.submitted.v1"
    REQUEST_ACCEPTED = "bus.request.accepted.v1"
    REQUEST_NOT_ACCEPTED = "bus.request.not_accepted.v1"
    REQUEST_RETURNED = "bus.request.returned.v1"
    REQUEST_SUPPLEMENTED = "bus.request.supplemented.v1"
    REQUEST_COMPLETED = "bus.request.completed.v1"
    REQUEST_PARTIALLY_FULFILLED = "bus.request.partially_fulfilled.v1"
    REQUEST_REJECTED = "bus.request.rejected.v1"
    REQUEST_FAILED = "bus.request.failed.v1"
    REQUEST_CANCELLED = "bus.request.cancelled.v1"
    REQUEST_EXPIRED = "bus.request.expired.v1"
    RESULT_COLLECTED = "bus.result.collected.v1"
    TASK_REQUESTED = "bus.task.requested.v1"
    TASK_QUERIED = "bus.task.queried.v1"
    TASK_WITHDRAWN = "bus.task.withdrawn.v1"
    TASK_COMPLETED = "bus.task.completed.v1"
    TASK_REFUSED = "bus.task.refused.v1"
    TASK_RETURNED = "bus.task.returned.v1"
    TASK_PENDING = "bus.task.pending.v1"
    TASK_FAILED = "bus.task.failed.v1"
    TASK_UNKNOWN = "bus.task.unknown.v1"
    HOST_STARTED = "bus.host.started.v1"
    HOST_ADMITTED = "bus.host.admitted.v1"
    HOST_ALIVE = "bus.host.alive.v1"
    TICK = "bus.tick.v1"


@quick
@dataclass(frozen=True, kw_only=True)
class Envelope:
    """Who says what to whom about which effect; None is an absent attribute. It holds no personal data."""

    #: UUID text; of a submission the consumer's own submission key.
    id: str
    #: URI reference of the sender; (source, id) names a message.
    source: str
    type: MessageType
    time: Instant | None = None
    #: ``urn:bus:...`` of the contract that the data obeys.
    dataschema: str | None = None
    #: Pseudonym of the person concerned.
    subject: str | None = None
    #: The request id.
    correlationid: str | None = None
    #: The id of the message that caused this one.
    causationid: str | None = None
    expirytime: Instant | None = None
    #: The version of the request; greater is newer. On the wire ten digits: the published extension orders texts.
    sequence: int | None = None
    #: W3C Trace Context.
    traceparent: str | None = None
    tracestate: str | None = None
    dataclassification: str | None = None
    interactionid: str | None = None
    edit: int | None = None
    attempt: int | None = None
    service: str | None = None
    step: str | None = None
    #: Zero-based index of a ``for_each`` step.
    item: int | None = None
    kind: Kind | None = None
    consumer: str | None = None
    provider: str | None = None
    operation: str | None = None
    purposeid: str | None = None
    legalbasis: str | None = None
    #: The official who acts, by the id that his agency gave him.
    actor: str | None = None
    onbehalfof: str | None = None
    #: A trial: goes to simulators only.
    test: bool | None = None
    #: The interaction id that this edit replaces.
    supersedes: str | None = None
    journalid: str | None = None
    journalseq: int | None = None
    #: When the interaction was first dispatched.
    firstsent: Instant | None = None
    #: Set by `encode` when there is data; last, so that the bytes are the same whether it was set before or not.
    datacontenttype: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """An envelope with its data, and the exact bytes that are stored, signed, hashed and sent."""

    envelope: Envelope
    data: Data | None
    body: bytes


# Shapes of attributes. Control characters, line ends and marks that turn the reading direction would deceive a reader.
_TEXT = {
    "type": "string",
    "maxLength": 256,
    "pattern": "^[^\\u0000-\\u001f\\u007f-\\u009f\\u2028-\\u202e\\u2066-\\u2069]+$",
}
_UUID = {"type": "string", "format": "uuid", "pattern": "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"}
# Years that every calendar library holds, and the shape of the format spelled out: see _SHAPE below.
_TIME = {
    "type": "string",
    "format": "date-time",
    "pattern": "^[12][0-9]{3}(-[0-9]{2}){2}T([01][0-9]|2[0-3])(:[0-5][0-9]){2}"
    "(\\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$",
}
_ORGANISATION = {"type": "string", "pattern": "^[a-z][a-z0-9_-]{0,63}$"}
_VERSIONED = {"type": "string", "maxLength": 128, "pattern": "^[a-z][a-z0-9_-]*(\\.[a-z][a-z0-9_-]*)*\\.v[1-9][0-9]*$"}
_URI = {"type": "string", "maxLength": 256, "pattern": "^[A-Za-z0-9._~:/?#@!$&'()*+,;=%-]+$"}
_COUNT = {"type": "integer", "minimum": 0, "maximum": 2**53 - 1}

_SHAPES: Mapping[str, Mapping[str, Any]] = {
    "specversion": {"const": "1.0"},
    "id": _TEXT,
    "source": _URI,
    "type": {"enum": [str(one) for one in MessageType]},
    "time": _TIME,
    "datacontenttype": {"const": DATA_CONTENT_TYPE},
    "dataschema": _URI,
    "subject": _TEXT,
    "correlationid": _UUID,
    "causationid": _TEXT,
    "expirytime": _TIME,
    "sequence": {"type": "string", "pattern": "^[0-9]{10}$"},
    "traceparent": {"type": "string", "pattern": "^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$"},
    "tracestate": {"type": "string", "maxLength": 512, "pattern": "^[\\u0020-\\u007e]+$"},
    "dataclassification": {"enum": ["public", "internal", "confidential", "restricted"]},
    "interactionid": _UUID,
    "edit": _COUNT,
    "attempt": {"type": "integer", "minimum": 1, "maximum": 2**53 - 1},
    "service": _VERSIONED,
    "step": {"type": "string", "pattern": "^[a-z][a-z0-9_]{0,63}$"},
    "item": _COUNT,
    "kind": {"enum": ["task", "compensation"]},
    "consumer": _ORGANISATION,
    "provider": _ORGANISATION,
    "operation": _VERSIONED,
    "purposeid": _ORGANISATION,
    "legalbasis": _TEXT,
    "actor": _TEXT,
    "onbehalfof": _TEXT,
    "test": {"type": "boolean"},
    "supersedes": _UUID,
    "journalid": _UUID,
    "journalseq": _COUNT,
    "firstsent": _TIME,
}

#: The contract of the envelope without its titles; the published file is this with titles in both languages.
SCHEMA: Data = {
    "$schema": DIALECT,
    "$id": urn(CONTRACT),
    "type": "object",
    "properties": {**_SHAPES, "data": {"type": "object"}},
    "required": ["specversion", "id", "source", "type"],
    "additionalProperties": False,
    "allOf": [
        {
            # A consumer names its submission itself; all other ids are the bus's own.
            "if": {"properties": {"type": {"const": MessageType.REQUEST_SUBMITTED.value}}},
            "else": {"properties": {"id": _UUID}},
        },
        {
            # A task or a reply is matched by these and by nothing else.
            "if": {"properties": {"type": {"pattern": "^bus\\.task\\."}}},
            "then": {"required": ["interactionid", "attempt", "provider"]},
        },
    ],
}

_CONTRACTS = Contracts({CONTRACT: SCHEMA})
# The same without formats, which cost as much as all the rest: the patterns above say all that the formats say, except
# that a day is one of the calendar, and reading the time finds that out.
_SHAPE = jsonschema_rs.validator_for(
    dict(SCHEMA), validate_formats=False, pattern_options=jsonschema_rs.RegexOptions(), offline=True
)


def _ten_digits(sequence: int) -> str:
    return f"{sequence:010d}"


_TIMES = ("time", "expirytime", "firstsent")
_WRITERS: Mapping[str, Callable[[Any], str]] = {**dict.fromkeys(_TIMES, to_rfc3339), "sequence": _ten_digits}
_READERS: Mapping[str, Callable[[Any], Any]] = {
    **dict.fromkeys(_TIMES, from_rfc3339),
    "sequence": int,
    "type": {str(one): one for one in MessageType}.__getitem__,
}
_ABSENT: Mapping[str, None] = {field.name: None for field in fields(Envelope)}
_SPECVERSION: dict[str, Any] = {"specversion": "1.0"}
_WITH_DATA = {"datacontenttype": DATA_CONTENT_TYPE}


def encode(envelope: Envelope, data: Data | None) -> Message:
    """Build a message once; an InvalidMessageError for whatever `decode` would refuse.

    The same values always give the same bytes; for plain JSON data `decode` of the body gives the same message.
    """
    if data is not None and envelope.datacontenttype is None:
        envelope = changed(envelope, _WITH_DATA)
    event = _SPECVERSION | {name: value for name, value in vars(envelope).items() if value is not None}
    for name, writer in _WRITERS.items():
        if name in event:
            event[name] = _written(name, writer, event[name])
    # The data's own contract is for the caller to ask; here it need only be an object.
    sound = _SHAPE.is_valid(event) and (data is None or isinstance(data, Mapping))
    if data is not None:
        event["data"] = data
    body = dump(event)
    if not (sound and _is_nfc(body, event)):
        _refuse(body, parse(body))
    return Message(envelope=envelope, data=data, body=body)


def decode(raw: bytes) -> Message:
    """The message that the bytes are; an InvalidMessageError with every fault at once and the bytes in ``raw``.

    Refused: what `strict_json.parse` refuses, an unknown, missing or wrongly typed attribute, a malformed id or time,
    data that is no object, and text that is not in Unicode normal form C.
    """
    event = parse(raw)
    if not (_SHAPE.is_valid(event) and _is_nfc(raw, event)):
        _refuse(raw, event)
    values = {**_ABSENT, **event}
    del values["specversion"]
    data = values.pop("data", None)
    try:
        for name, reader in _READERS.items():
            if values[name] is not None:
                values[name] = reader(values[name])
    except ValueError:
        _refuse(raw, event)
    return Message(envelope=made(Envelope, values), data=data, body=raw)


def _written(name: str, writer: Callable[[Any], str], value: Any) -> str:
    try:
        return writer(value)
    except (TypeError, ValueError, OverflowError):
        mend = "Give a whole number, for a time the milliseconds since 1970 within the years 1000 to 2999."
        fault = Fault(code="envelope", message="The value has no form on the wire.", mend=mend, pointer=f"/{name}")
        raise InvalidMessageError((fault,)) from None


def _refuse(raw: bytes, event: Any) -> NoReturn:
    faults = [*_CONTRACTS.explain(CONTRACT, event), *_faults_of_text(event)]
    error = InvalidMessageError(tuple(faults[:MOST_FAULTS]), raw=raw)
    error.code = "envelope"
    raise error


def _is_nfc(raw: bytes, event: Any) -> bool:
    escaped = b"\\" in raw and b"\\u" in raw
    # The whole text is quicker to look at than its parts, and the signs of JSON between them compose with nothing; only
    # an escaped letter (``\n``) may seem to, so that a no is asked again.
    if not escaped and (raw.isascii() or unicodedata.is_normalized("NFC", raw.decode())):
        return True
    return not any(not_nfc(event))


def _faults_of_text(event: Any) -> list[Fault]:
    mend = "Normalise all text to Unicode NFC before sending."
    message = "A text is not in Unicode normal form C."
    return [Fault(code="not-nfc", message=message, mend=mend, pointer=shown_pointer(path)) for path in not_nfc(event)]
