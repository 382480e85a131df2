"""Agency hosts beside the bus: which there are, one by itself, and those of this process."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bus.adapter import Adapter
from bus.bootstrap.folder import open_journal, simulator_folder
from bus.bootstrap.parts import Parts
from bus.catalog import Workspace, load_adapter, load_simulator, reveal
from bus.message.instant import Milliseconds
from bus.ports import Broker
from bus.runtime.host import AgencyHost
from bus.runtime.loop import Loops


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
    # Beside a real system the simulator takes the tasks that are tests: they can never reach the real one.
    simulated = _simulated(workspace, data, agency) if is_simulated(workspace, agency) else None
    real = load_adapter(manifest, reveal(use.settings, workspace.root, os.environ)) if use.use == "real" else None
    with ExitStack() as stack:
        journal = stack.enter_context(closing(open_journal(data, agency)))
        for adapter in (real, simulated):
            if adapter is not None:
                stack.enter_context(closing(adapter))
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


def run_host(parts: Parts, agency: str, stop: threading.Event) -> None:
    """Run the host of one agency until told to stop."""
    with hosting(parts.workspace, parts.data, agency, parts.broker) as host:
        host.run(stop)


class LocalHosts:
    """The agency hosts of this process, of which each can be stopped, and started again with a workspace read anew."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._loops: dict[str, Loops] = {}

    def start(self, agency: str, workspace: Workspace | None = None) -> None:
        """Run the host of one agency, with another ``workspace`` than that of the process where one is given."""
        loops = self._loops[agency] = Loops()
        parts = self._parts if workspace is None else replace(self._parts, workspace=workspace)
        loops.run(f"agency:{agency}", partial(run_host, parts, agency))

    def stop(self, agency: str) -> bool:
        """Let the host end its call and answer, within `Settings.drain_within`; whether it did."""
        loops = self._loops.pop(agency, Loops())
        return loops.stop(self._parts.tools.settings.drain_within / 1000)


@contextmanager
def local_hosts(parts: Parts) -> Iterator[LocalHosts]:
    """What ``running(parts)`` runs of hosts, within ``running(parts, hosts=False)``, so that each can be reached."""
    hosts = LocalHosts(parts)
    served = hosted(parts.workspace)
    try:
        for agency in served:
            hosts.start(agency)
        yield hosts
    finally:
        for agency in served:
            hosts.stop(agency)


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
