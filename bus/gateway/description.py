"""What the API's description says of one operation, made from its declaration."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Literal, TypeAlias

from pydantic import TypeAdapter

from bus.gateway.problems import CONTENT_TYPE
from bus.gateway.reading import media_of
from bus.operations.event import schema_of_event
from bus.operations.operation import InputField, Operation

#: Whether a type is read from a request or written into an answer.
Mode: TypeAlias = Literal["validation", "serialization"]
#: The JSON Schema of a Python type, complete in itself or with references to what the writer keeps elsewhere.
Schema: TypeAlias = Callable[[Any, Mode], dict[str, Any]]
_Json: TypeAlias = dict[str, Any]

_SOME_PROBLEM: _Json = {"type": "object"}
_PARAMETERS = frozenset({"path", "query", "header"})
#: What any operation may answer instead, and what only one may that takes a body.
_REFUSALS = (400, 404, 408, 422, 500, 503)
_REFUSALS_OF_CALLERS = (401, 403)
_REFUSALS_OF_BODIES = (409, 413, 415)
_AGENCY = {
    "name": "Bus-Agency",
    "in": "header",
    "required": False,
    "description": "For administrators: the agency to act for; each fact says so. للمسؤولين: الجهة التي يُعمل باسمها.",
    "schema": {"type": "string"},
}
_RECEIPT_HEADERS = {
    "Location": {"description": "Where the request is followed.", "schema": {"type": "string"}},
    "Preference-Applied": {"description": "The wait that was granted.", "schema": {"type": "string"}},
}


def complete(type_: Any, mode: Mode) -> _Json:
    """The JSON Schema of a type without any reference."""
    schema = TypeAdapter(type_).json_schema(mode=mode)
    inlined: _Json = _inlined(schema, schema.pop("$defs", {}))
    return inlined


def describe(
    operation: Operation[Any, Any],
    schema: Schema = complete,
    *,
    awaited: _Json | None = None,
    problem: _Json = _SOME_PROBLEM,
) -> _Json:
    """The OpenAPI members of one operation: parameters, body, answers, and the roles that may.

    ``awaited`` is the schema of what a change answers once it is there, where its asker waited for it; ``problem`` is
    that of a refusal.
    """
    described: _Json = {
        "operationId": operation.name,
        "summary": operation.summary.en,
        "description": operation.summary.ar,
        "tags": [operation.noun],
        "parameters": [
            *(_parameter(field, schema) for field in operation.fields if field.given.place in _PARAMETERS),
            *([_AGENCY] if operation.roles else []),
        ],
        "responses": {**_answers(operation, schema, awaited), **_refusals(operation, problem)},
        "security": [{"bearer": []}] if operation.roles else [],
        "x-roles": sorted(operation.roles),
    }
    body = _body(operation, schema)
    if body is not None:
        described["requestBody"] = body
    return described


def _answers(operation: Operation[Any, Any], schema: Schema, awaited: _Json | None) -> _Json:
    output = schema(operation.output, "serialization")
    if operation.awaited is None:
        return {"200": _answer("Done.", output)}
    ended = {"oneOf": [output, awaited]} if awaited is not None else output
    answers = {
        "200": _answer("Accepted before; or, where it was waited for, how it ended.", ended),
        "202": _answer("Accepted; the receipt is given after it is written.", output),
    }
    return {status: answer | {"headers": _RECEIPT_HEADERS} for status, answer in answers.items()}


def _answer(description: str, schema: _Json) -> _Json:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _refusals(operation: Operation[Any, Any], problem: _Json) -> _Json:
    statuses = [
        *_REFUSALS,
        *(_REFUSALS_OF_CALLERS if operation.roles else ()),
        *(_REFUSALS_OF_BODIES if operation.method != "GET" else ()),
    ]
    return {str(status): _refusal(HTTPStatus(status), problem) for status in sorted(statuses)}


def _refusal(status: HTTPStatus, problem: _Json) -> _Json:
    refusal: _Json = {
        "description": f"{status.phrase}: a problem (RFC 9457) in English and Arabic, with its mend.",
        "content": {CONTENT_TYPE: {"schema": problem}},
    }
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        refusal["headers"] = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
    return refusal


def _parameter(field: InputField, schema: Schema) -> _Json:
    return {
        "name": field.wire_name,
        "in": field.given.place,
        "required": field.required,
        "description": f"{field.given.summary.en} {field.given.summary.ar}",
        "schema": _present(schema(field.type, "validation")),
    }


def _present(schema: _Json) -> _Json:
    """A parameter is there or not: it has no null."""
    choices = [choice for choice in schema.get("anyOf", ()) if choice != {"type": "null"}]
    rest = {name: member for name, member in schema.items() if name not in {"anyOf", "default"}}
    return rest | choices[0] if len(choices) == 1 else schema


def _body(operation: Operation[Any, Any], schema: Schema) -> _Json | None:
    whole = [field for field in operation.fields if field.given.place == "body"]
    members = [field for field in operation.fields if field.given.place == "member"]
    if whole:
        media = media_of(whole[0])
        if media is not None:
            return _content(schema_of_event(), media.name)
        return _content({"type": "object", "description": whole[0].given.summary.en})
    if not members:
        return None
    properties = {
        field.name: {**schema(field.type, "validation"), "description": field.given.summary.en} for field in members
    }
    needed = [field.name for field in members if field.required]
    described = {"type": "object", "properties": properties, "required": needed, "additionalProperties": False}
    return _content(described) | {"required": bool(needed)}


def _content(schema: _Json, media_type: str = "application/json") -> _Json:
    return {"required": True, "content": {media_type: {"schema": schema}}}


def _inlined(schema: Any, definitions: _Json) -> Any:
    if isinstance(schema, list):
        return [_inlined(item, definitions) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inlined(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    return {name: _inlined(member, definitions) for name, member in schema.items()}
