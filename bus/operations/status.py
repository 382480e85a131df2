"""How the bus is doing, and what it offers."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from bus.catalog import Service
from bus.errors import ForbiddenError
from bus.message.text import Text
from bus.operations.agency import AgencyView, Nothing, agencies
from bus.operations.caller import Caller, Role
from bus.operations.context import Context
from bus.operations.given import ServiceName
from bus.operations.request import when
from bus.process.state import ALIVE, RequestState


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The whole bus at one instant."""

    at: str
    #: Requests by state.
    requests: dict[str, int]
    alive: int
    ended: int
    #: Submissions ever accepted.
    accepted: int
    #: Whether accepted = alive + ended. If not, a request is lost: `bus store recount` names it.
    adds_up: bool
    #: Messages that wait to be published.
    outbox: int
    #: At most 201: more are counted as "more than 200".
    open_failures: int
    next_due: str | None
    agencies: tuple[AgencyView, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """The gateway answers and its store can be read."""

    status: str
    version: str


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
    #: Purposes for which the asker may ask for it; all that exist for those who run the bus.
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
    agency: str
    agency_name: Text
    operation: str
    needs: tuple[str, ...]
    optional: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceView:
    """What a service asks for, does and gives."""

    service: str
    title: Text
    revision: str
    purposes: dict[str, Text]
    steps: tuple[ServiceStep, ...]
    #: JSON Schemas.
    request: Any
    result: Any


def show_status(context: Context, _caller: Caller, _given: Nothing) -> Status:
    """Counts, what waits to be published, and agencies."""
    # Other requests are accepted meanwhile: the sum lies between what was accepted before and after it.
    before, totals, after = context.store.accepted(), context.store.totals(), context.store.accepted()
    counted = sum(totals.values())
    accepted = min(max(counted, before), after)
    return Status(
        at=when(context.store.now()) or "",
        requests={state.value: totals.get(state, 0) for state in RequestState},
        alive=sum(count for state, count in totals.items() if state in ALIVE),
        ended=sum(count for state, count in totals.items() if state not in ALIVE),
        accepted=accepted,
        adds_up=accepted == counted,
        outbox=context.store.outbox_depth(),
        open_failures=len(context.store.failures(is_open=True, after=0, most=201)),
        next_due=when(context.store.next_due()),
        agencies=agencies(context),
    )


def show_health(context: Context, _caller: Caller, _given: Nothing) -> Health:
    """Whether the gateway and its store work; StoreUnavailableError if the store cannot be read."""
    context.store.epoch()
    try:
        number = version("g2g-bus")
    except PackageNotFoundError:
        number = "unknown"
    return Health(status="ok", version=number)


def list_services(context: Context, caller: Caller, _given: Nothing) -> ServiceLines:
    """The services that the caller may ask for, or all for those who run the bus and for clerks."""
    lines = [
        ServiceLine(
            service=name,
            title=service.definition.title,
            revision=service.revision,
            purposes=_purposes(service, caller),
        )
        for name, service in sorted(context.workspace.services.items())
        if _may_see(service, caller)
    ]
    return ServiceLines(items=tuple(lines))


def show_service(context: Context, caller: Caller, given: OneService) -> ServiceView:
    """One service with its contracts."""
    service = context.service(given.service)
    if not _may_see(service, caller):
        raise ForbiddenError(
            f"{caller.agency} may not ask for this service.",
            code="service-not-granted",
            mend="The service grants it under `consumers` in routes.yaml.",
        )
    definition, contracts = service.definition, context.workspace.contracts
    return ServiceView(
        service=given.service,
        title=definition.title,
        revision=service.revision,
        purposes={name: definition.purposes[name].title for name in _purposes(service, caller)},
        steps=tuple(
            ServiceStep(
                step=step.name,
                title=step.title,
                agency=step.party,
                agency_name=context.agency_name(step.party),
                operation=step.operation,
                needs=step.needs,
                optional=step.optional,
            )
            for step in definition.steps.values()
        ),
        request=contracts.schema(definition.request_contract),
        result=contracts.schema(definition.result_contract),
    )


def _may_see(service: Service, caller: Caller) -> bool:
    return caller.role is not Role.CONSUMER or caller.agency in service.definition.consumers


def _purposes(service: Service, caller: Caller) -> tuple[str, ...]:
    grant = service.definition.consumers.get(caller.agency or "")
    return grant.purposes if grant else () if caller.role is Role.CONSUMER else tuple(service.definition.purposes)
