"""Pictures of measurements: well-formed, and what they show is said in words."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from bus.bench.picture import bars, plots
from bus.cli.bench_told import draw_rows


def _description(svg: str) -> str:
    found = ElementTree.fromstring(svg).find("{http://www.w3.org/2000/svg}desc")  # noqa: S314  # our own
    assert found is not None
    return str(found.text)


def test_pictures_are_well_formed_and_say_their_figures_in_words() -> None:
    drawn = bars("Speed <here>", {"bus": (400.0, 390.0, 410.0), "other": (80.0, 70.0, 90.0)}, ("bus",), "/s")
    assert "bus: 400 /s; other: 80 /s" in _description(drawn)
    panels = {"MB": {"host": [(0.0, 50.0), (5.0, 52.0)], "idle": []}, "messages": {"queued": [(5.0, 7.0)]}}
    assert _description(plots("Memory", panels, "s")) == "host: 52 MB at the end; queued: 7 messages at the end"


def test_the_bar_of_an_open_loop_says_its_rate_for_it_is_no_maximum(tmp_path: Path) -> None:
    speed = {"median": 150.0, "least": 149.0, "greatest": 151.0}
    rows = {"bus": {"window": 200, "requests_per_s": speed}, "bus-open": {"window": None, "requests_per_s": speed}}
    draw_rows({"settings": {"rate": 150.0}, "rows": rows}, "Speed", tmp_path / "rows.svg")
    drawn = (tmp_path / "rows.svg").read_text(encoding="utf-8")
    assert "bus: 150 /s; bus-open (150/s): 150 /s" in _description(drawn)
