"""``bus topology``: what stands in the broker behind the channels, and who may do what there; needs no gateway."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from bus.cli.local import on_workspace, with_json
from bus.cli.outcome import DONE, NO
from bus.cli.show import as_json, table
from bus.errors import ConfigurationError, Fault


@click.group()
def topology() -> None:
    """What stands in the broker behind the channels, and who may do what there."""


@topology.command("show")
@on_workspace
@with_json
def show(workspace: Path, env: str, as_json_: bool) -> None:
    """Print each channel with its exchange, queue, arguments, writers and readers, and the rights of each user.

    Needs the files of the workspace alone.
    """
    from bus.bootstrap.topology import described, topology_of
    from bus.catalog import load_workspace

    found = described(topology_of(load_workspace(workspace.resolve(), env)))
    click.echo(as_json(found) if as_json_ else "\n".join(_lines(found)))


@topology.command("export")
@on_workspace
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Write this file, for you alone.")
def export(workspace: Path, env: str, output: Path | None) -> None:
    """Print the definitions that RabbitMQ imports, at boot or by rabbitmqctl: with hashes of passwords, not with them.

    A user for whom the environment names no password is left out.
    """
    from bus.bootstrap.topology import exported, without_password
    from bus.catalog import load_workspace

    read = load_workspace(workspace.resolve(), env)
    definitions = exported(read)
    if output is None:
        click.echo(definitions.decode(), nl=False)
    else:
        _write(output, definitions)
    _tell_left_out(without_password(read))


@topology.command("apply")
@on_workspace
@with_json
def apply(workspace: Path, env: str, as_json_: bool) -> None:
    """Make in the broker what is missing, and tell what became of each thing. Nothing is taken away.

    Users and rights are made where the environment names the broker's management.
    """
    from bus.bootstrap.topology import make, without_password
    from bus.catalog import load_workspace

    read = load_workspace(workspace.resolve(), env)
    done: list[dict[str, Any]] = []
    try:
        for one in make(read):
            done.append(asdict(one))
            if not as_json_:
                click.echo(f"{one.deed:<10} {one.kind:<8} {one.name}")
    finally:
        if as_json_:
            click.echo(as_json({"items": done}))
    _tell_left_out(without_password(read))


@topology.command("check")
@on_workspace
@with_json
def check(workspace: Path, env: str, as_json_: bool) -> int:
    """Compare what stands in the broker with what should: all differences at once, each with its mend.

    Exits 1 if there is one. Warnings, and what cannot be seen, are told beside them.
    """
    from bus.bootstrap.topology import differences
    from bus.catalog import load_workspace

    found = differences(load_workspace(workspace.resolve(), env))
    count = sum(one.weight == "difference" for one in found)
    if as_json_:
        click.echo(as_json({"findings": [asdict(one) for one in found]}))
    else:
        for one in found:
            click.echo(f"{one.weight}: {one.name}: {one.message} [{one.code}]\n  {one.mend}")
        click.echo(f"{count} difference{'s' if count != 1 else ''}." if count else "No differences.")
    return NO if count else DONE


def _lines(found: Mapping[str, Any]) -> list[str]:
    """Who writes and reads each channel; the arguments of the queues, each told once; the rights of each user."""
    channels = found["channels"]
    return [
        f"Virtual host {found['vhost']}. Behind each channel stand a direct exchange and a queue, both durable, called",
        "like the channel and bound by the same name.",
        "",
        *table([{name: one[name] for name in ("channel", "written_by", "read_by")} for one in channels]),
        "",
        *table(_arguments({one["queue"]: one["arguments"] for one in channels})),
        "",
        *table(found["users"]),
    ]


def _arguments(queues: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each argument and value once, with the queues that have it."""
    having: dict[tuple[str, Any], list[str]] = {}
    for queue, arguments in queues.items():
        for pair in arguments.items():
            having.setdefault(pair, []).append(queue)
    return [
        {"argument": name, "value": value, "queues": _of(names, list(queues))}
        for (name, value), names in sorted(having.items(), key=lambda item: item[0][0])
    ]


def _of(names: Sequence[str], every: Sequence[str]) -> str:
    others = [name for name in every if name not in names]
    if not others:
        return "all"
    return ", ".join(names) if len(names) <= len(others) else f"all but {', '.join(others)}"


def _tell_left_out(users: tuple[str, ...]) -> None:
    if users:
        named = ", ".join(users)
        click.echo(f"bus: left out, as the environment names no broker_password for them: {named}", err=True)


def _write(file: Path, content: bytes) -> None:
    """Write the file whole or not at all, for its owner alone, in place of one that is there."""
    try:
        with tempfile.NamedTemporaryFile(dir=file.parent, prefix=f".{file.name}-", delete=False) as new:
            try:
                new.write(content)
                new.flush()
                os.fsync(new.fileno())
                Path(new.name).replace(file)
            except BaseException:
                Path(new.name).unlink()
                raise
    except OSError as error:
        fault = Fault(
            code="not-writable",
            message=f"The file cannot be written: {type(error).__name__}.",
            mend="Name one with --output in a folder that is there and yours.",
            file=str(file),
        )
        raise ConfigurationError((fault,)) from error
