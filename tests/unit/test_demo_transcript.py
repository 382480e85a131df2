"""The lines of the demo: they fit, hold their columns, hide no kind of fact, and the picture shows them."""

from __future__ import annotations

import ast
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from bus.audit.fact import Fact
from bus.cli.demo import layout, words
from bus.cli.demo.picture import draw, drawn
from bus.message.text import Text

ROOT = Path(__file__).parents[2]
PICTURE = ROOT / "docs" / "pictures" / "demo.svg"
#: How the process manager writes facts: the methods of its draft, whose first text names the kind.
WRITING = frozenset({"change", "change_request", "note"})

ENGLISH = st.text(alphabet="abcdefgh ,.-", max_size=150)
ARABIC = st.text(alphabet="ابتثجحخدذرزسشصضطظعغفقكلمنهويةىءُّ :،", max_size=150)


def kinds() -> Iterator[str]:
    """Every kind of fact that stands as a text in the code that writes facts."""
    for file in (ROOT / "bus" / "process").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in WRITING:
                texts = [one.value for one in node.args[:2] if isinstance(one, ast.Constant)]
                yield from (text for text in texts if isinstance(text, str))


def fact(kind: str, **changes: object) -> Fact:
    return Fact(request_id="r", version=1, kind=kind, at=1_000, changes=changes, step="a", step_kind="task")


@pytest.mark.parametrize("kind", sorted({*kinds()} - {"ended"}))
def test_every_kind_of_fact_is_told_in_both_languages_or_is_known_to_say_nothing_new(kind: str) -> None:
    told = words.told(fact(kind, reason="why"), Text(en="Agency", ar="جهة"))
    if kind in words.QUIET:
        assert told is None
    else:
        assert told is not None
        assert told.text.en != kind.replace("_", " ")
        assert re.search("[\u0621-\u064a]", told.text.ar)


def test_a_kind_that_nobody_has_words_for_is_told_by_its_name() -> None:
    told = words.told(fact("moon_eclipsed"), None)
    assert told is not None
    assert told.text.en == "moon eclipsed"


@given(who=ENGLISH, ar=ARABIC, what=ENGLISH, state=ARABIC, width=st.integers(9, 18))
def test_no_line_is_wider_than_80_cells_and_arabic_ends_each_line_at_its_edge(
    who: str, ar: str, what: str, state: str, width: int
) -> None:
    # When something is laid out, however long its texts are
    rows = layout.event(12.3, Text(en=who, ar=ar), Text(en=what, ar=state), width=width)
    for row in rows:
        # Then no line is too wide,
        assert cell_len(row.text) <= layout.WIDTH
        # Arabic is the last run of its line, reaches the edge, and ends in a letter or its mark
        if row.arabic:
            assert row.text.endswith(row.arabic)
            assert cell_len(row.text) == layout.WIDTH
            assert unicodedata.category(row.arabic[-1]) in {"Lo", "Mn"}
            assert row.text.removesuffix(row.arabic).replace("…", "").isascii()
    # and every word of what happened is there
    said = "".join(cell.text for row in rows for cell in row.cells if cell.column == 9 + width)
    assert re.sub(r"\s", "", said) == re.sub(r"\s", "", what)


def test_signs_that_command_a_terminal_or_turn_letters_never_reach_it() -> None:
    rows = layout.heading(Text(en="red \x1b[31m and \u202eturned\u202c\r\n", ar="نص\u2067مقلوب"))
    assert [row.text for row in rows if not row.text.isprintable()] == []


def test_a_table_cuts_what_would_run_into_the_next_column() -> None:
    row = layout.entry((2, "a name that is far too long"), (12, "next"), arabic="التالي")
    assert row.text.startswith("  a name t… next ")
    assert cell_len(row.text) == layout.WIDTH


def test_a_picture_is_drawn_from_what_it_shows_so_that_drawing_it_again_changes_nothing() -> None:
    picture = PICTURE.read_text(encoding="utf-8")
    assert draw(drawn(picture)) == picture, "run make docs"


def test_the_picture_can_be_read_aloud_selected_and_seen_on_a_dark_screen_and_the_readme_shows_it() -> None:
    picture = PICTURE.read_text(encoding="utf-8")
    root = ET.fromstring(picture)  # noqa: S314  (our own file)
    assert root.findtext("{http://www.w3.org/2000/svg}title")
    assert root.findtext("{http://www.w3.org/2000/svg}desc")
    assert "prefers-color-scheme: dark" in picture
    assert "<image" not in picture
    assert "](docs/pictures/demo.svg)" in (ROOT / "README.md").read_text(encoding="utf-8")
