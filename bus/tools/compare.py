"""What a new workspace takes away from an old one that requests begun under the old one may still need."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bus.catalog import Group, Service, Workspace
from bus.catalog.document import Document, Place, read_bytes, read_document
from bus.catalog.shelf import contract_file
from bus.errors import Fault
from bus.process.closure import from_closure, input_contract, output_contract

_WAIT = "Keep it until no open request needs it."


def dropped(old: Workspace, new: Workspace) -> tuple[Fault, ...]:
    """Services, operations, contracts, groups and their members that only ``old`` has, each where it is missed.

    An open request is pinned to the steps that it began with, so that its providers must go on answering them. Whether
    a contract of the same name still means the same is not asked.
    """
    faults = [fault for name, service in old.services.items() for fault in _dropped_of(name, service, old, new)]
    faults += [fault for group in old.groups.values() for fault in _dropped_members(group, new)]
    return tuple(dict.fromkeys(faults))


def _dropped_of(name: str, service: Service, old: Workspace, new: Workspace) -> Iterator[Fault]:
    if name not in new.services:
        message = f"The service {name} is gone: nobody can ask for it any more."
        yield _fault(new, ("services", name), "dropped-service", message)
    for provider, operation in _asked(service):
        # A member that is gone altogether is told once, with its group.
        is_told = old.agencies[provider].group is not None and provider not in new.agencies
        if not is_told and not _offers(new, provider, operation):
            message = f"{provider} no longer offers {operation}, which requests of {name} may still need."
            yield _offer_fault(new, provider, operation, message)
    _, contracts = from_closure(service.closure)
    for contract in contracts.names():
        if contract not in new.contracts:
            message = f"The contract {contract} is gone, which requests of {name} may still need."
            yield Fault(code="dropped-contract", message=message, mend=_WAIT, file=contract_file(contract))


def _dropped_members(group: Group, new: Workspace) -> Iterator[Fault]:
    """Codes that portals may still send, and agencies that open requests may still ask."""
    if group.id not in new.groups:
        message = f"The group {group.id} is gone: no request can choose from it any more."
        yield _fault(new, ("groups", group.id), "dropped-group", message)
        return
    members = new.groups[group.id].members
    at = ("groups", group.id, "members")
    for code, agency in group.members.items():
        if code not in members:
            message = f"The group {group.id} no longer has the code {code}, which requests may still name."
            yield _fault(new, at, "dropped-member", message)
        elif members[code] != agency:
            message = f"The code {code} of {group.id} now stands for {members[code]}, and open requests mean {agency}."
            yield _fault(new, at, "dropped-member", message)


def _asked(service: Service) -> Iterator[tuple[str, str]]:
    for step in service.definition.steps.values():
        for provider in step.providers:
            yield provider, step.operation
            if step.compensate is not None:
                yield provider, step.compensate.operation


def _offers(workspace: Workspace, provider: str, operation: str) -> bool:
    use = workspace.env.agencies.get(provider)
    if use is None:
        return False
    if workspace.agencies[provider].desk or use.use == "desk":
        return input_contract(operation) in workspace.contracts and output_contract(operation) in workspace.contracts
    return provider in workspace.adapters and operation in workspace.adapters[provider].operations


def _offer_fault(workspace: Workspace, provider: str, operation: str, message: str) -> Fault:
    if provider not in workspace.adapters:
        agency = workspace.agencies.get(provider)
        at = ("groups", agency.group) if agency is not None and agency.group else ("agencies", provider)
        return _fault(workspace, at, "dropped-operation", message)
    file = f"adapters/{workspace.adapters[provider].id}/manifest.yaml"
    return _document(workspace.root, file).fault(("operations", operation), "dropped-operation", message, _WAIT)


def _fault(workspace: Workspace, at: Place, code: str, message: str) -> Fault:
    document = workspace.routes or _document(workspace.root, "routes.yaml")
    return document.fault(at, code, message, _WAIT)


def _document(root: Path, file: str) -> Document:
    raw, _ = read_bytes(root, root / file)
    return read_document(file, raw)[0]
