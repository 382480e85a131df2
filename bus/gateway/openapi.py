"""The API's description, ``/v1/openapi.json``: every operation, and one typed path for each service."""

from __future__ import annotations

import re
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import is_dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypeAlias

from pydantic import TypeAdapter

from bus.catalog import Service
from bus.gateway.description import Mode, describe
from bus.message.contract import Contracts, urn
from bus.message.envelope import MessageType
from bus.operations.context import Context
from bus.operations.event import SubmitEvent
from bus.operations.offer import sample_of
from bus.operations.operation import Operation
from bus.operations.registry import OPERATIONS
from bus.operations.request_view import RequestView
from bus.operations.submission import Submit
from bus.process.mapping import split_pointer

_Json: TypeAlias = dict[str, Any]

_SCHEMAS = "#/components/schemas/"
#: Members of a contract that belong to a document of its own.
_OF_DOCUMENTS = ("$schema", "$id", "$defs")
_TEXTS = {
    "type": "object",
    "required": ["title", "mend"],
    "properties": {"title": {"type": "string"}, "mend": {"type": "string"}},
}
_A_PROBLEM = {"$ref": f"{_SCHEMAS}Problem"}
_PROBLEM: _Json = {
    "type": "object",
    "description": "What went wrong (RFC 9457), in English and Arabic, with the mend. `code` is stable.",
    "required": ["type", "title", "status", "detail", "instance", "code", "mend", "i18n"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "code": {"type": "string"},
        "mend": {"type": "string"},
        "i18n": {
            "type": "object",
            "required": ["en", "ar"],
            "properties": {"en": _TEXTS, "ar": _TEXTS},
        },
        "faults": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["code", "pointer", "message", "mend"],
                "properties": {name: {"type": "string"} for name in ("code", "pointer", "message", "mend")},
            },
        },
        "state": {"type": ["string", "null"]},
        "changed_by": {"type": ["string", "null"]},
        "changed_at": {"type": ["string", "null"]},
        "granted_by": {"type": "string"},
    },
}


def document(context: Context) -> _Json:
    """OpenAPI 3.1. References stay inside the document, so that any generator can read it without the network."""
    schemas = _Schemas(context.workspace.contracts)
    paths: _Json = {}
    for operation in OPERATIONS:
        at = paths.setdefault(f"/v1{operation.path}", {})
        at[operation.method.lower()] = _described(context, operation, schemas)
    typed = next(operation for operation in OPERATIONS if operation.input is Submit)
    for service in context.workspace.services.values():
        name = service.definition.service
        path = f"/v1{typed.path}".replace("{service}", name)
        paths[path] = {typed.method.lower(): _typed(context, typed, service, schemas)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "The bus",
            "version": _version(),
            "description": "Agencies of one government answer a citizen together. جهات الحكومة تجيب المواطن معًا.",
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.found.items())),
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _version() -> str:
    try:
        return version("g2g-bus")
    except PackageNotFoundError:
        return "0"


def _described(context: Context, operation: Operation[Any, Any], schemas: _Schemas) -> _Json:
    awaited = schemas.of(RequestView, "serialization") if operation.awaited else None
    described = describe(operation, schemas.of, awaited=awaited, problem=_A_PROBLEM)
    if operation.input is SubmitEvent:
        (content,) = described["requestBody"]["content"].values()
        content["schema"] = schemas.keep("SubmittedEvent", content["schema"])
        service = next(iter(context.workspace.services.values()), None)
        if service is not None:
            content["example"] = _event_of(context, service)
    return described


def _typed(context: Context, operation: Operation[Any, Any], service: Service, schemas: _Schemas) -> _Json:
    """Submitting one service: its own contract for the question, and for the answer of whoever waits."""
    definition = service.definition
    name = _pascal(definition.service)
    view = _view(name, definition.result_contract, schemas)
    described = describe(operation, schemas.of, awaited=view, problem=_A_PROBLEM)
    described["operationId"] = f"{operation.name}_{re.sub('[^a-z0-9]+', '_', definition.service)}"
    described["summary"], described["description"] = definition.title.en, definition.title.ar
    described["parameters"] = [each for each in described["parameters"] if each["in"] != "path"]
    content: _Json = {"schema": schemas.contract(f"{name}Request", definition.request_contract)}
    sample = sample_of(context, definition.request_contract)
    described["requestBody"]["content"] = {
        "application/json": content | ({"example": sample} if sample is not None else {})
    }
    return described


