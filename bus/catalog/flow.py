"""Whether the steps of a service fit together: their order, and every path from where it reads to where it writes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bus.catalog.document import Document, Place, suggest
from bus.catalog.shelf import Shelf, Spot, UnknownMemberError
from bus.errors import Fault
from bus.process.closure import input_contract, output_contract
from bus.process.definition import Path
from bus.process.mapping import parse_path


@dataclass(frozen=True, kw_only=True)
class Flow:
    """One service as its document has it; any name may be missing there, because it was faulty."""

    document: Document
    shelf: Shelf
    at: Place
    service: Mapping[str, Any]
    #: ``required`` and ``optional``: what follows a refusal or a deadline where a step says nothing.
    defaults: Mapping[str, Mapping[str, str]]

    @cached_property
    def steps(self) -> Mapping[str, Mapping[str, Any]]:
        """The steps by name, in the order of the file."""
        return {name: step for name, step in self.service.get("steps", {}).items() if isinstance(step, dict)}

    @cached_property
    def before(self) -> Mapping[str, frozenset[str]]:
        """For each step the steps that it needs, directly or not; a step on a circle needs itself."""
        needs = {name: step.get("needs", ()) for name, step in self.steps.items()}
        return {name: reach(name, needs) for name in needs}

    def end(self, step: str, event: str) -> str:
        """What the step does on ``on_refused``, ``on_exhausted`` or ``on_deadline``."""
        content = self.steps[step]
        return str(content.get(event, self.defaults["optional" if content.get("optional") else "required"][event]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Who reads a path: a step, the compensation of a step, or the result of the service."""

    #: "" for the result.
    step: str = ""
    #: A compensation runs only once its step has succeeded, so it may read that step's output.
    own: bool = False
    #: The step's ``when``; where it holds, its path is present.
    when: Any = None
    #: The ``when`` is faulty: nothing can be said about what is present where it holds.
    is_vague: bool = False


def reach(name: str, needs: Mapping[str, Iterable[str]]) -> frozenset[str]:
    """The names that ``name`` needs, directly or not."""
    found: set[str] = set()
    waiting = list(needs[name])
    while waiting:
        other = waiting.pop()
        if other in needs and other not in found:
            found.add(other)
            waiting += needs[other]
    return frozenset(found)


def flow_faults(flow: Flow) -> Iterator[Fault]:
    """Every fault in the order of the steps and in the paths of one service."""
    yield from _subject_faults(flow)
    for name, step in flow.steps.items():
        at = (*flow.at, "steps", name)
        yield from _order_faults(flow, at, name, step)
        when = step.get("when")
        faults = tuple(_when_faults(flow, (*at, "when"), when, Reader(step=name)))
        yield from faults
        reader = Reader(step=name, when=when, is_vague=bool(faults))
        yield from _operation_faults(flow, at, step, reader)
        if isinstance(step.get("compensate"), dict):
            own = Reader(step=name, when=when, is_vague=bool(faults), own=True)
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
    path, faults = _parsed(flow, at, text)
    if path is not None and path.root != "request":
        message = "The subject is read from the request."
        faults = (flow.document.fault(at, "bad-path", message, "Write request.<member>."),)
    yield from faults
    if path is None or faults:
        return
    spot, faults = _spot(flow, at, path, Reader())
    yield from faults
    if spot is not None and spot.kinds != {"string"}:
        message = "The subject is not always a text."
        yield flow.document.fault(at, "wrong-type", message, "Choose the identifier of the person or thing.")
    elif spot is not None and spot.sure_from:
        message = "The subject may be absent from a request."
        yield flow.document.fault(at, "optional-source", message, "Make it required in the request's contract.")


def _when_faults(flow: Flow, at: Place, when: Any, reader: Reader) -> Iterator[Fault]:
    text = when.get("path") if isinstance(when, dict) else when
    place = (*at, "path") if isinstance(when, dict) else at
    if not isinstance(text, str):
        return
    path, faults = _readable(flow, place, text, reader)
    yield from faults
    if path is None:
        return
    spot, faults = _spot(flow, place, path, reader)
    yield from faults
    if spot is not None and isinstance(when, dict):
        for index, literal in enumerate(when.get("in", ())):
            if not flow.shelf.allows(spot, literal):
                message = f"{text} can never have this value."
                mend = suggest(str(literal), map(str, spot.choices or ()))
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
    path, faults = _readable(flow, at, text, reader)
    yield from faults
    if path is None:
        return
    spot, faults = _spot(flow, at, path, reader)
    yield from faults
    if not path.members or (spot is not None and spot.kinds & {"object", "array"}):
        message = f"{text} is a whole record; a step gets single values only."
        yield flow.document.fault(at, "whole-record", message, "Name the members that are needed, one by one.")
        return
    if target is None or spot is None:
        return
    yield from _fit_faults(flow, at, text, spot, target)
    if reader.is_vague:
        return
    if is_required and spot.sure_from > _vouched(path, reader.when):
        message = f"{text} may be absent, and {at[-1]} is required."
        mend = "Read something that is always there, or give the step a when: on it."
        yield flow.document.fault(at, "optional-source", message, mend)
    elif is_required and path.root == "steps" and (why := _may_lack_output(flow, path.step, reader)):
        message = f"The step {path.step} may end without output ({why}), and {at[-1]} is required."
        yield flow.document.fault(at, "skipped-source", message, "Read a step that always has output.")


