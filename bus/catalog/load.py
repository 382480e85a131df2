"""Reads a whole workspace, or names every fault in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bus.catalog.adapters import read_manifests
from bus.catalog.build import build_agencies, build_definition, build_groups
from bus.catalog.document import Document
from bus.catalog.environment import build_environment, environment_faults, read_environment
from bus.catalog.files import Routes, read_routes
from bus.catalog.lifetimes import lifetime_faults
from bus.catalog.members import roster
from bus.catalog.persons import person_faults, read_persons
from bus.catalog.providers import Known
from bus.catalog.routes import routes_faults
from bus.catalog.shelf import META, Shelf, compile_contracts, read_own_schema, read_schemas
from bus.catalog.workspace import AdapterManifest, Origin, Service, Workspace
from bus.errors import ConfigurationError, Fault
from bus.message.contract import Contracts
from bus.message.reply import Data
from bus.process.closure import revision, to_closure
from bus.process.definition import Definition

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
    routes, found = read_routes(root, meta["routes"])
    faults += found
    document, found = read_environment(root, env, meta["env"])
    faults += found
    persons, found = read_persons(root)
    faults += found
    if routes is not None:
        shelf = Shelf({name: contracts.schema(name) for name in contracts.names()})
        known = Known(document=routes.document, shelf=shelf, contracts=frozenset(schemas), adapters=manifests)
        faults += tuple(routes_faults(known))
        if persons is not None:
            faults += tuple(person_faults(persons, known.parties))
        if document is not None:
            faults += tuple(environment_faults(document, known.parties, manifests))
            faults += tuple(lifetime_faults(routes.document, document))
    if faults or routes is None or document is None:
        raise ConfigurationError(_sorted(faults))
    return _build(root, env, routes, document, manifests, contracts, persons.value if persons else {})


def _build(
    root: Path,
    env: str,
    routes: Routes,
    document: Document,
    manifests: Mapping[str, AdapterManifest | None],
    contracts: Contracts,
    persons: Data,
) -> Workspace:
    content = routes.document.value
    environment = build_environment(env, document, roster(content))
    agencies, groups = build_agencies(routes), build_groups(routes)
    loaded = {name: agency for name, agency in agencies.items() if agency.adapter is not None}
    adapters = {name: manifest for name, agency in loaded.items() if (manifest := manifests[str(agency.adapter)])}
    used = {name for name, use in environment.agencies.items() if use.use == "desk"}
    desks = frozenset(used | {name for name, agency in agencies.items() if agency.desk})
    schemas = {name: contracts.schema(name) for name in contracts.names()}
    services = {}
    for name in content["services"]:
        definition = build_definition(content, name, adapters, groups, desks)
        services[name] = _service(definition, schemas, routes.origin("services", name))
    return Workspace(
        root=root,
        env=environment,
        agencies=agencies,
        services=services,
        adapters=adapters,
        contracts=contracts,
        test_persons=persons,
        groups=groups,
        routes=routes.document,
    )


def _service(definition: Definition, schemas: Mapping[str, Data], origin: Origin) -> Service:
    closure = to_closure(definition, schemas)
    return Service(definition=definition, revision=revision(closure), closure=closure, origin=origin)


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


def _sorted(faults: tuple[Fault, ...]) -> tuple[Fault, ...]:
    return tuple(sorted(dict.fromkeys(faults), key=lambda fault: (fault.file, fault.line, fault.column, fault.pointer)))
