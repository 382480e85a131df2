"""A service as bytes: everything that a request pinned to it will ever need, under the hash of those bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from bus.message.contract import Contracts, urn
from bus.message.reply import Data
from bus.message.strict_json import canonical
from bus.message.text import Text
from bus.process.definition import (
    Backoff,
    Compensation,
    Condition,
    Const,
    Definition,
    Grant,
    OneOf,
    Path,
    Purpose,
    Repeat,
    StepDefinition,
    Value,
)
from bus.process.mapping import parse_path

#: Of the form of these bytes. Every value is written out: a default that changes later must not change an old closure.
_FORM = 2
#: The first form knew neither items nor a provider chosen from a group; all that it says is read as before.
_READ = frozenset({1, _FORM})


def to_closure(definition: Definition, contracts: Mapping[str, Data]) -> bytes:
    """The closure as canonical JSON (RFC 8785): the definition and, of ``contracts`` by name, those it uses.

    Same definition and schemas, same bytes. A KeyError names a contract that is not there.
    """
    used = {name: contracts[name] for name in _with_references(contracts_of(definition), contracts)}
    return canonical({"form": _FORM, "definition": _definition_out(definition), "contracts": used})


def revision(closure: bytes) -> str:
    """The name of a closure: its SHA-256 in hexadecimal."""
    return hashlib.sha256(closure).hexdigest()


def from_closure(closure: bytes) -> tuple[Definition, Contracts]:
    """What `to_closure` was given; a ValueError where the bytes have a form that this version cannot read."""
    content = json.loads(closure)
    if content.get("form") not in _READ:
        raise ValueError(f"This closure has the form {content.get('form')!r}; this version reads {sorted(_READ)}.")
    return _definition_in(content["definition"]), Contracts(content["contracts"])


def contracts_of(definition: Definition) -> tuple[str, ...]:
    """The names of the contracts that the service uses itself, sorted."""
    names = {definition.request_contract, definition.result_contract}
    for step in definition.steps.values():
        for operation in (step.operation, step.compensate.operation if step.compensate else None):
            if operation is not None:
                names |= {input_contract(operation), output_contract(operation)}
    return tuple(sorted(names))


def input_contract(operation: str) -> str:
    """The name of the contract of what an operation is given."""
    return f"operation/{operation}.input"


def output_contract(operation: str) -> str:
    """The name of the contract of what an operation answers."""
    return f"operation/{operation}.output"


def _with_references(names: tuple[str, ...], contracts: Mapping[str, Data]) -> set[str]:
    """The names and those of the contracts that they refer to, however far."""
    named_by = {urn(name): name for name in contracts}
    used: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in used:
            used.add(name)
            waiting += [named_by[target] for target in _references(contracts[name]) if target in named_by]
    return used


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, Mapping):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"].partition("#")[0]
        for member in schema.values():
            yield from _references(member)
    elif isinstance(schema, list):
        for member in schema:
            yield from _references(member)


def _definition_out(definition: Definition) -> Data:
    return {
        "service": definition.service,
        "title": definition.title.to_json(),
        "request": definition.request_contract,
        "result": definition.result_contract,
        "subject": str(definition.subject),
        "consumers": {
            name: {"purposes": list(grant.purposes), "fields": list(grant.fields)}
            for name, grant in definition.consumers.items()
        },
        "purposes": {
            name: {"title": purpose.title.to_json(), "legal_basis": purpose.legal_basis}
            for name, purpose in definition.purposes.items()
        },
        # A list: canonical JSON sorts members, and the order of the steps means something.
        "steps": [_step_out(step) for step in definition.steps.values()],
        "output": _values_out(definition.output),
        "deadline": definition.deadline,
        "on_deadline": definition.on_deadline,
    }


def _definition_in(data: Data) -> Definition:
    return Definition(
        service=data["service"],
        title=Text(**data["title"]),
        request_contract=data["request"],
        result_contract=data["result"],
        subject=parse_path(data["subject"]),
        consumers={
            name: Grant(purposes=tuple(grant["purposes"]), fields=tuple(grant["fields"]))
            for name, grant in data["consumers"].items()
        },
        purposes={
            name: Purpose(title=Text(**purpose["title"]), legal_basis=purpose["legal_basis"])
            for name, purpose in data["purposes"].items()
        },
        steps={step["name"]: _step_in(step) for step in data["steps"]},
        output=_values_in(data["output"]),
        deadline=data["deadline"],
        on_deadline=data["on_deadline"],
    )


def _step_out(step: StepDefinition) -> Data:
    return {
        "name": step.name,
        "title": step.title.to_json(),
        "provider": _provider_out(step.provider),
        "operation": step.operation,
        "input": _values_out(step.input),
        "repeat": _repeat_out(step.repeat),
        "desk": step.desk,
        "for_each": None if step.for_each is None else str(step.for_each),
        "most": step.most,
        "needs": list(step.needs),
        "when": _condition_out(step.when),
        "optional": step.optional,
        "final": step.final,
        "deadline": step.deadline,
        "on_refused": step.on_refused,
        "on_exhausted": step.on_exhausted,
        "on_deadline": step.on_deadline,
        "backoff": _backoff_out(step.backoff),
        "compensate": _compensation_out(step.compensate),
    }


def _step_in(data: Data) -> StepDefinition:
    return StepDefinition(
        name=data["name"],
        title=Text(**data["title"]),
        provider=_provider_in(data["provider"]),
        operation=data["operation"],
        input=_values_in(data["input"]),
        repeat=Repeat(**data["repeat"]),
        desk=data["desk"],
        for_each=None if data.get("for_each") is None else parse_path(data["for_each"]),
        most=data.get("most", 0),
        needs=tuple(data["needs"]),
        when=_condition_in(data["when"]),
        optional=data["optional"],
        final=data["final"],
        deadline=data["deadline"],
        on_refused=data["on_refused"],
        on_exhausted=data["on_exhausted"],
        on_deadline=data["on_deadline"],
        backoff=_backoff_in(data["backoff"]),
        compensate=_compensation_in(data["compensate"]),
    )


def _provider_out(provider: str | OneOf) -> Data | str:
    if isinstance(provider, str):
        return provider
    return {
        "one_of": provider.group,
        "by": str(provider.by),
        "members": dict(provider.members),
        "desks": sorted(provider.desks),
    }


def _provider_in(data: Data | str) -> str | OneOf:
    if isinstance(data, str):
        return data
    return OneOf(
        group=data["one_of"], by=parse_path(data["by"]), members=data["members"], desks=frozenset(data["desks"])
    )


def _values_out(values: Mapping[str, Value]) -> Data:
    return {
        target: str(value) if isinstance(value, Path) else {"const": value.value} for target, value in values.items()
    }


def _values_in(data: Data) -> Mapping[str, Value]:
    return {
        target: parse_path(value) if isinstance(value, str) else Const(value=value["const"])
        for target, value in data.items()
    }


def _condition_out(condition: Condition | None) -> Data | None:
    if condition is None:
        return None
    return {"path": str(condition.path), "among": None if condition.among is None else list(condition.among)}


def _condition_in(data: Data | None) -> Condition | None:
    if data is None:
        return None
    return Condition(path=parse_path(data["path"]), among=None if data["among"] is None else tuple(data["among"]))


def _repeat_out(repeat: Repeat) -> Data:
    return {"kind": repeat.kind, "window": repeat.window, "absence_proof_after": repeat.absence_proof_after}


def _backoff_out(backoff: Backoff) -> Data:
    return {"attempts": backoff.attempts, "first": backoff.first, "factor": backoff.factor, "most": backoff.most}


def _backoff_in(data: Data) -> Backoff:
    # Canonical JSON writes 3.0 as 3.
    return Backoff(attempts=data["attempts"], first=data["first"], factor=float(data["factor"]), most=data["most"])


def _compensation_out(compensation: Compensation | None) -> Data | None:
    if compensation is None:
        return None
    return {
        "operation": compensation.operation,
        "input": _values_out(compensation.input),
        "repeat": _repeat_out(compensation.repeat),
        "deadline": compensation.deadline,
        "backoff": _backoff_out(compensation.backoff),
    }


def _compensation_in(data: Data | None) -> Compensation | None:
    if data is None:
        return None
    return Compensation(
        operation=data["operation"],
        input=_values_in(data["input"]),
        repeat=Repeat(**data["repeat"]),
        deadline=data["deadline"],
        backoff=_backoff_in(data["backoff"]),
    )
