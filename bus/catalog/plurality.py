"""Steps that are more than one call or have more than one possible provider: ``for_each`` and ``one_of``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bus.catalog.document import Place
from bus.catalog.members import members_of
from bus.catalog.shelf import PrefixItemsError, Spot, contract_file
from bus.catalog.source import Flow, Reader, contract_behind, readable, source_of, why_absent
from bus.errors import Fault


def list_faults(flow: Flow, at: Place, step: Mapping[str, Any], reader: Reader) -> Iterator[Fault]:
    """``for_each`` reads a list of which the contracts say the most items, and no more than ``most``."""
    text = step.get("for_each")
    if not isinstance(text, str):
        return
    here = (*at, "for_each")
    path, faults = readable(flow, here, text, reader)
    yield from faults
    if path is None:
        return
    source, faults = source_of(flow, here, path, reader)
    yield from faults
    if source.is_list:
        message = f"{path.step} is done for each item of a list itself: nobody can say when its answers are all there."
        mend = "Read the list that it reads, or a list in the answer of a step that is done once."
        yield flow.document.fault(here, "list-of-answers", message, mend)
    elif path.members and source.spot is None:
        return  # told where the contract is named
    elif source.spot is None or source.spot.kinds != {"array"}:
        message = f"{text} is not always a list."
        yield flow.document.fault(here, "wrong-type", message, "Read a list of the request or of an earlier step.")
    else:
        file = contract_file(contract_behind(flow, path, reader))
        yield from _contract_list_faults(flow, at, text, step, source.spot, file)


def _contract_list_faults(
    flow: Flow, at: Place, text: str, step: Mapping[str, Any], spot: Spot, file: str
) -> Iterator[Fault]:
    here = (*at, "for_each")
    try:
        flow.shelf.items(spot)
    except PrefixItemsError:
        message = f"The contract of {text} uses prefixItems, which are not supported here."
        yield flow.document.fault(here, "not-supported", message, "Give its items one schema, with items:.")
    most = step.get("most")
    if spot.most is None:
        message = f"The contract does not say how many items {text} may have."
        mend = f"Add maxItems{f' (at most {most})' if most else ''} to it in {file}."
        yield flow.document.fault(here, "unlimited-list", message, mend)
    elif isinstance(most, int) and spot.most > most:
        message = f"{text} may have {spot.most} items."
        yield flow.document.fault(
            (*at, "most"), "list-too-long", message, f"Write {spot.most}, or lower maxItems in {file}."
        )


def choice_faults(flow: Flow, at: Place, step: Mapping[str, Any], reader: Reader) -> Iterator[Fault]:
    """``by`` reads a code that is always there, and of which the group has every one that may stand there."""
    provider = step.get("provider")
    text = provider.get("by") if isinstance(provider, dict) else None
    if not isinstance(provider, dict) or not isinstance(text, str):
        return
    here = (*at, "provider", "by")
    path, faults = readable(flow, here, text, reader)
    yield from faults
    if path is None:
        return
    source, faults = source_of(flow, here, path, reader)
    yield from faults
    if source.is_list or (source.spot is not None and source.spot.kinds != {"string"}):
        message = f"{text} is not always a text, and the code of a member is one."
        yield flow.document.fault(here, "wrong-type", message, "Read the code of one member.")
        return
    code, message = why_absent(flow, path, source, reader)
    if code:
        mend = "Read something that is always there, or give the step a when: on it."
        yield flow.document.fault(here, code, f"{message}, and nobody would be asked.", mend)
    if source.spot is not None:
        yield from _code_faults(flow, here, text, provider.get("one_of"), source.spot)


def _code_faults(flow: Flow, at: Place, text: str, group: Any, spot: Spot) -> Iterator[Fault]:
    members = members_of(flow.document.value.get("groups", {}).get(group) or {})
    missing = [str(choice) for choice in spot.choices or () if choice not in {member["code"] for member in members}]
    if members and missing:
        message = f"{text} may be {', '.join(missing)}, and no member of {group} has that code."
        yield flow.document.fault(
            at, "unknown-code", message, "Add the members, or take the codes out of the contract."
        )
