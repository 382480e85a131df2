"""``bus store``: making, counting, backing up and restoring the store, on a machine that reaches it."""

from __future__ import annotations

import os
import time
from contextlib import closing
from pathlib import Path

import click

from bus.cli.local import on_data, on_workspace, with_json
from bus.cli.outcome import DONE, NO
from bus.cli.show import as_json

_ASKS_FIRST = "Start the bus: it asks every agency what happened since. Look with `bus status`, then: bus store open"


@click.group()
def store() -> None:
    """The store of the bus."""


@store.command("migrate")
@on_workspace
@on_data
def migrate(workspace: Path, env: str, data: Path) -> None:
    """Make the store, or bring it up to date."""
    from bus.bootstrap.backups import keeping

    kept = keeping(workspace, env, data)
    kept.migrate()
    click.echo(f"The store in {data if kept.database is None else 'the database'} is up to date.")


@store.command("recount")
@on_workspace
@on_data
@with_json
def recount(workspace: Path, env: str, data: Path, as_json_: bool) -> int:
    """Say what does not add up: conservation, contiguous facts, orphans. Exits 1 if anything does not."""
    from bus.bootstrap.backups import keeping

    with closing(keeping(workspace, env, data).open()) as opened:
        totals = opened.totals()
        total = sum(totals.values())
        # Every fact of every request is read and hashed: whoever waits should know for what.
        click.echo(f"Counting {total} requests …", err=True)
        begun = time.monotonic()
        wrong = opened.recount()
    if as_json_:
        seconds = round(time.monotonic() - begun, 3)
        counts = {state.value: count for state, count in totals.items()}
        click.echo(as_json({"wrong": list(wrong), "requests": counts, "seconds": seconds}))
    else:
        for sentence in wrong:
            click.echo(sentence)
        click.echo(f"{total} requests: " + (f"{len(wrong)} wrong." if wrong else "all adds up."))
    return NO if wrong else DONE


@store.command("backup")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@on_workspace
@on_data
def backup(file: Path, workspace: Path, env: str, data: Path) -> None:
    """Write the store and the installation's secret to FILE, while the bus runs.

    FILE has all that the bus knows of people: it is for its owner's eyes alone, and belongs to a safe place.
    """
    from bus.bootstrap.backups import back_up, keeping

    made = back_up(keeping(workspace, env, data), file)
    size = sum(part.bytes for part in made.parts.values())
    click.echo(f"{file}: the store as of {made.made_at} and the installation's secret, {size} bytes.")


@store.command("restore")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@on_workspace
@on_data
@click.option("--replace", is_flag=True, help="Take the place of the store that is there.")
def restore(file: Path, workspace: Path, env: str, data: Path, replace: bool) -> None:
    """Put the backup FILE in the place of the store, while no role of the bus runs.

    The store knows less than happened since the backup. So the bus starts in `reconcile`: it asks the agencies about
    every open interaction and sends nothing else, until you run `bus store open`.
    """
    from bus.bootstrap.backups import keeping
    from bus.bootstrap.backups import restore as put_back

    manifest, old = put_back(keeping(workspace, env, data), file, replace=replace)
    click.echo(f"The store is that of {manifest.made_at}.")
    if old is not None:
        click.echo(f"The one before is kept as {old}.")
    click.echo(_ASKS_FIRST)


@store.command("reconcile")
@click.option("--reason", required=True, help="How the store came to lose something; kept for ever.")
@on_workspace
@on_data
def reconcile(reason: str, workspace: Path, env: str, data: Path) -> None:
    """Declare that the store went back by itself, while no role of the bus runs.

    For a standby that lacked what its primary had committed, or a disk that was put back: all but `bus store restore`,
    which does the same. The bus then starts in `reconcile`: it asks the agencies about every open interaction and sends
    nothing else, until you run `bus store open`.
    """
    from bus.bootstrap.backups import begin_reconcile, keeping
    from bus.operations.caller import MACHINE

    begin_reconcile(keeping(workspace, env, data), by=os.environ.get("USER") or MACHINE, reason=reason)
    click.echo(_ASKS_FIRST)


@store.command("open")
@click.option("--reason", required=True, help="Why it may be acted on now; kept for ever.")
@click.option("--force", is_flag=True, help="Also while not all was asked, or not all was answered.")
@on_workspace
@on_data
def open_(reason: str, force: bool, workspace: Path, env: str, data: Path) -> None:
    """Let a restored store send again, once the agencies were asked; the bus may run. Exits 1 while it is too early."""
    from bus.bootstrap.backups import keeping
    from bus.operations.caller import MACHINE
    from bus.runtime.reconcile import open_for_work

    with closing(keeping(workspace, env, data).open()) as opened:
        unanswered = open_for_work(opened, by=os.environ.get("USER") or MACHINE, reason=reason, force=force)
    click.echo(f"The store is open. {unanswered} interactions have no answer yet; they are asked about as ever.")
