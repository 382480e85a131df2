"""Every way to break a workspace is told with its code, line, column and mend."""

from __future__ import annotations

from pathlib import Path

import pytest

from bus.catalog import load_workspace
from bus.errors import ConfigurationError, Fault
from tests.support.workspaces.copies import Edit, copy_of_repository, copy_of_small
from tests.support.workspaces.small_broken_environments import BROKEN_ENVIRONMENTS
from tests.support.workspaces.small_broken_routes import BROKEN_ROUTES

BROKEN = BROKEN_ROUTES | BROKEN_ENVIRONMENTS


def faults_of(root: Path, env: str = "dev") -> tuple[Fault, ...]:
    with pytest.raises(ConfigurationError) as error:
        load_workspace(root, env)
    return error.value.faults


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_workspace_is_told_once_with_its_place_and_mend(name: str, tmp_path: Path) -> None:
    # Given
    change, code, mend = BROKEN[name]
    root, places = copy_of_small(tmp_path, change)
    # When
    faults = faults_of(root)
    # Then
    assert [fault.code for fault in faults] == [code], "\n".join(map(str, faults))
    assert mend in faults[0].mend
    for place in places:
        assert (faults[0].file, faults[0].line, faults[0].column) == (place.file, place.line, place.column)
    assert faults[0].line
    assert faults[0].column


def test_all_faults_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    # Given
    root, places = copy_of_small(
        tmp_path,
        Edit(old="operation: shop.register.v1", new="operation: ☞shop.registr.v1"),
        Edit(old="legal_basis:", new="☞legal_bases:"),
        Edit(old="path: request.shop.kind", new="path: ☞request.shop.sort"),
        Edit(file="env/dev.yaml", old="window_batches: 2", new="window_batches: ☞0"),
        Edit(file="adapters/registry/manifest.yaml", old="batch: 50", new="batch: ☞0"),
        Edit(
            file="schemas/operation/site.permit.v1.input.json",
            old='"required": ["address"]',
            new='"required": "address"',
        ),
    )
    # When
    faults = faults_of(root)
    # Then
    told = {(fault.file, fault.line, fault.column) for fault in faults}
    expected = {(place.file, place.line, place.column) for place in places}
    # The manifest cannot be read, so what it offers is not judged.
    assert expected - told == {("routes.yaml", places[0].line, places[0].column)}
    assert "schemas/operation/site.permit.v1.input.json" in {fault.file for fault in faults}


def test_the_small_workspace_itself_has_no_fault(tmp_path: Path) -> None:
    root, _ = copy_of_small(tmp_path)
    assert load_workspace(root, "dev").services


@pytest.mark.parametrize(
    ("env", "mend"), [("prod", "Known: dev."), ("../dev", "Did you mean dev?"), ("", "Known: dev.")]
)
def test_an_environment_that_is_not_there_is_told_with_those_that_are(env: str, mend: str, tmp_path: Path) -> None:
    # Given
    root, _ = copy_of_small(tmp_path)
    # When
    faults = faults_of(root, env)
    # Then
    assert [(fault.code, fault.mend) for fault in faults] == [("unknown-environment", mend)]


def test_a_default_that_lets_required_steps_end_without_output_is_told_wherever_it_hurts(tmp_path: Path) -> None:
    # Given
    change = Edit(old="  backoff: {attempts: 5, first: 2s}", new="  required: {on_deadline: continue}")
    root, _ = copy_of_small(tmp_path, change)
    # When
    faults = faults_of(root)
    # Then
    assert [(fault.code, fault.pointer.rpartition("/")[2]) for fault in faults] == [
        ("skipped-source", "reservation"),
        ("skipped-source", "shop_number"),
    ]


def test_an_agency_that_the_environment_forgot_is_told(tmp_path: Path) -> None:
    # Given
    root, _ = copy_of_small(tmp_path)
    (root / "env/dev.yaml").write_text("agencies: {}\n", encoding="utf-8")
    # When
    faults = faults_of(root)
    # Then
    assert [(fault.code, fault.line, fault.column) for fault in faults] == [("agency-missing", 1, 11)]


