"""Agency hosts in the process of the bus."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial

from bus.bootstrap.brokers import host_broker
from bus.bootstrap.host import hosted, hosting
from bus.bootstrap.parts import Parts
from bus.catalog import Workspace
from bus.runtime.loop import Loops


def run_host(parts: Parts, agency: str, stop: threading.Event) -> None:
    """Run the host of one agency until told to stop; where others share the broker, under its own name there."""
    workspace = parts.workspace
    if workspace.env.broker is None:
        with hosting(workspace, parts.data, agency, parts.broker) as host:
            host.run(stop)
        return
    with closing(host_broker(workspace, agency)) as broker, hosting(workspace, parts.data, agency, broker) as host:
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
