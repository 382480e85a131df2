"""``bus bench``: how fast it is here, beside yardsticks of the same run."""

from __future__ import annotations

import json

import click

from bus.bench.embedded import embedded
from bus.bench.gateway import gateway
from bus.bench.report import Report
from bus.cli.bench_rabbitmq import rabbitmq


@click.group()
def bench() -> None:
    """Measure this machine; every figure comes with a yardstick of the same run."""


@bench.command("embedded")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option("--seconds", default=10.0, show_default=True)
@click.option("--window", default=200, show_default=True, help="Requests in flight.")
def bench_embedded(*, as_json: bool, seconds: float, window: int) -> None:
    """A four-agency fan-out through the whole bus in one process; yardstick: bare kombu and one insert a message."""
    report = embedded(seconds=seconds, window=window, progress=lambda text: click.echo(f"… {text}", err=True))
    if as_json:
        click.echo(json.dumps(report.to_json()))
        return
    speed = report.requests_per_s
    click.echo(f"{speed:.0f} requests/s ({4 * speed:.0f} agency calls/s)")
    _tell(report)


@bench.command("gateway")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option("--seconds", default=10.0, show_default=True, help="Of load, for the bus and for the yardstick.")
@click.option("--connections", default=50, show_default=True)
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
    _tell(report)
    for name, (least, most) in report.spread.items():
        click.echo(f"in rounds: {least:.2f} to {most:.2f} of {name}")


def _tell(report: Report) -> None:
    content = report.to_json()
    figures = content["figures"]
    click.echo(f"p50 {figures['p50_ms']:.0f} ms, p95 {figures['p95_ms']:.0f} ms, p99 {figures['p99_ms']:.0f} ms")
    for name, ratio in content["ratios"].items():
        click.echo(f"{ratio:.2f} of {name} ({content['yardsticks'][name]:.0f} requests/s)")


bench.add_command(rabbitmq)
