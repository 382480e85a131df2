"""Contracts: JSON Schemas (2020-12) by name, one engine for the fast yes or no and another to explain a no."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from graphlib import CycleError, TopologicalSorter
from typing import Any

import jsonschema_rs
from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from bus.errors import ConfigurationError, Fault, InvalidMessageError
from bus.message.explanation import explain, is_linear
from bus.message.formats import FORMATS
from bus.message.reply import Data
from bus.message.strict_json import MOST_FAULTS, canonical, dump, parse, pointer_to

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def urn(name: str) -> str:
    """The ``$id`` of a contract: ``reply/failed.v1`` is ``urn:bus:reply:failed.v1``."""
    return "urn:bus:" + name.replace("/", ":")


# The meta-schema by both engines: a sound schema is passed by the fast one, which is most of the time of loading.
_META = jsonschema_rs.validator_for(dict(Draft202012Validator.META_SCHEMA))
_EXPLAINED_META = Draft202012Validator(Draft202012Validator.META_SCHEMA)

# The engines agree in all tests; should they ever differ, the fast one has decided and nothing passes unseen.
_NO_REASON = Fault(code="contract", message="The value does not obey its contract.", mend="Compare it with the schema.")


class Contracts:
    """A closed registry of JSON Schemas by name: ``operation/name.reserve.v1.input``, ``envelope/v1``.

    Every schema is checked when the registry is made and all faults are told at once; ``$ref`` reaches schemas of this
    registry only (by `urn`, or ``#/...`` inside one) and nothing is ever fetched. Formats are asserted. Both engines
    give the same verdict on every value that `strict_json.parse` can return.
    """

    def __init__(self, schemas: Mapping[str, Data]) -> None:
        """Check and compile; a ConfigurationError names every schema that cannot serve, ``file`` being its name."""
        _refuse(fault for name, schema in schemas.items() for fault in _faults_of_schema(name, schema))
        # Plain copies: nobody can change a contract later, and both engines want dict and list.
        self._schemas: dict[str, dict[str, Any]] = {name: parse(dump(schema)) for name, schema in schemas.items()}
        resources = [(urn(name), DRAFT202012.create_resource(schema)) for name, schema in self._schemas.items()]
        self._registry: Registry[Any] = Registry().with_resources(resources)
        self._targets, faults = _resolve_references(self._registry, self._schemas)
        _refuse(faults)
        _refuse(_faults_of_circles(self._schemas))
        self._judges, faults = _compile(self._schemas)
        _refuse(faults)

    def names(self) -> tuple[str, ...]:
        """All names, sorted."""
        return tuple(sorted(self._schemas))

    def __contains__(self, name: object) -> bool:
        """Whether there is a contract of this name."""
        return name in self._schemas

    def schema(self, name: str) -> Data:
        """The schema as it was given; a KeyError if there is none."""
        return self._schemas[name]

    def closure(self, name: str) -> tuple[str, ...]:
        """The contract and all that it refers to, directly or not, sorted."""
        found: set[str] = set()
        wanted = [name]
        while wanted:
            one = wanted.pop()
            if one not in found:
                found.add(one)
                wanted += self._targets[one]
        return tuple(sorted(found))

    def hash(self, name: str) -> str:
        """Hex SHA-256 of the canonical JSON of ``{name: schema}`` over the contract's `closure`."""
        return hashlib.sha256(canonical({one: self._schemas[one] for one in self.closure(name)})).hexdigest()

    def accepts(self, name: str, value: Any) -> bool:
        """Whether the value obeys the contract, in microseconds; what has no JSON form obeys none."""
        try:
            return self._judges[name].is_valid(value)
        except ValueError:
            return False

    def explain(self, name: str, value: Any) -> tuple[Fault, ...]:
        """Why the value does not obey, each fault with its JSON pointer and mend; () if it obeys.

        No fault repeats a part of the value, which may be personal data.
        """
        try:
            plain = parse(dump(value))
        except InvalidMessageError as error:
            return error.faults
        return explain(self._schemas[name], self._registry, plain, self._member_names(name))[:MOST_FAULTS]

    def check(self, name: str, value: Any) -> None:
        """Pass a value that obeys; an InvalidMessageError with code ``contract`` and every fault for another."""
        if not self.accepts(name, value):
            error = InvalidMessageError(self.explain(name, value) or (_NO_REASON,))
            error.code = "contract"
            raise error

    def _member_names(self, name: str) -> frozenset[str]:
        return frozenset(key for one in self.closure(name) for key in _declared(self._schemas[one]))


def _refuse(faults: Iterable[Fault]) -> None:
    found = tuple(faults)
    if found:
        raise ConfigurationError(found)


def _faults_of_schema(name: str, schema: Any) -> Iterator[Fault]:
    if not isinstance(schema, Mapping):
        yield _schema_fault(name, "not-a-schema", "A contract is a JSON object.", "Write the schema as an object.")
        return
    if schema.get("$schema", DIALECT) != DIALECT:
        yield _schema_fault(name, "dialect", "Another dialect than 2020-12.", f"Write $schema: {DIALECT}.", "/$schema")
    if schema.get("$id", urn(name)) != urn(name):
        yield _schema_fault(name, "wrong-id", "The $id is not that of this name.", f"Write $id: {urn(name)}.", "/$id")
    broken = () if _META.is_valid(schema) else _EXPLAINED_META.iter_errors(schema)
    errors = sorted(broken, key=lambda error: [str(part) for part in error.absolute_path])
    for error in errors:
        mend = "Mend the schema."
        yield _schema_fault(name, "not-a-schema", f"{error.message}.", mend, pointer_to(error.absolute_path))
    if not errors:
        yield from _faults_of_keywords(name, schema)
        yield from _faults_of_json(name, schema)


def _faults_of_keywords(name: str, schema: Mapping[str, Any]) -> Iterator[Fault]:
    for path, part in _subschemas(schema):
        used = part.get("format")
        if used is not None and used not in FORMATS:
            mend = f"Use one of {', '.join(sorted(FORMATS))}, or a pattern."
            yield _schema_fault(name, "unknown-format", f"Format {used} is not known.", mend, path + "/format")
        for keyword, mend in _UNSUPPORTED.items():
            if keyword in part and (path or keyword != "$id"):
                yield _schema_fault(name, "unsupported", f"{keyword} cannot be used here.", mend, f"{path}/{keyword}")
        pattern = part.get("pattern")
        if pattern is not None and not is_linear(pattern):
            mend = "Write a regular expression without look-around and back references."
            yield _schema_fault(name, "pattern", f"Pattern {pattern} cannot be used.", mend, path + "/pattern")


def _faults_of_json(name: str, schema: Mapping[str, Any]) -> Iterator[Fault]:
    try:
        dump(schema)
    except InvalidMessageError as error:
        for fault in error.faults:
            yield _schema_fault(name, fault.code, fault.message, fault.mend, fault.pointer)


# What the two engines read differently, or what would make a contract mean another thing than it says.
_UNSUPPORTED = {
    "$id": "Only the whole contract has an $id; use $defs without one.",
    "$dynamicRef": "Use $ref.",
    "$dynamicAnchor": "Use $defs.",
    "$anchor": "Refer to it by its place: #/$defs/...",
    "patternProperties": "Use propertyNames with additionalProperties.",
}


def _resolve_references(
    registry: Registry[Any], schemas: Mapping[str, Data]
) -> tuple[dict[str, tuple[str, ...]], list[Fault]]:
    """For each contract the contracts that its ``$ref`` lead into, and a fault for each that leads nowhere."""
    names = {urn(name): name for name in schemas}
    targets: dict[str, tuple[str, ...]] = {}
    faults: list[Fault] = []
    for name, schema in schemas.items():
        resolver = registry.resolver(base_uri=urn(name))
        references = [(path, part["$ref"]) for path, part in _subschemas(schema) if "$ref" in part]
        for path, reference in references:
            try:
                resolver.lookup(reference)
            except Unresolvable:
                close = get_close_matches(reference, names, 1)
                mend = f"Did you mean {close[0]}?" if close else "Refer to a contract of this registry, urn:bus:..."
                message = f"{reference} leads nowhere."
                faults.append(_schema_fault(name, "unknown-reference", message, mend, path + "/$ref"))
        uris = (reference.partition("#")[0] for _, reference in references)
        targets[name] = tuple(names[uri] for uri in uris if uri in names)
    return targets, faults


def _faults_of_circles(schemas: Mapping[str, Data]) -> Iterator[Fault]:
    """A schema that judges a value by asking itself about the same value: engines differ about it, or never end."""
    asks: dict[str, list[str]] = {}
    for name, schema in schemas.items():
        for path, part in _subschemas(schema):
            here = f"{urn(name)}#{path}"
            asks[here] = [here + below for below in _at_the_same_place(part)]
            if "$ref" in part:
                uri, _, pointer = part["$ref"].partition("#")
                asks[here].append(f"{uri or urn(name)}#{pointer}")
    try:
        TopologicalSorter(asks).prepare()
    except CycleError as error:
        names = {urn(name): name for name in schemas}
        uri, _, pointer = min(error.args[1]).partition("#")
        message = "This part asks itself about the same value again."
        mend = f"Take a $ref away between {' and '.join(sorted(set(error.args[1])))}."
        yield _schema_fault(names[uri], "circle", message, mend, pointer)


def _at_the_same_place(schema: Mapping[str, Any]) -> Iterator[str]:
    """The pointers, from this schema, of those inside it that judge the very value that it judges."""
    yield from (f"/{keyword}" for keyword in ("not", "if", "then", "else") if keyword in schema)
    yield from (f"/dependentSchemas{pointer_to([member])}" for member in schema.get("dependentSchemas", ()))
    for keyword in ("allOf", "anyOf", "oneOf"):
        yield from (f"/{keyword}/{index}" for index in range(len(schema.get(keyword, ()))))


def _compile(schemas: Mapping[str, dict[str, Any]]) -> tuple[dict[str, jsonschema_rs.Validator], list[Fault]]:
    resources = [(urn(name), schema) for name, schema in schemas.items()]
    registry = jsonschema_rs.Registry(resources, draft=jsonschema_rs.Draft202012)
    judges: dict[str, jsonschema_rs.Validator] = {}
    faults: list[Fault] = []
    for name in schemas:
        try:
            judges[name] = jsonschema_rs.validator_for(
                {"$schema": DIALECT, "$ref": urn(name)},
                registry=registry,
                formats=dict(FORMATS),
                validate_formats=True,
                ignore_unknown_formats=False,
                pattern_options=jsonschema_rs.RegexOptions(),
                offline=True,
            )
        except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
            first = str(error).partition("\n")[0]
            faults.append(_schema_fault(name, "not-a-schema", f"It does not compile: {first}.", "Mend the schema."))
    return judges, faults


def _schema_fault(name: str, code: str, message: str, mend: str, pointer: str = "") -> Fault:
    return Fault(code=code, message=message, mend=mend, file=name, pointer=pointer)


_ONE_INSIDE = (
    "not",
    "if",
    "then",
    "else",
    "items",
    "contains",
    "propertyNames",
    "additionalProperties",
    "unevaluatedItems",
    "unevaluatedProperties",
)
_NAMED_INSIDE = ("properties", "dependentSchemas", "$defs")
_LISTED_INSIDE = ("allOf", "anyOf", "oneOf", "prefixItems")


def _subschemas(schema: Any, path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every object schema with its pointer; what is in ``const``, ``enum``, ``default``, ``examples`` is a value."""
    if not isinstance(schema, Mapping):
        return
    yield path, schema
    for keyword in _ONE_INSIDE:
        yield from _subschemas(schema.get(keyword), f"{path}/{keyword}")
    for keyword in _NAMED_INSIDE:
        for member, inner in schema.get(keyword, {}).items():
            yield from _subschemas(inner, f"{path}/{keyword}{pointer_to([member])}")
    for keyword in _LISTED_INSIDE:
        for index, inner in enumerate(schema.get(keyword, ())):
            yield from _subschemas(inner, f"{path}/{keyword}/{index}")


def _declared(schema: Data) -> Iterator[str]:
    for _, part in _subschemas(schema):
        yield from part.get("properties", ())
