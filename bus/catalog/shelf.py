"""The contracts of a workspace as files, and what stands at a path into one of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from bus.catalog.document import read_bytes
from bus.errors import ConfigurationError, Fault, InvalidMessageError
from bus.message.contract import Contracts, urn
from bus.message.reply import Data
from bus.message.strict_json import parse, pointer_to
from bus.process.mapping import split_pointer

#: Schemas of the workspace's own files; no message is checked against them.
META = "meta"


def contract_file(name: str) -> str:
    """Where the contract ``name`` stands in a workspace."""
    return f"schemas/{name}.json"


def read_schemas(root: Path) -> tuple[dict[str, Data], tuple[Fault, ...]]:
    """Every schema below ``schemas/`` by contract name (``operation/name.reserve.v1.input``), and what is no JSON."""
    schemas: dict[str, Data] = {}
    faults: list[Fault] = []
    folder = root / "schemas"
    for file in sorted(folder.rglob("*.json")):
        name = file.relative_to(folder).with_suffix("").as_posix()
        if not name.startswith(f"{META}/"):
            schema, found = read_json(root, file)
            faults += found
            schemas |= {} if found else {name: schema}
    return schemas, tuple(faults)


def read_json(root: Path, file: Path) -> tuple[Any, tuple[Fault, ...]]:
    """The JSON value in one file, or None and the faults."""
    raw, faults = read_bytes(root, file)
    if faults:
        return None, faults
    try:
        return parse(raw), ()
    except InvalidMessageError as error:
        shown = file.relative_to(root).as_posix()
        return None, tuple(replace(fault, code="not-json", file=shown) for fault in error.faults)


def read_own_schema(root: Path, file: Path, name: str) -> tuple[Data | None, tuple[Fault, ...]]:
    """A schema of the workspace's own files, held to the rules of contracts: it refers to itself alone, if at all."""
    schema, faults = read_json(root, file)
    if faults:
        return None, faults
    try:
        return Contracts({name: schema}).schema(name), ()
    except ConfigurationError as error:
        shown = file.relative_to(root).as_posix()
        return None, tuple(replace(fault, file=shown) for fault in error.faults)


def compile_contracts(schemas: Mapping[str, Data]) -> tuple[Contracts, tuple[Fault, ...]]:
    """The contracts that can serve, and the faults of the others: no JSON Schema, a ``$ref`` that leads nowhere."""
    sound = dict(schemas)
    faults: list[Fault] = []
    while True:
        try:
            return Contracts(sound), tuple(faults)
        except ConfigurationError as error:
            lost = [urn(name) for name in schemas if name not in sound]
            # A contract that refers to one already named as faulty is not told of a second time.
            told = [fault for fault in error.faults if not any(name in fault.message for name in lost)]
            faults += [replace(fault, file=contract_file(fault.file)) for fault in told]
            bad = {fault.file for fault in error.faults} & sound.keys()
            if not bad:
                return Contracts({}), tuple(faults)
            sound = {name: schema for name, schema in sound.items() if name not in bad}


@dataclass(frozen=True, slots=True)
class _Node:
    """A schema inside a contract."""

    contract: str
    pointer: str
    schema: Data


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """What a contract says of one member."""

    #: The kinds of value that may stand there (JSON Schema's words); empty where the contract does not say.
    kinds: frozenset[str]
    #: The only values allowed, or None.
    choices: tuple[Any, ...] | None
    #: How many members of the path must be known to be present for this one to be; 0: it always is.
    sure_from: int
    #: The place in the contract, as a ``$ref``.
    reference: str
    #: The fewest and the most items of a list; the contract may not limit them (None).
    least: int = 0
    most: int | None = None
    #: The schemas that stand there, of the room's own use.
    nodes: tuple[_Node, ...] = field(default=(), repr=False, compare=False)


class UnknownMemberError(Exception):
    """The contract has no such member; ``known`` are the names that it has there."""

    def __init__(self, member: str, known: tuple[str, ...]) -> None:
        super().__init__(member)
        self.member = member
        self.known = known


class PrefixItemsError(Exception):
    """The list there has ``prefixItems``: its items have no schema in common."""


