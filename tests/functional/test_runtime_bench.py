"""`bus bench`: one shape for every report, with a yardstick of the same run."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from bus.bench.report import Report, percentile
from tests.support.installation import PATIENCE, ROOT


def test_the_embedded_bench_reports_figures_beside_its_yardstick_in_the_fixed_shape() -> None:
    # Given a second of load
    command = [sys.executable, "-m", "bus", "bench", "embedded", "--json", "--seconds", "1", "--window", "20"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)
    # Then standard output is one report and nothing else
    assert ended.returncode == 0, ended.stderr
    report = json.loads(ended.stdout)
    assert list(report) == ["bench", "settings", "figures", "yardsticks", "ratios"]
    assert list(report["figures"]) == ["requests_per_s", "p50_ms", "p95_ms", "p99_ms"]
    assert (report["bench"], report["settings"]) == ("embedded", {"seconds": 1.0, "window": 20, "agencies": 4})
    figures, ratio = report["figures"], report["ratios"]["bare"]
    assert 0 < figures["p50_ms"] <= figures["p95_ms"] <= figures["p99_ms"]
    assert ratio == pytest.approx(figures["requests_per_s"] / report["yardsticks"]["bare"], rel=0.05)


def test_the_gateway_bench_takes_turns_with_the_bare_framework_and_reports_both() -> None:
    # Given a second of load for each of the two
    command = [sys.executable, "-m", "bus", "bench", "gateway", "--json", "--seconds", "1", "--connections", "10"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=2 * PATIENCE, check=False)
    # Then standard output is one report, whose figures fit one another
    assert ended.returncode == 0, ended.stderr
    report = json.loads(ended.stdout)
    assert list(report) == ["bench", "settings", "figures", "yardsticks", "ratios", "spread"]
    assert report["settings"] == {"seconds": 1.0, "connections": 10, "agencies": 1, "hosts": True, "rounds": 5}
    figures, ratio = report["figures"], report["ratios"]["bare"]
    assert 0 < figures["p50_ms"] <= figures["p95_ms"] <= figures["p99_ms"]
    assert ratio == pytest.approx(figures["requests_per_s"] / report["yardsticks"]["bare"], rel=0.05)
    least, most = report["spread"]["bare"]
    assert 0 < least <= figures["ratio_median"] <= most
    assert 0 < figures["bare_cpu_ms"] < figures["cpu_ms"]


@pytest.mark.parametrize(("share", "expected"), [(50, 2), (75, 3), (76, 4), (99, 4), (100, 4), (1, 1)])
def test_a_percentile_is_the_nearest_rank(share: int, expected: float) -> None:
    assert percentile([4, 1, 3, 2], share) == expected


def test_nothing_measured_is_nothing_claimed() -> None:
    report = Report(bench="x", settings={}, requests_per_s=0.0, latencies=()).to_json()
    assert report["figures"] == {"requests_per_s": 0.0, "p50_ms": 0.0, "p95_ms": 0.0, "p99_ms": 0.0}
