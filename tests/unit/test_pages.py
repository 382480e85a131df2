"""What the pages name is there: files, targets of make, commands of the bus with their options, tests."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest

from bus.bootstrap.topology import topology_of
from bus.catalog import load_workspace
from bus.cli import root
from tests.support.workspaces.copies import copy_of_repository

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


def test_every_command_of_the_bus_in_a_block_has_the_options_that_it_is_given(page: Path) -> None:
    wrong = [f"{line}: {told}" for line in typed(page.read_text(encoding="utf-8")) if (told := refused(line))]
    assert wrong == []


def typed(text: str) -> Iterator[str]:
    """The commands of the bus in the fenced blocks: whole, also where they go over several lines."""
    fences = re.findall(r"^```([a-z]*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    for fence in (fence for language, fence in fences if language in {"", "bash"}):
        for line in fence.replace("\\\n", " ").splitlines():
            if match := re.match(r"(?:docker compose .* )?(?:\.venv/bin/)?bus ([a-z]+(?: .*)?)$", line):
                yield match[1]


def refused(line: str) -> str | None:
    """What the command line says to options and arguments that it does not know; values are not looked at."""
    # Of a text that goes on in the next line the option before it is enough.
    whole = line if line.count("'") % 2 == 0 else line.rpartition("'")[0] + "text"
    words = shlex.split(whole, comments=True)
    # Up to where the shell's own begins.
    words = words[: next((place for place, word in enumerate(words) if word in {"<", ">", "|", "&", "&&", ";"}), None)]
    command: click.Command = root
    context = click.Context(root)
    while isinstance(command, click.Group) and words:
        found = command.get_command(context, words.pop(0))
        if found is None:
            return "no such command"
        command, context = found, click.Context(found, parent=context)
    try:
        _, left, _ = command.make_parser(context).parse_args(words)
    except click.UsageError as error:
        return error.format_message()
    return f"too many: {left}" if left else None


def test_an_option_that_is_gone_would_be_seen() -> None:
    assert refused("serve --role gateway --port 0  # all of it") is None
    assert refused("serve --roles gateway") is not None
    assert refused("store recount everything") is not None


#: Folders of the repository; those of a workspace may be somebody else's.
FOLDERS = r"(?:bus|docs|scripts|tests)/"


def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    named = {
        match[0].rstrip("/.")
        for code in code_of(page.read_text(encoding="utf-8"))
        for match in re.finditer(rf"(?<![\w./<-]){FOLDERS}[\w./-]*(?![\w*<{{])", code)
    }
    assert sorted(name for name in named if not is_there(name)) == []


def is_there(name: str) -> bool:
    return (ROOT / name).exists() or any((ROOT / name).parent.glob(f"{Path(name).name}*"))


def test_the_environment_for_many_machines_in_the_readme_is_one(tmp_path: Path) -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    folder, _ = copy_of_repository(tmp_path)
    # Real systems need settings, of which the page speaks beside it.
    (folder / "env" / "prod.yaml").write_text(block.replace("use: real", "use: simulator"), encoding="utf-8")

    workspace = load_workspace(folder, "prod")

    made = topology_of(workspace)
    assert (made.vhost, made.replicas) == ("bus", 3)
    assert workspace.env.store is not None
    assert workspace.env.installation_secret is not None


# --- the page of the tests --------------------------------------------------------------------------------------------

TESTS = (ROOT / "docs" / "tests.md").read_text(encoding="utf-8")


def test_every_test_that_the_page_names_is_there_and_is_long_where_it_says_so() -> None:
    named = re.findall(r"`([\w/]+\.py)::(\w+)`( \(long\))?", TESTS)
    assert len(named) > 100
    wrong = []
    for file, name, long in named:
        tests = marks_of(file)
        if name not in tests:
            wrong.append(f"{file}::{name} is not there")
        elif tests[name] != bool(long):
            wrong.append(f"{file}::{name} is {'' if tests[name] else 'not '}long")
    assert wrong == []


@cache
def marks_of(file: str) -> dict[str, bool]:
    """Each test of a file, and whether it is long."""
    path = ROOT / "tests" / file
    if not path.is_file():
        return {}
    tree = ast.parse(path.read_text(encoding="utf-8"))
    all_long = any(
        isinstance(node, ast.Assign) and "pytestmark" in ast.unparse(node.targets[0]) and is_long(node.value)
        for node in tree.body
    )
    return {
        node.name: all_long or any(is_long(decorator) for decorator in node.decorator_list)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
    }


def is_long(mark: ast.expr) -> bool:
    """Whether all of what is marked so is long, and not only some values of a parameter."""
    marks = mark.elts if isinstance(mark, ast.List) else [mark]
    return any(ast.unparse(one) == "pytest.mark.long" for one in marks)


def test_the_page_speaks_of_each_of_the_faults() -> None:
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \| ([^|]+) \|([^|]*)\|$", TESTS, re.MULTILINE)
    assert [int(number) for number, *_ in rows] == list(range(1, 25))
    assert [number for number, _, shown, missing in rows if "::" not in shown and not missing.strip()] == []


def test_every_suite_of_faults_is_told_of() -> None:
    suites = {file.name for file in (ROOT / "tests" / "fault").glob("test_*.py")}
    assert {name for name in suites if f"`{name}`" not in TESTS and f"`fault/{name}::" not in TESTS} == set()
