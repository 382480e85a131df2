"""`bus bench rabbitmq`: everybody ends what was begun, and the report has what it promises."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree

import pytest

from bus.bench.million import interval
from bus.bench.pace import DRAIN_WITHIN, Order, Pace
from bus.bench.picture import bars, plot
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
        "submission": "the gateway's operation, without HTTP",
    }
    ours, ceiling = report["rows"]["bus"], report["rows"]["ceiling"]
    assert _is_sound(ours)
    assert _is_sound(ceiling)
    assert {"broker", "postgresql", "process manager", "hosts", "loader"} <= ours["cpu_ms"].keys()
    assert {"broker", "coordinator", "workers", "loader"} <= ceiling["cpu_ms"].keys()
    ratio = ours["requests_per_s"]["median"] / ceiling["requests_per_s"]["median"]
    assert report["ratios"]["ceiling"] == pytest.approx(ratio, rel=0.02, abs=0.002)


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
    drawn = bars("Speed <here>", {"bus": (400.0, 390.0, 410.0), "other": (80.0, 70.0, 90.0)}, "bus", "/s")
    assert "bus: 400 /s; other: 80 /s" in _description(drawn)
    lines = plot("Memory", {"host": [(0.0, 50.0), (5.0, 52.0)], "idle": []}, "s", "MB")
    assert "host: 52 MB at the end" in _description(lines)


def _description(svg: str) -> str:
    found = ElementTree.fromstring(svg).find("{http://www.w3.org/2000/svg}desc")  # noqa: S314  # our own
    assert found is not None
    return str(found.text)
