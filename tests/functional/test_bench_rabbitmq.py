"""`bus bench rabbitmq`: everybody ends what was begun, and the report has what it promises."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from bus.bench.cost import Cost, tell
from bus.bench.orders import loader
from bus.bench.pace import Order
from bus.bench.report import BenchError
from bus.cli.bench_rabbitmq import rabbitmq
from tests.support.demo_workspace import ROOT

#: Seconds for a run of a few turns, also on a busy machine: each starts programs and services of its own.
_PATIENCE: Final = 280.0
#: Long enough for a request to end in it where others want the processors, too.
_SHORT: Final = ("--seconds", "3")
pytestmark = pytest.mark.timeout(300)


def _bench(*options: str, codes: Collection[int] = (0,)) -> dict[str, Any]:
    """The report of one run on private services: standard output is that and nothing else."""
    command = [sys.executable, "-m", "bus", "bench", "rabbitmq", "--json", *options]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    assert ended.returncode in codes, ended.stderr
    report = json.loads(ended.stdout)
    assert isinstance(report, dict)
    return report


def _is_sound(row: dict[str, Any]) -> bool:
    speed = row["requests_per_s"]
    return bool(
        0 < speed["least"] <= speed["median"] <= speed["greatest"]
        and 0 < row["p50_ms"] <= row["p95_ms"] <= row["most_ms"]
        and row["requests"] > 0
        and abs(row["cpu_ms_sum"] - sum(row["cpu_ms"].values())) < 0.05
    )


def test_the_bus_ends_every_request_and_stands_beside_the_same_messages_by_hand() -> None:
    # Given three seconds of load for each: a loader waits for all that it began, and the store is recounted
    report = _bench(*_SHORT, "--rounds", "1", "--window", "20", *_only("bus", "ceiling"))
    assert list(report) == ["bench", "settings", "figures", "yardsticks", "ratios", "spread", "versions", "rows"]
    assert report["settings"] == {
        "seconds": 3.0,
        "window": 20,
        "rounds": 1,
        "rate": 150.0,
        "agencies": 4,
        "submission": "the gateway's operation, without HTTP but for bus-http",
    }
    ours, ceiling = report["rows"]["bus"], report["rows"]["ceiling"]
    assert _is_sound(ours)
    assert _is_sound(ceiling)
    assert {"broker", "postgresql", "process manager", "hosts", "loader"} <= ours["cpu_ms"].keys()
    assert {"broker", "coordinator", "workers", "loader"} <= ceiling["cpu_ms"].keys()
    _is_what_rabbitmq_saw(ours)
    assert "broker" not in ceiling
    ratio = ours["requests_per_s"]["median"] / ceiling["requests_per_s"]["median"]
    assert report["ratios"]["ceiling"] == pytest.approx(ratio, rel=0.02, abs=0.002)


def _is_what_rabbitmq_saw(row: dict[str, Any]) -> None:
    """Four tasks and four answers a request, and a few signs of life; each confirmed, brought and forgotten once."""
    told = row["broker"]
    assert 8 <= told["a_request"]["published"] < 20
    for what in ("confirmed", "delivered", "acknowledged"):
        assert told["a_request"][what] == pytest.approx(told["a_request"]["published"], rel=0.05)
    assert told["redelivered"] == 0
    assert told["per_s"]["published"] > 8 * row["requests_per_s"]["median"] * 0.95
    assert told["most_memory_mb"] > 10
    assert told["most_queued"] >= 0


def test_over_http_every_request_is_submitted_at_the_gateway_and_its_result_read_there() -> None:
    report = _bench(*_SHORT, "--rounds", "1", "--window", "20", *_only("bus-http"))
    row = report["rows"]["bus-http"]
    assert _is_sound(row)
    assert {"broker", "postgresql", "gateway", "process manager", "hosts", "loader"} <= row["cpu_ms"].keys()
    assert row["repeated"] == 0
    _is_what_rabbitmq_saw(row)


#: Hears of its first request, and of one of those after it never.
_LOSES_ONE: Final = """
import time
from bus.bench import pace
from bus.bench.orders import obey

def load(order):
    pace.DRAIN_WITHIN = 0.1
    book = pace.Pace(order, time.perf_counter())
    while not book.is_over(time.perf_counter()):
        begun = book.begin(book.wanted(time.perf_counter()), time.perf_counter())
        book.end([id_ for id_ in begun if not id_.startswith("lost-7")], time.perf_counter())
    return book.ran()

