"""The commands that work on files, with no gateway: they help when nothing else runs."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import click

from bus.cli.outcome import DONE, NO
from bus.cli.show import as_json, as_text, language, table

F = TypeVar("F", bound=Callable[..., Any])

_NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")


def on_workspace(command: F) -> F:
    """The options that name a workspace and its environment."""
    folder = click.Path(path_type=Path, file_okay=False, exists=True)
    command = click.option("--workspace", type=folder, default=Path(), help="Its folder.")(command)
    of_env = click.option("--env", default=lambda: os.environ.get("BUS_ENV", "dev"), help="Which env/<name>.yaml.")
    return of_env(command)


def on_data(command: F) -> F:
    """The option that names the folder of an installation."""
    folder = click.Path(path_type=Path, file_okay=False)
    default = click.option(
        "--data", type=folder, default=lambda: os.environ.get("BUS_DATA", ".bus"), help="Folder of the bus."
    )
    return default(command)


with_json = click.option("--json", "as_json_", is_flag=True, help="Print JSON for programs.")


@click.command()
@on_workspace
@click.option(
    "--was",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="The workspace before: tell what open requests may need and this one drops.",
)
@with_json
def check(workspace: Path, env: str, was: Path | None, as_json_: bool) -> int:
    """Judge the files of a workspace before they run: every fault with file, line and mend. Exits 1 if there is one."""
    from bus.tools.check import check as faults_of

    faults = faults_of(workspace.resolve(), env, was=was and was.resolve())
    if as_json_:
        click.echo(as_json({"faults": [asdict(fault) for fault in faults]}))
    else:
        for fault in faults:
            click.echo(str(fault))
        click.echo(f"{len(faults)} fault{'s' if len(faults) != 1 else ''}." if faults else "No faults.")
    return NO if faults else DONE


@click.group()
def config() -> None:
    """What the bus is set to."""


@config.command("show")
@on_workspace
@with_json
def config_show(workspace: Path, env: str, as_json_: bool) -> None:
    """Print each value with the file and line that set it; secrets are masked."""
    from bus.catalog import configuration_rows

    rows = [
        {"name": row.name, "value": row.value, "set_in": f"{row.file}:{row.line}" if row.file else "default"}
        for row in configuration_rows(workspace.resolve(), env)
    ]
    click.echo(as_json({"items": rows}) if as_json_ else "\n".join(table(rows)))


@click.group()
def user() -> None:
    """Who may ask the gateway."""


@user.command("add")
@click.argument("name")
@click.option("--role", type=click.Choice(["consumer", "clerk", "operator", "auditor", "admin"]), required=True)
@click.option("--agency", help="For consumers and clerks: theirs.")
@on_workspace
@on_data
@with_json
def user_add(name: str, role: str, agency: str | None, workspace: Path, env: str, data: Path, as_json_: bool) -> None:
    """Print a new token for NAME. It is shown this once; the store keeps its hash.

    Where a workspace is at hand, the agency must be in it.
    """
    from bus.bootstrap.backups import keeping
    from bus.operations.caller import Role, mint_token

    if not _NAME.fullmatch(name):
        raise click.UsageError("NAME has letters, digits and . _ @ - only, at most 64.")
    if agency is not None and (workspace / "routes.yaml").exists():
        _check_agency(agency, workspace.resolve(), env)
    opened = keeping(workspace, env, data).open()
    try:
        token = mint_token(opened, name, Role(role), agency)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    finally:
        opened.close()
    answer = {"user": name, "role": role, "agency": agency, "token": token}
    click.echo(as_json(answer) if as_json_ else as_text(answer, language()))


@user.command("remove")
@click.argument("name")
@on_workspace
@on_data
def user_remove(name: str, workspace: Path, env: str, data: Path) -> int:
    """Take every token of NAME back. A running gateway forgets them within five seconds. Exits 1 if there is none."""
    from bus.bootstrap.backups import keeping
    from bus.operations.caller import take_tokens

    opened = keeping(workspace, env, data).open()
    try:
        removed = take_tokens(opened, name)
    finally:
        opened.close()
    click.echo(f"{removed} tokens of {name} are no longer valid." if removed else f"{name} has no token.")
    return DONE if removed else NO


def _check_agency(agency: str, workspace: Path, env: str) -> None:
    from bus.bootstrap import load_workspace

    known = load_workspace(workspace, env).agencies
    if agency not in known:
        raise click.UsageError(f"The workspace has no agency of this name. It has: {', '.join(sorted(known))}.")
