"""Stand-ins of legacy systems, each a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from bus.bootstrap.folder import simulator_folder
from bus.bootstrap.host import hosted, is_simulated
from bus.catalog import Workspace


@contextmanager
def simulators(
    workspace: Workspace, data: Path, agencies: Collection[str] | None = None
) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """One process for each stand-in of a legacy system, in every environment, for tests or for all tasks.

    Of these ``agencies``, or of all that have a host here. Each ends with its standard input, so none outlives the bus.
    """
    served = hosted(workspace) if agencies is None else agencies
    wanted = [name for name in served if is_simulated(workspace, name)]
    running_now = {name: start_simulator(workspace, data, name) for name in wanted}
    try:
        yield running_now
    finally:
        for process in running_now.values():
            if process.stdin:
                process.stdin.close()
        for process in running_now.values():
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def start_simulator(workspace: Workspace, data: Path, agency: str) -> subprocess.Popen[bytes]:
    """The simulator of one agency, as a process of its own."""
    simulator_folder(data, agency).mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "bus", "simulator", "run", agency]
    where = ["--workspace", str(workspace.root), "--env", workspace.env.name, "--data", str(data)]
    return subprocess.Popen([*command, *where], stdin=subprocess.PIPE)
