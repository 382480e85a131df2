"""Agency hosts: which there are, and one with its journal and its adapter. Nothing of the bus's side is needed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bus.adapter import Adapter
from bus.bootstrap.folder import simulator_folder
from bus.bootstrap.journals import journal_of
from bus.catalog import Workspace, load_adapter, load_simulator, reveal
from bus.message.instant import Milliseconds
from bus.ports import Broker
from bus.runtime.host import AgencyHost


def hosted(workspace: Workspace) -> tuple[str, ...]:
    """The agencies whose adapter runs beside the bus in this environment."""
    return tuple(
        name
        for name, agency in workspace.agencies.items()
        if agency.adapter is not None and workspace.env.agencies[name].use in {"real", "simulator"}
    )


def wall_clock() -> Milliseconds:
    """Now, by the machine's clock."""
    return time.time_ns() // 1_000_000


@contextmanager
def hosting(
    workspace: Workspace,
    data: Path,
    agency: str,
    broker: Broker,
    *,
    clock: Callable[[], Milliseconds] = wall_clock,
) -> Iterator[AgencyHost]:
    """The host of one agency with its journal and its adapter, which are closed at the end of the ``with``."""
    manifest, use = workspace.adapters[agency], workspace.env.agencies[agency]
    simulated: Adapter | None = None
    real: Adapter | None = None
    # Whatever cannot be made: what was made before it is let go of, for a host that cannot begin is tried for ever.
    with ExitStack() as stack:
        # Beside a real system the simulator takes the tasks that are tests: they can never reach the real one.
        if is_simulated(workspace, agency):
            simulated = stack.enter_context(closing(_simulated(workspace, data, agency)))
        if use.use == "real":
            settings = reveal(use.settings, workspace.root, os.environ)
            real = stack.enter_context(closing(load_adapter(manifest, settings)))
        journal = stack.enter_context(closing(journal_of(workspace, data, agency)))
        host = AgencyHost(
            agency=agency,
            adapter=real or simulated,
            simulator=simulated,
            operations=manifest.operations,
            contracts=workspace.contracts,
            journal=journal,
            broker=broker,
            settings=workspace.env.settings,
            clock=clock,
            versions={"bus": _version(), "adapter": manifest.id},
        )
        # Also one that broke lets go of its messages, so that the next one gets them.
        with closing(host):
            yield host


def _simulated(workspace: Workspace, data: Path, agency: str) -> Adapter:
    """The adapter on the stand-in, which says itself how it is reached; the rest is set by the environment.

    Beside a real system nothing of that system's settings is handed to what serves trials.
    """
    manifest, use = workspace.adapters[agency], workspace.env.agencies[agency]
    reach = load_simulator(manifest).settings(simulator_folder(data, agency))
    written = reveal(use.settings, workspace.root, os.environ) if use.use == "simulator" else {}
    return load_adapter(manifest, {**written, **reach})


def is_simulated(workspace: Workspace, agency: str) -> bool:
    """Whether the agency's folder brings a stand-in of its legacy system."""
    return (workspace.adapters[agency].folder / "simulator.py").is_file()


def _version() -> str:
    try:
        return version("g2g-bus")
    except PackageNotFoundError:
        return "not installed"
