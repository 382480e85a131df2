"""What the pages name is there: the files that they link to, the targets of make, the commands of the bus."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from bus.cli import root

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("adapters/*/README.md")])


def code_of(text: str) -> Iterator[str]:
    """The code of a page, line by line: fenced blocks and words in backticks."""
    fences = re.findall(r"^```[a-z]*\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    for fence in fences:
        yield from fence.splitlines()
    yield from re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE))


@pytest.fixture(params=PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def page(request: pytest.FixtureRequest) -> Path:
    found: Path = request.param
    return found


def test_every_link_leads_to_a_file(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert missing == []


def test_every_target_of_make_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = [
        match[1] for code in code_of(page.read_text(encoding="utf-8")) if (match := re.match(r"make ([a-z-]+)", code))
    ]
    assert [name for name in named if name not in targets] == []


def test_every_command_of_the_bus_exists(page: Path) -> None:
    named = [
        match[1].split()
        for code in code_of(page.read_text(encoding="utf-8"))
        if (match := re.match(r"(?:\.venv/bin/)?bus ((?:[a-z]+ ?){1,2})", code))
    ]
    assert [" ".join(words) for words in named if not is_command(words)] == []


def is_command(words: list[str]) -> bool:
    context = click.Context(root)
    command = root.get_command(context, words[0])
    if not isinstance(command, click.Group):
        return command is not None
    return len(words) == 1 or command.get_command(click.Context(command), words[1]) is not None
