"""Between the six kinds of reply and the data of the messages that carry them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

from bus.errors import Fault, InvalidMessageError
from bus.message.contract import DIALECT, Contracts, urn
from bus.message.envelope import Message, MessageType
from bus.message.instant import SECOND
from bus.message.reply import (
    Completed,
    Data,
    Effect,
    Failed,
    Need,
    Pending,
    Refused,
    Reply,
    Returned,
    Unknown,
)
from bus.message.text import Text

_CODE = {"type": "string", "pattern": "^[a-z][a-z0-9_-]{0,63}$"}
_WORDS = {"type": "string", "minLength": 1, "maxLength": 2000}
_TEXT = {
    "type": "object",
    "properties": {"en": _WORDS, "ar": _WORDS},
    "required": ["en", "ar"],
    "additionalProperties": False,
}
# Seconds, exact to the millisecond; a year is the most that anybody can be asked to wait.
_SECONDS = {"type": "number", "minimum": 0, "maximum": 366 * 24 * 3600}


def _closed(name: str, required: Data, optional: Data | None = None) -> Data:
    """A closed object schema, named as the published file."""
    return {
        "$schema": DIALECT,
        "$id": urn(name),
        "type": "object",
        "properties": {**required, **(optional or {})},
        "required": [*required],
        "additionalProperties": False,
    }


_NEED = {
    "type": "object",
    "properties": {"pointer": {"type": "string", "format": "json-pointer"}, "reason_code": _CODE, "text": _TEXT},
    "required": ["pointer", "reason_code", "text"],
    "additionalProperties": False,
}
_NEEDS = {"type": "array", "minItems": 1, "maxItems": 100, "items": _NEED}

#: The contracts of the replies' data without their titles; the published files are these with titles.
SCHEMAS: Mapping[str, Data] = {
    # What is inside is the affair of the operation's own output contract.
    "reply/completed.v1": {"$schema": DIALECT, "$id": urn("reply/completed.v1"), "type": "object"},
    "reply/refused.v1": _closed("reply/refused.v1", {"reason_code": _CODE, "text": _TEXT}),
    "reply/returned.v1": _closed("reply/returned.v1", {"needs": _NEEDS}, {"within": _SECONDS}),
    "reply/pending.v1": _closed("reply/pending.v1", {}),
    "reply/failed.v1": _closed(
        "reply/failed.v1",
        {
            "code": _CODE,
            "effect": {"enum": [str(one) for one in Effect]},
            "retryable": {"type": "boolean"},
            "text": _TEXT,
        },
        {"retry_after": _SECONDS, "legacy_code": {"type": "string", "minLength": 1, "maxLength": 64}},
    ),
    "reply/unknown.v1": _closed("reply/unknown.v1", {}),
}

_CONTRACTS = Contracts(SCHEMAS)
_TYPES: Mapping[type[Reply], MessageType] = {
    Completed: MessageType.TASK_COMPLETED,
    Refused: MessageType.TASK_REFUSED,
    Returned: MessageType.TASK_RETURNED,
    Pending: MessageType.TASK_PENDING,
    Failed: MessageType.TASK_FAILED,
    Unknown: MessageType.TASK_UNKNOWN,
}
_CONTRACT_OF = {kind: f"reply/{kind.removeprefix('bus.task.')}" for kind in _TYPES.values()}

#: The types of message that carry a reply.
REPLY_TYPES = frozenset(_CONTRACT_OF)


def reply_type(reply: Reply) -> MessageType:
    """The type of the message that carries the reply."""
    return _TYPES[type(reply)]


def reply_to_data(reply: Reply) -> Data:
    """The data of the message that carries the reply; an InvalidMessageError if it does not obey its contract."""
    data = _data(reply)
    # What an adapter gives as completed may hold any mapping: the operation's contract judges it, not this one.
    if not (isinstance(reply, Completed) and isinstance(data, Mapping)):
        _CONTRACTS.check(_CONTRACT_OF[reply_type(reply)], data)
    return data


def reply_from_message(message: Message) -> Reply:
    """The reply that a message carries; an InvalidMessageError if it carries none or its data is not a reply's.

    Whether the data of a `Completed` obeys the operation's contract is for the caller to ask.
    """
    contract = _CONTRACT_OF.get(message.envelope.type)
    if contract is None:
        fault = Fault(code="no-reply", message="This type of message carries no reply.", mend="Send a reply.")
        raise InvalidMessageError((fault,), raw=message.body)
    # Pending and unknown have nothing to say; their data may be left out.
    data = message.data if message.data is not None else {}
    if not _CONTRACTS.accepts(contract, data):
        faults = _CONTRACTS.explain(contract, data)
        below_data = tuple(_below_data(fault) for fault in faults)
        raise InvalidMessageError(below_data, raw=message.body)
    return _reply(message.envelope.type, data)


def data_digest(data: Data) -> str:
    """Tells whether two answers say the same: SHA-256 over their members in one order, hexadecimal."""
    return hashlib.sha256(orjson.dumps(data, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _below_data(fault: Fault) -> Fault:
    return Fault(code=fault.code, message=fault.message, mend=fault.mend, pointer="/data" + fault.pointer)


def _data(reply: Reply) -> Data:
    match reply:
        case Completed(data=data):
            return data
        case Refused():
            return {"reason_code": reply.reason_code, "text": reply.text.to_json()}
        case Returned():
            needs = [
                {"pointer": need.pointer, "reason_code": need.reason_code, "text": need.text.to_json()}
                for need in reply.needs
            ]
            return {"needs": needs, **_seconds("within", reply.within)}
        case Failed():
            legacy = {} if reply.legacy_code is None else {"legacy_code": reply.legacy_code}
            wait = _seconds("retry_after", reply.retry_after)
            text = reply.text.to_json()
            effect = str(reply.effect)
            return {"code": reply.code, "effect": effect, "retryable": reply.retryable, **wait, "text": text, **legacy}
        case Pending() | Unknown():
            return {}


def _reply(type_: MessageType, data: Data) -> Reply:
    match type_:
        case MessageType.TASK_COMPLETED:
            return Completed(data=data)
        case MessageType.TASK_REFUSED:
            return Refused(reason_code=data["reason_code"], text=Text(**data["text"]))
        case MessageType.TASK_RETURNED:
            return Returned(needs=tuple(_need(need) for need in data["needs"]), within=_milliseconds(data, "within"))
        case MessageType.TASK_FAILED:
            return Failed(
                code=data["code"],
                effect=Effect(data["effect"]),
                retryable=data["retryable"],
                text=Text(**data["text"]),
                retry_after=_milliseconds(data, "retry_after"),
                legacy_code=data.get("legacy_code"),
            )
        case MessageType.TASK_PENDING:
            return Pending()
    return Unknown()


def _need(need: Data) -> Need:
    return Need(pointer=need["pointer"], reason_code=need["reason_code"], text=Text(**need["text"]))


def _seconds(name: str, wait: int | None) -> dict[str, Any]:
    return {} if wait is None else {name: wait // SECOND if wait % SECOND == 0 else wait / SECOND}


def _milliseconds(data: Data, name: str) -> int | None:
    return round(data[name] * SECOND) if name in data else None
