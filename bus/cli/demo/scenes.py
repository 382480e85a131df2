"""What the demo plays, as the workspace writes it down in ``docs/samples/demo.yaml``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

from bus.catalog import Workspace
from bus.catalog.document import Document, Place, read_bytes, read_document, suggest
from bus.catalog.shape import shape_faults
from bus.catalog.shelf import read_json, read_own_schema
from bus.errors import ConfigurationError, Fault
from bus.message.reply import Data
from bus.message.text import Text
from bus.process.definition import Definition, StepDefinition
from bus.simulator import Misbehaviour

FOLDER = "docs/samples"
FILE = f"{FOLDER}/demo.yaml"
SCHEMA = "schemas/meta/demo.schema.json"
#: The trouble that the broker makes, beside those of the simulators.
REPLY_LOST = "reply_lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """One way in which the provider of an operation lets the bus down."""

    operation: str
    #: None: the broker loses the reply.
    misbehaviour: Misbehaviour | None
    seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The clerk does it."""

    operation: str
    data: Data
    says: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class Return:
    """The clerk misses something, which the applicant then brings."""

    operation: str
    pointer: str
    reason_code: str
    says: Text
    bring: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse:
    """The clerk's lawful no."""

    operation: str
    reason_code: str
    says: Text


Act: TypeAlias = Answer | Return | Refuse


