"""`bus route list` and `bus route show` say what the files say, and who said it, with no bus running."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bus.catalog import load_workspace
from bus.cli import main
from bus.tools.route import DEFAULT, RouteRow, resolved
from tests.support.workspaces.copies import REPOSITORY, copy_of_small, copy_of_wide


def rows_of(root: Path, service: str) -> dict[str, RouteRow]:
    return {row.name: row for row in resolved(load_workspace(root, "dev"), service)}


def answer(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["route", *words]) == 0
    return capsys.readouterr().out


def test_every_value_of_a_step_comes_with_the_line_that_set_it_or_is_a_default(tmp_path: Path) -> None:
    # Given
    root, _ = copy_of_small(tmp_path)
    # When
    rows = rows_of(root, "open-shop.v1")
    # Then the step itself, then the defaults of the file, then those of the bus
    told = {name.removeprefix("steps.name."): (row.value, row.set_in) for name, row in rows.items()}
    assert told["backoff.factor"] == ("2", "routes.yaml:32")
    assert told["backoff.attempts"] == (5, "routes.yaml:3")
    assert told["backoff.most"] == ("1h", DEFAULT)
    assert told["on_refused"] == ("reject", DEFAULT)
    assert told["compensate.backoff.attempts"] == (20, "routes.yaml:33")
    assert told["compensate.backoff.factor"] == ("2", "routes.yaml:32")
    assert told["compensate.deadline"] == ("2h", "routes.yaml:33")
    assert told["repeat"] == ("queryable, absence_proof_after 30s", "adapters/registry/manifest.yaml:3")
    assert told["compensate.repeat"] == ("idempotent, window 1d", "adapters/registry/manifest.yaml:4")
    assert told["desk"] == (False, "env/dev.yaml:3")
    assert told["deadline"] == (None, DEFAULT)
    assert rows["on_deadline"] == RouteRow(name="on_deadline", value="escalate", set_in=DEFAULT)
    assert rows["steps.register.input.kind"].value == "{const: sole}"
    assert rows["steps.survey.when"].value == "request.shop.kind in food, drink"
    assert rows["steps.survey.on_exhausted"] == RouteRow(name="steps.survey.on_exhausted", value="fail", set_in=DEFAULT)


def test_what_several_files_set_is_told_with_each_file(tmp_path: Path) -> None:
    # Given
    root, _ = copy_of_wide(tmp_path)
    # When
    rows = rows_of(root, "open-mall.v1")
    # Then
    told = {name: (row.value, row.set_in) for name, row in rows.items()}
    assert told["purposes.licensing.legal_basis"] == ("Law 1", "routes.yaml:6")
    assert told["steps.permits.provider.one_of"] == ("towns", "routes/open-mall.yaml:31")
    assert told["steps.permits.provider.by"] == ("item.town", "routes/open-mall.yaml:31")
    assert told["steps.permits.provider.members"] == (2, "groups/towns.csv:1")
    assert told["steps.permits.provider.desks.0101"] == ("town_east", "routes/towns.yaml:4")
    assert told["steps.permits.provider.desks.0102"] == ("town_west", "env/dev.yaml:8")
    assert told["steps.permits.repeat"] == ("at_most_once", "routes/towns.yaml:4")
    assert told["steps.permits.most"] == (10, "routes/open-mall.yaml:30")
    assert told["steps.name.provider.desks.south"] == ("branch_south", "routes/registry.yaml:11")
    assert told["steps.name.repeat"] == ("queryable, absence_proof_after 30s", "adapters/registry/manifest.yaml:3")


def test_every_place_that_is_named_is_there() -> None:
    # Given
    workspace = load_workspace(REPOSITORY, "dev")
    # When
    rows = [row for service in workspace.services for row in resolved(workspace, service)]
    # Then
    assert rows
    for row in rows:
        if row.set_in != DEFAULT:
            file, _, line = row.set_in.rpartition(":")
            assert 0 < int(line) <= len((REPOSITORY / file).read_text(encoding="utf-8").splitlines()), row


def test_the_services_are_listed_with_their_file_and_owner(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Given
    root, _ = copy_of_wide(tmp_path)
    # When
    (item,) = json.loads(answer(capsys, "list", "--workspace", str(root), "--json"))["items"]
    # Then
    assert item == {
        "service": "open-mall.v1",
        "title": {"en": "Open a mall", "ar": "افتتاح مركز تسوق"},
        "steps": 5,
        "asks": ["registry", "branches", "towns"],
        "defined_in": "routes/open-mall.yaml:4",
        "owner": {"team": "Trade desk", "contact": "trade@example.org"},
    }
    assert "Trade desk (trade@example.org)" in answer(capsys, "list", "--workspace", str(root))


def test_a_service_is_shown_with_its_steps_providers_and_needs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Given
    root, _ = copy_of_wide(tmp_path)
    asked = ("show", "open-mall.v1", "--workspace", str(root))
    # When
    text, found = answer(capsys, *asked), json.loads(answer(capsys, *asked, "--json"))
    # Then
    permits: dict[str, Any] = next(step for step in found["steps"] if step["step"] == "permits")
    assert (permits["provider"], permits["by"], permits["needs"]) == ("towns", "item.town", ["name"])
    assert (permits["for_each"], permits["most"], permits["compensate"]) == ("request.shops", 10, "site.withdraw.v1")
    line = next(line for line in text.splitlines() if line.startswith("permits"))
    for words in ("one of towns, by item.town", "site.permit.v1", "request.shops, at most 10", "site.withdraw.v1"):
        assert words in line
    assert "routes/open-mall.yaml:4, Trade desk (trade@example.org)" in text


def test_the_resolved_values_are_printed_for_people_and_for_programs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Given
    root, _ = copy_of_wide(tmp_path)
    asked = ("show", "open-mall.v1", "--resolved", "--workspace", str(root))
    # When
    text, found = answer(capsys, *asked), json.loads(answer(capsys, *asked, "--json"))
    # Then
    assert len(text.splitlines()) == len(found["items"]) + 1
    first = next(line.split() for line in text.splitlines() if line.startswith("steps.tags.backoff.first"))
    assert first == ["steps.tags.backoff.first", "2s", "routes.yaml:4"]
    assert {"name": "steps.tags.deadline", "value": None, "set_in": "default"} in found["items"]


def test_an_unknown_service_is_bad_input_and_the_known_ones_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, _ = copy_of_wide(tmp_path)
    assert main(["route", "show", "open-mal.v1", "--workspace", str(root)]) == 2
    assert "open-mall.v1" in capsys.readouterr().err


def test_a_broken_workspace_is_told_with_its_faults(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, _ = copy_of_wide(tmp_path)
    (root / "routes/towns.yaml").unlink()
    assert main(["route", "list", "--workspace", str(root)]) == 2
    assert "unknown-group" in capsys.readouterr().err
