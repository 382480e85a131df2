"""The page of the architecture and its pictures say what the code says."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bus.bootstrap.roles import BUS_ROLES
from bus.killpoint import POINTS
from bus.message.channel import BUS_USER, host_user
from bus.stores.schema import metadata
from docs.pictures import draw

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
SVG = "{http://www.w3.org/2000/svg}"


def first_cells(heading: str) -> list[str]:
    """The names in backticks in the first column of the table below a heading."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("|")]
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


@pytest.mark.parametrize("name", sorted(draw.PICTURES))
def test_each_committed_picture_is_fresh(name: str) -> None:
    assert (draw.HERE / name).read_text(encoding="utf-8") == draw.PICTURES[name](), "run make docs"


@pytest.mark.parametrize("name", sorted(draw.PICTURES))
def test_each_picture_is_shown_and_can_be_read_aloud_and_on_a_dark_screen(name: str) -> None:
    assert f"](pictures/{name})" in PAGE
    picture = ElementTree.fromstring(draw.PICTURES[name]())  # noqa: S314  (our own text)
    title, description = picture.findtext(f"{SVG}title"), picture.findtext(f"{SVG}desc")
    assert title
    assert description
    assert len(description) > len(title)
    assert "prefers-color-scheme: dark" in (picture.findtext(f"{SVG}style") or "")
    assert picture.findall(f"{SVG}text")


def test_the_page_explains_every_room_of_every_floor() -> None:
    rooms = [room for layer in draw.layers() for room in layer]
    assert sorted(first_cells("Rooms and floors")) == sorted(rooms)


def test_every_kill_point_is_drawn_in_its_order_and_explained() -> None:
    drawn = [words for acts in draw.ORDER.values() for kind, words in acts if kind == draw.KILL]
    assert sorted(drawn) == sorted(POINTS)
    assert sorted(first_cells("Transactions, acknowledgements, and dying in between")) == sorted(POINTS)


def test_every_table_of_store_and_journal_is_drawn() -> None:
    drawn = [text.text for text in ElementTree.fromstring(draw.state()).findall(f"{SVG}text")]  # noqa: S314  (ours)
    assert {*metadata.tables, *draw.journal_tables()} <= set(drawn)
    assert "interaction" in drawn


def test_every_role_is_drawn_and_explained_with_the_user_that_it_is_at_the_broker() -> None:
    section = PAGE.partition("\n## Many processes\n")[2].partition("\n## ")[0]
    lines = (line for line in section.splitlines() if line.startswith("| `"))
    users = {re.findall(r"`([^`]+)`", cells[1])[0]: re.findall(r"`([^`]+)`", cells[2])[:1] for cells in split(lines)}
    told = {role: user for role, user in users.items() if user and not user[0].startswith("bus/")}

    assert told == {**{role: [BUS_USER] for role in BUS_ROLES}, "agency:NAME": [host_user("NAME")]}
    drawn = {text.text for text in ElementTree.fromstring(draw.machines()).findall(f"{SVG}text")}  # noqa: S314  (ours)
    assert {*BUS_ROLES, f"user {BUS_USER}", f"user {host_user('A')}"} <= drawn


def split(lines: Iterable[str]) -> Iterator[list[str]]:
    """The cells of lines of tables, the first at 1."""
    return (line.split("|") for line in lines)


def test_every_thread_that_bootstrap_starts_is_explained() -> None:
    files = sorted((ROOT / "bus" / "bootstrap").glob("*.py"))
    started = {name for file in files for name in thread_names(ast.parse(file.read_text(encoding="utf-8")))}
    assert {"relay", "timekeeper", "dispatcher", "process-manager", "agency:NAME"} <= started
    assert started <= set(first_cells("The threads of one process"))


def thread_names(tree: ast.AST) -> Iterator[str]:
    """What bootstrap calls its threads: the role of a `Loop`, the first of `run`, the keys of `run_beside`."""
    for call in ast.walk(tree):
        if isinstance(call, ast.Call):
            called = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
            named = [each.value for each in call.keywords if each.arg == "role" and called == "Loop"]
            if called == "run" and len(call.args) > 1 and isinstance(call.args[0], ast.Constant | ast.JoinedStr):
                named.append(call.args[0])
            if called == "run_beside" and isinstance(call.args[0], ast.DictComp):
                named.append(call.args[0].key)
            yield from map(template, named)


def template(name: ast.expr) -> str:
    """A text of the code; NAME stands for what is filled in when it runs."""
    if isinstance(name, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "NAME" for part in name.values)
    return str(name.value) if isinstance(name, ast.Constant) else ast.unparse(name)
