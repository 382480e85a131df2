"""The page for portals tells the truth: its commands run in their order, and answer what the page shows."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.support.demo_workspace import ROOT
from tests.support.installation import Installation

PAGE = ROOT / "docs" / "portal.md"
RUN, SHOWN = {"bash", "python"}, {"json", "text"}
#: What only starts the bus that the test has started already.
STARTS = "make serve"
#: Texts that are another one at every run: only what they are is compared, not what they say.
KINDS = {
    "uuid": r"(urn:uuid:)?[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
    "tracking": r"[0-9A-Z]{5}-[0-9A-Z]{5}-[0-9A-Z]",
    "time": r"\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\d(\.\d+)?Z)?",
    "digest": r"[0-9a-f]{64}",
    "token": r"bus_[\w-]{43}",
    "number": r"\d+",
}
#: Tells the next shell what this one knows: where it is, variables (not those of the shell itself), functions.
KEEP = """{ echo "cd '$PWD'"; declare -p | grep -v '^declare -[^ ]*r'; declare -f; }"""
#: The last of a list: there may be more.
MORE = "…"


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One fenced block of the page."""

    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"docs/portal.md:{self.line} ({self.language})"


def blocks(page: str) -> Iterator[Block]:
    for fence in re.finditer(r"^```(\w+)\n(.*?)^```$", page, re.DOTALL | re.MULTILINE):
        yield Block(line=page.count("\n", 0, fence.start()) + 1, language=fence[1], text=fence[2])


class Reader:
    """Somebody who types one block after another: variables, functions and files stay."""

    def __init__(self, installation: Installation, folder: Path) -> None:
        self._state = folder / "state"
        self._state.touch()
        self._folder = folder / "reader"
        self._folder.mkdir()
        url = (installation.data / "url").read_text(encoding="utf-8").strip()
        programs = str(Path(sys.executable).parent)
        own = {name: value for name, value in os.environ.items() if not name.startswith("BUS_")}
        self._environment = own | {
            "PATH": os.pathsep.join((programs, os.environ["PATH"])),
            "BUS_URL": url,
            "BUS_DATA": str(installation.data),
            "TMPDIR": str(self._folder),
        }

    def types(self, block: Block) -> str:
        text = block.text if block.language == "bash" else f"python3 - <<'END_OF_BLOCK'\n{block.text}END_OF_BLOCK\n"
        done = subprocess.run(
            ["bash", "-c", f"set -euo pipefail\n. {self._state}\n{text}\n{KEEP} > {self._state}"],
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
            timeout=100,
        )
        assert done.returncode == 0, f"{block}: {done.stdout}{done.stderr}"
        return done.stdout


def kind_of(text: str) -> str:
    """What a text is, if it is another one at every run; else the text itself."""
    return next((f"<{kind}>" for kind, pattern in KINDS.items() if re.fullmatch(pattern, text)), text)


def differences(shown: Any, answered: Any, place: str = "") -> list[str]:
    """Where an answer is not what the page shows. It may have more members, and another time, id or number."""
    if isinstance(shown, dict) and isinstance(answered, dict):
        missing = [f"{place}/{name} is shown and not answered" for name in shown if name not in answered]
        both = [name for name in shown if name in answered]
        return missing + [each for name in both for each in differences(shown[name], answered[name], f"{place}/{name}")]
    if isinstance(shown, list) and isinstance(answered, list):
        open_end = shown[-1:] == [MORE]
        wanted = shown[:-1] if open_end else shown
        if len(answered) < len(wanted) or (len(answered) > len(wanted) and not open_end):
            return [f"{place} has {len(answered)} members in place of {len(wanted)}"]
        pairs = enumerate(zip(wanted, answered, strict=False))
        return [each for index, (one, other) in pairs for each in differences(one, other, f"{place}/{index}")]
    if isinstance(shown, str) and isinstance(answered, str):
        shown, answered = kind_of(shown), kind_of(answered)
    elif type(shown) is int and type(answered) is int and place != "/status":
        return []
    return [] if shown == answered else [f"{place} is {answered!r} in place of {shown!r}"]


def lines_of(text: str) -> list[list[str]]:
    return [[kind_of(word) for word in line.split()] for line in text.splitlines()]


@pytest.fixture(scope="module")
def page() -> Sequence[Block]:
    return tuple(blocks(PAGE.read_text(encoding="utf-8")))


@pytest.mark.timeout(240)
def test_every_command_of_the_page_answers_what_the_page_shows(page: Sequence[Block], tmp_path: Path) -> None:
    # Given a bus that runs, and a reader of the page
    with Installation(tmp_path) as installation:
        reader = Reader(installation, tmp_path)
        told = ""
        for block in page:
            # When he types what stands there
            if block.language in RUN:
                told = reader.types(block)
            # Then he sees what is shown
            elif block.language == "json":
                assert differences(json.loads(block.text), json.loads(told)) == [], str(block)
            elif block.language == "text":
                assert lines_of(told) == lines_of(block.text), str(block)


def test_nothing_on_the_page_is_left_out_of_the_test(page: Sequence[Block]) -> None:
    others = [block for block in page if block.language not in RUN | SHOWN]
    assert [(block.language, block.text.strip()) for block in others] == [("console", STARTS)]
    # every fence has a language, and what is shown stands below what answers it
    fences = re.findall(r"^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(fences) == 2 * len(page)
    orphans = [
        str(later) for earlier, later in pairwise(page) if later.language in SHOWN and earlier.language not in RUN
    ]
    assert orphans == []


@pytest.mark.parametrize(
    ("shown", "answered", "said"),
    [
        ({"a": 1}, {}, ["/a is shown and not answered"]),
        ({"a": {"b": "x"}}, {"a": {"b": "y"}, "c": 1}, ["/a/b is 'y' in place of 'x'"]),
        ([1], [1, 2], [" has 2 members in place of 1"]),
        ([{"a": "x"}, MORE], [{"a": "x"}, {}, {}], []),
        ("2026-11-22T19:49:01.118Z", "2027-01-01T00:00:00Z", []),
        ("2026-11-22T19:49:01.118Z", None, [" is None in place of '2026-11-22T19:49:01.118Z'"]),
        ({"status": 409}, {"status": 422}, ["/status is 422 in place of 409"]),
        (None, "x", [" is 'x' in place of None"]),
    ],
)
def test_an_answer_of_another_shape_is_told_from_one_of_another_time(
    shown: Any, answered: Any, said: list[str]
) -> None:
    assert differences(shown, answered) == said
