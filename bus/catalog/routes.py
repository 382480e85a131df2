"""Whether ``routes.yaml`` makes sense: every agency, contract, purpose and operation that it names is there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bus.catalog.document import Document, Place, suggest
from bus.catalog.flow import Flow, flow_faults
from bus.catalog.shelf import Shelf, UnknownMemberError, contract_file
from bus.catalog.workspace import AdapterManifest
from bus.errors import Fault
from bus.process.closure import input_contract, output_contract
from bus.process.mapping import split_pointer

_ENDS = {
    "required": {"on_refused": "reject", "on_exhausted": "park", "on_deadline": "park"},
    "optional": {"on_refused": "continue", "on_exhausted": "fail", "on_deadline": "continue"},
}
_INPUT_CONTRACT = re.compile(r"operation/(.+)\.input")


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the routes may refer to."""

    #: Of the right shape; any name may be missing, because it was faulty.
    document: Document
    shelf: Shelf
    #: Contracts that are there, whether or not they can serve.
    contracts: frozenset[str]
    #: The folders below ``adapters/``; None where the manifest cannot be used.
    adapters: Mapping[str, AdapterManifest | None]


def routes_faults(known: Known) -> Iterator[Fault]:
    """Everything in the routes that is wrong although its shape is right."""
    routes = known.document.value
    yield from _default_faults(known.document)
    for agency, content in _records(routes, "agencies").items():
        yield from _agency_faults(known, ("agencies", agency), content)
    for name, service in _records(routes, "services").items():
        at = ("services", name)
        yield from _contract_faults(known, at, service)
        yield from _consumer_faults(known, at, service)
        for step, content in _records(service, "steps").items():
            yield from _operation_faults(known, (*at, "steps", step), content)
        flow = Flow(document=known.document, shelf=known.shelf, at=at, service=service, defaults=ends(routes))
        yield from flow_faults(flow)


def contract_of(file: str) -> str:
    """The contract that ``request:`` or ``result:`` names by its file below ``schemas/``."""
    return file.removesuffix(".json")


def ends(routes: Mapping[str, Any]) -> Mapping[str, Mapping[str, str]]:
    """What follows a refusal, exhaustion or a deadline, for ``required`` and ``optional`` steps that say nothing."""
    said = routes.get("defaults", {})
    return {kind: {**default, **said.get(kind, {})} for kind, default in _ENDS.items()}


def _records(parent: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return {key: value for key, value in (parent.get(name) or {}).items() if isinstance(value, dict)}


def _default_faults(document: Document) -> Iterator[Fault]:
    at = ("defaults", "optional", "on_refused")
    if document.value.get("defaults", {}).get("optional", {}).get("on_refused") == "reject":
        message = "An optional step cannot reject the request."
        yield document.fault(at, "optional-rejects", message, "Write continue, or leave it out.")


def _agency_faults(known: Known, at: Place, agency: Mapping[str, Any]) -> Iterator[Fault]:
    adapter = agency.get("adapter")
    if adapter is not None and agency.get("desk"):
        message = f"{at[-1]} has an adapter and a desk."
        yield known.document.fault((*at, "desk"), "two-ways", message, "Keep one; an environment may still use a desk.")
    if adapter is not None and adapter not in known.adapters:
        message = f"There is no folder adapters/{adapter} with a manifest.yaml."
        yield known.document.fault((*at, "adapter"), "unknown-adapter", message, suggest(adapter, known.adapters))


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
    agencies, purposes = document.value.get("agencies", {}), document.value.get("purposes", {})
    for consumer, grant in _records(service, "consumers").items():
        here = (*at, "consumers", consumer)
        if consumer not in agencies:
            message = f"There is no agency {consumer}."
            yield document.fault(here, "unknown-agency", message, suggest(consumer, agencies), name=True)
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


def _operation_faults(known: Known, at: Place, step: Mapping[str, Any]) -> Iterator[Fault]:
    """The provider can be asked, and offers the operation of the step and that of its compensation."""
    provider = step.get("provider")
    agencies = _records(known.document.value, "agencies")
    if not isinstance(provider, str):
        return
    if provider not in agencies:
        message = f"There is no agency {provider}."
        yield known.document.fault((*at, "provider"), "unknown-agency", message, suggest(provider, agencies))
        return
    agency = agencies[provider]
    if "adapter" not in agency and not agency.get("desk"):
        message = f"{provider} has neither an adapter nor a desk, so it answers nothing."
        mend = f"Give {provider} an adapter: or desk: true."
        yield known.document.fault((*at, "provider"), "no-adapter", message, mend)
        return
    places = [((*at, "operation"), step.get("operation"))]
    if isinstance(step.get("compensate"), dict):
        places.append(((*at, "compensate", "operation"), step["compensate"].get("operation")))
    for place, operation in places:
        if operation is not None:
            yield from _offer_faults(known, place, operation, provider, agency)


def _offer_faults(known: Known, at: Place, operation: str, provider: str, agency: Mapping[str, Any]) -> Iterator[Fault]:
    contracts = (input_contract(operation), output_contract(operation))
    missing = [contract_file(name) for name in contracts if name not in known.contracts]
    if agency.get("desk"):
        if missing:
            known_names = [match[1] for name in known.contracts if (match := _INPUT_CONTRACT.fullmatch(name))]
            message = f"A desk can answer {operation} only with {' and '.join(missing)}."
            yield known.document.fault(at, "unknown-operation", message, suggest(operation, known_names))
        return
    manifest = known.adapters.get(agency["adapter"])
    if manifest is None:
        return
    if operation not in manifest.operations:
        message = f"The adapter of {provider} does not offer {operation}."
        yield known.document.fault(at, "unknown-operation", message, suggest(operation, manifest.operations))
    elif missing:
        message = f"There is no {' and no '.join(missing)}."
        yield known.document.fault(at, "contract-missing", message, "Add the contract of the operation.")