class Shelf:
    """Answers what stands where in the contracts.

    Follows ``$ref``, ``allOf``, ``properties`` and ``items``, and nothing else.
    """

    def __init__(self, schemas: Mapping[str, Data]) -> None:
        self._schemas = dict(schemas)
        self._by_urn = {urn(name): name for name in schemas}
        resources = [(urn(name), DRAFT202012.create_resource(schema)) for name, schema in schemas.items()]
        self._registry: Registry[Any] = Registry().with_resources(resources)

    def __contains__(self, name: str) -> bool:
        return name in self._schemas

    def names(self) -> tuple[str, ...]:
        """Every contract, sorted."""
        return tuple(sorted(self._schemas))

    def required(self, name: str) -> tuple[str, ...]:
        """The members that the contract demands at its top."""
        return tuple(dict.fromkeys(member for node in self._top(name) for member in node.schema.get("required", ())))

    def find(self, name: str, members: Sequence[str]) -> Spot:
        """What stands at this path; raises UnknownMemberError where the contract has no such member."""
        return self._walk(self._top(name), members, may_be_null=False)

    def items(self, spot: Spot) -> Spot | None:
        """What each item of the list there is; None where the contract does not say. Raises PrefixItemsError."""
        if any("prefixItems" in node.schema for node in spot.nodes):
            raise PrefixItemsError
        nodes = [
            deeper
            for node in spot.nodes
            if "items" in node.schema
            for deeper in self._expanded(_below(node, ("items",), node.schema["items"]))
        ]
        return _spot(nodes, 0) if nodes else None

    def inside(self, spot: Spot, members: Sequence[str]) -> Spot:
        """What stands at this path below another spot; raises UnknownMemberError."""
        return self._walk(list(spot.nodes), members, may_be_null=True)

    def _walk(self, nodes: list[_Node], members: Sequence[str], *, may_be_null: bool) -> Spot:
        sure_from = 0
        for depth, member in enumerate(members, start=1):
            if (depth > 1 or may_be_null) and "null" in _kinds(nodes):
                sure_from = depth
            if not any(member in node.schema.get("required", ()) for node in nodes):
                sure_from = depth
            below = [node for node in nodes if member in node.schema.get("properties", {})]
            if not below:
                known = {known for node in nodes for known in node.schema.get("properties", {})}
                raise UnknownMemberError(member, tuple(sorted(known)))
            nodes = [
                deeper
                for node in below
                for deeper in self._expanded(_below(node, ("properties", member), node.schema["properties"][member]))
            ]
        return _spot(nodes, sure_from)

    def allows(self, spot: Spot, value: Any) -> bool:
        """Whether the contract takes this literal at that place."""
        schema = {"$ref": spot.reference}
        checker = Draft202012Validator.FORMAT_CHECKER
        return Draft202012Validator(schema, registry=self._registry, format_checker=checker).is_valid(value)

    def _top(self, name: str) -> list[_Node]:
        return list(self._expanded(_Node(name, "", self._schemas[name])))

    def _expanded(self, node: _Node, seen: tuple[tuple[str, str], ...] = ()) -> Iterator[_Node]:
        """The schema and all that it holds at the same place by ``$ref`` and ``allOf``."""
        place = (node.contract, node.pointer)
        if place in seen:
            return
        seen = (*seen, place)
        yield node
        if isinstance(node.schema.get("$ref"), str):
            target = self._target(node)
            if target is not None:
                yield from self._expanded(target, seen)
        for index, part in enumerate(node.schema.get("allOf", ())):
            yield from self._expanded(_below(node, ("allOf", index), part), seen)

    def _target(self, node: _Node) -> _Node | None:
        resource, _, pointer = node.schema["$ref"].partition("#")
        contract = self._by_urn.get(resource) if resource else node.contract
        if contract is None or (pointer and not pointer.startswith("/")):
            return None
        schema: Any = self._schemas[contract]
        for part in split_pointer(pointer):
            if not isinstance(schema, Mapping) or part not in schema:
                return None
            schema = schema[part]
        return _Node(contract, pointer, schema if isinstance(schema, Mapping) else {})


def _spot(nodes: Sequence[_Node], sure_from: int) -> Spot:
    first = nodes[0]
    most = [node.schema["maxItems"] for node in nodes if "maxItems" in node.schema]
    return Spot(
        kinds=_kinds(nodes),
        choices=_choices(nodes),
        sure_from=sure_from,
        reference=f"{urn(first.contract)}#{first.pointer}",
        least=max((node.schema.get("minItems", 0) for node in nodes), default=0),
        most=min(most) if most else None,
        nodes=tuple(nodes),
    )


def _below(node: _Node, parts: tuple[str | int, ...], schema: Any) -> _Node:
    # The schemas true and false say nothing of kinds and members.
    said = schema if isinstance(schema, Mapping) else {}
    return _Node(node.contract, node.pointer + pointer_to(parts), said)


def _kinds(nodes: Sequence[_Node]) -> frozenset[str]:
    """What every one of them allows; a schema that names no type says it by its choices, or not at all."""
    said = [kinds for kinds in (_said(node.schema) for node in nodes) if kinds]
    return frozenset.intersection(*said) if said else frozenset()


def _said(schema: Data) -> frozenset[str]:
    kinds = schema.get("type")
    if kinds is not None:
        return frozenset([kinds] if isinstance(kinds, str) else kinds)
    return frozenset(_kind(choice) for choice in _stated(schema) or ())


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    names = {str: "string", int: "integer", float: "number", dict: "object", list: "array", type(None): "null"}
    return names[type(value)]


def _choices(nodes: Sequence[_Node]) -> tuple[Any, ...] | None:
    stated = [choices for choices in (_stated(node.schema) for node in nodes) if choices is not None]
    return min(stated, key=len) if stated else None


def _stated(schema: Data) -> tuple[Any, ...] | None:
    if "const" in schema:
        return (schema["const"],)
    if "enum" in schema:
        return tuple(schema["enum"])
    # Choices with titles: each has a place of its own.
    options = schema.get("oneOf", ())
    titled = [option["const"] for option in options if isinstance(option, Mapping) and "const" in option]
    return tuple(titled) if options and len(titled) == len(options) else None
