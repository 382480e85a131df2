"""``bus serve`` and ``bus simulator run``: the programs that stay."""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import click

from bus import logs
from bus.bootstrap import claimed, load_workspace, roles_of, simulator_folder, simulators
from bus.bootstrap.memory import share_one_heap
from bus.catalog import load_simulator
from bus.cli.show import Language
from bus.cli.stopping import stop_on_signals
from bus.simulator import Persons

_workspace = click.option(
    "--workspace", type=click.Path(path_type=Path, file_okay=False, exists=True), default=Path(), help="Its folder."
)
_env = click.option("--env", default=lambda: os.environ.get("BUS_ENV", "dev"), help="Which env/<name>.yaml.")
_data = click.option(
    "--data", type=click.Path(path_type=Path, file_okay=False), help="Default: .bus/ in the workspace."
)


@click.command()
@_workspace
@_env
@_data
@click.option(
    "--role",
    "roles",
    multiple=True,
    help="gateway, process-manager, relay, timekeeper or agency:NAME; several times for several. Default: all.",
)
@click.option("--port", type=click.IntRange(0, 65535), default=8420, show_default=True, help="0 takes a free one.")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on; one that others reach needs tokens (`bus user add`).",
)
@click.option(
    "--simulators/--no-simulators",
    "with_simulators",
    default=True,
    help="Whether the stand-ins of this process's agencies are started beside it.",
)
@click.option(
    "--wait",
    type=click.IntRange(0),
    default=300,
    show_default=True,
    help="Seconds to wait at the start for a store that is away; then it ends with exit code 3. Hosts alone have no"
    " store: they start, and wait for what is away until they are stopped.",
)
@click.option("--lang", type=click.Choice(["en", "ar"]), help="Language of what it says at the start. Default: both.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info")
def serve(  # noqa: PLR0913, PLR0917  # the options of one command
    workspace: Path,
    env: str,
    data: Path | None,
    roles: tuple[str, ...],
    port: int,
    host: str,
    with_simulators: bool,
    wait: int,
    lang: Language | None,
    log_level: logs.Level,
) -> None:
    """Run the bus: all of it in this process, or the roles that --role names.

    Roles in processes of their own share the broker and the store that the environment names; an agency's host needs
    the broker only. Stops on SIGTERM or Ctrl-C within a bound; what was accepted is in the store, and goes on.
    """
    share_one_heap()
    logs.configure(json=not sys.stderr.isatty(), level=log_level)
    logs.claim_process()
    stop_on_signals()
    read = load_workspace(workspace.resolve(), env)
    folder = (data or workspace / ".bus").resolve()
    wanted = roles_of(roles, read)
    with ExitStack() as stack:
        # A store in the folder is for one process; roles that share one elsewhere may share the folder, too.
        stack.enter_context(claimed(folder, shared=read.env.store is not None or not wanted.bus))
        if with_simulators:
            stack.enter_context(simulators(read, folder, wanted.agencies))
        if wanted.bus:
            from bus.cli.serve_roles import serve_roles

            serve_roles(read, folder, wanted, port, host, wait, lang)
        else:
            from bus.cli.serve_hosts import serve_hosts

            serve_hosts(read, folder, wanted.agencies, lang)


@click.group()
def simulator() -> None:
    """Stand-ins for legacy systems."""


@simulator.command("run")
@click.argument("agency")
@_workspace
@_env
@_data
def run_simulator(agency: str, workspace: Path, env: str, data: Path | None) -> None:
    """Simulate the legacy system of AGENCY until standard input ends, or until told to stop."""
    logs.configure(json=True, level="warning")
    read = load_workspace(workspace.resolve(), env)
    folder = simulator_folder((data or workspace / ".bus").resolve(), agency)
    made = load_simulator(read.adapters[agency])
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    if not sys.stdin.isatty():
        # Ctrl-C reaches the whole group at once; the bus needs this system until it has drained, and then ends it.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_until_input_ends, args=(stop,), daemon=True).start()
    made(folder, Persons.load(read.root / "schemas" / "test-persons.yaml")).run(stop.is_set)


def _until_input_ends(stop: threading.Event) -> None:
    # Past Python's own buffer: a thread that waits in there may not be left behind when the program ends.
    while os.read(sys.stdin.fileno(), 1 << 16):
        pass
    stop.set()
