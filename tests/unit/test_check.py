"""`bus check` judges every file of a workspace at once and runs none of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bus.tools.check import check
from tests.support.workspaces.copies import REPOSITORY, Edit, copy_of_repository, copy_of_small


def write_sample(root: Path, name: str, text: str) -> None:
    file = root / "adapters/registry/samples" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


@pytest.mark.parametrize("env", ["dev", "test", "demo"])
def test_the_repository_has_no_fault(env: str) -> None:
    assert check(REPOSITORY, env) == ()


def test_a_sound_workspace_has_no_fault(tmp_path: Path) -> None:
    root, _ = copy_of_small(tmp_path)
    assert check(root, "dev") == ()


def test_faults_of_routes_and_of_samples_are_told_together(tmp_path: Path) -> None:
    # Given
    root, places = copy_of_small(tmp_path, Edit(old="final: true", new="☞finale: true"))
    write_sample(root, "name.reserve.v1/task-valid-a.canonical.json", '{"name": "a", "name": "b"}')
    # When
    faults = check(root, "dev")
    # Then
    assert [(fault.file, fault.code) for fault in faults] == [
        ("routes.yaml", "unknown-name"),
        ("adapters/registry/samples/name.reserve.v1/task-valid-a.canonical.json", "not-json"),
    ]
    assert (faults[0].line, faults[0].column) == (places[0].line, places[0].column)


@pytest.mark.parametrize(
    ("sample", "text", "code", "pointer"),
    [
        ("name.reserve.v1/task-valid-a.canonical.json", '{"name": 7}', "sample-breaks-contract", "/name"),
        (
            "name.reserve.v1/reply-valid-a.canonical.json",
            '{"type": "bus.task.completed.v1", "data": {"reservation": 7}}',
            "sample-breaks-contract",
            "/data/reservation",
        ),
        ("name.reserv.v1/task-valid-a.canonical.json", '{"name": "a"}', "unknown-operation", ""),
    ],
)
def test_a_golden_sample_that_breaks_its_contract_is_told(
    sample: str, text: str, code: str, pointer: str, tmp_path: Path
) -> None:
    # Given
    root, _ = copy_of_small(tmp_path)
    write_sample(root, sample, text)
    # When
    (fault,) = check(root, "dev")
    # Then
    assert (fault.code, fault.file, fault.pointer) == (code, f"adapters/registry/samples/{sample}", pointer)


@pytest.mark.parametrize(
    ("sample", "text"),
    [
        ("task-valid-a.canonical.json", '{"name": "a"}'),
        ("task-invalid-a.canonical.json", '{"name": 7}'),
        ("task-invalid-a.faults.json", "[]"),
        ("reply-valid-a.canonical.json", '{"type": "bus.task.refused.v1", "data": {"reason_code": "name_taken"}}'),
    ],
)
def test_what_a_sample_shows_on_purpose_is_no_fault(sample: str, text: str, tmp_path: Path) -> None:
    # Given
    root, _ = copy_of_small(tmp_path)
    write_sample(root, f"name.reserve.v1/{sample}", text)
    # When, Then
    assert check(root, "dev") == ()


def test_no_code_of_an_adapter_runs(tmp_path: Path) -> None:
    # Given
    root, _ = copy_of_small(tmp_path)
    ran = tmp_path / "ran"
    (root / "adapters/registry/adapter.py").write_text(f"open({str(ran)!r}, 'w')\n", encoding="utf-8")
    # When
    check(root, "dev")
    # Then
    assert not ran.exists()


def test_a_repeat_of_no_known_form_is_told_with_the_forms(tmp_path: Path) -> None:
    # Given
    root, _ = copy_of_repository(tmp_path)
    manifest = root / "adapters/commercial_registry/manifest.yaml"
    text = manifest.read_text(encoding="utf-8")
    line = next(number for number, row in enumerate(text.splitlines(), start=1) if "repeat: " in row)
    column = text.splitlines()[line - 1].index("repeat: ") + len("repeat: ") + 1
    rows = text.splitlines()
    rows[line - 1] = rows[line - 1][: column - 1] + "sometimes"
    manifest.write_text("\n".join(rows), encoding="utf-8")
    # When
    (fault,) = check(root, "dev")
    # Then
    assert (fault.file, fault.line, fault.column) == ("adapters/commercial_registry/manifest.yaml", line, column)
    assert "It only reads" in fault.mend
