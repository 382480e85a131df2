"""Routes without faults as values: agencies, groups and service definitions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bus.catalog.document import Place
from bus.catalog.files import Routes
from bus.catalog.members import members_of, roster
from bus.catalog.routes import contract_of, ends
from bus.catalog.source import reach
from bus.catalog.workspace import AdapterManifest, Agency, Group
from bus.config import duration
from bus.message.text import Text
from bus.process.definition import (
    DESK_REPEAT,
    Backoff,
    Compensation,
    Condition,
    Const,
    Definition,
    Grant,
    OneOf,
    Purpose,
    Repeat,
    StepDefinition,
    Value,
)
from bus.process.mapping import parse_path


def build_agencies(routes: Routes) -> dict[str, Agency]:
    """Every agency by id, the members of groups among them."""
    groups = routes.document.value.get("groups", {})
    places: dict[str, Place] = {
        member["id"]: ("groups", group, "members", index)
        for group, content in groups.items()
        for index, member in enumerate(members_of(content))
    }
    return {
        agency: Agency(
            id=agency,
            name=Text(**content["name"]),
            adapter=content.get("adapter"),
            desk=content.get("desk", False),
            group=content.get("group"),
            origin=routes.origin(*places.get(agency, ("agencies", agency))),
        )
        for agency, content in roster(routes.document.value).items()
    }


def build_groups(routes: Routes) -> dict[str, Group]:
    """Every group by id."""
    return {
        group: Group(
            id=group,
            name=Text(**content["name"]),
            members={member["code"]: member["id"] for member in members_of(content)},
            origin=routes.origin("groups", group),
        )
        for group, content in routes.document.value.get("groups", {}).items()
    }


def build_definition(
    routes: Mapping[str, Any],
    service: str,
    adapters: Mapping[str, AdapterManifest],
    groups: Mapping[str, Group],
    desks: frozenset[str],
) -> Definition:
    """One service; ``adapters`` by agency, ``desks`` the agencies that clerks answer in this environment."""
    content = routes["services"][service]
    builder = _Builder(routes, adapters, groups, desks)
    used = {purpose for grant in content["consumers"].values() for purpose in grant["purposes"]}
    return Definition(
        service=service,
        title=Text(**content["title"]),
        request_contract=contract_of(content["request"]),
        result_contract=contract_of(content["result"]),
        subject=parse_path(content["subject"]),
        consumers={
            name: Grant(purposes=tuple(grant["purposes"]), fields=tuple(grant["fields"]))
            for name, grant in content["consumers"].items()
        },
        purposes={
            name: Purpose(title=Text(**purpose["title"]), legal_basis=purpose["legal_basis"])
            for name, purpose in routes["purposes"].items()
            if name in used
        },
        steps={name: builder.step(name, content["steps"][name]) for name in in_order(content["steps"])},
        output=_values(content["output"]),
        on_deadline=content.get("on_deadline", "escalate"),
        **({"deadline": duration(content["deadline"])} if "deadline" in content else {}),
    )


def in_order(steps: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """The steps, each after all that it needs, otherwise as the file has them."""
    needs = {name: step.get("needs", ()) for name, step in steps.items()}
    before = {name: reach(name, needs) for name in steps}
    placed: list[str] = []
    while len(placed) < len(steps):
        placed.append(next(name for name in steps if name not in placed and before[name] <= set(placed)))
    return tuple(placed)


class _Builder:
    """Builds steps with the defaults of their workspace."""

    def __init__(
        self,
        routes: Mapping[str, Any],
        adapters: Mapping[str, AdapterManifest],
        groups: Mapping[str, Group],
        desks: frozenset[str],
    ) -> None:
        self._ends = ends(routes)
        self._backoff = _backoff(routes.get("defaults", {}).get("backoff", {}), Backoff())
        self._adapters = adapters
        self._groups = groups
        self._desks = desks

    def step(self, name: str, content: Mapping[str, Any]) -> StepDefinition:
        optional = content.get("optional", False)
        provider = self._provider(content["provider"])
        end = {**self._ends["optional" if optional else "required"], **content}
        return StepDefinition(
            name=name,
            title=Text(**content["title"]),
            provider=provider,
            operation=content["operation"],
            input=_values(content["input"]),
            repeat=self._repeat(provider, content["operation"]),
            desk=isinstance(provider, str) and provider in self._desks,
            for_each=parse_path(content["for_each"]) if "for_each" in content else None,
            most=content.get("most", 0),
            needs=tuple(content.get("needs", ())),
            when=_condition(content.get("when")),
            optional=optional,
            final=content.get("final", False),
            deadline=_duration(content.get("deadline")),
            on_refused=end["on_refused"],
            on_exhausted=end["on_exhausted"],
            on_deadline=end["on_deadline"],
            backoff=_backoff(content.get("backoff", {}), self._backoff),
            compensate=self._compensation(content, provider),
        )

    def _compensation(self, step: Mapping[str, Any], provider: str | OneOf) -> Compensation | None:
        if "compensate" not in step:
            return None
        content = step["compensate"]
        own = {"attempts": content["attempts"]} if "attempts" in content else {}
        return Compensation(
            operation=content["operation"],
            input=_values(content["input"]),
            repeat=self._repeat(provider, content["operation"]),
            deadline=_duration(content.get("deadline")),
            backoff=_backoff(own, _backoff(step.get("backoff", {}), self._backoff)),
        )

    def _provider(self, written: Any) -> str | OneOf:
        if isinstance(written, str):
            return written
        members = self._groups[written["one_of"]].members
        return OneOf(
            group=written["one_of"],
            by=parse_path(written["by"]),
            members=members,
            desks=self._desks & frozenset(members.values()),
        )

    def _repeat(self, provider: str | OneOf, operation: str) -> Repeat:
        """What the adapter declares; the members of a group have one adapter, or a desk."""
        asked = (provider,) if isinstance(provider, str) else provider.members.values()
        hosted = next((agency for agency in asked if agency not in self._desks), None)
        return DESK_REPEAT if hosted is None else self._adapters[hosted].operations[operation].repeat


def _values(values: Mapping[str, Any]) -> dict[str, Value]:
    return {
        name: parse_path(value) if isinstance(value, str) else Const(value=value["const"])
        for name, value in values.items()
    }


def _condition(when: Any) -> Condition | None:
    if when is None:
        return None
    if isinstance(when, str):
        return Condition(path=parse_path(when))
    return Condition(path=parse_path(when["path"]), among=tuple(when["in"]))


def _backoff(content: Mapping[str, Any], default: Backoff) -> Backoff:
    return Backoff(
        attempts=content.get("attempts", default.attempts),
        first=duration(content["first"]) if "first" in content else default.first,
        factor=float(content.get("factor", default.factor)),
        most=duration(content["most"]) if "most" in content else default.most,
    )


def _duration(text: str | None) -> int | None:
    return None if text is None else duration(text)
