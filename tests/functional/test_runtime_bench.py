"""`bus bench`: one shape for every report, with a yardstick of the same run."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

import pytest

from bus.bench.load import Order, load
from bus.bench.report import Report, percentile
from tests.support.demo_workspace import ROOT
from tests.support.waiting import PATIENCE, wait_for

#: Seconds for a benchmark that starts a dozen programs one after the other: on a machine that is quiet it takes twelve.
_LONG: Final = 280.0


def test_the_embedded_bench_reports_figures_beside_its_yardstick_in_the_fixed_shape() -> None:
    # Given two seconds of load
    command = [sys.executable, "-m", "bus", "bench", "embedded", "--json", "--seconds", "2", "--window", "20"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)
    # Then standard output is one report and nothing else
    assert ended.returncode == 0, ended.stderr
    report = json.loads(ended.stdout)
    assert list(report) == ["bench", "settings", "figures", "yardsticks", "ratios"]
    assert list(report["figures"]) == ["requests_per_s", "p50_ms", "p95_ms", "p99_ms"]
    assert (report["bench"], report["settings"]) == ("embedded", {"seconds": 2.0, "window": 20, "agencies": 4})
    figures, ratio = report["figures"], report["ratios"]["bare"]
    assert 0 < figures["p50_ms"] <= figures["p95_ms"] <= figures["p99_ms"]
    assert ratio == pytest.approx(figures["requests_per_s"] / report["yardsticks"]["bare"], rel=0.05)


@pytest.mark.timeout(_LONG + 20)
def test_the_gateway_bench_takes_turns_with_the_bare_framework_and_reports_both() -> None:
    # Given a second of load for each of the two
    command = [sys.executable, "-m", "bus", "bench", "gateway", "--json", "--seconds", "1", "--connections", "10"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=_LONG, check=False)
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
    # Carried through to the end is no quicker than accepted
    assert 0 < figures["ended_per_s"] <= figures["requests_per_s"]


class _Slow(BaseHTTPRequestHandler):
    """Takes longer for every answer than the load was to last."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(0.3)
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


def test_a_server_that_is_slower_than_the_measured_time_is_measured_as_slow_and_not_as_nothing() -> None:
    # Given a server that is still at its first answers when the time is up, as one on a busy machine may be
    with ThreadingHTTPServer(("127.0.0.1", 0), _Slow) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        # When it is loaded over two connections
        url = f"http://127.0.0.1:{server.server_port}/"
        heard = load(Order(url=url, connections=2, seconds=0.1, headers={}, prefix="slow"))
        server.shutdown()
    # Then the answer of each counts, over the time that it took
    assert heard.statuses == {"202": 2}
    assert 0.3 <= heard.took < 5
    assert min(heard.latencies) >= 300


_OPENS_A_DOOR: Final = """
import pathlib, sys, time
from bus.bench.doors import door
with door("bare", pathlib.Path(sys.argv[1])) as opened:
    print(opened.pid, flush=True)
    time.sleep(1000)
"""


def test_a_server_of_the_benchmark_ends_with_whoever_started_it(tmp_path: Path) -> None:
    # Given a benchmark that is killed while its server answers
    command = [sys.executable, "-c", _OPENS_A_DOOR, str(tmp_path / "bare")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as bench:
        assert bench.stdout
        server = Path(f"/proc/{int(bench.stdout.readline())}")
        assert server.exists()
        bench.kill()
    # Then nothing of it is left
    wait_for("the end of the server", lambda: not server.exists() or "Z (" in (server / "status").read_text())


@pytest.mark.parametrize(("share", "expected"), [(50, 2), (75, 3), (76, 4), (99, 4), (100, 4), (1, 1)])
def test_a_percentile_is_the_nearest_rank(share: int, expected: float) -> None:
    assert percentile([4, 1, 3, 2], share) == expected


def test_nothing_measured_is_nothing_claimed() -> None:
    report = Report(bench="x", settings={}, requests_per_s=0.0, latencies=()).to_json()
    assert report["figures"] == {"requests_per_s": 0.0, "p50_ms": 0.0, "p95_ms": 0.0, "p99_ms": 0.0}
