"""Reads a whole workspace, or names every fault in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bus.catalog.adapters import read_manifests
from bus.catalog.build import build_agencies, build_definition
from bus.catalog.document import Document, read_bytes, read_document
from bus.catalog.environment import build_environment, environment_faults, read_environment, uses_of
from bus.catalog.routes import Known, routes_faults
from bus.catalog.shape import pruned, shape_faults
from bus.catalog.shelf import META, Shelf, compile_contracts, read_own_schema, read_schemas
from bus.catalog.workspace import AdapterManifest, Service, Workspace
from bus.errors import ConfigurationError, Fault
from bus.message.contract import Contracts
from bus.message.reply import Data
from bus.process.closure import revision, to_closure
from bus.process.definition import Definition

ROUTES = "routes.yaml"
TEST_PERSONS = "schemas/test-persons.yaml"
_META_NAMES = ("routes", "env", "adapter")


def load_workspace(root: Path, env: str) -> Workspace:
    """The workspace in the folder ``root`` with the environment ``env``.

    Raises ConfigurationError with every fault of the routes, the contracts, the adapters' manifests and the
    environment at once, each with file, line, column and the mend. Runs no code of the workspace.
    """
    meta = _read_meta(root)
    schemas, faults = read_schemas(root)
    contracts, found = compile_contracts(schemas)
    faults += found
    manifests, found = read_manifests(root, meta["adapter"])
    faults += found
    routes, found = _read_routes(root, meta["routes"])
    faults += found
    document, found = read_environment(root, env, meta["env"])
    faults += found
    persons, found = _read_test_persons(root)
    faults += found
    if routes is not None:
        shelf = Shelf({name: contracts.schema(name) for name in contracts.names()})
        known = Known(document=routes, shelf=shelf, contracts=frozenset(schemas), adapters=manifests)
        faults += tuple(routes_faults(known))
        if document is not None:
            faults += tuple(environment_faults(document, _agencies(routes), manifests))
    if faults or routes is None or document is None:
        raise ConfigurationError(_sorted(faults))
    return _build(root, env, routes.value, document, manifests, contracts, persons)


def _build(
    root: Path,
    env: str,
    routes: Mapping[str, Any],
    document: Document,
    manifests: Mapping[str, AdapterManifest | None],
    contracts: Contracts,
    persons: Data,
) -> Workspace:
    agencies = build_agencies(routes)
    loaded = {name: agency for name, agency in agencies.items() if agency.adapter is not None}
    adapters = {name: manifest for name, agency in loaded.items() if (manifest := manifests[str(agency.adapter)])}
    uses = {name: use["use"] for name, use in uses_of(document).items()}
    desks = frozenset(name for name, agency in agencies.items() if agency.desk or uses.get(name) == "desk")
    schemas = {name: contracts.schema(name) for name in contracts.names()}
    definitions = {name: build_definition(routes, name, adapters, desks) for name in routes["services"]}
    return Workspace(
        root=root,
        env=build_environment(env, document, routes["agencies"]),
        agencies=agencies,
        services={name: _service(definition, schemas) for name, definition in definitions.items()},
        adapters=adapters,
        contracts=contracts,
        test_persons=persons,
    )


def _service(definition: Definition, schemas: Mapping[str, Data]) -> Service:
    closure = to_closure(definition, schemas)
    return Service(definition=definition, revision=revision(closure), closure=closure)


def _read_meta(root: Path) -> dict[str, Data]:
    """The schemas of the workspace's own files; nothing can be judged without them."""
    meta: dict[str, Data] = {}
    faults: list[Fault] = []
    for name in _META_NAMES:
        schema, found = read_own_schema(root, root / "schemas" / META / f"{name}.schema.json", f"{META}/{name}")
        faults += found
        meta[name] = schema or {}
    if faults:
        raise ConfigurationError(tuple(faults))
    return meta


def _read_routes(root: Path, schema: Data) -> tuple[Document | None, tuple[Fault, ...]]:
    raw, faults = read_bytes(root, root / ROUTES)
    if faults:
        return None, faults
    document, faults = read_document(ROUTES, raw)
    if document.value is None and faults:
        return None, faults
    found = shape_faults(document, schema)
    routes = pruned(document, found)
    return (routes if isinstance(routes.value, dict) else None), faults + found


def _read_test_persons(root: Path) -> tuple[Data, tuple[Fault, ...]]:
    file = root / TEST_PERSONS
    if not file.exists():
        return {}, ()
    raw, faults = read_bytes(root, file)
    document, found = read_document(TEST_PERSONS, raw)
    return document.value or {}, faults or found


def _agencies(routes: Document) -> Mapping[str, Any]:
    agencies = routes.value.get("agencies", {})
    return {name: agency for name, agency in agencies.items() if isinstance(agency, dict)}


def _sorted(faults: tuple[Fault, ...]) -> tuple[Fault, ...]:
    return tuple(sorted(dict.fromkeys(faults), key=lambda fault: (fault.file, fault.line, fault.column, fault.pointer)))
