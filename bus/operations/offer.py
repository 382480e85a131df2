"""What can be asked for: everything that a portal needs to know of a service before it asks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bus.catalog import Service
from bus.message.contract import urn
from bus.message.example import contract_example
from bus.message.instant import DAY, HOUR, MINUTE, SECOND, Milliseconds
from bus.message.text import Text
from bus.operations.agency import Nothing
from bus.operations.caller import Caller
from bus.operations.context import Context
from bus.operations.given import ServiceName
from bus.operations.grant import may_see, not_granted, owners_of, purposes_of


@dataclass(frozen=True, slots=True, kw_only=True)
class OneService:
    """One service."""

    service: ServiceName


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceLine:
    """One service in a list."""

    service: str
    title: Text
    revision: str
    #: The longest that it may take: ``10d``.
    deadline: str
    #: Purposes for which the asker may ask for it; all that exist for those who ask for nobody.
    purposes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceLines:
    """Every service that the asker may ask for."""

    items: tuple[ServiceLine, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceStep:
    """One part of a service."""

    step: str
    title: Text
    #: An agency, or a group of which one member will be asked.
    agency: str
    agency_name: Text
    operation: str
    needs: tuple[str, ...]
    optional: bool
    #: Asked once for each item of a list in the request.
    each: bool
    #: The longest that this step may take; None where only the request has a deadline.
    deadline: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TestPersonView:
    """Somebody who does not exist, and how the simulator of an agency of this service meets that person."""

    national_id: str
    agency: str
    agency_name: Text
    behaviour: str
    behaviour_title: Text
    name: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceView:
    """What a service asks for, does and gives."""

    service: str
    title: Text
    revision: str
    #: The longest that it may take: ``10d``.
    deadline: str
    purposes: dict[str, Text]
    #: JSON pointers to what the asker is given of the result; None for those who ask for nobody.
    fields: tuple[str, ...] | None
    #: Who answers for the file that defines it.
    owner: str
    steps: tuple[ServiceStep, ...]
    #: JSON Schemas, with titles in English (``title``) and Arabic (``x-title-ar``).
    request: Any
    result: Any
    #: Schemas that these two refer to, by the name in ``$ref``.
    referred: dict[str, Any]
    #: A request that the service would accept; None where none can be made from its contract.
    sample: Any
    test_persons: tuple[TestPersonView, ...]


BEHAVIOURS = {
    "succeeds": Text(en="Everything is in order", ar="كل شيء سليم"),
    "refused": Text(en="The agency says no", ar="ترفض الجهة الطلب"),
    "returned": Text(en="Something must be brought or corrected", ar="يُطلب استكمال أو تصحيح"),
    "late": Text(en="The answer comes late", ar="يتأخر الجواب"),
    "down_30_s": Text(en="Out of reach for 30 seconds, then in order", ar="النظام متوقف 30 ثانية ثم يستجيب"),
    "effect_then_timeout": Text(en="Done, but the answer never comes", ar="تُنجز المعاملة ولا يصل الجواب"),
    "malformed_record": Text(en="Done, but the answer is cut off", ar="تُنجز المعاملة ويصل الجواب مبتورًا"),
}
_UNITS = (("d", DAY), ("h", HOUR), ("m", MINUTE), ("s", SECOND))


def list_services(context: Context, caller: Caller, _given: Nothing) -> ServiceLines:
    """The services that the caller may ask for, or all for those who run the bus and for clerks."""
    lines = [
        ServiceLine(
            service=name,
            title=service.definition.title,
            revision=service.revision,
            deadline=duration(service.definition.deadline),
            purposes=purposes_of(service, caller),
        )
        for name, service in sorted(context.workspace.services.items())
        if may_see(service, caller)
    ]
    return ServiceLines(items=tuple(lines))


def show_service(context: Context, caller: Caller, given: OneService) -> ServiceView:
    """One service with all that a portal needs; NotGrantedError for a consumer that may not ask for it."""
    service = context.service(given.service)
    if not may_see(service, caller):
        raise not_granted(service, caller.agency)
    definition, contracts = service.definition, context.workspace.contracts
    grant = definition.consumers.get(caller.agency or "")
    return ServiceView(
        service=given.service,
        title=definition.title,
        revision=service.revision,
        deadline=duration(definition.deadline),
        purposes={name: definition.purposes[name].title for name in purposes_of(service, caller)},
        fields=grant.fields if grant else None,
        owner=owners_of(service),
        steps=tuple(_steps(context, service)),
        request=contracts.schema(definition.request_contract),
        result=contracts.schema(definition.result_contract),
        referred=_referred(context, service),
        sample=sample_of(context, definition.request_contract),
        test_persons=tuple(_test_persons(context, service)),
    )


def sample_of(context: Context, contract: str) -> Any:
    """A value that the contract accepts; None where none can be made from it."""
    try:
        return contract_example(context.workspace.contracts, contract)
    except ValueError:
        return None


def duration(time: Milliseconds) -> str:
    """A length of time in the greatest unit that leaves no rest, as the routes write it: ``10d``, ``36h``."""
    unit, size = next((unit for unit in _UNITS if time % unit[1] == 0), ("ms", 1))
    return f"{time // size}{unit}"


def _steps(context: Context, service: Service) -> Iterator[ServiceStep]:
    for step in service.definition.steps.values():
        yield ServiceStep(
            step=step.name,
            title=step.title,
            agency=step.party,
            agency_name=context.agency_name(step.party),
            operation=step.operation,
            needs=step.needs,
            optional=step.optional,
            each=step.for_each is not None,
            deadline=None if step.deadline is None else duration(step.deadline),
        )


def _referred(context: Context, service: Service) -> dict[str, Any]:
    contracts, definition = context.workspace.contracts, service.definition
    roots = {definition.request_contract, definition.result_contract}
    named = {name for root in roots for name in contracts.closure(root)} - roots
    return {urn(name): contracts.schema(name) for name in sorted(named)}


def _test_persons(context: Context, service: Service) -> Iterator[TestPersonView]:
    steps = service.definition.steps.values()
    concerned = {name for step in steps for name in (step.party, *step.providers)}
    for person in context.workspace.test_persons.get("persons", ()):
        if person["agency"] in concerned:
            yield TestPersonView(
                national_id=str(person["national_id"]),
                agency=person["agency"],
                agency_name=context.agency_name(person["agency"]),
                behaviour=person["behaviour"],
                behaviour_title=BEHAVIOURS[person["behaviour"]],
                name=Text(en=person["name"]["en"], ar=person["name"]["ar"]),
            )
