"""Agency hosts in the process of the bus."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from functools import partial

from bus.bootstrap.brokers import host_broker
from bus.bootstrap.host import hosted, hosting
from bus.bootstrap.parts import Parts
from bus.catalog import Workspace
from bus.errors import ConfigurationError
from bus.logs import bind
from bus.ports import FailureRow
from bus.runtime.loop import Loops

_log = bind(role="bootstrap")


def run_host(parts: Parts, agency: str, stop: threading.Event) -> None:
    """Run the host of one agency until told to stop; where others share the broker, under its own name there.

    One that its settings do not let begin ends, as a process of its own would: it is shown, and the others go on.
    """
    workspace = parts.workspace
    with ExitStack() as stack:
        try:
            broker = parts.broker
            if workspace.env.broker is not None:
                broker = stack.enter_context(closing(host_broker(workspace, agency)))
            host = stack.enter_context(hosting(workspace, parts.data, agency, broker))
        except ConfigurationError as error:
            _show_refused(parts, agency, error)
            stop.wait()
            return
        host.run(stop)


def _show_refused(parts: Parts, agency: str, error: ConfigurationError) -> None:
    for fault in error.faults:
        place = f"{fault.file}:{fault.line}" if fault.line else fault.file
        _log.error("host_misconfigured", agency=agency, code=fault.code, place=place, error=error)
    failure = FailureRow.of_no_request(
        key=parts.tools.keys.next(), code="host_misconfigured", at=parts.store.now(), agency=agency
    )
    parts.store.note_failure(failure, None)


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
