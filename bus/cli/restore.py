"""``bus agency restore``: after a backup of an agency's journal was put back."""

from __future__ import annotations

import os
import time
from contextlib import closing
from pathlib import Path

import click
from click.core import ParameterSource

from bus.bootstrap import has_store, open_store
from bus.cli.local import on_data, on_workspace
from bus.operations.caller import MACHINE
from bus.ports import Act


@click.command("restore")
@click.argument("agency")
@on_workspace
@on_data
@click.pass_context
def restore(context: click.Context, agency: str, workspace: Path, env: str, data: Path) -> None:
    """Declare that the journal of AGENCY was restored from a backup; run it while its hosts are stopped.

    The journal is the one in PostgreSQL that the environment names for the agency, else the file in the folder.
    What is printed says which it was. It takes a new identity, so that nobody mistakes a row that it lacks for proof
    that nothing happened.
    The bus then refuses the hosts until an operator retires the old journal: `bus agency retire AGENCY --journal ID`.
    Where the store of the bus stands in the same folder, its list of acts says that this was done.
    """
    from bus.bootstrap.journals import shelf

    kept = shelf(agency, workspace, env, data, is_named=_is_named(context))
    with kept.open() as journal:
        before = journal.identity().journal_id
        # Noted first: what is noted and then not done can be done again, what is done and not noted is never found.
        _note(data, f"{agency}/{before}")
        after = journal.renew(time.time_ns() // 1_000_000).journal_id
    click.echo(f"The journal of {agency} was {before} and is {after} now: {kept.place}.")
    click.echo(f"Start its hosts, then run: bus agency retire {agency} --journal {before}")


def _is_named(context: click.Context) -> bool:
    """Whether somebody said which workspace or environment."""
    said = (context.get_parameter_source(name) for name in ("workspace", "env"))
    return "BUS_ENV" in os.environ or any(source is not ParameterSource.DEFAULT for source in said)


def _note(data: Path, target: str) -> None:
    if not has_store(data):
        return
    with closing(open_store(data)) as store:
        store.note_act(Act(actor=MACHINE, what="journal_restored", target=target))