obey(lambda order: load)
"""


def test_a_request_whose_end_a_loader_never_hears_fails_the_turn_and_is_named(tmp_path: Path) -> None:
    # Given a loader, a program of its own as all of them, that misses the end of one request
    order = Order(window=2, seconds=2.0, warm=0.0, prefix="lost")
    with (
        loader([sys.executable, "-c", _LOSES_ONE], order, tmp_path / "log") as started,
        # Then there are no figures of its turn, and who asked for them is told which
        pytest.raises(BenchError, match="requests did not end; the first: lost-7"),
    ):
        started.load()


def test_each_other_yardstick_ends_every_request_and_is_drawn(tmp_path: Path) -> None:
    names = ["ceiling-8", "dramatiq", "celery"]
    picture = tmp_path / "rows.svg"
    report = _bench(*_SHORT, "--rounds", "1", "--window", "20", "--picture", str(picture), *_only(*names))
    assert list(report["rows"]) == list(report["yardsticks"]) == names
    assert all(map(_is_sound, report["rows"].values()))
    drawn = "".join(ElementTree.parse(picture).getroot().itertext())  # noqa: S314  # our own
    assert all(name in drawn for name in names)


@pytest.mark.long
def test_an_open_loop_has_no_window_and_hosts_may_be_processes_of_their_own() -> None:
    report = _bench(*_SHORT, "--rounds", "1", "--window", "20", "--rate", "10", *_only("bus-open", "bus-apart"))
    assert report["rows"]["bus-open"]["window"] is None
    assert {f"host {name}" for name in "abcd"} <= report["rows"]["bus-apart"]["cpu_ms"].keys()


def _only(*names: str) -> list[str]:
    return [part for name in names for part in ("--only", name)]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--only", "ceilling"], "bus, bus-http, bus-apart, bus-open, ceiling, ceiling-8, dramatiq, celery"),
        (["--soak", "1", "--million"], "two measurements"),
        (["--picture", "no/such/folder/rows.svg"], "There is no folder no/such/folder"),
        (["--window", "0"], "--window"),
        (["--rate", "0"], "--rate"),
        (["--seconds", "0"], "--seconds"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_starts(options: list[str], told: str) -> None:
    refused = CliRunner().invoke(rabbitmq, options)
    assert refused.exit_code == 2
    assert told in " ".join(refused.output.split())
    assert "starting" not in refused.output


@pytest.mark.long
def test_a_store_with_finished_requests_takes_turns_with_an_empty_one() -> None:
    # Given copies of a finished request, then they do not disturb new ones, and the ratio lies in its interval
    report = _bench("--preloaded", "300", "--pairs", "2", *_SHORT, "--window", "20")
    assert list(report) == ["bench", "settings", "bytes", "rows", "ratio", "ratios"]
    assert report["settings"] == {"preloaded": 300, "pairs": 2, "window": 20}
    first, second = report["ratios"]
    assert report["ratio"]["mean"] == pytest.approx((first * second) ** 0.5, rel=0.02)
    assert report["ratio"]["least"] <= report["ratio"]["mean"] <= report["ratio"]["greatest"]


def test_what_does_not_fit_on_the_disk_is_refused_before_anything_starts(tmp_path: Path) -> None:
    # Given more finished requests than any disk has room for
    command = [sys.executable, "-m", "bus", "bench", "rabbitmq", "--preloaded", str(10**12)]
    environ = {**os.environ, "TMPDIR": str(tmp_path)}
    ended = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60, check=False)
    # Then it says how much it would take, what there is, and what to do
    assert ended.returncode == 2
    assert re.search(r"about [\d,]+ minutes and [\d.]+ GB of disk, and .* has [\d.]+ GB free.*TMPDIR", ended.stderr)
    assert "starting" not in ended.stderr
    assert not list(tmp_path.iterdir())


def test_the_cost_of_a_million_is_told_before_it_begins(tmp_path: Path) -> None:
    told: list[str] = []
    tell(Cost(seconds=480.0, bytes=1), tmp_path, told.append, mend="copy fewer")
    assert told[0].startswith("this takes about 8 minutes and 0.0 GB of disk")


@pytest.mark.long
def test_a_soak_watches_memory_and_queues_and_counts_everything_at_the_end(tmp_path: Path) -> None:
    picture = tmp_path / "soak.svg"
    # In the first six seconds of a program its memory may well grow, and the answer be no.
    report = _bench("--soak", "0.1", "--window", "20", "--picture", str(picture), codes=(0, 1))
    assert list(report) == ["bench", "settings", "figures", "growth", "verdicts", "samples"]
    assert report["verdicts"]["nothing_lost"]
    assert report["verdicts"]["queues_empty_at_the_end"]
    assert {"broker", "postgresql", "process manager", "hosts", "loader"} <= report["growth"].keys()
    assert len(report["samples"]) >= 2
    assert "process manager" in _description(picture.read_text(encoding="utf-8"))


def _description(svg: str) -> str:
    found = ElementTree.fromstring(svg).find("{http://www.w3.org/2000/svg}desc")  # noqa: S314  # our own
    assert found is not None
    return str(found.text)
