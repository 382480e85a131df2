"""``bus bench rabbitmq``: the bus in processes of its own, beside what others would build."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from bus.cli.bench_told import draw_rows, draw_soak, tell_pairs, tell_rows, tell_soak
from bus.cli.outcome import DONE, NO
from bus.errors import ConfigurationError, Fault

if TYPE_CHECKING:  # what it needs may not be installed
    from bus.bench.rabbitmq import Wanted

_POSITIVE: Final = click.FloatRange(min=0, min_open=True)


@click.command("rabbitmq")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option(
    "--seconds", type=_POSITIVE, default=10.0, show_default=True, help="Of load, for each turn; one more warms up."
)
@click.option(
    "--window", type=click.IntRange(1), default=200, show_default=True, help="Requests in flight, but for open loops."
)
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, help="Everybody has a turn in each.")
@click.option("--rate", type=_POSITIVE, default=150.0, show_default=True, help="Requests a second of bus-open.")
@click.option(
    "--only",
    multiple=True,
    help="Who takes part, once for each: bus, bus-http, bus-apart, bus-open, ceiling, ceiling-8, dramatiq, celery;"
    " all but bus-apart if nobody is named.",
)
@click.option("--picture", type=click.Path(path_type=Path, dir_okay=False), help="Draw the figures into this SVG file.")
@click.option(
    "--soak",
    type=click.FloatRange(0.1),
    metavar="MINUTES",
    help="Instead: load the bus for so long with half of its maximum, and watch memory and queues;"
    " exit code 1 if memory grows, queues are not bounded, or anything is lost.",
)
@click.option(
    "--preloaded",
    type=click.IntRange(1),
    help="Instead: the bus over a store with so many finished requests, in turns with one that begins empty.",
)
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
    from bus.bench.rabbitmq import DEFAULT, NAMES, Wanted

    if soak is not None and preloaded is not None:
        raise click.UsageError("--soak and --preloaded are two measurements. Mend: one after the other.")
    if picture and not picture.parent.is_dir():
        raise click.BadParameter(f"There is no folder {picture.parent}. Mend: make it.", param_hint="--picture")
    for name in only:
        if name not in NAMES:
            raise click.BadParameter(f"{name} is none of {', '.join(NAMES)}", param_hint="--only")
    meta = workspace / "schemas" / "meta"
    if soak is not None:
        return _soak(soak, window, meta, picture, as_json=as_json)
    if preloaded is not None:
        return _preloaded(preloaded, pairs, seconds, window, meta, picture, as_json=as_json)
    wanted = Wanted(seconds=seconds, window=window, rounds=rounds, rate=rate, contenders=only or DEFAULT)
    return _compare(wanted, meta, picture, as_json=as_json)


def _compare(wanted: Wanted, meta: Path, picture: Path | None, *, as_json: bool) -> int:
    from bus.bench.rabbitmq import compare

    content = compare(wanted, meta, _progress).to_json()
    draw = partial(draw_rows, content, f"Four-agency requests a second, window {wanted.window}")
    _show(content, tell_rows, draw, picture, as_json=as_json)
    return DONE


def _soak(minutes: float, window: int, meta: Path, picture: Path | None, *, as_json: bool) -> int:
    from bus.bench.soak import soak

    soaked = soak(minutes, window=window, meta=meta, progress=_progress)
    content = soaked.to_json()
    _show(content, tell_soak, partial(draw_soak, content), picture, as_json=as_json)
    return DONE if soaked.is_sound else NO


def _preloaded(  # the options of one command
    copies: int, pairs: int, seconds: float, window: int, meta: Path, picture: Path | None, *, as_json: bool
) -> int:
    from bus.bench.million import measure_preloaded

    found = measure_preloaded(copies, pairs=pairs, seconds=seconds, window=window, meta=meta, progress=_progress)
    content = found.to_json()
    draw = partial(draw_rows, content, f"Requests a second without and with {copies:,} finished ones")
    _show(content, tell_pairs, draw, picture, as_json=as_json)
    return DONE


def _show(
    content: Mapping[str, Any],
    tell: Callable[[Mapping[str, Any]], None],
    draw: Callable[[Path], None],
    picture: Path | None,
    *,
    as_json: bool,
) -> None:
    """Told first: a picture that cannot be written must not take with it what was measured for half an hour."""
    if as_json:
        click.echo(json.dumps(content))
    else:
        tell(content)
    if picture:
        draw(picture)


def _progress(text: str) -> None:
    click.echo(f"… {text}", err=True)


def _refuse_without_extra() -> None:
    from importlib.util import find_spec

    missing = [name for name in ("celery", "dramatiq", "psutil", "redis") if find_spec(name) is None]
    if missing:
        message = f"This benchmark needs {', '.join(missing)}, which a bus that runs does not."
        mend = "Install them: pip install 'g2g-bus[bench]'."
        raise ConfigurationError((Fault(code="extra-missing", message=message, mend=mend),))
