"""What a service does, and where each of its values comes from: for people who write and review routes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bus.catalog import Service, Workspace
from bus.catalog.adapters import MANIFEST
from bus.catalog.document import Document, Place, read_bytes, read_document
from bus.catalog.environment import environment_file, said_of
from bus.catalog.members import roster
from bus.config import to_duration
from bus.message.text import Text
from bus.process.definition import (
    Backoff,
    Compensation,
    Condition,
    Const,
    Definition,
    OneOf,
    Repeat,
    StepDefinition,
    Value,
)

#: Where a value comes from that no file sets.
DEFAULT = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteRow:
    """One value of a service and who set it."""

    #: ``steps.tax.backoff.first``.
    name: str
    #: As a file would write it; None where there is none.
    value: str | int | bool | list[str] | None
    #: ``routes.yaml:12``, or `DEFAULT`.
    set_in: str


def listing(workspace: Workspace) -> list[dict[str, Any]]:
    """Every service: its name, title, how many steps, who is asked, the place that defines it and its owner."""
    return [
        {
            "service": name,
            "title": service.definition.title.to_json(),
            "steps": len(service.definition.steps),
            "asks": list(dict.fromkeys(step.party for step in service.definition.steps.values())),
            "defined_in": f"{service.origin.file}:{service.origin.line}",
            "owner": _owner(service),
        }
        for name, service in workspace.services.items()
    ]


def overview(workspace: Workspace, name: str) -> dict[str, Any]:
    """One service with its steps in the order in which they may run; a KeyError if there is none of this name."""
    service = workspace.services[name]
    definition = service.definition
    return {
        "service": name,
        "title": definition.title.to_json(),
        "defined_in": f"{service.origin.file}:{service.origin.line}",
        "owner": _owner(service),
        "revision": service.revision,
        "consumers": {consumer: list(grant.purposes) for consumer, grant in definition.consumers.items()},
        "deadline": to_duration(definition.deadline),
        "on_deadline": definition.on_deadline,
        "steps": [_step(step) for step in definition.steps.values()],
        "output": {member: _value(value) for member, value in definition.output.items()},
    }


def resolved(workspace: Workspace, name: str) -> tuple[RouteRow, ...]:
    """Every value of one service, defaults included, each with the file and line that set it; a KeyError if unknown."""
    return tuple(_Resolving(workspace, workspace.services[name].definition).rows())


def _owner(service: Service) -> dict[str, str] | None:
    owner = service.origin.owner
    return None if owner is None else {"team": owner.team, "contact": owner.contact}


def _step(step: StepDefinition) -> dict[str, Any]:
    return {
        "step": step.name,
        "title": step.title.to_json(),
        "needs": list(step.needs),
        "provider": step.party,
        "by": str(step.provider.by) if isinstance(step.provider, OneOf) else None,
        "operation": step.operation,
        "for_each": None if step.for_each is None else str(step.for_each),
        "most": step.most or None,
        "when": None if step.when is None else _condition(step.when),
        "optional": step.optional,
        "final": step.final,
        "compensate": None if step.compensate is None else step.compensate.operation,
    }


class _Resolving:
    """Goes through a definition beside the files that it was made of."""

    def __init__(self, workspace: Workspace, definition: Definition) -> None:
        self._workspace = workspace
        self._definition = definition
        self._routes = workspace.routes or Document(file="", value={}, values={}, names={})
        self._at: Place = ("services", definition.service)
        self._agencies = roster(self._routes.value)

    def rows(self) -> Iterator[RouteRow]:
        definition, at = self._definition, self._at
        yield from self._text("title", definition.title, (*at, "title"))
        yield self._row("request", f"{definition.request_contract}.json", (*at, "request"))
        yield self._row("result", f"{definition.result_contract}.json", (*at, "result"))
        yield self._row("subject", str(definition.subject), (*at, "subject"))
        yield self._row("deadline", to_duration(definition.deadline), (*at, "deadline"))
        yield self._row("on_deadline", definition.on_deadline, (*at, "on_deadline"))
        for consumer, grant in definition.consumers.items():
            place = (*at, "consumers", consumer)
            yield self._row(f"consumers.{consumer}.purposes", list(grant.purposes), (*place, "purposes"))
            yield self._row(f"consumers.{consumer}.fields", list(grant.fields), (*place, "fields"))
        for name, purpose in definition.purposes.items():
            yield from self._text(f"purposes.{name}.title", purpose.title, ("purposes", name, "title"))
            place = ("purposes", name, "legal_basis")
            yield self._row(f"purposes.{name}.legal_basis", purpose.legal_basis, place)
        for step in definition.steps.values():
            yield from self._step_rows(step)
        yield from self._values("output", definition.output, (*at, "output"))

    def _step_rows(self, step: StepDefinition) -> Iterator[RouteRow]:
        name, at = f"steps.{step.name}", (*self._at, "steps", step.name)
        yield from self._text(f"{name}.title", step.title, (*at, "title"))
        yield from self._provider_rows(name, at, step)
        yield self._row(f"{name}.operation", step.operation, (*at, "operation"))
        yield self._repeat_row(name, step, step.operation, step.repeat)
        each = None if step.for_each is None else str(step.for_each)
        yield self._row(f"{name}.for_each", each, (*at, "for_each"))
        yield self._row(f"{name}.most", step.most or None, (*at, "most"))
        yield self._row(f"{name}.needs", list(step.needs), (*at, "needs"))
        when = None if step.when is None else _condition(step.when)
        yield self._row(f"{name}.when", when, (*at, "when"))
        yield self._row(f"{name}.optional", step.optional, (*at, "optional"))
        yield self._row(f"{name}.final", step.final, (*at, "final"))
        yield self._row(f"{name}.deadline", _duration(step.deadline), (*at, "deadline"))
        kind = "optional" if step.optional else "required"
        for event in ("on_refused", "on_exhausted", "on_deadline"):
            yield self._row(f"{name}.{event}", getattr(step, event), (*at, event), ("defaults", kind, event))
        yield from self._backoff(f"{name}.backoff", step.backoff, (*at, "backoff"))
        yield from self._values(f"{name}.input", step.input, (*at, "input"))
        if step.compensate is None:
            yield self._row(f"{name}.compensate", None, (*at, "compensate"))
        else:
            yield from self._compensation_rows(f"{name}.compensate", at, step, step.compensate)

    def _provider_rows(self, name: str, at: Place, step: StepDefinition) -> Iterator[RouteRow]:
        if isinstance(step.provider, str):
            yield self._row(f"{name}.provider", step.provider, (*at, "provider"))
            yield RouteRow(name=f"{name}.desk", value=step.desk, set_in=self._use(step.provider))
            return
        group = step.provider.group
        yield self._row(f"{name}.provider.one_of", group, (*at, "provider", "one_of"))
        yield self._row(f"{name}.provider.by", str(step.provider.by), (*at, "provider", "by"))
        members = ("groups", group, "members")
        yield self._row(f"{name}.provider.members", len(step.provider.members), members)
        for code, agency in step.provider.members.items():
            if agency in step.provider.desks:
                yield RouteRow(name=f"{name}.provider.desks.{code}", value=agency, set_in=self._use(agency))

    def _compensation_rows(
        self, name: str, at: Place, step: StepDefinition, compensation: Compensation
    ) -> Iterator[RouteRow]:
        here = (*at, "compensate")
        yield self._row(f"{name}.operation", compensation.operation, (*here, "operation"))
        yield self._repeat_row(name, step, compensation.operation, compensation.repeat)
        yield self._row(f"{name}.deadline", _duration(compensation.deadline), (*here, "deadline"))
        backoff = self._backoff(f"{name}.backoff", compensation.backoff, (*at, "backoff"), (*here, "attempts"))
        yield from backoff
        yield from self._values(f"{name}.input", compensation.input, (*here, "input"))

    def _backoff(self, name: str, backoff: Backoff, at: Place, *attempts: Place) -> Iterator[RouteRow]:
        shared: Place = ("defaults", "backoff")
        tries = (*attempts, (*at, "attempts"), (*shared, "attempts"))
        yield self._row(f"{name}.attempts", backoff.attempts, *tries)
        yield self._row(f"{name}.first", to_duration(backoff.first), (*at, "first"), (*shared, "first"))
        yield self._row(f"{name}.factor", f"{backoff.factor:g}", (*at, "factor"), (*shared, "factor"))
        yield self._row(f"{name}.most", to_duration(backoff.most), (*at, "most"), (*shared, "most"))

    def _values(self, name: str, values: Mapping[str, Value], at: Place) -> Iterator[RouteRow]:
        for member, value in values.items():
            yield self._row(f"{name}.{member}", _value(value), (*at, member))

    def _text(self, name: str, text: Text, at: Place) -> Iterator[RouteRow]:
        yield self._row(f"{name}.en", text.en, (*at, "en"))
        yield self._row(f"{name}.ar", text.ar, (*at, "ar"))

    def _repeat_row(self, name: str, step: StepDefinition, operation: str, repeat: Repeat) -> RouteRow:
        hosted = next((agency for agency in step.providers if not step.is_desk(agency)), None)
        if hosted is None:
            return RouteRow(name=f"{name}.repeat", value=_repeat(repeat), set_in=self._use(step.providers[0]))
        file = f"adapters/{self._workspace.adapters[hosted].id}/{MANIFEST}"
        set_in = _set_in(self._file(file), ("operations", operation, "repeat"))
        return RouteRow(name=f"{name}.repeat", value=_repeat(repeat), set_in=set_in)

    def _row(self, name: str, value: Any, *places: Place) -> RouteRow:
        return RouteRow(name=name, value=value, set_in=_set_in(self._routes, *places))

    def _use(self, agency: str) -> str:
        """What makes the agency a desk, or not: the environment, else its own entry, else that of its group."""
        content = self._agencies[agency]
        said = said_of(self._environment, agency, content)
        if said is not None:
            return _set_in(self._environment, ("agencies", said, "use"))
        places: list[Place] = [("agencies", agency, "desk")]
        if group := content.get("group"):
            members = self._routes.value["groups"][group]["members"]
            index = next(index for index, member in enumerate(members) if member["id"] == agency)
            places = [("groups", group, "members", index, "desk"), ("groups", group, "desk")]
        return _set_in(self._routes, *places)

    @cached_property
    def _environment(self) -> Document:
        return self._file(environment_file(self._workspace.env.name))

    def _file(self, name: str) -> Document:
        raw, _ = read_bytes(self._workspace.root, self._workspace.root / name)
        return read_document(name, raw)[0]


def _set_in(document: Document, *places: Place) -> str:
    """The first of the places that is there."""
    position = next((document.values[place] for place in places if place in document.values), None)
    return DEFAULT if position is None else f"{position.file}:{position.line}"


def _value(value: Value) -> str:
    if not isinstance(value, Const):
        return str(value)
    words = {True: "true", False: "false", None: "null"}
    is_word = value.value is None or isinstance(value.value, bool)
    return f"{{const: {words[value.value] if is_word else value.value}}}"  # type: ignore[index]


def _condition(condition: Condition) -> str:
    if condition.among is None:
        return str(condition.path)
    return f"{condition.path} in {', '.join(map(str, condition.among))}"


def _duration(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else to_duration(milliseconds)


def _repeat(repeat: Repeat) -> str:
    if repeat.window:
        return f"{repeat.kind}, window {to_duration(repeat.window)}"
    if repeat.absence_proof_after:
        return f"{repeat.kind}, absence_proof_after {to_duration(repeat.absence_proof_after)}"
    return repeat.kind
