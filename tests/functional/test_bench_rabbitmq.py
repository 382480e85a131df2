"""`bus bench rabbitmq`: everybody ends what was begun, and the report has what it promises."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree

import pytest

from bus.bench.cost import Cost, of_pairs, tell
from bus.bench.million import interval
from bus.bench.orders import loader
from bus.bench.pace import DRAIN_WITHIN, Order, Pace, Ran
from bus.bench.picture import bars, plots
from bus.bench.soak import Sample, Soak
from tests.support.installation import ROOT

#: Seconds for a run of a few turns, also on a busy machine: each starts programs and services of its own.
_PATIENCE: Final = 280.0
pytestmark = pytest.mark.timeout(300)


def _bench(*options: str) -> dict[str, Any]:
    """The report of one run on private services: standard output is that and nothing else."""
    command = [sys.executable, "-m", "bus", "bench", "rabbitmq", "--json", *options]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    assert ended.returncode == 0, ended.stderr
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
    # Given a second of load for each: a loader waits for all that it began, and the store is recounted
    report = _bench("--seconds", "1", "--rounds", "1", "--window", "20", *_only("bus", "ceiling"))
    assert list(report) == ["bench", "settings", "figures", "yardsticks", "ratios", "spread", "versions", "rows"]
    assert report["settings"] == {
        "seconds": 1.0,
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
    report = _bench("--seconds", "1", "--rounds", "1", "--window", "20", *_only("bus-http"))
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
    order = Order(window=2, seconds=0.2, warm=0.0, prefix="lost")
    with (
        loader([sys.executable, "-c", _LOSES_ONE], order, tmp_path / "log") as started,
        # Then there are no figures of its turn, and who asked for them is told which
        pytest.raises(RuntimeError, match="requests did not end; the first: lost-7"),
    ):
        started.load()


def test_each_other_yardstick_ends_every_request_and_is_drawn(tmp_path: Path) -> None:
    names = ["ceiling-8", "dramatiq", "celery"]
    picture = tmp_path / "rows.svg"
    report = _bench("--seconds", "1", "--rounds", "1", "--window", "20", "--picture", str(picture), *_only(*names))
    assert list(report["rows"]) == list(report["yardsticks"]) == names
    assert all(map(_is_sound, report["rows"].values()))
    drawn = "".join(ElementTree.parse(picture).getroot().itertext())  # noqa: S314  # our own
    assert all(name in drawn for name in names)


@pytest.mark.long
def test_an_open_loop_has_no_window_and_hosts_may_be_processes_of_their_own() -> None:
    report = _bench(
        "--seconds", "1", "--rounds", "1", "--window", "20", "--rate", "10", *_only("bus-open", "bus-apart")
    )
    assert report["rows"]["bus-open"]["window"] is None
    assert {f"host {name}" for name in "abcd"} <= report["rows"]["bus-apart"]["cpu_ms"].keys()


def _only(*names: str) -> list[str]:
    return [part for name in names for part in ("--only", name)]


def test_a_contender_that_does_not_exist_is_refused_with_the_names_of_those_that_do() -> None:
    command = [sys.executable, "-m", "bus", "bench", "rabbitmq", "--only", "ceilling"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert "ceiling" in ended.stderr


@pytest.mark.long
def test_a_store_with_finished_requests_takes_turns_with_an_empty_one() -> None:
    # Given copies of a finished request, then they do not disturb new ones, and the ratio lies in its interval
    report = _bench("--preloaded", "300", "--pairs", "2", "--seconds", "1", "--window", "20")
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
    million = of_pairs(1_000_000, pairs=5, seconds=10.0)
    assert 20e9 < million.bytes < 40e9
    assert 300 < million.seconds < 1_800


@pytest.mark.parametrize(("alive", "queued", "is_whole"), [(0, 0, True), (1, 0, False), (0, 3, False)])
def test_a_soak_after_which_something_is_missing_is_not_whole(*, alive: int, queued: int, is_whole: bool) -> None:
    ran = Ran(took=1.0, counted=5, ended=5, repeated=0, latencies=[1.0] * 5)
    sample = Sample(at=1.0, memory={"hosts": 1}, queued=queued, outbox=0)
    assert Soak(rate=5.0, maximum=10.0, ran=ran, samples=[sample], accepted=5, alive=alive).is_whole is is_whole


@pytest.mark.long
def test_a_soak_watches_memory_and_queues_and_counts_everything_at_the_end(tmp_path: Path) -> None:
    picture = tmp_path / "soak.svg"
    report = _bench("--soak", "0.1", "--window", "20", "--picture", str(picture))
    assert list(report) == ["bench", "settings", "figures", "growth", "verdicts", "samples"]
    assert report["verdicts"]["nothing_lost"]
    assert report["verdicts"]["queues_empty_at_the_end"]
    assert {"broker", "postgresql", "process manager", "hosts", "loader"} <= report["growth"].keys()
    assert len(report["samples"]) >= 2
    assert "process manager" in _description(picture.read_text(encoding="utf-8"))


def test_the_interval_of_a_ratio_is_that_of_its_logarithms() -> None:
    mean, least, greatest = interval([0.5, 2.0])
    assert mean == pytest.approx(1.0)
    assert least * greatest == pytest.approx(1.0)
    assert least < 0.5
    assert interval([0.9, 0.9, 0.9]) == pytest.approx((0.9, 0.9, 0.9))


# --- the accounting that all loaders share ----------------------------------------------------------------------------


def test_a_closed_loop_begins_what_the_window_has_room_for_and_nothing_after_the_end() -> None:
    pace = Pace(Order(window=3, seconds=10.0, warm=1.0), 0.0)
    begun = pace.begin(pace.wanted(0.0), 0.0)
    assert (len(begun), pace.wanted(0.5)) == (3, 0)
    pace.end(begun[:2], 0.5)
    assert pace.wanted(0.5) == 2
    assert pace.wanted(11.0) == 0


def test_an_open_loop_keeps_its_rate_and_counts_from_the_planned_moment() -> None:
    pace = Pace(Order(window=100, seconds=10.0, warm=0.0, rate=10.0), 0.0)
    # Given a loader that was late: a second has passed
    begun = pace.begin(pace.wanted(1.0), 1.0)
    assert len(begun) == 11
    # When everything ends at once, then the one that was planned first took longest
    pace.end(begun, 1.0)
    assert pace.ran().latencies[0] == pytest.approx(1000.0)
    assert pace.ran().latencies[-1] == pytest.approx(0.0)


def test_only_what_ends_within_the_measured_time_counts_and_an_end_heard_twice_counts_once() -> None:
    pace = Pace(Order(window=4, seconds=2.0, warm=1.0), 0.0)
    early, first, second, late = pace.begin(4, 0.0)
    pace.end([early], 0.9)
    pace.end([first, second, first], 2.0)
    assert not pace.is_over(3.0)
    pace.end([late], 3.5)
    assert pace.is_over(3.5)
    ran = pace.ran()
    assert (ran.counted, ran.ended, ran.repeated, ran.speed) == (2, 4, 1, 1.0)


def test_a_request_that_never_ends_fails_the_load_and_is_named() -> None:
    pace = Pace(Order(window=1, seconds=1.0, warm=0.0, prefix="run"), 0.0)
    pace.begin(1, 0.0)
    assert not pace.is_over(2.0)
    with pytest.raises(TimeoutError, match="run-0"):
        pace.is_over(1.0 + DRAIN_WITHIN + 0.1)


def test_pictures_are_well_formed_and_say_their_figures_in_words() -> None:
    drawn = bars("Speed <here>", {"bus": (400.0, 390.0, 410.0), "other": (80.0, 70.0, 90.0)}, ("bus",), "/s")
    assert "bus: 400 /s; other: 80 /s" in _description(drawn)
    panels = {"MB": {"host": [(0.0, 50.0), (5.0, 52.0)], "idle": []}, "messages": {"queued": [(5.0, 7.0)]}}
    assert _description(plots("Memory", panels, "s")) == "host: 52 MB at the end; queued: 7 messages at the end"


def _description(svg: str) -> str:
    found = ElementTree.fromstring(svg).find("{http://www.w3.org/2000/svg}desc")  # noqa: S314  # our own
    assert found is not None
    return str(found.text)
