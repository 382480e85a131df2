"""Judges the files of a workspace before anything runs: all of them, all faults at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from bus.catalog import AdapterManifest, Workspace, load_workspace
from bus.catalog.document import suggest
from bus.catalog.shelf import read_json
from bus.errors import ConfigurationError, Fault
from bus.message.contract import Contracts
from bus.process.closure import input_contract, output_contract
from bus.tools.compare import dropped

#: The type of a reply whose data obeys the output contract.
_COMPLETED = "bus.task.completed.v1"


def check(root: Path, env: str, *, was: Path | None = None) -> tuple[Fault, ...]:
    """What is wrong with the workspace in ``root`` under the environment ``env``; () if nothing is.

    Everything that `load_workspace` refuses, and golden samples of adapters that are no JSON, belong to no operation or
    break its contract. Samples are ``adapters/<agency>/samples/<operation>/<kind>.canonical.json``, where the kind
    begins with ``task-valid-`` or ``reply-valid-``. Runs no code of adapters.

    ``was`` is the folder of the workspace that this one is to follow: told as well is what requests begun under that
    one may need and this one no longer has.
    """
    workspace, faults = _read(root, env)
    faults += tuple(_sample_faults(root, workspace))
    if was is not None:
        old, found = _read(was, env)
        faults += tuple(replace(fault, file=(was / fault.file).as_posix()) for fault in found)
        faults += dropped(old, workspace) if old and workspace else ()
    return faults


def _read(root: Path, env: str) -> tuple[Workspace | None, tuple[Fault, ...]]:
    try:
        return load_workspace(root, env), ()
    except ConfigurationError as error:
        return None, error.faults


def _sample_faults(root: Path, workspace: Workspace | None) -> Iterator[Fault]:
    manifests = {manifest.id: manifest for manifest in workspace.adapters.values()} if workspace else {}
    for file in sorted((root / "adapters").glob("*/samples/*/*.json")):
        value, faults = read_json(root, file)
        yield from faults
        manifest = manifests.get(file.relative_to(root).parts[1])
        if workspace is not None and manifest is not None and not faults:
            yield from _contract_faults(root, file, value, manifest, workspace.contracts)


def _contract_faults(
    root: Path, file: Path, sample: Any, manifest: AdapterManifest, contracts: Contracts
) -> Iterator[Fault]:
    shown = file.relative_to(root).as_posix()
    operation = file.parent.name
    if operation not in manifest.operations:
        message = f"The adapter does not offer {operation}."
        mend = suggest(operation, manifest.operations)
        yield Fault(code="unknown-operation", message=message, mend=mend, file=shown)
        return
    if not file.name.endswith(".canonical.json"):
        return
    if file.name.startswith("task-valid-"):
        yield from _explained(contracts, input_contract(operation), sample, shown, "")
    elif file.name.startswith("reply-valid-") and isinstance(sample, dict) and sample.get("type") == _COMPLETED:
        yield from _explained(contracts, output_contract(operation), sample.get("data"), shown, "/data")


def _explained(contracts: Contracts, contract: str, value: Any, file: str, at: str) -> Iterator[Fault]:
    if contract in contracts:
        for fault in contracts.explain(contract, value):
            yield replace(fault, code="sample-breaks-contract", file=file, pointer=at + fault.pointer)