def _fit_faults(flow: Flow, at: Place, text: str, source: Spot, target: Spot) -> Iterator[Fault]:
    takes = target.kinds | ({"integer"} if "number" in target.kinds else set())
    if takes and (not source.kinds or not source.kinds <= takes):
        kinds = " or ".join(sorted(source.kinds)) or "of any type"
        message = f"{text} is {kinds}, and {at[-1]} takes {' or '.join(sorted(target.kinds))}."
        yield flow.document.fault(at, "wrong-type", message, "Read a value of that type.")
    elif target.choices is not None and any(choice not in target.choices for choice in source.choices or (None,)):
        message = f"{text} may have values that {at[-1]} does not take: {', '.join(map(str, target.choices))}."
        yield flow.document.fault(at, "wrong-choices", message, "Make the two contracts agree.")


def _parsed(flow: Flow, at: Place, text: str) -> tuple[Path | None, tuple[Fault, ...]]:
    try:
        path = parse_path(text)
    except ValueError as error:
        return None, (flow.document.fault(at, "bad-path", str(error)),)
    if path.root == "item":
        message = "Steps for each item of a list cannot be used yet, so there is no item."
        return None, (flow.document.fault(at, "not-yet", message, "Read from request or steps."),)
    return path, ()


def _readable(flow: Flow, at: Place, text: str, reader: Reader) -> tuple[Path | None, tuple[Fault, ...]]:
    """The path, if it is one and what it reads is decided by the time the reader reads it."""
    path, faults = _parsed(flow, at, text)
    if path is None or path.root == "request":
        return path, faults
    if path.root == "input":
        if reader.own:
            return path, ()
        message = "Only a compensation can read what its step was given."
        return None, (flow.document.fault(at, "bad-path", message, "Write request.<member> or steps.<step>.<member>."),)
    if path.step not in flow.steps:
        mend = suggest(path.step, flow.steps)
        return None, (flow.document.fault(at, "unknown-step", f"There is no step {path.step}.", mend),)
    if not reader.step or (reader.own and path.step == reader.step) or path.step in flow.before[reader.step]:
        return path, ()
    message = f"{reader.step} reads {path.step} without waiting for it."
    mend = f"Add {path.step} to the needs of {reader.step}."
    if path.step == reader.step:
        message, mend = f"{reader.step} reads its own output.", "Read the request or an earlier step."
    return None, (flow.document.fault(at, "not-needed", message, mend),)


def _spot(flow: Flow, at: Place, path: Path, reader: Reader) -> tuple[Spot | None, tuple[Fault, ...]]:
    """What the contract behind the path says of its end; None where there is no contract to ask."""
    if path.root == "request":
        contract = str(flow.service.get("request", "")).removesuffix(".json")
    elif path.root == "input":
        contract = input_contract(str(flow.steps[reader.step].get("operation", "")))
    else:
        contract = output_contract(str(flow.steps[path.step].get("operation", "")))
    if contract not in flow.shelf or not path.members:
        return None, ()
    try:
        return flow.shelf.find(contract, path.members), ()
    except UnknownMemberError as error:
        message = f"{contract} has no {error.member} there."
        return None, (flow.document.fault(at, "unknown-member", message, suggest(error.member, error.known)),)


def _vouched(path: Path, when: Any) -> int:
    """How many members of the path are present because the reader's ``when`` holds."""
    text = when.get("path") if isinstance(when, dict) else when
    if not isinstance(text, str):
        return 0
    try:
        guard = parse_path(text)
    except ValueError:
        return 0
    if (guard.root, guard.step) != (path.root, path.step):
        return 0
    common = 0
    for one, other in zip(guard.members, path.members, strict=False):
        if one != other:
            break
        common += 1
    return common


def _may_lack_output(flow: Flow, step: str, reader: Reader) -> str:
    """Why the step may have no output although its reader runs; "" if it always has."""
    content = flow.steps[step]
    if reader.own and step == reader.step:
        return ""
    if content.get("when") is not None and content["when"] != reader.when:
        return "when"
    if content.get("optional"):
        return "optional"
    return next((event for event in ("on_refused", "on_deadline") if flow.end(step, event) == "continue"), "")
