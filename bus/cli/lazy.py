"""Groups of commands that are imported only when one of them runs, so that every start is quick."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import click


@dataclass(frozen=True, slots=True)
class Place:
    """Where a command is defined, and its one line of help in both languages.

    ``target`` is ``module:attribute``: the command itself, or a function that makes it from its name.
    """

    target: str
    en: str
    ar: str

    @property
    def exists(self) -> bool:
        """Whether its module is installed."""
        return find_spec(self.target.partition(":")[0]) is not None

    def load(self, name: str) -> click.Command:
        """Import it."""
        module, _, attribute = self.target.partition(":")
        found = getattr(import_module(module), attribute)
        made = found if isinstance(found, click.Command) else found(name)
        if not isinstance(made, click.Command):
            raise TypeError(f"{self.target} is no command")
        return made


class LazyGroup(click.Group):
    """A group that knows its commands by name and help line alone."""

    def __init__(self, *args: Any, places: Mapping[str, Place], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.places = places

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of their declaration."""
        return [*(name for name, place in self.places.items() if place.exists), *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now."""
        place = self.places.get(cmd_name)
        if place is not None and place.exists:
            return place.load(cmd_name)
        return super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in ``--help``, without importing anything."""
        rows = [(name, place.en) for name, place in self.places.items() if place.exists]
        rows += [(name, command.get_short_help_str()) for name, command in self.commands.items()]
        with formatter.section("Commands"):
            formatter.write_dl(rows)
