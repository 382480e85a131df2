"""``bus bench``: how fast it is here, beside yardsticks of the same run."""

from __future__ import annotations

import json
from typing import Final

import click

from bus.bench.embedded import embedded
from bus.bench.gateway import gateway
from bus.cli.bench_rabbitmq import rabbitmq
from bus.cli.bench_told import tell_report

_POSITIVE: Final = click.FloatRange(min=0, min_open=True)


@click.group()
def bench() -> None:
    """Measure this machine; every figure comes with a yardstick of the same run."""


@bench.command("embedded")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option("--seconds", type=_POSITIVE, default=10.0, show_default=True, help="Of load, once a request has ended.")
@click.option("--window", type=click.IntRange(1), default=200, show_default=True, help="Requests in flight.")
def bench_embedded(*, as_json: bool, seconds: float, window: int) -> None:
    """A four-agency fan-out through the whole bus in one process; yardstick: bare kombu and one insert a message."""
    report = embedded(seconds=seconds, window=window, progress=lambda text: click.echo(f"… {text}", err=True))
    if as_json:
        click.echo(json.dumps(report.to_json()))
        return
    speed = report.requests_per_s
    click.echo(f"{speed:.0f} requests/s ({4 * speed:.0f} agency calls/s)")
    tell_report(report.to_json())


@bench.command("gateway")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option(
    "--seconds", type=_POSITIVE, default=10.0, show_default=True, help="Of load, for the bus and for the yardstick."
)
@click.option(
    "--connections", type=click.IntRange(1), default=50, show_default=True, help="Submissions at a time, one on each."
)
@click.option("--agencies", type=click.IntRange(1, 4), default=1, show_default=True, help="Steps of a request.")
@click.option("--hosts/--no-hosts", default=True, help="Whether the agencies answer at once, in the same process.")
def bench_gateway(*, as_json: bool, seconds: float, connections: int, agencies: int, hosts: bool) -> None:
    """Submissions accepted over HTTP, everything on; yardstick: the same framework inserting one row a request."""
    report = gateway(
        seconds=seconds,
        connections=connections,
        agencies=agencies,
        is_hosted=hosts,
        progress=lambda text: click.echo(f"… {text}", err=True),
    )
    if as_json:
        click.echo(json.dumps(report.to_json()))
        return
    click.echo(f"{report.requests_per_s:.0f} accepted submissions/s")
    if ended := report.more.get("ended_per_s"):
        click.echo(f"{ended:.0f} requests/s, if the time until all had ended counts, too")
    tell_report(report.to_json())
    for name, (least, most) in report.spread.items():
        click.echo(f"in rounds: {least:.2f} to {most:.2f} of {name}")


bench.add_command(rabbitmq)
