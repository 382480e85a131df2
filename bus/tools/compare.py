"""What a new workspace takes away from an old one that requests begun under the old one may still need."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bus.catalog import Service, Workspace
from bus.catalog.document import Document, Place, read_bytes, read_document
from bus.catalog.shelf import contract_file
from bus.errors import Fault
from bus.process.closure import from_closure, input_contract, output_contract

_WAIT = "Keep it until no open request needs it."


def dropped(old: Workspace, new: Workspace) -> tuple[Fault, ...]:
    """Services, operations and contracts of ``old`` that ``new`` no longer has, placed where they are missed.

    An open request is pinned to the steps that it began with, so that its providers must go on answering them. Whether
    a contract of the same name still means the same is not asked.
    """
    faults = [fault for name, service in old.services.items() for fault in _dropped_of(name, service, new)]
    return tuple(dict.fromkeys(faults))


def _dropped_of(name: str, service: Service, new: Workspace) -> Iterator[Fault]:
    if name not in new.services:
        message = f"The service {name} is gone: nobody can ask for it any more."
        yield _fault(new.root, "routes.yaml", ("services", name), "dropped-service", message)
    for provider, operation in _asked(service):
        if not _offers(new, provider, operation):
            message = f"{provider} no longer offers {operation}, which requests of {name} may still need."
            yield _fault(new.root, *_offer_place(new, provider, operation), "dropped-operation", message)
    _, contracts = from_closure(service.closure)
    for contract in contracts.names():
        if contract not in new.contracts:
            message = f"The contract {contract} is gone, which requests of {name} may still need."
            yield Fault(code="dropped-contract", message=message, mend=_WAIT, file=contract_file(contract))


def _asked(service: Service) -> Iterator[tuple[str, str]]:
    for step in service.definition.steps.values():
        for provider in step.providers:
            yield provider, step.operation
            if step.compensate is not None:
                yield provider, step.compensate.operation


def _offers(workspace: Workspace, provider: str, operation: str) -> bool:
    if provider not in workspace.agencies:
        return False
    if workspace.agencies[provider].desk or workspace.env.agencies[provider].use == "desk":
        return input_contract(operation) in workspace.contracts and output_contract(operation) in workspace.contracts
    return provider in workspace.adapters and operation in workspace.adapters[provider].operations


def _offer_place(workspace: Workspace, provider: str, operation: str) -> tuple[str, Place]:
    if provider not in workspace.adapters:
        return "routes.yaml", ("agencies", provider)
    return f"adapters/{workspace.adapters[provider].id}/manifest.yaml", ("operations", operation)


def _fault(root: Path, file: str, at: Place, code: str, message: str) -> Fault:
    return _document(root, file).fault(at, code, message, _WAIT)


def _document(root: Path, file: str) -> Document:
    raw, _ = read_bytes(root, root / file)
    return read_document(file, raw)[0]
