"""Whether the steps of a service fit together: their order, and every path from where it reads to where it writes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bus.catalog.document import Place, suggest
from bus.catalog.plurality import choice_faults, list_faults
from bus.catalog.shelf import PrefixItemsError, Spot, UnknownMemberError
from bus.catalog.source import Flow, Reader, Source, parsed, readable, source_of, why_absent
from bus.errors import Fault
from bus.process.closure import input_contract


def flow_faults(flow: Flow) -> Iterator[Fault]:
    """Every fault in the order of the steps and in the paths of one service."""
    yield from _subject_faults(flow)
    for name, step in flow.steps.items():
        at = (*flow.at, "steps", name)
        yield from _order_faults(flow, at, name, step)
        when = step.get("when")
        faults = tuple(_when_faults(flow, (*at, "when"), when, Reader(step=name)))
        yield from faults
        yield from list_faults(flow, at, step, Reader(step=name, when=when, is_vague=bool(faults)))
        reader = Reader(step=name, has_item="for_each" in step, when=when, is_vague=bool(faults))
        yield from choice_faults(flow, at, step, reader)
        yield from _operation_faults(flow, at, step, reader)
        if isinstance(step.get("compensate"), dict):
            own = Reader(step=name, has_item=reader.has_item, when=when, is_vague=bool(faults), own=True)
            yield from _operation_faults(flow, (*at, "compensate"), step["compensate"], own)
    result = str(flow.service.get("result", "")).removesuffix(".json")
    if "output" in flow.service:
        yield from _values_faults(flow, (*flow.at, "output"), flow.service["output"], result, Reader())


def _order_faults(flow: Flow, at: Place, name: str, step: Mapping[str, Any]) -> Iterator[Fault]:
    for index, need in enumerate(step.get("needs", ())):
        if need not in flow.steps:
            message = f"There is no step {need}."
            yield flow.document.fault((*at, "needs", index), "unknown-step", message, suggest(need, flow.steps))
    circle = [other for other in flow.steps if other in flow.before[name] and name in flow.before[other]]
    if circle and circle[0] == name:
        message = f"These steps wait for one another: {', '.join(circle)}."
        yield flow.document.fault((*at, "needs"), "circle", message, "Take one of these needs away.")
    if step.get("final"):
        required = [other for other, content in flow.steps.items() if other != name and not content.get("optional")]
        late = [other for other in required if other not in flow.before[name]]
        if late:
            message = f"{name} is final, yet it does not wait for {', '.join(late)}."
            mend = f"Add {', '.join(late)} to its needs."
            yield flow.document.fault((*at, "final"), "final-too-early", message, mend, name=True)
    if step.get("optional") and step.get("on_refused") == "reject":
        message = "An optional step cannot reject the request."
        mend = "Write continue, or make the step required."
        yield flow.document.fault((*at, "on_refused"), "optional-rejects", message, mend)


def _subject_faults(flow: Flow) -> Iterator[Fault]:
    text = flow.service.get("subject")
    if text is None:
        return
    at = (*flow.at, "subject")
    path, faults = parsed(flow, at, text)
    if path is not None and path.root != "request":
        message = "The subject is read from the request."
        faults = (flow.document.fault(at, "bad-path", message, "Write request.<member>."),)
    yield from faults
    if path is None or faults:
        return
    source, faults = source_of(flow, at, path, Reader())
    yield from faults
    if source.spot is not None and source.spot.kinds != {"string"}:
        message = "The subject is not always a text."
        yield flow.document.fault(at, "wrong-type", message, "Choose the identifier of the person or thing.")
    elif source.spot is not None and source.spot.sure_from:
        message = "The subject may be absent from a request."
        yield flow.document.fault(at, "optional-source", message, "Make it required in the request's contract.")


def _when_faults(flow: Flow, at: Place, when: Any, reader: Reader) -> Iterator[Fault]:
    text = when.get("path") if isinstance(when, dict) else when
    place = (*at, "path") if isinstance(when, dict) else at
    if not isinstance(text, str):
        return
    path, faults = readable(flow, place, text, reader)
    yield from faults
    if path is None:
        return
    source, faults = source_of(flow, place, path, reader)
    yield from faults
    if source.is_list:
        message = f"{path.step} is done for each item, so {text} is a list and no condition."
        yield flow.document.fault(place, "list-as-condition", message, "Read the request, or a step that is done once.")
    elif source.spot is not None and isinstance(when, dict):
        for index, literal in enumerate(when.get("in", ())):
            if not flow.shelf.allows(source.spot, literal):
                message = f"{text} can never have this value."
                mend = suggest(str(literal), map(str, source.spot.choices or ()))
                yield flow.document.fault((*at, "in", index), "wrong-value", message, mend)


def _operation_faults(flow: Flow, at: Place, content: Mapping[str, Any], reader: Reader) -> Iterator[Fault]:
    if "input" in content and "operation" in content:
        contract = input_contract(content["operation"])
        yield from _values_faults(flow, (*at, "input"), content["input"], contract, reader)


def _values_faults(flow: Flow, at: Place, values: Mapping[str, Any], contract: str, reader: Reader) -> Iterator[Fault]:
    """The values make an object that obeys the contract, whatever the request and the steps bring."""
    sound = contract in flow.shelf
    required = flow.shelf.required(contract) if sound else ()
    for missing in (name for name in required if name not in values and (*at, name) not in flow.document.names):
        message = f"{contract} requires {missing}."
        yield flow.document.fault(at, "missing-member", message, f"Add {missing}.")
    for name, value in values.items():
        here = (*at, name)
        target = None
        if sound:
            try:
                target = flow.shelf.find(contract, (name,))
            except UnknownMemberError as error:
                message = f"{contract} has no {name}."
                yield flow.document.fault(here, "unknown-member", message, suggest(name, error.known), name=True)
        if isinstance(value, str):
            yield from _path_faults(flow, here, value, target, reader, is_required=name in required)
        elif target is not None and "const" in value and not flow.shelf.allows(target, value["const"]):
            mend = suggest(str(value["const"]), map(str, target.choices or ()))
            yield flow.document.fault((*here, "const"), "wrong-value", f"{name} cannot have this value.", mend)


def _path_faults(
    flow: Flow, at: Place, text: str, target: Spot | None, reader: Reader, *, is_required: bool
) -> Iterator[Fault]:
    path, faults = readable(flow, at, text, reader)
    yield from faults
    if path is None:
        return
    source, faults = source_of(flow, at, path, reader)
    yield from faults
    spot = source.spot
    if (not path.members and path.root != "item") or (spot is not None and spot.kinds & {"object", "array"}):
        message = f"{text} is a whole record; a step gets single values only."
        yield flow.document.fault(at, "whole-record", message, "Name the members that are needed, one by one.")
        return
    if target is None or spot is None:
        return
    yield from _list_fit(flow, at, text, source, target) if source.is_list else _fit(flow, at, text, spot, target)
    code, message = why_absent(flow, path, source, reader)
    if is_required and code:
        mend = "Read a step that always has output."
        if code == "optional-source":
            mend = "Read something that is always there, or give the step a when: on it."
        yield flow.document.fault(at, code, f"{message}, and {at[-1]} is required.", mend)


def _list_fit(flow: Flow, at: Place, text: str, source: Source, target: Spot) -> Iterator[Fault]:
    """A list of one value for each item goes into a list of such values, and into nothing else."""
    if "array" not in target.kinds:
        kinds = " or ".join(sorted(target.kinds)) or "a single value"
        message = f"{text} is a list of one value for each item, and {at[-1]} takes {kinds}."
        yield flow.document.fault(at, "wrong-type", message, "Read a step that is done once, or take a list there.")
        return
    if target.most is not None and (source.most or 0) > target.most:
        message = f"{text} may have {source.most} values, and {at[-1]} takes {target.most}."
        yield flow.document.fault(at, "list-too-long", message, "Make most and the two contracts agree.")
    try:
        items = flow.shelf.items(target)
    except PrefixItemsError:
        message = f"The contract of {at[-1]} uses prefixItems, which are not supported here."
        yield flow.document.fault(at, "not-supported", message, "Give its items one schema, with items:.")
        return
    if items is not None and source.spot is not None:
        yield from _fit(flow, at, f"Each value of {text}", source.spot, items)


def _fit(flow: Flow, at: Place, text: str, source: Spot, target: Spot) -> Iterator[Fault]:
    takes = target.kinds | ({"integer"} if "number" in target.kinds else set())
    if takes and (not source.kinds or not source.kinds <= takes):
        kinds = " or ".join(sorted(source.kinds)) or "of any type"
        message = f"{text} is {kinds}, and {at[-1]} takes {' or '.join(sorted(target.kinds))}."
        yield flow.document.fault(at, "wrong-type", message, "Read a value of that type.")
    elif target.choices is not None and any(choice not in target.choices for choice in source.choices or (None,)):
        message = f"{text} may have values that {at[-1]} does not take: {', '.join(map(str, target.choices))}."
        yield flow.document.fault(at, "wrong-choices", message, "Make the two contracts agree.")
