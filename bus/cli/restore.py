"""``bus agency restore``: after a backup of an agency's journal was put back."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

import click

from bus.bootstrap import claimed, has_store, open_journal, open_store
from bus.operations.caller import MACHINE
from bus.ports import Act


@click.command("restore")
@click.argument("agency")
@click.option("--data", type=click.Path(path_type=Path, file_okay=False, exists=True), default=Path(".bus"))
def restore(agency: str, data: Path) -> None:
    """Declare that the journal of AGENCY was restored from a backup; run it while the bus is stopped.

    The journal takes a new identity, so that nobody mistakes a row that it lacks for proof that nothing happened.
    The bus then refuses the host until an operator retires the old journal: `bus agency retire AGENCY --journal ID`.
    Where the store of the bus stands in the same folder, its list of acts says that this was done.
    """
    file = data / "journals" / f"{agency}.db"
    if not file.is_file():
        message = f"There is no journal {file}; put the backup back first, or name the folder with --data."
        raise click.ClickException(message)
    with claimed(data), closing(open_journal(data, agency)) as journal:
        before = journal.identity().journal_id
        # Noted first: what is noted and then not done can be done again, what is done and not noted is never found.
        _note(data, f"{agency}/{before}")
        after = journal.renew(time.time_ns() // 1_000_000).journal_id
    click.echo(f"The journal of {agency} was {before} and is {after} now.")
    click.echo(f"Start its host, then run: bus agency retire {agency} --journal {before}")


def _note(data: Path, target: str) -> None:
    if not has_store(data):
        return
    with closing(open_store(data)) as store:
        store.note_act(Act(actor=MACHINE, what="journal_restored", target=target))
