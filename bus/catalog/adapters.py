"""The adapter folders of a workspace: their manifests, and the classes in them, loaded by path."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from bus.adapter import Adapter
from bus.catalog.document import read_bytes, read_document
from bus.catalog.shape import shape_faults
from bus.catalog.shelf import read_own_schema
from bus.catalog.workspace import AdapterManifest, OperationManifest
from bus.config import duration
from bus.errors import ConfigurationError, Fault
from bus.message.contract import Contracts
from bus.message.reply import Data
from bus.process.definition import Repeat
from bus.process.mapping import split_pointer

MANIFEST = "manifest.yaml"
#: Hosts of several agencies start at once, and each loads its adapter.
_LOADING = threading.Lock()
SETTINGS_SCHEMA = "settings.schema.json"


def read_manifests(root: Path, schema: Data) -> tuple[dict[str, AdapterManifest | None], tuple[Fault, ...]]:
    """Every folder below ``adapters/`` that has a manifest; None where it cannot be used, and why."""
    manifests: dict[str, AdapterManifest | None] = {}
    faults: list[Fault] = []
    for file in sorted((root / "adapters").glob(f"*/{MANIFEST}")):
        manifest, found = _read_manifest(root, file.parent, schema)
        manifests[file.parent.name] = manifest
        faults += found
    return manifests, tuple(faults)


def _read_manifest(root: Path, folder: Path, schema: Data) -> tuple[AdapterManifest | None, tuple[Fault, ...]]:
    shown = folder.relative_to(root).as_posix()
    raw, faults = read_bytes(root, folder / MANIFEST)
    document, found = read_document(f"{shown}/{MANIFEST}", raw)
    faults = faults or found or shape_faults(document, schema)
    settings_schema, found = read_own_schema(root, folder / SETTINGS_SCHEMA, settings_contract(folder.name))
    faults += found
    if faults or settings_schema is None:
        return None, faults
    content = document.value
    if content.get("id", folder.name) != folder.name:
        message = f"The id {content['id']} is not the name of the folder."
        return None, (document.fault(("id",), "wrong-id", message, f"Write {folder.name}."),)
    operations = {name: _operation(operation) for name, operation in content["operations"].items()}
    manifest = AdapterManifest(id=folder.name, folder=folder, operations=operations, settings_schema=settings_schema)
    return manifest, ()


def settings_contract(adapter: str) -> str:
    """The name of the contract that an adapter's settings obey."""
    return f"adapter/{adapter}.settings"


def _operation(content: Mapping[str, Any]) -> OperationManifest:
    return OperationManifest(
        repeat=_repeat(content["repeat"]), timeout=duration(content["timeout"]), batch=content["batch"]
    )


def _repeat(written: Any) -> Repeat:
    """``safe``, ``at_most_once``, ``{idempotent: {window}}``, ``{queryable: {absence_proof_after}}``, ..."""
    kind, details = (written, {}) if isinstance(written, str) else next(iter(written.items()))
    return Repeat(
        kind=kind,
        window=duration(details["window"]) if "window" in details else 0,
        absence_proof_after=duration(details["absence_proof_after"]) if "absence_proof_after" in details else 0,
    )


def load_adapter(manifest: AdapterManifest, settings: Data) -> Adapter:
    """The adapter of that folder with these settings (secrets already revealed); opens nothing.

    A ConfigurationError where the settings break their schema, the file cannot be imported, it does not define exactly
    one `Adapter`, or that one cannot be made of the settings. No fault quotes a setting: it may be a secret.
    """
    if faults := _settings_faults(manifest, settings):
        raise ConfigurationError(faults)
    module = _load(manifest, "adapter")
    adapters = [
        member
        for member in vars(module).values()
        if isinstance(member, type) and issubclass(member, Adapter) and member.__module__ == module.__name__
    ]
    if len(adapters) != 1:
        message = f"The file defines {len(adapters)} subclasses of Adapter."
        raise _unloadable(manifest, "adapter", message, "Define exactly one.")
    try:
        return adapters[0](dict(settings))
    except Exception as error:  # noqa: BLE001  (an author may raise anything, and its words may hold a secret)
        message = f"The adapter cannot be made of these settings: {type(error).__name__}."
        raise _unloadable(manifest, "adapter", message, f"State in {SETTINGS_SCHEMA} what it needs.") from None


def load_simulator(manifest: AdapterManifest) -> Any:
    """The class ``Simulator`` of that folder; a ConfigurationError where there is none."""
    simulator = getattr(_load(manifest, "simulator"), "Simulator", None)
    if not isinstance(simulator, type):
        raise _unloadable(manifest, "simulator", "The file defines no class Simulator.", "Define it.")
    return simulator


def _settings_faults(manifest: AdapterManifest, settings: Data) -> tuple[Fault, ...]:
    """Why these settings break the adapter's schema, at the line of the rule.

    What an environment says was judged at its own line before: here a secret's value or a simulator is wrong.
    """
    name = settings_contract(manifest.id)
    told = Contracts({name: manifest.settings_schema}).explain(name, settings)
    if not told:
        return ()
    raw, _ = read_bytes(manifest.folder.parents[1], manifest.folder / SETTINGS_SCHEMA)
    rules, _ = read_document(f"adapters/{manifest.id}/{SETTINGS_SCHEMA}", raw)
    return tuple(
        rules.fault(
            ("properties", *split_pointer(fault.pointer)[:1]),
            "bad-setting",
            f"The setting {fault.pointer} breaks this rule. {fault.message}",
            f"{fault.mend} Mend it in the environment, or the secret that stands for it.",
        )
        for fault in told
    )


def _load(manifest: AdapterManifest, name: str) -> ModuleType:
    """``adapters.<folder>.<name>`` out of that very folder, whatever was loaded under this name before."""
    package = f"adapters.{manifest.id}"
    if not (manifest.folder / f"{name}.py").is_file():
        raise _unloadable(manifest, name, "There is no such file.", "Write it.")
    with _LOADING:
        known = sys.modules.get(package)
        if known is None or list(known.__path__) != [str(manifest.folder)]:
            # A copy: other threads import other things meanwhile.
            for loaded in [one for one in tuple(sys.modules) if one == package or one.startswith(f"{package}.")]:
                del sys.modules[loaded]
            _register("adapters", manifest.folder.parent)
            _register(package, manifest.folder)
        importlib.invalidate_caches()
        try:
            return importlib.import_module(f"{package}.{name}")
        except Exception as error:  # whatever the author's file raises is a fault of that file
            raise _unloadable(manifest, name, f"It cannot be imported: {error!r}.", "Mend it.") from error


def _register(package: str, folder: Path) -> None:
    """A package without code of its own; nothing is added to ``sys.path``."""
    if package == "adapters" and package in sys.modules:
        return
    spec = importlib.util.spec_from_loader(package, loader=None, is_package=True)
    assert spec is not None  # noqa: S101  (a spec without a loader is always made)
    module = importlib.util.module_from_spec(spec)
    module.__path__ = [str(folder)]
    sys.modules[package] = module


def _unloadable(manifest: AdapterManifest, name: str, message: str, mend: str) -> ConfigurationError:
    file = f"adapters/{manifest.id}/{name}.py"
    return ConfigurationError((Fault(code="not-loadable", message=message, mend=mend, file=file),))
