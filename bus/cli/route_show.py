"""``bus route list`` and ``bus route show``: what the files say, and who said it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bus.cli.local import on_workspace, with_json
from bus.cli.show import Language, as_json, language, table


@click.command("list")
@on_workspace
@with_json
def list_(workspace: Path, env: str, as_json_: bool) -> None:
    """List the services of the workspace: their steps, who is asked, where they are defined and who answers for it."""
    from bus.catalog import load_workspace
    from bus.tools.route import listing

    rows = listing(load_workspace(workspace.resolve(), env))
    if as_json_:
        click.echo(as_json({"items": rows}))
        return
    shown = [{**row, "title": row["title"][language()], "owner": _owner(row["owner"])} for row in rows]
    click.echo("\n".join(table(shown)) or "The workspace has no service.")


@click.command("show")
@click.argument("service")
@click.option("--resolved", is_flag=True, help="Every value, defaults included, with the file and line that set it.")
@on_workspace
@with_json
def show(service: str, resolved: bool, workspace: Path, env: str, as_json_: bool) -> None:
    """Print the steps of SERVICE, who answers them and what they need; with --resolved every value and who set it."""
    from bus.catalog import load_workspace
    from bus.tools.route import overview
    from bus.tools.route import resolved as resolved_rows

    read = load_workspace(workspace.resolve(), env)
    if service not in read.services:
        raise click.UsageError(f"The workspace has no service of this name. It has: {', '.join(read.services)}.")
    if resolved:
        rows = [{"name": row.name, "value": row.value, "set_in": row.set_in} for row in resolved_rows(read, service)]
        absent = [{**row, "value": "none" if row["value"] in (None, []) else row["value"]} for row in rows]
        click.echo(as_json({"service": service, "items": rows}) if as_json_ else "\n".join(table(absent)))
        return
    found = overview(read, service)
    click.echo(as_json(found) if as_json_ else "\n".join(_lines(found, language())))


def _lines(found: dict[str, Any], lang: Language) -> list[str]:
    asked_by = "; ".join(f"{name} ({', '.join(purposes)})" for name, purposes in found["consumers"].items())
    lines = [
        f"{found['service']}: {found['title'][lang]}",
        f"  defined in  {found['defined_in']}" + (f", {_owner(found['owner'])}" if found["owner"] else ""),
        f"  asked by    {asked_by}",
        f"  deadline    {found['deadline']}, then {found['on_deadline']}",
        f"  revision    {found['revision'][:12]}",
        "",
    ]
    return [*lines, *table([_row(step, lang) for step in found["steps"]])]


def _row(step: dict[str, Any], lang: Language) -> dict[str, Any]:
    """The step in the columns of a table."""
    flags = [name for name in ("optional", "final") if step[name]]
    return {
        "step": step["step"],
        "title": step["title"][lang],
        "needs": step["needs"],
        "provider": f"one of {step['provider']}, by {step['by']}" if step["by"] else step["provider"],
        "operation": step["operation"],
        "for_each": f"{step['for_each']}, at most {step['most']}" if step["for_each"] else None,
        "when": step["when"],
        "taken_back_by": step["compensate"],
        "is": flags,
    }


def _owner(owner: dict[str, str] | None) -> str:
    return f"{owner['team']} ({owner['contact']})" if owner else ""
