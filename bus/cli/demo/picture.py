"""The demo's transcript as a picture for the README: ``python -m bus.cli.demo.picture docs/pictures/demo.svg``.

It is drawn from a real run. Times, tracking codes and dates differ from run to run; the picture that is there keeps its
own as long as a new run prints the same lines but for those.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import cast
from xml.etree import ElementTree as ET

from bus.bootstrap import load_workspace
from bus.cli.demo.command import ENVIRONMENT, perform
from bus.cli.demo.layout import WIDTH, Cell, Row, Tone
from bus.logs import configure

#: Pixels.
_CELL, _LINE, _MARGIN, _BAR = 8.43, 20, 26, 40
_SVG = "http://www.w3.org/2000/svg"
_NAMED = 'role="img" aria-labelledby="title description"'
_DESCRIPTION = (
    "Requests played live, in English and Arabic: outages, a lost reply, a missing paper, a refusal, an answer that"
    " cannot be read and one that never comes. At the end each effect stands once in the agencies' own books."
)
_VARYING = re.compile(r"\b[0-9A-Z]{5}-[0-9A-Z]{5}-[0-9A-Z]\b|[0-9]+(?:[.-][0-9]+)*")

# Colours for a light and a dark screen; the panel is part of the picture, so that it can be read on any page.
_STYLE = """
    .panel { fill: #fbfcfd; stroke: #d3dce2; }
    .bar { fill: #eef2f5; }
    .dot { fill: #c6d1d8; }
    text { font: 14px ui-monospace, "Cascadia Mono", "DejaVu Sans Mono", Menlo, Consolas, monospace; white-space: pre; }
    .arabic { font: 14.5px "Noto Sans Arabic", "Segoe UI", "Geeza Pro", "DejaVu Sans", sans-serif;
      direction: rtl; unicode-bidi: isolate; }
    .plain { fill: #26343c; }
    .title { fill: #101a20; font-weight: 700; }
    .good { fill: #1a6b35; }
    .bad { fill: #b3261e; }
    .doubt { fill: #8a5a00; }
    .person { fill: #0b5a8c; }
    .quiet { fill: #5d6f7a; }
    @media (prefers-color-scheme: dark) {
      .panel { fill: #0f161b; stroke: #2c3a43; }
      .bar { fill: #18222a; }
      .dot { fill: #3a4a54; }
      .plain { fill: #d7e1e7; }
      .title { fill: #ffffff; }
      .good { fill: #7fd39a; }
      .bad { fill: #ff9a8f; }
      .doubt { fill: #e7c06a; }
      .person { fill: #86c5f0; }
      .quiet { fill: #93a5b0; }
    }
"""


def draw(rows: Sequence[Row]) -> str:
    """The picture of these lines: text stays text, Arabic reads from the right edge."""
    width, height = round(WIDTH * _CELL + 2 * _MARGIN), _BAR + _MARGIN + len(rows) * _LINE + _MARGIN // 2
    lines = [
        f'<svg xmlns="{_SVG}" viewBox="0 0 {width} {height}" width="{width}" height="{height}" {_NAMED}>',
        '  <title id="title">What bus demo prints</title>',
        f'  <desc id="description">{_DESCRIPTION}</desc>',
        f"  <style>{_STYLE}  </style>",
        f'  <rect class="panel" x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="10"/>',
        f'  <path class="bar" d="M1 {_BAR} V11 a10 10 0 0 1 10 -10 H{width - 11} a10 10 0 0 1 10 10 V{_BAR} z"/>',
        *(f'  <circle class="dot" cx="{_MARGIN + 18 * number}" cy="20" r="5.5"/>' for number in range(3)),
        f'  <text class="quiet" x="{width / 2:g}" y="25" text-anchor="middle">bus demo</text>',
    ]
    for number, row in enumerate(rows):
        lines += _row(row, _BAR + _MARGIN + number * _LINE, width - _MARGIN)
    return "\n".join([*lines, "</svg>", ""])


def _row(row: Row, y: int, right: int) -> Iterable[str]:
    yield f'  <g class="row {row.tone}">'
    for cell in row.cells:
        x = f"{_MARGIN + cell.column * _CELL:g}"
        lead = len(cell.text) - len(cell.text.lstrip())
        if lead:
            x = f"{_MARGIN + (cell.column + lead) * _CELL:g}"
        column = f' data-column="{cell.column + lead}"'
        yield f'    <text class="{cell.tone}" x="{x}" y="{y}"{column}>{escape(cell.text.lstrip())}</text>'
    if row.arabic:
        yield f'    <text class="arabic {row.tone}" x="{right}" y="{y}">{escape(row.arabic)}</text>'
    yield "  </g>"


def drawn(picture: str) -> tuple[Row, ...]:
    """The lines that a picture of `draw` shows."""
    return tuple(_read(group) for group in ET.fromstring(picture).iter(f"{{{_SVG}}}g"))  # noqa: S314  (our own file)


def _read(group: ET.Element) -> Row:
    cells, arabic = [], ""
    for text in group:
        tone = text.get("class", "")
        if tone.startswith("arabic"):
            arabic = text.text or ""
        else:
            column = int(text.get("data-column", "0"))
            cells.append(Cell(column=column, text=text.text or "", tone=cast("Tone", tone)))
    return Row(cells=tuple(cells), arabic=arabic, tone=cast("Tone", group.get("class", "").removeprefix("row ")))


def shape(line: str) -> str:
    """What a line says, whenever it is said: without numbers and codes, and without the space that they take."""
    return " ".join(_VARYING.sub("0", line).split())


def _main(file: Path) -> None:
    configure(json=True, level="error")
    rows: list[Row] = []
    perform(load_workspace(Path.cwd(), ENVIRONMENT), rows.append)
    kept = drawn(file.read_text(encoding="utf-8")) if file.exists() else ()
    if {shape(row.text) for row in kept} == {shape(row.text) for row in rows}:
        rows = list(kept)
    file.write_text(draw(rows), encoding="utf-8")


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