def _view(name: str, contract: str, schemas: _Schemas) -> _Json:
    """The view of a request whose result is that of one service; fields that are not granted may be missing."""
    view = deepcopy(schemas.found[_name_in(schemas.of(RequestView, "serialization"))])
    ended = deepcopy(schemas.found["ResultView"])
    outcome = {
        "type": "object",
        "required": ["outcome"],
        "properties": {
            "outcome": {"type": "string"},
            "result": schemas.contract(f"{name}Result", contract, cut=True),
            "withheld": {"type": "array", "items": {"type": "string"}},
            "steps": {"type": "array", "items": {"type": "object"}},
            "left_behind": {"type": "array", "items": {"type": "string"}},
        },
    }
    ended["properties"]["data"] = schemas.keep(f"{name}Outcome", outcome)
    view["properties"]["result"] = {"anyOf": [schemas.keep(f"{name}Ended", ended), {"type": "null"}]}
    return schemas.keep(f"{name}View", view)


def _event_of(context: Context, service: Service) -> _Json:
    definition = service.definition
    consumer, grant = next(iter(definition.consumers.items()), ("consumer", None))
    return {
        "specversion": "1.0",
        "id": "2026-000001",
        "source": f"/agency/{consumer}",
        "type": MessageType.REQUEST_SUBMITTED.value,
        "service": definition.service,
        **({"purposeid": grant.purposes[0]} if grant and grant.purposes else {}),
        "datacontenttype": "application/json",
        "data": sample_of(context, definition.request_contract) or {},
    }


class _Schemas:
    """Schemas by the name under which the document keeps them."""

    def __init__(self, contracts: Contracts) -> None:
        self.found: dict[str, _Json] = {"Problem": _PROBLEM}
        self._contracts = contracts
        self._by_urn = {urn(name): name for name in contracts.names()}

    def of(self, type_: Any, mode: Mode) -> _Json:
        """A Python type: a record by reference, anything else in place."""
        schema = TypeAdapter(type_).json_schema(mode=mode, ref_template=_SCHEMAS + "{model}")
        for name, below in schema.pop("$defs", {}).items():
            self.keep(name, below)
        is_record = isinstance(type_, type) and is_dataclass(type_)
        return self.keep(type_.__name__, schema) if is_record else schema

    def keep(self, name: str, schema: _Json) -> _Json:
        """Keep a schema; the reference to it. A ValueError if two different ones want the same name."""
        schema = schema | {"title": name}
        if self.found.setdefault(name, schema) != schema:
            raise ValueError(f"two schemas are called {name}")
        return {"$ref": _SCHEMAS + name}

    def contract(self, name: str, contract: str, *, cut: bool = False) -> _Json:
        """A contract and all that it refers to; ``cut``: any of its members may be missing."""
        if name not in self.found:
            schema = self._contracts.schema(contract)
            self.found[name] = {}
            for below, defined in schema.get("$defs", {}).items():
                at = _below(name, below)
                self.found[at] = self._rewritten(name, defined, cut=cut) | _named(at, defined)
            plain = {key: member for key, member in schema.items() if key not in _OF_DOCUMENTS}
            self.found[name] = self._rewritten(name, plain, cut=cut) | _named(name, plain)
        return {"$ref": _SCHEMAS + name}

    def _rewritten(self, name: str, schema: Any, *, cut: bool) -> Any:
        if isinstance(schema, list):
            return [self._rewritten(name, item, cut=cut) for item in schema]
        if not isinstance(schema, dict):
            return schema
        rewritten = {
            key: self._rewritten(name, member, cut=cut)
            for key, member in schema.items()
            if not (cut and key == "required" and isinstance(member, list))
        }
        if isinstance(schema.get("$ref"), str):
            rewritten["$ref"] = self._reference(name, schema["$ref"], cut=cut)
        return rewritten

    def _reference(self, name: str, reference: str, *, cut: bool) -> str:
        resource, _, pointer = reference.partition("#")
        if resource:
            contract = self._by_urn[resource]
            name = _pascal(contract) + ("Cut" if cut else "")
            self.contract(name, contract, cut=cut)
        parts = list(split_pointer(pointer))
        if len(parts) == 2 and parts[0] == "$defs":
            return _SCHEMAS + _below(name, parts[1])
        return _SCHEMAS + name + pointer


def _named(name: str, schema: _Json) -> _Json:
    """Generators call a type by its title: that is its name here, and people read both titles in the description."""
    titles = [schema[key] for key in ("title", "x-title-ar", "description") if key in schema]
    return {"title": name, "description": " | ".join(titles)}


def _name_in(reference: _Json) -> str:
    return str(reference["$ref"]).removeprefix(_SCHEMAS)


def _below(name: str, part: str) -> str:
    return f"{name}{_pascal(part)}"


def _pascal(name: str) -> str:
    """``open-business.v1`` as generators like to name a type: ``OpenBusinessV1``."""
    return "".join(_words(name))


def _words(name: str) -> Iterator[str]:
    for word in re.split("[^A-Za-z0-9]+", name):
        yield word[:1].upper() + word[1:]
