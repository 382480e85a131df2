"""From an HTTP request to the input of an operation; every fault at once, and no value repeated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import Request
from pydantic import TypeAdapter, ValidationError
from starlette.requests import ClientDisconnect

from bus.errors import Fault, InvalidMessageError
from bus.message.hidden import hidden
from bus.message.strict_json import MOST_BYTES, nfc, parse, pointer_to, shown_pointer
from bus.operations.operation import InputField, Operation, Place


class Reader:
    """Reads the input of one operation; made once, used for every request."""

    def __init__(self, operation: Operation[Any, Any]) -> None:
        self._fields = {field.name: field for field in operation.fields}
        self._places: dict[str, list[InputField]] = {}
        for field in operation.fields:
            self._places.setdefault(field.given.place, []).append(field)
        self._adapter: TypeAdapter[Any] = TypeAdapter(operation.input)

    async def read(self, request: Request) -> Any:
        """The operation's input; InvalidMessageError with every fault."""
        members, whole = self._in("member"), self._in("body")
        body = await _body(request, takes=bool(members or whole))
        faults: list[Fault] = []
        values: dict[str, Any] = dict(request.path_params)
        values |= _query(request, self._in("query"), faults)
        values |= _headers(request, self._in("header"), faults)
        if whole:
            values[whole[0].name] = body
        elif members:
            values |= _members(body, members, faults)
        given = self._validate(values, faults)
        if faults:
            raise _error(faults)
        return given

    def _in(self, place: Place) -> list[InputField]:
        return self._places.get(place, [])

    def _validate(self, values: dict[str, Any], faults: list[Fault]) -> Any:
        try:
            return self._adapter.validate_python(values)
        except ValidationError as error:
            for wrong in error.errors(include_url=False, include_context=False, include_input=False):
                name, *below = wrong["loc"]
                faults.append(_fault(self._fields[str(name)], tuple(below), wrong["type"], wrong["msg"]))
            return None


async def read_body(request: Request) -> bytes:
    """The bytes of the body; InvalidMessageError as soon as there are more than may be."""
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and int(announced) > MOST_BYTES:
        raise _too_large()
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > MOST_BYTES:
                raise _too_large()
            chunks.append(chunk)
    except ClientDisconnect as gone:
        # Nobody hears the answer; it is no fault of ours either.
        raise _one("not-json", "The body ends in the middle.", "Send it whole.") from gone
    return b"".join(chunks)


async def _body(request: Request, *, takes: bool) -> dict[str, Any]:
    if request.method == "GET":
        return {}
    raw = await read_body(request)
    if not takes:
        if raw.strip() not in {b"", b"{}"}:
            raise _one("body-unexpected", "There is a body.", "Send it without a body.")
        return {}
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise _one("media-type", "The Content-Type is not application/json.", "Send Content-Type: application/json.")
    value = nfc(parse(raw))
    if not isinstance(value, dict):
        raise _one("body-not-object", "The body is not a JSON object.", "Send one JSON object.")
    _refuse_hidden(value)
    return value


def _refuse_hidden(value: dict[str, Any]) -> None:
    faults = [
        Fault(
            code="hidden-character",
            message="The text holds a control character or a mark that turns the reading direction.",
            mend="Send letters, digits, signs, tabs and line ends only.",
            pointer=shown_pointer(path),
        )
        for path in hidden(value)
    ]
    if faults:
        raise InvalidMessageError(tuple(faults))


def _query(request: Request, fields: list[InputField], faults: list[Fault]) -> dict[str, str]:
    known = {field.name for field in fields}
    values: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name not in known:
            mend = f"Known: {', '.join(sorted(known))}." if known else "Send none."
            faults.append(Fault(code="unknown-parameter", message="There is an unknown query parameter.", mend=mend))
        elif name in values:
            faults.append(Fault(code="duplicate-parameter", message=f"{name} is given twice.", mend="Give it once."))
        values[name] = value
    return {name: value for name, value in values.items() if name in known}


def _headers(request: Request, fields: list[InputField], faults: list[Fault]) -> dict[str, str]:
    values: dict[str, str] = {}
    for field in fields:
        found = request.headers.getlist(field.wire_name)
        if len(found) > 1:
            message = f"The header {field.wire_name} is given twice."
            faults.append(Fault(code="duplicate-header", message=message, mend="Give it once."))
        if found:
            values[field.name] = found[0].strip()
    return values


def _members(body: Mapping[str, Any], fields: list[InputField], faults: list[Fault]) -> dict[str, Any]:
    known = {field.name for field in fields}
    faults += [
        Fault(
            code="unknown-member",
            message="There is an unknown member.",
            mend=f"Known: {', '.join(sorted(known))}.",
            pointer=pointer_to((name,)),
        )
        for name in body
        if name not in known
    ]
    return {name: value for name, value in body.items() if name in known}


def _fault(field: InputField, below: tuple[str | int, ...], code: str, message: str) -> Fault:
    place = field.given.place
    inside_body = place in {"member", "body"}
    path = (field.name, *below) if place == "member" else below
    if field.wire_name == "Idempotency-Key" and code == "missing":
        code = "key-needed"
    return Fault(
        code=code.replace("_", "-"),
        message=f"{field.wire_name}: {message}." if not message.endswith(".") else f"{field.wire_name}: {message}",
        mend=field.given.summary.en,
        pointer=pointer_to(path) if inside_body else "",
    )


def _error(faults: list[Fault]) -> InvalidMessageError:
    error = InvalidMessageError(tuple(faults))
    # One code for all that can be wrong here; the single faults have their own.
    error.code = "key-needed" if [fault.code for fault in faults] == ["key-needed"] else "input"
    return error


def _too_large() -> InvalidMessageError:
    return _one("too-large", f"The body has more than {MOST_BYTES} bytes.", "Send documents apart and refer to them.")


def _one(code: str, message: str, mend: str) -> InvalidMessageError:
    return InvalidMessageError((Fault(code=code, message=message, mend=mend),))
