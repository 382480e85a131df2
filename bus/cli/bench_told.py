"""What the benchmarks found, for people: lines, a table, pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from bus.bench.picture import bars, plots


def tell_report(content: Mapping[str, Any]) -> None:
    """Latencies, and the ratio to each yardstick."""
    figures = content["figures"]
    click.echo(f"p50 {figures['p50_ms']:.0f} ms, p95 {figures['p95_ms']:.0f} ms, p99 {figures['p99_ms']:.0f} ms")
    for name, ratio in content["ratios"].items():
        click.echo(f"{ratio:.2f} of {name} ({content['yardsticks'][name]:.0f} requests/s)")


def tell_rows(content: Mapping[str, Any]) -> None:
    """Everybody's row, what a request costs whom, and what RabbitMQ counted."""
    settings = content["settings"]
    table = Table("", "requests/s", "bus : this", "window", "p50 ms", "p95 ms", "CPU ms", box=None)
    for name, row in content["rows"].items():
        speed, ratio, window = row["requests_per_s"], content["ratios"].get(name), row["window"]
        table.add_row(
            name,
            f"{speed['median']:.0f} ({speed['least']:.0f}-{speed['greatest']:.0f})",
            "" if ratio is None else f"{ratio:.2f}",
            str(window) if window else f"{settings['rate']:g}/s",
            f"{row['p50_ms']:.0f}",
            f"{row['p95_ms']:.0f}",
            f"{row['cpu_ms_sum']:.2f}",
        )
    Console(highlight=False).print(table)
    click.echo("CPU ms for each request, by process:")
    for name, row in content["rows"].items():
        click.echo(f"  {name}: " + ", ".join(f"{process} {value:.2f}" for process, value in row["cpu_ms"].items()))
    for name, row in content["rows"].items():
        _tell_broker(name, row.get("broker", {}))
    versions = ", ".join(f"{name} {version}" for name, version in content["versions"].items())
    click.echo(f"{versions}. In brackets: least and greatest of {settings['rounds']} rounds.")


def tell_soak(content: Mapping[str, Any]) -> None:
    """Figures of a long load, memory of each process, and the verdicts."""
    figures = content["figures"]
    click.echo(
        f"{figures['requests_per_s']:.0f} requests/s for {content['settings']['seconds']:.0f} s,"
        f" p50 {figures['p50_ms']:.0f} ms, p95 {figures['p95_ms']:.0f} ms, p99 {figures['p99_ms']:.0f} ms;"
        f" {figures['accepted']} accepted, {figures['alive']} not ended;"
        f" most messages in queues {figures['most_queued']}, most rows in the outbox {figures['most_outbox']}"
    )
    for name, share in content["growth"].items():
        click.echo(f"memory of {name}, last third by first: {share:.3f}")
    for name, is_so in content["verdicts"].items():
        click.echo(f"{name.replace('_', ' ')}: {'yes' if is_so else 'NO'}")


def tell_pairs(content: Mapping[str, Any]) -> None:
    """Both rows of a comparison with a full store, and the interval of their ratio."""
    settings, ratio = content["settings"], content["ratio"]
    for name, row in content["rows"].items():
        speed = row["requests_per_s"]
        click.echo(f"{name}: {speed['median']:.0f} ({speed['least']:.0f}-{speed['greatest']:.0f}) requests/s")
    click.echo(
        f"with {settings['preloaded']:,} finished requests ({content['bytes'] / 1e9:.1f} GB) by without:"
        f" {ratio['mean']:.3f}, 95 % interval {ratio['least']:.3f} to {ratio['greatest']:.3f}"
        f" of {settings['pairs']} pairs"
    )


def draw_rows(content: Mapping[str, Any], title: str, file: Path) -> None:
    """A bar for each row; an open loop says its rate: it is no maximum."""
    speeds = {
        name if row["window"] else f"{name} ({content['settings']['rate']:g}/s)": tuple(
            row["requests_per_s"][which] for which in ("median", "least", "greatest")
        )
        for name, row in content["rows"].items()
    }
    file.write_text(bars(f"{title}: median and range", speeds, ("bus", "full"), "/s"), encoding="utf-8")


def draw_soak(content: Mapping[str, Any], file: Path) -> None:
    """Memory of each process, and what waited, over the time."""
    samples = content["samples"]
    memory = {
        name: [(sample["at"], sample["memory_mb"][name]) for sample in samples] for name in samples[0]["memory_mb"]
    }
    waiting = {what: [(sample["at"], sample[what]) for sample in samples] for what in ("tasks", "replies", "outbox")}
    title = f"Resident memory, and what waits, at {content['settings']['rate']:.0f} requests/s"
    file.write_text(plots(title, {"MB": memory, "messages": waiting}, "s"), encoding="utf-8")


def _tell_broker(name: str, told: Mapping[str, Any]) -> None:
    """What RabbitMQ itself counted; nothing where it was not asked."""
    if not told:
        return
    rates = ", ".join(f"{what} {rate:.0f}" for what, rate in told["per_s"].items() if what != "redelivered")
    click.echo(
        f"RabbitMQ of {name}: {rates} messages/s; {told['redelivered']} delivered again; at most {told['most_queued']}"
        f" in a queue; at most {told['most_memory_mb']:.0f} MB of memory"
    )
