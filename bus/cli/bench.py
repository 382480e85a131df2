"""``bus bench``: how fast it is here, beside yardsticks of the same run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table

from bus.bench.embedded import embedded
from bus.bench.gateway import gateway
from bus.bench.report import Report
from bus.errors import ConfigurationError, Fault

if TYPE_CHECKING:
    from bus.bench.rabbitmq import Comparison


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


@bench.command("rabbitmq")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option("--seconds", default=10.0, show_default=True, help="Of load, for each turn; a second more warms up.")
@click.option("--window", default=200, show_default=True, help="Requests in flight, but for the open loop.")
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, help="Everybody has a turn in each.")
@click.option("--rate", default=150.0, show_default=True, help="Requests a second of the open loop.")
@click.option("--only", multiple=True, help="bus, bus-apart, bus-open, ceiling, ceiling-8, dramatiq, celery.")
@click.option("--picture", type=click.Path(path_type=Path, dir_okay=False), help="Draw the figures into this SVG file.")
@click.option(
    "--soak", type=click.FloatRange(0.1), help="Instead: so many minutes at half the maximum; memory, queues."
)
@click.option("--preloaded", type=click.IntRange(1), help="Instead: with so many finished requests, and with none.")
@click.option(
    "--million", "preloaded", flag_value=1_000_000, help="The same as --preloaded 1000000: 30 GB for a while."
)
@click.option("--pairs", type=click.IntRange(2), default=5, show_default=True, help="Of turns, with --preloaded.")
@click.option(
    "--workspace",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=Path(),
    help="Whose schemas/meta is used; nothing else of it is.",
)
def bench_rabbitmq(  # noqa: PLR0913  # the options of one command
    *,
    as_json: bool,
    seconds: float,
    window: int,
    rounds: int,
    rate: float,
    only: tuple[str, ...],
    picture: Path | None,
    soak: float | None,
    preloaded: int | None,
    pairs: int,
    workspace: Path,
) -> None:
    """A four-agency fan-out in processes of its own over private RabbitMQ and PostgreSQL, everything on.

    Beside it, in turns on the same broker: the same messages by hand (ceiling), Dramatiq, Celery.
    """
    _refuse_without_extra()
    from bus.bench.rabbitmq import DEFAULT, NAMES, Wanted, compare

    meta = workspace / "schemas" / "meta"
    if soak is not None:
        _soak(soak, window, meta, picture, as_json=as_json)
        return
    if preloaded is not None:
        _preloaded(preloaded, pairs, seconds, window, meta, as_json=as_json)
        return
    for name in only:
        if name not in NAMES:
            raise click.BadParameter(f"{name} is none of {', '.join(NAMES)}", param_hint="--only")
    wanted = Wanted(seconds=seconds, window=window, rounds=rounds, rate=rate, contenders=only or DEFAULT)
    compared = compare(wanted, meta, _progress)
    if picture:
        _draw(compared, picture)
    if as_json:
        click.echo(json.dumps(compared.to_json()))
    else:
        _tell_rows(compared)


def _soak(minutes: float, window: int, meta: Path, picture: Path | None, *, as_json: bool) -> None:
    from bus.bench.picture import plot
    from bus.bench.soak import soak

    content = soak(minutes, window=window, meta=meta, progress=_progress).to_json()
    if picture:
        samples = content["samples"]
        lines = {
            name: [(sample["at"], sample["memory_mb"][name]) for sample in samples] for name in samples[0]["memory_mb"]
        }
        lines["messages in queues"] = [(sample["at"], sample["queued"]) for sample in samples]
        title = f"Resident memory and queues at {content['settings']['rate']:.0f} requests/s"
        picture.write_text(plot(title, lines, "s", "MB; messages"), encoding="utf-8")
    if as_json:
        click.echo(json.dumps(content))
        return
    figures = content["figures"]
    click.echo(
        f"{figures['requests_per_s']:.0f} requests/s for {content['settings']['seconds']:.0f} s,"
        f" p50 {figures['p50_ms']:.0f} ms, p95 {figures['p95_ms']:.0f} ms, p99 {figures['p99_ms']:.0f} ms;"
        f" {figures['accepted']} accepted, {figures['alive']} of them not ended;"
        f" most messages in queues {figures['most_queued']}, most rows in the outbox {figures['most_outbox']}"
    )
    for name, share in content["growth"].items():
        click.echo(f"memory of {name}, last third by first: {share:.3f}")
    for name, is_so in content["verdicts"].items():
        click.echo(f"{name.replace('_', ' ')}: {'yes' if is_so else 'NO'}")


def _preloaded(copies: int, pairs: int, seconds: float, window: int, meta: Path, *, as_json: bool) -> None:
    from bus.bench.million import measure_preloaded

    found = measure_preloaded(copies, pairs=pairs, seconds=seconds, window=window, meta=meta, progress=_progress)
    content = found.to_json()
    if as_json:
        click.echo(json.dumps(content))
        return
    ratio = content["ratio"]
    for name, row in content["rows"].items():
        speed = row["requests_per_s"]
        click.echo(f"{name}: {speed['median']:.0f} ({speed['least']:.0f}-{speed['greatest']:.0f}) requests/s")
    click.echo(
        f"with {copies:,} finished requests ({content['bytes'] / 1e9:.1f} GB) by without: {ratio['mean']:.3f},"
        f" 95 % interval {ratio['least']:.3f} to {ratio['greatest']:.3f} of {pairs} pairs"
    )


def _progress(text: str) -> None:
    click.echo(f"… {text}", err=True)


def _refuse_without_extra() -> None:
    from importlib.util import find_spec

    missing = [name for name in ("celery", "dramatiq", "psutil", "redis") if find_spec(name) is None]
    if missing:
        message = f"This benchmark needs {', '.join(missing)}, which a bus that runs does not."
        mend = "Install them: pip install 'g2g-bus[bench]'."
        raise ConfigurationError((Fault(code="extra-missing", message=message, mend=mend),))


def _draw(compared: Comparison, file: Path) -> None:
    from bus.bench.picture import bars

    speeds = {
        name: tuple(row["requests_per_s"][which] for which in ("median", "least", "greatest"))
        for name, row in compared.to_json()["rows"].items()
    }
    title = f"Four-agency requests a second, window {compared.wanted.window}: median, and range of the rounds"
    file.write_text(bars(title, speeds, "bus", "/s"), encoding="utf-8")


def _tell_rows(compared: Comparison) -> None:
    content = compared.to_json()
    table = Table("", "requests/s", "bus : this", "window", "p50 ms", "p95 ms", "CPU ms", box=None)
    for name, row in content["rows"].items():
        speed, ratio, window = row["requests_per_s"], content["ratios"].get(name), row["window"]
        table.add_row(
            name,
            f"{speed['median']:.0f} ({speed['least']:.0f}-{speed['greatest']:.0f})",
            f"{ratio:.2f}" if ratio else "",
            str(window) if window else f"{compared.wanted.rate:g}/s",
            f"{row['p50_ms']:.0f}",
            f"{row['p95_ms']:.0f}",
            f"{row['cpu_ms_sum']:.2f}",
        )
    Console(highlight=False).print(table)
    click.echo("CPU ms for each request, by process:")
    for name, row in content["rows"].items():
        click.echo(f"  {name}: " + ", ".join(f"{process} {value:.2f}" for process, value in row["cpu_ms"].items()))
    versions = ", ".join(f"{name} {version}" for name, version in content["versions"].items())
    click.echo(f"{versions}. In brackets: least and greatest of {compared.wanted.rounds} rounds.")


def _tell(report: Report) -> None:
    content = report.to_json()
    figures = content["figures"]
    click.echo(f"p50 {figures['p50_ms']:.0f} ms, p95 {figures['p95_ms']:.0f} ms, p99 {figures['p99_ms']:.0f} ms")
    for name, ratio in content["ratios"].items():
        click.echo(f"{ratio:.2f} of {name} ({content['yardsticks'][name]:.0f} requests/s)")
