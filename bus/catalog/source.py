"""What a path of a service reads: whether it may, what the contracts say of it, and whether it may be absent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bus.catalog.document import Document, Place, suggest
from bus.catalog.shelf import PrefixItemsError, Shelf, Spot, UnknownMemberError
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
    #: The step is done for each item of a list, and this is read for each of them.
    has_item: bool = False
    #: The step's ``when``; where it holds, its path is present.
    when: Any = None
    #: The ``when`` is faulty: nothing can be said about what is present where it holds.
    is_vague: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What a reader finds at a path."""

    #: One value, or each value of the list; None where there is no contract to ask.
    spot: Spot | None
    #: The path leads into the answers of a step that is done for each item: a list of one value for each.
    is_list: bool = False
    #: The most values of that list.
    most: int | None = None


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


def parsed(flow: Flow, at: Place, text: str) -> tuple[Path | None, tuple[Fault, ...]]:
    """The path that the text is, or None and the fault."""
    try:
        return parse_path(text), ()
    except ValueError as error:
        return None, (flow.document.fault(at, "bad-path", str(error)),)


def readable(flow: Flow, at: Place, text: str, reader: Reader) -> tuple[Path | None, tuple[Fault, ...]]:
    """The path, if it is one and what it reads is decided by the time the reader reads it."""
    path, faults = parsed(flow, at, text)
    if path is None or path.root == "request":
        return path, faults
    if path.root in ("input", "item"):
        refused = _refused_root(flow, at, path, reader)
        return (None, refused) if refused else (path, ())
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


def _refused_root(flow: Flow, at: Place, path: Path, reader: Reader) -> tuple[Fault, ...]:
    if (path.root == "input" and reader.own) or (path.root == "item" and reader.has_item):
        return ()
    if path.root == "input":
        message = "Only a compensation can read what its step was given."
        mend = "Write request.<member> or steps.<step>.<member>."
        return (flow.document.fault(at, "bad-path", message, mend),)
    message = "There is no item: only a step with for_each has one."
    if reader.step and "for_each" in flow.steps[reader.step]:
        message = f"This is decided once for all items of {reader.step}, so there is no item yet."
    return (flow.document.fault(at, "no-item", message, "Read from request or steps."),)


def source_of(flow: Flow, at: Place, path: Path, reader: Reader) -> tuple[Source, tuple[Fault, ...]]:
    """What the contract behind the path says of its end, for this reader."""
    if path.root == "item":
        spot = item_spot(flow, reader.step)
        return _inside(flow, at, path, spot, "The contract of the list")
    contract = contract_behind(flow, path, reader)
    if contract not in flow.shelf or not path.members:
        return Source(spot=None), ()
    try:
        spot = flow.shelf.find(contract, path.members)
    except UnknownMemberError as error:
        message = f"{contract} has no {error.member} there."
        fault = flow.document.fault(at, "unknown-member", message, suggest(error.member, error.known))
        return Source(spot=None), (fault,)
    if path.root == "steps" and not (reader.own and path.step == reader.step):
        step = flow.steps[path.step]
        return Source(spot=spot, is_list="for_each" in step, most=step.get("most")), ()
    return Source(spot=spot), ()


def contract_behind(flow: Flow, path: Path, reader: Reader) -> str:
    """The name of the contract that a path into the request, a step or what a step was given leads into."""
    if path.root == "request":
        return str(flow.service.get("request", "")).removesuffix(".json")
    if path.root == "input":
        return input_contract(str(flow.steps[reader.step].get("operation", "")))
    return output_contract(str(flow.steps[path.step].get("operation", "")))


def item_spot(flow: Flow, step: str) -> Spot | None:
    """What each item of the step's list is; None where that cannot be said (why is told where the list is named)."""
    text = flow.steps[step].get("for_each")
    reader = Reader(step=step)
    path, _ = readable(flow, (), text, reader) if isinstance(text, str) else (None, ())
    if path is None or path.root == "item":
        return None
    source, _ = source_of(flow, (), path, reader)
    if source.is_list or source.spot is None:
        return None
    try:
        return flow.shelf.items(source.spot)
    except PrefixItemsError:
        return None


def _inside(flow: Flow, at: Place, path: Path, spot: Spot | None, contract: str) -> tuple[Source, tuple[Fault, ...]]:
    if spot is None or not path.members:
        return Source(spot=spot), ()
    try:
        return Source(spot=flow.shelf.inside(spot, path.members)), ()
    except UnknownMemberError as error:
        message = f"{contract} has no {error.member} there."
        fault = flow.document.fault(at, "unknown-member", message, suggest(error.member, error.known))
        return Source(spot=None), (fault,)


def why_absent(flow: Flow, path: Path, source: Source, reader: Reader) -> tuple[str, str]:
    """The code and the sentence of a fault: that nothing may stand at the path when it is read; ("", "") if not so."""
    if reader.is_vague or source.spot is None:
        return "", ""
    if not source.is_list and source.spot.sure_from > _vouched(path, reader.when):
        return "optional-source", f"{path} may be absent"
    if path.root == "steps" and (why := _may_lack_output(flow, path.step, reader)):
        return "skipped-source", f"The step {path.step} may end without output ({why})"
    return "", ""


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
    if "for_each" in content and _may_be_empty(flow, step):
        return "its list may be empty"
    return next((event for event in ("on_refused", "on_deadline") if flow.end(step, event) == "continue"), "")


def _may_be_empty(flow: Flow, step: str) -> bool:
    text, reader = flow.steps[step]["for_each"], Reader(step=step, when=flow.steps[step].get("when"))
    path, _ = readable(flow, (), text, reader)
    if path is None or path.root != "request":
        return path is not None
    source, _ = source_of(flow, (), path, reader)
    return source.spot is not None and (source.spot.least < 1 or source.spot.sure_from > _vouched(path, reader.when))
