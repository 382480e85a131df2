"""``bus bench rabbitmq``: the bus in processes of its own, beside what others would build."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from bus.cli.outcome import DONE, NO
from bus.errors import ConfigurationError, Fault


@click.command("rabbitmq")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option("--seconds", default=10.0, show_default=True, help="Of load, for each turn; a second more warms up.")
@click.option("--window", default=200, show_default=True, help="Requests in flight, but for the open loop.")
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, help="Everybody has a turn in each.")
@click.option("--rate", default=150.0, show_default=True, help="Requests a second of the open loop.")
@click.option("--only", multiple=True, help="bus, bus-http, bus-apart, bus-open, ceiling, ceiling-8, dramatiq, celery.")
@click.option("--picture", type=click.Path(path_type=Path, dir_okay=False), help="Draw the figures into this SVG file.")
@click.option(
    "--soak", type=click.FloatRange(0.1), help="Instead: so many minutes at half the maximum; memory, queues."
)
@click.option("--preloaded", type=click.IntRange(1), help="Instead: with so many finished requests, and with none.")
@click.option(
    "--million", "preloaded", flag_value=1_000_000, help="The same as --preloaded 1000000: 28 GB for a while."
)
@click.option("--pairs", type=click.IntRange(2), default=5, show_default=True, help="Of turns, with --preloaded.")
@click.option(
    "--workspace",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=Path(),
    help="Whose schemas/meta is used; nothing else of it is.",
)
def rabbitmq(  # noqa: PLR0913  # the options of one command
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
) -> int:
    """A four-agency fan-out in processes of its own over private RabbitMQ and PostgreSQL, everything on.

    Beside it, in turns on the same broker: the same messages by hand (ceiling), Dramatiq, Celery.
    """
    _refuse_without_extra()
    from bus.bench.rabbitmq import DEFAULT, NAMES, Wanted, compare

    meta = workspace / "schemas" / "meta"
    if soak is not None:
        return _soak(soak, window, meta, picture, as_json=as_json)
    if preloaded is not None:
        return _preloaded(preloaded, pairs, seconds, window, meta, picture, as_json=as_json)
    for name in only:
        if name not in NAMES:
            raise click.BadParameter(f"{name} is none of {', '.join(NAMES)}", param_hint="--only")
    wanted = Wanted(seconds=seconds, window=window, rounds=rounds, rate=rate, contenders=only or DEFAULT)
    compared = compare(wanted, meta, _progress)
    content = compared.to_json()
    if picture:
        _draw(content["rows"], f"Four-agency requests a second, window {window}", picture)
    if as_json:
        click.echo(json.dumps(content))
    else:
        _tell_rows(content)
    return DONE


def _soak(minutes: float, window: int, meta: Path, picture: Path | None, *, as_json: bool) -> int:
    from bus.bench.picture import plots
    from bus.bench.soak import soak

    soaked = soak(minutes, window=window, meta=meta, progress=_progress)
    content, code = soaked.to_json(), DONE if soaked.is_whole else NO
    if picture:
        samples = content["samples"]
        memory = {
            name: [(sample["at"], sample["memory_mb"][name]) for sample in samples] for name in samples[0]["memory_mb"]
        }
        waiting = {what: [(sample["at"], sample[what]) for sample in samples] for what in ("queued", "outbox")}
        title = f"Resident memory, and what waits, at {content['settings']['rate']:.0f} requests/s"
        picture.write_text(plots(title, {"MB": memory, "messages": waiting}, "s"), encoding="utf-8")
    if as_json:
        click.echo(json.dumps(content))
        return code
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
    return code


def _preloaded(  # the options of one command
    copies: int, pairs: int, seconds: float, window: int, meta: Path, picture: Path | None, *, as_json: bool
) -> int:
    from bus.bench.million import measure_preloaded

    found = measure_preloaded(copies, pairs=pairs, seconds=seconds, window=window, meta=meta, progress=_progress)
    content = found.to_json()
    if picture:
        _draw(content["rows"], f"Requests a second without and with {copies:,} finished ones", picture)
    if as_json:
        click.echo(json.dumps(content))
        return DONE
    ratio = content["ratio"]
    for name, row in content["rows"].items():
        speed = row["requests_per_s"]
        click.echo(f"{name}: {speed['median']:.0f} ({speed['least']:.0f}-{speed['greatest']:.0f}) requests/s")
    click.echo(
        f"with {copies:,} finished requests ({content['bytes'] / 1e9:.1f} GB) by without: {ratio['mean']:.3f},"
        f" 95 % interval {ratio['least']:.3f} to {ratio['greatest']:.3f} of {pairs} pairs"
    )
    return DONE


def _progress(text: str) -> None:
    click.echo(f"… {text}", err=True)


def _refuse_without_extra() -> None:
    from importlib.util import find_spec

    missing = [name for name in ("celery", "dramatiq", "psutil", "redis") if find_spec(name) is None]
    if missing:
        message = f"This benchmark needs {', '.join(missing)}, which a bus that runs does not."
        mend = "Install them: pip install 'g2g-bus[bench]'."
        raise ConfigurationError((Fault(code="extra-missing", message=message, mend=mend),))


def _draw(rows: Mapping[str, Any], title: str, file: Path) -> None:
    from bus.bench.picture import bars

    speeds = {
        name: tuple(row["requests_per_s"][which] for which in ("median", "least", "greatest"))
        for name, row in rows.items()
    }
    file.write_text(bars(f"{title}: median and range", speeds, ("bus", "full"), "/s"), encoding="utf-8")


def _tell_rows(content: Mapping[str, Any]) -> None:
    settings = content["settings"]
    table = Table("", "requests/s", "bus : this", "window", "p50 ms", "p95 ms", "CPU ms", box=None)
    for name, row in content["rows"].items():
        speed, ratio, window = row["requests_per_s"], content["ratios"].get(name), row["window"]
        table.add_row(
            name,
            f"{speed['median']:.0f} ({speed['least']:.0f}-{speed['greatest']:.0f})",
            f"{ratio:.2f}" if ratio else "",
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


def _tell_broker(name: str, told: Mapping[str, Any]) -> None:
    """What RabbitMQ itself counted; nothing where it was not asked."""
    if not told:
        return
    rates = ", ".join(f"{what} {rate:.0f}" for what, rate in told["per_s"].items() if what != "redelivered")
    click.echo(
        f"RabbitMQ of {name}: {rates} messages/s; {told['redelivered']} delivered again; at most {told['most_queued']}"
        f" in a queue; at most {told['most_memory_mb']:.0f} MB of memory"
    )
