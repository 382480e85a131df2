"""Pictures of measurements, as SVG that can be read on light and dark pages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import TypeAlias

_STYLE = """
    .panel { fill: #ffffff; stroke: #d3dce2; }
    .bar { fill: #8db4c9; }
    .ours { fill: #2f7d4f; }
    .range { stroke: #1d2b33; stroke-width: 1.4; }
    .axis { stroke: #9fb1bc; }
    .line { fill: none; stroke-width: 1.6; }
    text { fill: #1d2b33; font: 14px system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
    .small { font-size: 12px; fill: #475a66; }
    @media (prefers-color-scheme: dark) {
      .panel { fill: #10181d; stroke: #31414b; }
      .bar { fill: #3f6b82; }
      .ours { fill: #4fae78; }
      .range { stroke: #e6eef2; }
      .axis { stroke: #46565f; }
      text { fill: #e6eef2; }
      .small { fill: #a9bac4; }
    }
"""
#: One for each line of a plot; they can be told apart on both grounds.
_COLOURS = ("#2f7d4f", "#b3601e", "#3a6ea5", "#9b3fa0", "#8a6a2b", "#c23b5a", "#4aa3a3", "#777777")
_WIDTH = 860
#: Where the axes of a plot begin, and how long its x axis is.
_LEFT, _PLOT = 70, 580


def bars(title: str, rows: Mapping[str, tuple[float, float, float]], ours: tuple[str, ...], unit: str) -> str:
    """A bar for each row: (median, least, greatest); those whose names begin with ``ours`` stand out."""
    top, step, left, most = 56, 34, 170, max(greatest for _, _, greatest in rows.values()) or 1.0
    scale = (_WIDTH - left - 130) / most
    parts = []
    for number, (name, (median, least, greatest)) in enumerate(rows.items()):
        y = top + step * number
        kind = "ours" if name.startswith(ours) else "bar"
        parts += [
            f'<text x="{left - 12}" y="{y + 16}" text-anchor="end">{escape(name)}</text>',
            f'<rect class="{kind}" x="{left}" y="{y}" width="{median * scale:.1f}" height="22" rx="3"/>',
            (
                f'<line class="range" x1="{left + least * scale:.1f}" y1="{y + 11}"'
                f' x2="{left + greatest * scale:.1f}" y2="{y + 11}"/>'
            ),
            f'<text x="{left + greatest * scale + 10:.1f}" y="{y + 16}">{median:,.0f} {escape(unit)}</text>',
        ]
    words = "; ".join(f"{name}: {median:,.0f} {unit}" for name, (median, _, _) in rows.items())
    return _drawn(title, words, top + step * len(rows) + 14, parts)


Points: TypeAlias = Sequence[tuple[float, float]]


def plots(title: str, panels: Mapping[str, Mapping[str, Points]], x_unit: str) -> str:
    """Panels below one another, by the unit of their own y axis; in each a line by name. All axes begin at 0."""
    most_x = max((x for lines in panels.values() for points in lines.values() for x, _ in points), default=0.0) or 1.0
    top, parts = 76, list[str]()
    for unit, lines in panels.items():
        height = max(140, 22 * len(lines))
        parts += _panel(lines, unit, top, height, most_x)
        top += height + 48
    until = f"{most_x:,.0f} {escape(x_unit)}"
    end = f'<text class="small" x="{_LEFT + _PLOT}" y="{top - 30}" text-anchor="end">{until}</text>'
    words = "; ".join(
        f"{name}: {points[-1][1]:,.0f} {unit} at the end"
        for unit, lines in panels.items()
        for name, points in lines.items()
        if points
    )
    return _drawn(title, words, top - 14, [*parts, end])


def _panel(lines: Mapping[str, Points], unit: str, top: int, height: int, most_x: float) -> Iterator[str]:
    """One pair of axes with its lines, and beside it what each comes to at the end."""
    most_y = max((y for points in lines.values() for _, y in points), default=0.0) or 1.0
    bottom, right = top + height, _LEFT + _PLOT
    yield f'<text class="small" x="{_LEFT}" y="{top - 10}">{escape(unit)}</text>'
    yield f'<text class="small" x="{right + 34}" y="{top - 10}">at the end</text>'
    for share in (0.0, 0.5, 1.0):
        y = bottom - share * height
        yield f'<line class="axis" x1="{_LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}"/>'
        yield f'<text class="small" x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{share * most_y:,.0f}</text>'
    for number, (name, points) in enumerate(lines.items()):
        colour, y = _COLOURS[number % len(_COLOURS)], top + 22 * number
        path = " ".join(f"{_LEFT + x / most_x * _PLOT:.1f},{bottom - y_ / most_y * height:.1f}" for x, y_ in points)
        last = points[-1][1] if points else 0.0
        yield f'<polyline class="line" stroke="{colour}" points="{path}"/>'
        yield f'<rect x="{right + 16}" y="{y}" width="12" height="12" fill="{colour}"/>'
        yield f'<text class="small" x="{right + 34}" y="{y + 11}">{escape(name)}: {last:,.0f}</text>'


def _drawn(title: str, description: str, height: int, parts: Sequence[str]) -> str:
    size = f'viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}"'
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="title description">',
        f'<title id="title">{escape(title)}</title>',
        f'<desc id="description">{escape(description)}</desc>',
        f"<style>{_STYLE}</style>",
        f'<rect class="panel" x="0.5" y="0.5" width="{_WIDTH - 1}" height="{height - 1}" rx="10"/>',
        f'<text x="24" y="32">{escape(title)}</text>',
    )
    return "\n".join((*head, *parts, "</svg>", ""))
