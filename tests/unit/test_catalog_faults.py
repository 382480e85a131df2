"""Every way to break a workspace is told with its code, line, column and mend."""

from __future__ import annotations

from pathlib import Path

import pytest

from bus.catalog import load_workspace
from bus.errors import ConfigurationError, Fault
from tests.support.workspaces.copies import Edit, copy_of_repository, copy_of_small

BROKEN = {
    "a misspelt key": (Edit(old="final: true", new="☞finale: true"), "unknown-name", "Did you mean final?"),
    "another version of the language": (Edit(old="version: 1", new="version: ☞2"), "bad-value", ""),
    "a missing title": (
        Edit(old="{title: {en: Licensing, ar: الترخيص}, legal", new="☞{legal"),
        "missing-name",
        "Add title.",
    ),
    "a title in one language": (Edit(old="{en: Name, ar: الاسم}", new="☞{en: Name}"), "missing-name", "Add ar."),
    "a list where a record belongs": (
        Edit(old="input: {name: request.shop.name}", new="input: ☞[request.shop.name]"),
        "wrong-kind",
        "Write a record.",
    ),
    "a duration without unit": (Edit(old="deadline: 10d", new="deadline: ☞10 days"), "bad-value", "5s, 10m, 2h, 10d"),
    "an unknown end": (
        Edit(old="final: true", new="final: true\n        on_refused: ☞contine"),
        "not-a-choice",
        "Did you mean continue?",
    ),
    "a name with a line end": (
        Edit(old="\n      survey:", new='\n      ☞"survey\\n":'),
        "bad-name",
        "small letters",
    ),
    "a duration with a line end": (Edit(old="deadline: 10d", new='deadline: ☞"10d\\n"'), "bad-value", "5s, 10m"),
    "a bad step name": (Edit(old="\n      survey:", new="\n      ☞Survey:"), "bad-name", "small letters"),
    "a service without version": (Edit(old="open-shop.v1:", new="☞open-shop:"), "bad-name", "open-business.v1"),
    "the same key twice": (
        Edit(old="optional: true", new="optional: true\n        ☞optional: true"),
        "duplicate-name",
        "Keep one",
    ),
    "an anchor": (Edit(old="needs: [permit]", new="needs: ☞&n [permit]"), "anchor", "Remove it."),
    "a word that YAML readers dispute": (Edit(old="desk: true", new="desk: ☞yes"), "quarrelsome-word", "true or false"),
    "an unknown provider": (
        Edit(old="provider: registry\n        operation: shop", new="provider: ☞regstry\n        operation: shop"),
        "unknown-agency",
        "Did you mean registry?",
    ),
    "a provider that only asks": (
        Edit(old="provider: registry\n        operation: shop", new="provider: ☞portal\n        operation: shop"),
        "no-adapter",
        "Give portal an adapter: or desk: true.",
    ),
    "an agency with adapter and desk": (
        Edit(old="adapter: registry}", new="adapter: registry, desk: ☞true}"),
        "two-ways",
        "Keep one",
    ),
    "an unknown adapter folder": (
        Edit(old="adapter: registry}", new="adapter: ☞registri}"),
        "unknown-adapter",
        "Did you mean registry?",
    ),
    "an operation that is not offered": (
        Edit(old="operation: shop.register.v1", new="operation: ☞shop.register.v2"),
        "unknown-operation",
        "Did you mean shop.register.v1?",
    ),
    "a compensation that is not offered": (
        Edit(old="operation: name.release.v1", new="operation: ☞name.releas.v1"),
        "unknown-operation",
        "Did you mean name.release.v1?",
    ),
    "an operation that a desk has no contract for": (
        Edit(
            old="operation: site.permit.v1\n        input: {address: request.shop",
            new="operation: ☞site.permits.v1\n        input: {address: request.shop",
        ),
        "unknown-operation",
        "Did you mean site.permit.v1?",
    ),
    "an unknown consumer": (Edit(old="portal: {purposes", new="☞portel: {purposes"), "unknown-agency", "portal?"),
    "an unknown purpose": (
        Edit(old="purposes: [licensing]", new="purposes: [☞licencing]"),
        "unknown-purpose",
        "licensing?",
    ),
    "a field that the result has not": (
        Edit(old="/permit/number]", new="☞/permit/nummer]"),
        "unknown-member",
        "Did you mean number?",
    ),
    "a field that is no pointer": (Edit(old="[/shop_number,", new="[☞shop_number,"), "bad-pointer", "/company_number"),
    "a contract that is not there": (
        Edit(old="request: service/open-shop.v1.request.json", new="request: ☞service/open-shop.v1.requst.json"),
        "contract-missing",
        "service/open-shop.v1.request.json?",
    ),
    "a need of an unknown step": (
        Edit(old="needs: [name, permit]", new="needs: [name, permit, ☞nam]"),
        "unknown-step",
        "name?",
    ),
    "steps in a circle": (
        Edit(old="needs: [name]", new="needs: ☞[name, survey]"),
        "circle",
        "Take one of these needs away.",
    ),
    "a final step that does not wait": (
        Edit(old="optional: true", new="optional: false"),
        "final-too-early",
        "Add survey to its needs.",
    ),
    "an optional step that rejects": (
        Edit(old="optional: true", new="optional: true\n        on_refused: ☞reject"),
        "optional-rejects",
        "Write continue",
    ),
    "a default by which optional steps reject": (
        Edit(old="  backoff: {attempts: 5, first: 2s}", new="  optional: {on_refused: ☞reject}"),
        "optional-rejects",
        "",
    ),
    "a subject outside the request": (
        Edit(old="subject: request.owner.number", new="subject: ☞steps.name.reservation"),
        "bad-path",
        "request.<member>",
    ),
    "a subject that is no text": (
        Edit(old="subject: request.owner.number", new="subject: ☞request.owner"),
        "wrong-type",
        "identifier",
    ),
    "a subject that may be absent": (
        Edit(old="subject: request.owner.number", new="subject: ☞request.owner.nickname"),
        "optional-source",
        "required",
    ),
    "an unknown member": (
        Edit(old="{name: request.shop.name}", new="{name: ☞request.shop.nama}"),
        "unknown-member",
        "Did you mean name?",
    ),
    "a path that is none": (Edit(old="{name: request.shop.name}", new="{name: ☞shop.name}"), "bad-path", ""),
    "an item without for_each": (
        Edit(old="{name: request.shop.name}", new="{name: ☞item.name}"),
        "no-item",
        "request or steps",
    ),
    "a path to an unknown step": (
        Edit(old="{reservation: steps.name.reservation, kind", new="{reservation: ☞steps.nam.reservation, kind"),
        "unknown-step",
        "Did you mean name?",
    ),
    "a path to a step that is not waited for": (
        Edit(old="{name: request.shop.name}", new="{name: ☞steps.permit.number}"),
        "not-needed",
        "Add permit to the needs of name.",
    ),
    "a step that reads itself": (
        Edit(old="{name: request.shop.name}", new="{name: ☞steps.name.reservation}"),
        "not-needed",
        "earlier step",
    ),
    "a step that reads what it was given": (
        Edit(old="{name: request.shop.name}", new="{name: ☞input.name}"),
        "bad-path",
        "Write request.<member>",
    ),
    "an unknown member of what a step was given": (
        Edit(
            old="input: {reservation: steps.name.reservation}, attempts",
            new="input: {reservation: ☞input.nam}, attempts",
        ),
        "unknown-member",
        "Did you mean name?",
    ),
    "a value of another type": (
        Edit(old="{name: request.shop.name}", new="{name: ☞request.owner.age}"),
        "wrong-type",
        "Read a value of that type.",
    ),
    "a whole record as value": (
        Edit(old="{name: request.shop.name}", new="{name: ☞request.shop}"),
        "whole-record",
        "one by one",
    ),
    "a whole step as value": (
        Edit(old="permit: steps.permit.number}", new="permit: ☞steps.permit}"),
        "whole-record",
        "one by one",
    ),
    "an optional source for a required member": (
        Edit(old="{name: request.shop.name}", new="{name: ☞request.owner.nickname}"),
        "optional-source",
        "when:",
    ),
    "an optional record before a required member": (
        Edit(old="{address: request.owner.address}", new="{address: ☞request.shop.premises.address}"),
        "optional-source",
        "when:",
    ),
    "a step that may be skipped before a required member": (
        Edit(old="shop_number: steps.register.shop_number", new="shop_number: ☞steps.permit.number"),
        "skipped-source",
        "always has output",
    ),
    "a step whose refusal continues before a required member": (
        Edit(old="backoff: {factor: 2}", new="on_refused: continue"),
        "skipped-source",
        "always has output",
    ),
    "a required member left out": (
        Edit(old="{reservation: steps.name.reservation, kind: {const: sole},", new="☞{kind: {const: sole},"),
        "missing-member",
        "Add reservation.",
    ),
    "a member that the contract has not": (
        Edit(old="permit: steps.permit.number}", new="☞permitt: steps.permit.number}"),
        "unknown-member",
        "permit?",
    ),
    "an output that the result has not": (
        Edit(old="permit_number: steps.permit", new="☞permit_numer: steps.permit"),
        "unknown-member",
        "permit_number?",
    ),
    "a literal that the contract refuses": (
        Edit(old="{const: sole}", new="{const: ☞soul}"),
        "wrong-value",
        "Did you mean sole?",
    ),
    "choices that do not agree": (
        Edit(old="kind: {const: sole}", new="kind: ☞request.shop.kind"),
        "wrong-choices",
        "two contracts agree",
    ),
    "a condition that never holds": (
        Edit(old="in: [food, drink]", new="in: [food, ☞drinks]"),
        "wrong-value",
        "Did you mean drink?",
    ),
    "a condition on an unknown member": (
        Edit(old="when: request.shop.premises", new="when: ☞request.shop.premise"),
        "unknown-member",
        "premises?",
    ),
    "a compensation that reads a later step": (
        Edit(
            old="{operation: name.release.v1, input: {reservation: steps.name.reservation}",
            new="{operation: name.release.v1, input: {reservation: ☞steps.permit.number}",
        ),
        "not-needed",
        "Add permit",
    ),
    "an unknown interval": (
        Edit(file="env/dev.yaml", old="tick_every: 2s", new="☞tick_evry: 2s"),
        "unknown-interval",
        "tick_every?",
    ),
    "an interval that is none": (
        Edit(file="env/dev.yaml", old="tick_every: 2s", new="tick_every: ☞2"),
        "bad-interval",
        "",
    ),
    "an environment's unknown agency": (
        Edit(file="env/dev.yaml", old="  office:", new="  ☞offise:"),
        "unknown-agency",
        "Did you mean office?",
    ),
    "a desk used as a real system": (
        Edit(file="env/dev.yaml", old="{use: desk}", new="{use: ☞real}"),
        "no-adapter",
        "desk or closed",
    ),
    "a consumer that is reached": (
        Edit(file="env/dev.yaml", old="  office: {use: desk}", new="  ☞portal: {use: closed}"),
        "not-a-provider",
        "Take it out.",
    ),
    "an unknown use": (
        Edit(file="env/dev.yaml", old="use: real", new="use: ☞reel"),
        "not-a-choice",
        "Did you mean real?",
    ),
    "a setting that the adapter has not": (
        Edit(file="env/dev.yaml", old="      database:", new="      ☞atempts: 3\n      database:"),
        "unknown-name",
        "attempts?",
    ),
    "a missing setting": (
        Edit(file="env/dev.yaml", old="      database: legacy.db\n      password:", new="      ☞password:"),
        "missing-name",
        "Add database.",
    ),
    "a setting of the wrong kind": (
        Edit(file="env/dev.yaml", old="legacy.db", new="☞7"),
        "wrong-kind",
        "Write a text.",
    ),
    "a secret in clear": (
        Edit(file="env/dev.yaml", old="{env: REGISTRY_PASSWORD}", new="☞tiger"),
        "secret-in-clear",
        "in the history",
    ),
    "an operation without repeat": (
        Edit(file="adapters/registry/manifest.yaml", old="{repeat: at_most_once, timeout", new="☞{timeout"),
        "missing-name",
        "Add repeat.",
    ),
    "an absence believed while a call may be under way": (
        Edit(
            file="env/dev.yaml",
            old="intervals:",
            new="intervals:\n  lease: 26s",
        ),
        "proof-too-soon",
        "absence_proof_after to 31s",
    ),
    "a journal that forgets before a request is over": (
        Edit(file="env/dev.yaml", old="intervals:", new="intervals:\n  keep_journal: ☞10d"),
        "journal-too-short",
        "keep_journal well above 10d",
    ),
    "a step that is undone long after the journal has forgotten it": (
        Edit(old="attempts: 20, deadline: 2h", new="attempts: 20, deadline: 401d"),
        "journal-too-short",
        "keep_journal well above 401d",
    ),
    "a manifest of another folder": (
        Edit(file="adapters/registry/manifest.yaml", old="id: registry", new="id: ☞register"),
        "wrong-id",
        "Write registry.",
    ),
}


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
