"""Pictures of measurements, as SVG that can be read on light and dark pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

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


def bars(title: str, rows: Mapping[str, tuple[float, float, float]], ours: str, unit: str) -> str:
    """A bar for each row: (median, least, greatest)."""
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


def plot(title: str, lines: Mapping[str, Sequence[tuple[float, float]]], x_unit: str, y_unit: str) -> str:
    """A line for each name through its points (x, y), both axes from 0."""
    left, top, width, height = 70, 56, _WIDTH - 250, 280
    most_x = max((x for points in lines.values() for x, _ in points), default=0.0) or 1.0
    most_y = max((y for points in lines.values() for _, y in points), default=0.0) or 1.0
    parts = [
        f'<line class="axis" x1="{left}" y1="{top + height}" x2="{left + width}" y2="{top + height}"/>',
        f'<line class="axis" x1="{left}" y1="{top}" x2="{left}" y2="{top + height}"/>',
        f'<text class="small" x="{left - 8}" y="{top + 8}" text-anchor="end">{most_y:,.0f}</text>',
        f'<text class="small" x="{left - 8}" y="{top + height}" text-anchor="end">0</text>',
        f'<text class="small" x="{left}" y="{top - 8}">{escape(y_unit)}</text>',
        (
            f'<text class="small" x="{left + width}" y="{top + height + 18}" text-anchor="end">'
            f"{most_x:,.0f} {escape(x_unit)}</text>"
        ),
    ]
    for number, (name, points) in enumerate(lines.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        path = " ".join(f"{left + x / most_x * width:.1f},{top + height - y / most_y * height:.1f}" for x, y in points)
        last = points[-1][1] if points else 0.0
        parts += [
            f'<polyline class="line" stroke="{colour}" points="{path}"/>',
            f'<rect x="{left + width + 16}" y="{top + 22 * number}" width="12" height="12" fill="{colour}"/>',
            (
                f'<text class="small" x="{left + width + 34}" y="{top + 22 * number + 11}">'
                f"{escape(name)}: {last:,.0f} at the end</text>"
            ),
        ]
    words = "; ".join(f"{name}: {points[-1][1]:,.0f} {y_unit} at the end" for name, points in lines.items() if points)
    return _drawn(title, words, top + max(height, 22 * len(lines)) + 34, parts)


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
