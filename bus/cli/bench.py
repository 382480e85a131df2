"""``bus bench``: how fast it is here, beside yardsticks of the same run."""

from __future__ import annotations

import json

import click

from bus.bench.embedded import embedded


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
    content = report.to_json()
    figures = content["figures"]
    click.echo(f"{figures['requests_per_s']:.0f} requests/s ({4 * figures['requests_per_s']:.0f} agency calls/s)")
    click.echo(f"p50 {figures['p50_ms']:.0f} ms, p95 {figures['p95_ms']:.0f} ms, p99 {figures['p99_ms']:.0f} ms")
    for name, ratio in content["ratios"].items():
        click.echo(f"{ratio:.2f} of {name} ({content['yardsticks'][name]:.0f} requests/s)")
