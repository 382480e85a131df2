"""``bus route``: what routes say, and what they do, with no bus running."""

from __future__ import annotations

import click

from bus.cli.lazy import LazyGroup, Place

#: Imported only when one of them runs.
COMMANDS: dict[str, Place] = {
    "list": Place(
        "bus.cli.route_show:list_", "List the services and who answers for them.", "عرض الخدمات والمسؤولين عنها."
    ),
    "show": Place("bus.cli.route_show:show", "Print the steps of a service.", "عرض خطوات خدمة."),
    "try": Place("bus.cli.route_try:try_", "Rehearse a request on a simulated clock.", "تجربة طلب بساعة افتراضية."),
}


@click.command("route", cls=LazyGroup, places=COMMANDS)
def route() -> None:
    """See and try what routes.yaml says."""