@pytest.mark.parametrize("text", ["", "[]", "3", "null"])
@pytest.mark.parametrize("file", ["routes.yaml", "env/dev.yaml", "adapters/registry/manifest.yaml"])
def test_a_file_that_holds_no_record_is_told(file: str, text: str, tmp_path: Path) -> None:
    # Given
    root, _ = copy_of_small(tmp_path)
    (root / file).write_text(text, encoding="utf-8")
    # When
    faults = faults_of(root)
    # Then
    assert [(fault.code, fault.file) for fault in faults] == [("wrong-kind", file)]


@pytest.mark.parametrize(
    "file",
    ["routes.yaml", "adapters/registry/manifest.yaml", "schemas/service/open-shop.v1.result.json"],
)
def test_a_file_that_cannot_be_read_is_told(file: str, tmp_path: Path) -> None:
    # Given
    root, _ = copy_of_small(tmp_path)
    (root / file).unlink()
    (root / file).mkdir()
    # When
    faults = faults_of(root)
    # Then
    assert ("unreadable", file) in [(fault.code, fault.file) for fault in faults]


@pytest.mark.parametrize(
    ("schema", "code"),
    [
        ('{"$ref": "http://127.0.0.1:9/elsewhere.json"}', "unknown-reference"),
        ('{"properties": {"database": {"$ref": "#/nowhere"}}}', "unknown-reference"),
        ('{"properties": {"database": {"pattern": "("}}}', "pattern"),
        ('{"properties": {"database": {"pattern": "(?=a)b"}}}', "pattern"),
        ('{"allOf": [{"$ref": "#"}]}', "circle"),
        ("true", "not-a-schema"),
    ],
)
def test_a_schema_of_settings_that_cannot_serve_is_told_and_nothing_is_fetched(
    schema: str, code: str, tmp_path: Path
) -> None:
    # Given
    root, _ = copy_of_small(tmp_path)
    (root / "adapters/registry/settings.schema.json").write_text(schema, encoding="utf-8")
    # When
    faults = faults_of(root)
    # Then
    assert [(fault.code, fault.file) for fault in faults] == [(code, "adapters/registry/settings.schema.json")]


def test_a_contract_that_is_no_schema_or_no_json_is_told_with_its_file(tmp_path: Path) -> None:
    # Given
    root, _ = copy_of_small(tmp_path)
    (root / "schemas/operation/a.v1.input.json").write_text('{"type": "objekt"}', encoding="utf-8")
    (root / "schemas/operation/b.v1.input.json").write_text('{"type": ', encoding="utf-8")
    (root / "schemas/operation/c.v1.input.json").write_text('{"$ref": "urn:bus:operation:nowhere"}', encoding="utf-8")
    # When
    faults = faults_of(root)
    # Then
    assert {fault.file for fault in faults} == {f"schemas/operation/{name}.v1.input.json" for name in "abc"}


def test_no_workspace_is_told_in_one_sentence(tmp_path: Path) -> None:
    assert {fault.code for fault in faults_of(tmp_path)} == {"file-missing"}


def test_a_file_that_is_no_yaml_is_told_with_the_place(tmp_path: Path) -> None:
    # Given
    root, _ = copy_of_small(tmp_path)
    (root / "routes.yaml").write_text("version: 1\nagencies: [", encoding="utf-8")
    # When
    faults = faults_of(root)
    # Then
    assert [(fault.code, fault.line, fault.column) for fault in faults] == [("yaml", 2, 12)]


def test_no_fault_quotes_a_secret(tmp_path: Path) -> None:
    # Given
    root, _ = copy_of_small(tmp_path, Edit(file="env/dev.yaml", old="{env: REGISTRY_PASSWORD}", new="[tiger]"))
    # When
    faults = faults_of(root)
    # Then
    assert not any("tiger" in str(fault) for fault in faults)


def test_the_repository_refuses_a_manifest_without_repeat(tmp_path: Path) -> None:
    # Given
    root, _ = copy_of_repository(tmp_path)
    manifest = root / "adapters/commercial_registry/manifest.yaml"
    manifest.write_text(manifest.read_text(encoding="utf-8").replace("repeat:", "reapeat:"), encoding="utf-8")
    # When
    faults = faults_of(root)
    # Then
    assert {fault.file for fault in faults} == {"adapters/commercial_registry/manifest.yaml"}
    assert "missing-name" in {fault.code for fault in faults}
