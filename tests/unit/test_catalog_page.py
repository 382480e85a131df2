"""The page of the language says what the schemas say, and its example is a workspace that can be checked."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from bus.catalog.routes import ends
from bus.config import to_duration
from bus.process.definition import Backoff, Definition
from bus.simulator import Behaviour
from bus.tools.check import check
from bus.tools.document import BEGIN, END, main, stale

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/route.md"
META = ROOT / "schemas/meta"


def schema(name: str) -> Any:
    return json.loads((META / f"{name}.schema.json").read_text(encoding="utf-8"))


def untitled(value: Any, at: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for name, member in value.get("properties", {}).items():
            if not str(member.get("title", "")).strip():
                yield f"{at}/properties/{name}"
        for name, member in value.items():
            yield from untitled(member, f"{at}/{name}")
    elif isinstance(value, list):
        for index, member in enumerate(value):
            yield from untitled(member, f"{at}/{index}")


@pytest.mark.parametrize("name", ["routes", "test-persons"])
def test_every_word_of_the_language_has_a_title(name: str) -> None:
    assert list(untitled(schema(name))) == []


def test_the_defaults_that_the_page_tells_are_those_of_the_bus() -> None:
    # Given
    backoff = schema("routes")["$defs"]["backoff"]["properties"]
    service = schema("routes")["$defs"]["service"]["properties"]
    known = Backoff()
    of_service: dict[str, Any] = {field.name: field.default for field in fields(Definition)}
    # Then
    assert {name: rule["default"] for name, rule in backoff.items()} == {
        "attempts": known.attempts,
        "first": to_duration(known.first),
        "factor": known.factor,
        "most": to_duration(known.most),
    }
    assert service["deadline"]["default"] == to_duration(of_service["deadline"])
    assert service["on_deadline"]["default"] == of_service["on_deadline"]
    for kind, events in ends({}).items():
        cells = [f"`{events[event]}`" for event in ("on_refused", "on_exhausted", "on_deadline")]
        assert f"| {kind} steps | {' | '.join(cells)} |\n" in PAGE.read_text(encoding="utf-8")


def test_the_behaviours_of_test_persons_are_those_that_simulators_know() -> None:
    # Given
    page = PAGE.read_text(encoding="utf-8")
    # Then
    assert schema("test-persons")["$defs"]["person"]["properties"]["behaviour"]["enum"] == list(Behaviour)
    assert all(f"| `{behaviour}` | " in page for behaviour in Behaviour)


def test_the_reference_is_fresh_and_a_stale_one_is_named_and_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Given a page whose reference somebody has edited
    assert "docs/route.md" not in stale(ROOT), "run make docs"
    text = PAGE.read_text(encoding="utf-8")
    (tmp_path / "docs").mkdir()
    (tmp_path / "schemas").symlink_to(ROOT / "schemas")
    before, _, rest = text.partition(BEGIN)
    (tmp_path / "docs/route.md").write_text(f"{before}{BEGIN}mine\n{END}{rest.partition(END)[2]}", encoding="utf-8")
    # When, Then
    assert main(["--root", str(tmp_path), "--check"]) == 1
    assert "docs/route.md" in capsys.readouterr().out
    assert main(["--root", str(tmp_path)]) == 0
    assert (tmp_path / "docs/route.md").read_text(encoding="utf-8") == text


def test_every_link_of_the_page_leads_to_a_heading() -> None:
    text = PAGE.read_text(encoding="utf-8")
    headings = {
        re.sub(r"[^\w -]", "", line.lstrip("# ").lower()).replace(" ", "-")
        for line in text.splitlines()
        if line.startswith("#")
    }
    assert set(re.findall(r"\]\(#([^)]*)\)", text)) <= headings


def test_the_example_has_no_fault_and_the_page_quotes_it_word_for_word() -> None:
    # Given
    quoted = re.findall(r"<!-- (samples/[^ ]+) -->\n```\w+\n(.*?)```\n", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    # Then
    assert len(quoted) == 5
    for file, text in quoted:
        assert (ROOT / "docs" / file).read_text(encoding="utf-8") == text
    assert check(ROOT / "docs/samples/move-house", "dev") == ()
