"""Whether the routes make sense: every agency, contract, purpose and operation that they name is there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bus.catalog.document import Document, Place, suggest
from bus.catalog.flow import flow_faults
from bus.catalog.providers import Known, party_faults, provider_faults, records
from bus.catalog.shelf import UnknownMemberError, contract_file
from bus.catalog.source import Flow
from bus.errors import Fault
from bus.process.mapping import split_pointer

_ENDS = {
    "required": {"on_refused": "reject", "on_exhausted": "park", "on_deadline": "park"},
    "optional": {"on_refused": "continue", "on_exhausted": "fail", "on_deadline": "continue"},
}


def routes_faults(known: Known) -> Iterator[Fault]:
    """Everything in the routes that is wrong although its shape is right."""
    routes = known.document.value
    yield from _default_faults(known.document)
    yield from party_faults(known)
    for name, service in records(routes, "services").items():
        at = ("services", name)
        yield from _contract_faults(known, at, service)
        yield from _consumer_faults(known, at, service)
        for step, content in records(service, "steps").items():
            yield from provider_faults(known, (*at, "steps", step), content)
        flow = Flow(document=known.document, shelf=known.shelf, at=at, service=service, defaults=ends(routes))
        yield from flow_faults(flow)


def contract_of(file: str) -> str:
    """The contract that ``request:`` or ``result:`` names by its file below ``schemas/``."""
    return file.removesuffix(".json")


def ends(routes: Mapping[str, Any]) -> Mapping[str, Mapping[str, str]]:
    """What follows a refusal, exhaustion or a deadline, for ``required`` and ``optional`` steps that say nothing."""
    said = routes.get("defaults", {})
    return {kind: {**default, **said.get(kind, {})} for kind, default in _ENDS.items()}


def _default_faults(document: Document) -> Iterator[Fault]:
    at = ("defaults", "optional", "on_refused")
    if document.value.get("defaults", {}).get("optional", {}).get("on_refused") == "reject":
        message = "An optional step cannot reject the request."
        yield document.fault(at, "optional-rejects", message, "Write continue, or leave it out.")


def _contract_faults(known: Known, at: Place, service: Mapping[str, Any]) -> Iterator[Fault]:
    for member in ("request", "result"):
        file = service.get(member)
        if file is not None and contract_of(file) not in known.contracts:
            files = [contract_file(name).removeprefix("schemas/") for name in known.contracts]
            yield known.document.fault(
                (*at, member), "contract-missing", f"There is no schemas/{file}.", suggest(file, files)
            )


def _consumer_faults(known: Known, at: Place, service: Mapping[str, Any]) -> Iterator[Fault]:
    document = known.document
    purposes = document.value.get("purposes", {})
    for consumer, grant in records(service, "consumers").items():
        here = (*at, "consumers", consumer)
        if known.parties.lacks(consumer):
            message = f"There is no agency {consumer}."
            yield document.fault(here, "unknown-agency", message, suggest(consumer, known.agencies), name=True)
        for index, purpose in enumerate(grant.get("purposes", ())):
            if purpose not in purposes:
                message = f"There is no purpose {purpose}."
                mend = suggest(purpose, purposes)
                yield document.fault((*here, "purposes", index), "unknown-purpose", message, mend)
        for index, field in enumerate(grant.get("fields", ())):
            yield from _field_faults(known, (*here, "fields", index), field, contract_of(service.get("result", "")))


def _field_faults(known: Known, at: Place, field: str, result: str) -> Iterator[Fault]:
    if result not in known.shelf:
        return
    try:
        known.shelf.find(result, split_pointer(field))
    except ValueError as error:
        yield known.document.fault(at, "bad-pointer", str(error), "Write it like /company_number.")
    except UnknownMemberError as error:
        message = f"The result has no {error.member} there."
        mend = suggest(error.member, error.known)
        yield known.document.fault(at, "unknown-member", message, mend)
