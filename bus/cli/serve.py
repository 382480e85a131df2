"""``bus serve`` and ``bus simulator run``: the programs that stay."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

import click

from bus import logs
from bus.bootstrap import (
    Parts,
    assemble,
    claimed,
    load_workspace,
    pages,
    running,
    simulator_folder,
    simulators,
    write_once,
)
from bus.catalog import load_simulator
from bus.errors import ConfigurationError, Fault
from bus.gateway.server import LOOPBACK, address_of, is_loopback, listen, serve_until_told
from bus.operations.caller import Role, mint_token
from bus.simulator import Persons

_log = logs.bind(role="serve")
#: Whose token `bus serve` leaves for the command line of this machine.
LOCAL_USER = "local"

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
@click.option("--port", type=click.IntRange(0, 65535), default=8420, show_default=True, help="0 takes a free one.")
@click.option(
    "--host",
    default=LOOPBACK,
    show_default=True,
    help="Address to listen on; one that others reach needs tokens (`bus user add`).",
)
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info")
def serve(workspace: Path, env: str, data: Path | None, port: int, host: str, log_level: logs.Level) -> None:
    """Run the whole bus in this process: gateway, process manager, relay, timekeeper and agency hosts.

    Stops on SIGTERM or Ctrl-C within a bound; what was accepted is in the store, and goes on at the next start.
    """
    logs.configure(json=not sys.stderr.isatty(), level=log_level)
    logs.claim_process()
    for told in (signal.SIGTERM, signal.SIGINT):
        signal.signal(told, _stop)
    read = load_workspace(workspace.resolve(), env)
    folder = (data or workspace / ".bus").resolve()
    with claimed(folder):
        parts = assemble(read, folder)
        is_for_others = not is_loopback(host)
        if is_for_others:
            _refuse_without_tokens(parts, host)
        with listen(port, host) as listening, simulators(read, folder), running(parts):
            introduce(parts, address_of(listening))
            click.echo(f"The bus listens on {address_of(listening)} (environment {env}). Stop it with Ctrl-C.")
            click.echo("الناقل يعمل الآن. أوقفه بالضغط على Ctrl-C.")
            if is_for_others:
                click.echo(f"It listens on {host}, for other machines too: put TLS in front, tokens travel in clear.")
                click.echo(
                    f"يستمع الناقل على العنوان {host} لأجهزة أخرى أيضًا: ضعوا أمامه TLS، فرموز الدخول تمرّ دون تعمية."
                )
            serve_until_told(parts.context, listening, pages)


def _refuse_without_tokens(parts: Parts, host: str) -> None:
    """Who opens the door to other machines has thought of who may come in."""
    if parts.store.users() - {LOCAL_USER}:
        return
    fault = Fault(
        code="tokens-needed",
        message=f"The bus may listen on {host} only if tokens are configured; there is none but this machine's own.",
        mend="Give one with `bus user add NAME --role ROLE`, or leave --host out.",
    )
    raise ConfigurationError((fault,))


def _stop(_signal: int, _frame: object) -> None:
    """Leave, and let every role drain on the way out. The gateway gives a signal that ended it back to us."""
    for told in (signal.SIGTERM, signal.SIGINT):
        # Draining has a bound of its own; a second signal must not cut it short.
        signal.signal(told, signal.SIG_IGN)
    raise SystemExit(0)


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
    sys.stdin.buffer.read()
    stop.set()


def introduce(parts: Parts, address: str) -> None:
    """Leave address and token where the command line finds them; nobody else may read them."""
    token = parts.data / "token"
    if not token.exists():
        write_once(token, f"{mint_token(parts.store, LOCAL_USER, Role.ADMIN)}\n".encode())
    url = parts.data / "url"
    url.unlink(missing_ok=True)
    write_once(url, f"{address}\n".encode())
    _log.info("gateway_started", address=address)