@dataclass(frozen=True, slots=True, kw_only=True)
class Mend:
    """Settings by which an operator mends the adapter of the agency whose step waits."""

    operation: str
    settings: Data
    says: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A request and what goes wrong with it."""

    title: Text
    data: Data
    troubles: tuple[Trouble, ...] = ()
    clerk: tuple[Act, ...] = ()
    mends: tuple[Mend, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Script:
    """Everything that is played, on one service."""

    definition: Definition
    scenes: tuple[Scene, ...]
    #: What is submitted last where the demo is left running; it waits for a clerk. None: nothing.
    left_open: Data | None = None

    @cached_property
    def steps(self) -> Mapping[str, StepDefinition]:
        """The step that each operation names; it is that of its compensation as well."""
        return steps_by_operation(self.definition)


def steps_by_operation(definition: Definition) -> dict[str, StepDefinition]:
    """Operation -> the one step that has it done or taken back; an operation of several steps names none of them."""
    named: dict[str, list[StepDefinition]] = {}
    for step in definition.steps.values():
        for operation in {step.operation, *([step.compensate.operation] if step.compensate else ())}:
            named.setdefault(operation, []).append(step)
    return {operation: steps[0] for operation, steps in named.items() if len(steps) == 1}


def read_script(workspace: Workspace) -> Script:
    """The scenes of the workspace; a ConfigurationError names everything in them that cannot be played."""
    root = workspace.root
    raw, faults = read_bytes(root, root / FILE)
    schema, found = read_own_schema(root, root / SCHEMA, "meta/demo")
    document, unread = read_document(FILE, raw)
    faults += found or (() if faults else unread)
    if not faults and schema is not None:
        faults += shape_faults(document, schema)
    if faults:
        raise ConfigurationError(faults)
    reading = _Reading(workspace, document)
    script = reading.script()
    if reading.faults or script is None:
        raise ConfigurationError(tuple(reading.faults))
    return script


class _Reading:
    """One reading of a document of the right shape, gathering what cannot be played."""

    def __init__(self, workspace: Workspace, document: Document) -> None:
        self.faults: list[Fault] = []
        self._workspace = workspace
        self._document = document
        self._steps: Mapping[str, StepDefinition] = {}

    def script(self) -> Script | None:
        value = self._document.value
        service = self._workspace.services.get(value["service"])
        if service is None:
            message = f"There is no service {value['service']}."
            self._fault(("service",), "unknown-service", message, suggest(value["service"], self._workspace.services))
            return None
        self._steps = steps_by_operation(service.definition)
        scenes = tuple(self._scene(("scenes", index), scene) for index, scene in enumerate(value["scenes"]))
        left_open = self._sample(("left_open",), value["left_open"]) if "left_open" in value else None
        return Script(definition=service.definition, scenes=scenes, left_open=left_open)

    def _scene(self, at: Place, value: Data) -> Scene:
        return Scene(
            title=_text(value["title"]),
            data=self._sample((*at, "request"), value["request"]),
            troubles=tuple(self._trouble(*one) for one in _below((*at, "troubles"), value)),
            clerk=tuple(act for one in _below((*at, "clerk"), value) if (act := self._act(*one))),
            mends=tuple(self._mend(*one) for one in _below((*at, "mends"), value)),
        )

    def _trouble(self, at: Place, value: Data) -> Trouble:
        known = [REPLY_LOST, *Misbehaviour]
        fails = value["fails"]
        if fails not in known:
            mend = suggest(fails, known) or f"Known: {', '.join(known)}."
            self._fault((*at, "fails"), "unknown-trouble", f"Nothing fails like {fails}.", mend)
        step = self._step(at, value)
        if step is not None and not self._simulated(step):
            message = f"{step.party} is not simulated in the environment {self._workspace.env.name}."
            self._fault((*at, "operation"), "not-simulated", message, "Write {use: simulator} for it there.")
        what = Misbehaviour(fails) if fails in set(Misbehaviour) else None
        return Trouble(operation=value["operation"], misbehaviour=what, seconds=value.get("seconds"))

    def _act(self, at: Place, value: Data) -> Act | None:
        step = self._step(at, value)
        if step is not None and not any(map(step.is_desk, step.providers)):
            message = f"No clerk answers for {step.party}."
            self._fault((*at, "operation"), "not-a-desk", message, "Name the operation of a desk's step.")
        operation = value["operation"]
        match value:
            case {"answer": file, "says": says}:
                return Answer(operation=operation, data=self._sample((*at, "answer"), file), says=_text(says))
            case {"return": {"pointer": pointer, "reason_code": code, "text": text, "bring": bring}}:
                return Return(operation=operation, pointer=pointer, reason_code=code, says=_text(text), bring=bring)
            case {"refuse": {"reason_code": code, "text": text}}:
                return Refuse(operation=operation, reason_code=code, says=_text(text))
        self._fault(at, "no-act", "The clerk does nothing.", "Write answer with says, return, or refuse.")
        return None

    def _mend(self, at: Place, value: Data) -> Mend:
        self._step(at, value)
        return Mend(operation=value["operation"], settings=value["settings"], says=_text(value["says"]))

    def _step(self, at: Place, value: Data) -> StepDefinition | None:
        operation = value["operation"]
        if operation not in self._steps:
            message = f"{operation} names no step, or several."
            self._fault((*at, "operation"), "unknown-operation", message, suggest(operation, self._steps))
        return self._steps.get(operation)

    def _simulated(self, step: StepDefinition) -> bool:
        agencies = self._workspace.env.agencies
        return any(agencies[agency].use == "simulator" for agency in step.providers)

    def _sample(self, at: Place, name: str) -> Data:
        root = self._workspace.root
        value, faults = read_json(root, root / FOLDER / name)
        for fault in faults:
            self._fault(at, fault.code, f"{FOLDER}/{name}: {fault.message}", fault.mend)
        return value if isinstance(value, dict) else {}

    def _fault(self, at: Place, code: str, message: str, mend: str) -> None:
        self.faults.append(self._document.fault(at, code, message, mend))


def _below(at: Place, value: Data) -> Iterator[tuple[Place, Any]]:
    items: Sequence[Any] = value.get(str(at[-1]), ())
    return (((*at, index), item) for index, item in enumerate(items))


def _text(value: Mapping[str, str]) -> Text:
    return Text(en=value["en"], ar=value["ar"])
