"""What ``/v1/openapi.json`` says of an operation, made from its declaration."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from bus.gateway.problems import CONTENT_TYPE
from bus.operations.operation import InputField, Operation


def describe(operation: Operation[Any, Any]) -> dict[str, Any]:
    """The OpenAPI members of one operation: parameters, body, answers, and the roles that may."""
    described: dict[str, Any] = {
        "parameters": [
            *(_parameter(field) for field in operation.fields if field.given.place in _PARAMETERS),
            *([_AGENCY] if operation.roles else []),
        ],
        "responses": {
            "200": {"description": "Done", "content": {"application/json": {"schema": _schema(operation.output)}}},
            "default": {
                "description": "An RFC 9457 problem in English and Arabic",
                "content": {CONTENT_TYPE: {"schema": {"type": "object"}}},
            },
        },
        "x-roles": sorted(operation.roles),
    }
    body = _body(operation)
    if body is not None:
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return described


_PARAMETERS = frozenset({"path", "query", "header"})
_AGENCY = {
    "name": "Bus-Agency",
    "in": "header",
    "required": False,
    "description": "For administrators: the agency to act for; each fact says so. للمسؤولين: الجهة التي يُعمل باسمها.",
    "schema": {"type": "string"},
}


def _parameter(field: InputField) -> dict[str, Any]:
    return {
        "name": field.wire_name,
        "in": field.given.place,
        "required": field.required,
        "description": f"{field.given.summary.en} {field.given.summary.ar}",
        "schema": _schema(field.type),
    }


def _body(operation: Operation[Any, Any]) -> dict[str, Any] | None:
    whole = [field for field in operation.fields if field.given.place == "body"]
    if whole:
        return {"type": "object", "description": whole[0].given.summary.en}
    members = [field for field in operation.fields if field.given.place == "member"]
    if not members:
        return None
    return {
        "type": "object",
        "properties": {field.name: {**_schema(field.type), "description": field.given.summary.en} for field in members},
        "required": [field.name for field in members if field.required],
        "additionalProperties": False,
    }


def _schema(type_: Any) -> dict[str, Any]:
    """The JSON Schema of a Python type, complete in itself."""
    schema = TypeAdapter(type_).json_schema()
    complete: dict[str, Any] = _inlined(schema, schema.pop("$defs", {}))
    return complete


def _inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    """Without ``$ref``: each schema stands in the middle of another document."""
    if isinstance(schema, list):
        return [_inlined(item, definitions) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inlined(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    return {name: _inlined(member, definitions) for name, member in schema.items()}
