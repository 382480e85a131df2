"""Whether agencies, groups and the providers of steps can answer: by an adapter that offers it, or at a desk."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bus.catalog.document import Document, Place, suggest
from bus.catalog.members import group_faults, is_whole, members_of, roster
from bus.catalog.shelf import Shelf, contract_file
from bus.catalog.workspace import AdapterManifest
from bus.errors import Fault
from bus.process.closure import input_contract, output_contract

_INPUT_CONTRACT = re.compile(r"operation/(.+)\.input")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parties:
    """The agencies and groups that a file may name."""

    #: By id, as written, the members of groups among them.
    agencies: Mapping[str, Mapping[str, Any]]
    groups: Mapping[str, Mapping[str, Any]]
    #: False where the members of some group are faulty: nobody can say then that an agency is unknown.
    is_whole: bool

    def lacks(self, name: str) -> bool:
        """Whether there is certainly no agency of this name."""
        return self.is_whole and name not in self.agencies


@dataclass(frozen=True, kw_only=True)
class Known:
    """What the routes may refer to."""

    #: Of the right shape; any name may be missing, because it was faulty.
    document: Document
    shelf: Shelf
    #: Contracts that are there, whether or not they can serve.
    contracts: frozenset[str]
    #: The folders below ``adapters/``; None where the manifest cannot be used.
    adapters: Mapping[str, AdapterManifest | None]

    @cached_property
    def agencies(self) -> Mapping[str, Mapping[str, Any]]:
        """Every agency by id, the members of groups among them."""
        return roster(self.document.value)

    @cached_property
    def groups(self) -> Mapping[str, Mapping[str, Any]]:
        """Every group by id."""
        return records(self.document.value, "groups")

    @cached_property
    def parties(self) -> Parties:
        """The same agencies and groups, for other files that name them."""
        whole = all(is_whole(group) for group in self.groups.values())
        return Parties(agencies=self.agencies, groups=self.groups, is_whole=whole)


def records(parent: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The members of a section that are records; others were told as faults of shape."""
    return {key: value for key, value in (parent.get(name) or {}).items() if isinstance(value, dict)}


def party_faults(known: Known) -> Iterator[Fault]:
    """Agencies and groups that nobody could reach as they are written."""
    for agency, content in records(known.document.value, "agencies").items():
        yield from _way_faults(known, ("agencies", agency), content)
    for group, content in known.groups.items():
        at = ("groups", group)
        yield from _way_faults(known, at, content)
        if "adapter" not in content and not content.get("desk"):
            message = f"{group} has neither an adapter nor a desk, so its members answer nothing."
            yield known.document.fault(at, "no-adapter", message, f"Give {group} an adapter: or desk: true.", name=True)
        elif "adapter" not in content:
            for index, member in enumerate(members_of(content)):
                if member.get("desk") is False:
                    message = f"{member['id']} is to have no desk, and {group} has no adapter."
                    place = (*at, "members", index, "desk")
                    yield known.document.fault(place, "no-adapter", message, "Leave its desk out.")
    yield from group_faults(known.document)


def _way_faults(known: Known, at: Place, content: Mapping[str, Any]) -> Iterator[Fault]:
    adapter = content.get("adapter")
    if adapter is not None and content.get("desk"):
        message = f"{at[-1]} has an adapter and a desk."
        yield known.document.fault((*at, "desk"), "two-ways", message, "Keep one; an environment may still use a desk.")
    if adapter is not None and adapter not in known.adapters:
        message = f"There is no folder adapters/{adapter} with a manifest.yaml."
        yield known.document.fault((*at, "adapter"), "unknown-adapter", message, suggest(adapter, known.adapters))


def provider_faults(known: Known, at: Place, step: Mapping[str, Any]) -> Iterator[Fault]:
    """The provider of the step can be asked, and offers the operation of the step and that of its compensation."""
    provider = step.get("provider")
    if isinstance(provider, str):
        party, fault = _agency(known, (*at, "provider"), provider)
    elif isinstance(provider, dict) and isinstance(provider.get("one_of"), str):
        party, fault = _group(known, (*at, "provider", "one_of"), provider["one_of"])
    else:
        return
    if fault is not None:
        yield fault
        return
    places = [((*at, "operation"), step.get("operation"))]
    if isinstance(step.get("compensate"), dict):
        places.append(((*at, "compensate", "operation"), step["compensate"].get("operation")))
    name = provider if isinstance(provider, str) else provider["one_of"]
    for place, operation in places:
        if operation is not None:
            yield from _offer_faults(known, place, operation, name, party)


def _agency(known: Known, at: Place, name: str) -> tuple[Mapping[str, Any], Fault | None]:
    """The agency that is named as the provider of a step, or why it cannot be one."""
    if name in known.groups:
        message = f"{name} is a group."
        mend = f"Write {{one_of: {name}, by: <path to the code of the member>}}."
        return {}, known.document.fault(at, "group-as-agency", message, mend)
    if known.parties.lacks(name):
        message = f"There is no agency {name}."
        return {}, known.document.fault(at, "unknown-agency", message, suggest(name, known.agencies))
    agency = known.agencies.get(name, {"desk": True})
    if "adapter" not in agency and not agency.get("desk"):
        message = f"{name} has neither an adapter nor a desk, so it answers nothing."
        return {}, known.document.fault(at, "no-adapter", message, f"Give {name} an adapter: or desk: true.")
    return agency, None


def _group(known: Known, at: Place, name: str) -> tuple[Mapping[str, Any], Fault | None]:
    if name in known.groups:
        return known.groups[name], None
    message, mend = f"There is no group {name}.", suggest(name, known.groups)
    if name in known.agencies:
        message, mend = f"{name} is an agency.", f"Write provider: {name}."
    return {}, known.document.fault(at, "unknown-group", message, mend)


def _offer_faults(known: Known, at: Place, operation: str, name: str, party: Mapping[str, Any]) -> Iterator[Fault]:
    contracts = (input_contract(operation), output_contract(operation))
    missing = [contract_file(name) for name in contracts if name not in known.contracts]
    if "adapter" not in party:
        if party.get("desk") and missing:
            known_names = [match[1] for name in known.contracts if (match := _INPUT_CONTRACT.fullmatch(name))]
            message = f"A desk can answer {operation} only with {' and '.join(missing)}."
            yield known.document.fault(at, "unknown-operation", message, suggest(operation, known_names))
        return
    manifest = known.adapters.get(party["adapter"])
    if manifest is None:
        return
    if operation not in manifest.operations:
        message = f"The adapter of {name} does not offer {operation}."
        yield known.document.fault(at, "unknown-operation", message, suggest(operation, manifest.operations))
    elif missing:
        message = f"There is no {' and no '.join(missing)}."
        yield known.document.fault(at, "contract-missing", message, "Add the contract of the operation.")
