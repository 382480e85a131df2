"""From an HTTP request to the input of an operation; every fault at once, and no value repeated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args, get_origin

from fastapi import Request
from pydantic import TypeAdapter, ValidationError
from starlette.requests import ClientDisconnect

from bus.errors import Fault, InvalidMessageError
from bus.message.hidden import hidden
from bus.message.strict_json import MOST_BYTES, nfc, parse, pointer_to, shown_pointer
from bus.operations.given import Exact, Media
from bus.operations.operation import InputField, Operation, Place

_JSON = Media(
    name="application/json",
    code="media-type",
    message="The Content-Type is not application/json.",
    mend="Send Content-Type: application/json.",
)
#: Headers that are lists (RFC 9110, 5.3): several lines of them are one.
_LISTS = frozenset({"Prefer"})
#: Character sets that JSON may be declared to have; its bytes are UTF-8 whatever is declared.
_UTF8 = frozenset({"utf-8", "utf8", "us-ascii"})


class Reader:
    """Reads the input of one operation; made once, used for every request."""

    def __init__(self, operation: Operation[Any, Any]) -> None:
        self._fields = {field.name: field for field in operation.fields}
        self._places: dict[str, list[InputField]] = {}
        for field in operation.fields:
            self._places.setdefault(field.given.place, []).append(field)
        self._adapter: TypeAdapter[Any] = TypeAdapter(operation.input)
        self._media = next(
            (media for field in self._in("body") if (media := media_of(field)) is not None),
            _JSON,
        )

    async def read(self, request: Request) -> Any:
        """The operation's input; InvalidMessageError with every fault."""
        members, whole = self._in("member"), self._in("body")
        exact = await _body(request, self._media, takes=bool(members or whole), needs=_needs(members or whole))
        faults: list[Fault] = []
        values: dict[str, Any] = dict(request.path_params)
        values |= _query(request, self._in("query"), faults)
        values |= _headers(request, self._in("header"), faults)
        if whole:
            values[whole[0].name] = exact if self._media is not _JSON else exact.value
        elif members:
            values |= _members(exact.value, members, faults)
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


def media_of(field: InputField) -> Media | None:
    """The media type of a whole body that is no plain JSON."""
    return next((extra for extra in getattr(field.type, "__metadata__", ()) if isinstance(extra, Media)), None)


def is_list(field: InputField) -> bool:
    """Whether the value may be given several times."""
    plain = getattr(field.type, "__origin__", field.type) if hasattr(field.type, "__metadata__") else field.type
    return get_origin(plain) is tuple and field.given.place == "query" and Ellipsis in get_args(plain)


def _needs(fields: list[InputField]) -> bool:
    return any(field.required for field in fields)


async def _body(request: Request, media: Media, *, takes: bool, needs: bool) -> Exact:
    if request.method == "GET":
        return Exact(raw=b"", value={})
    raw = await read_body(request)
    if not takes and raw.strip() not in {b"", b"{}"}:
        raise _one("body-unexpected", "There is a body.", "Send it without a body.")
    if not takes or not (needs or raw):
        return Exact(raw=raw, value={})
    _refuse_media(request.headers.get("content-type", ""), media)
    value = nfc(parse(raw))
    if not isinstance(value, dict):
        raise _one("body-not-object", "The body is not a JSON object.", "Send one JSON object.")
    _refuse_hidden(value)
    return Exact(raw=raw, value=value)


def _refuse_media(declared: str, media: Media) -> None:
    name, *parameters = (part.strip().lower() for part in declared.split(";"))
    if name != media.name:
        raise _one(media.code, media.message, media.mend)
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip() == "charset" and value.strip().strip('"') not in _UTF8:
            raise _one("charset", "The body is declared in another character set than UTF-8.", "Send it as UTF-8.")


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


def _query(request: Request, fields: list[InputField], faults: list[Fault]) -> dict[str, Any]:
    known = {field.wire_name: field for field in fields}
    given: dict[str, list[str]] = {}
    for name, value in request.query_params.multi_items():
        given.setdefault(name, []).append(value)
    for name, values in given.items():
        if name not in known:
            mend = f"Known: {', '.join(sorted(known))}." if known else "Send none."
            faults.append(Fault(code="unknown-parameter", message="There is an unknown query parameter.", mend=mend))
        elif len(values) > 1 and not is_list(known[name]):
            faults.append(Fault(code="duplicate-parameter", message=f"{name} is given twice.", mend="Give it once."))
    return {
        field.name: given[name] if is_list(field) else given[name][-1] for name, field in known.items() if name in given
    }


def _headers(request: Request, fields: list[InputField], faults: list[Fault]) -> dict[str, str]:
    values: dict[str, str] = {}
    for field in fields:
        found = request.headers.getlist(field.wire_name)
        if field.wire_name in _LISTS:
            found = [", ".join(found)] if found else []
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
