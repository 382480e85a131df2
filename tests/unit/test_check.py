"""`bus check` judges every file of a workspace at once and runs none of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bus.cli import main
from bus.errors import ConfigurationError
from bus.simulator import Persons
from bus.tools.check import check
from tests.support.workspaces.copies import REPOSITORY, Edit, copy_of_repository, copy_of_small, copy_of_wide

PERSON = 'national_id: "9", agency: registry, behaviour: late, name: {en: A, ar: أ}, birth_date: 1980-01-31'
PEOPLE = [
    PERSON,
    PERSON.replace("01-31", "02-31"),
    PERSON.replace("1980-01-31", "31.1.1980"),
    PERSON.replace("1980-01-31", "19800131"),
    PERSON.replace('"9"', "9"),
    PERSON.replace("late", "lazy"),
    PERSON.replace("late", "LATE"),
    PERSON.replace("{en: A, ar: أ}", "A"),
    PERSON.replace("{en: A, ar: أ}", "{en: A}"),
    PERSON.replace("agency: registry, ", ""),
    f"{PERSON}, trade_name: 7",
    f"{PERSON}, nickname: A",
]


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


def test_test_persons_that_no_simulator_could_obey_are_told_with_all_other_faults(tmp_path: Path) -> None:
    # Given
    root, places = copy_of_wide(
        tmp_path,
        Edit(file="schemas/test-persons.yaml", old="behaviour: late", new="behaviour: ☞lazy"),
        Edit(file="routes/registry.yaml", old="desk: true", new="☞dekk: true"),
    )
    # When
    faults = check(root, "dev")
    # Then
    assert {(fault.file, fault.line, fault.column) for fault in faults} == {
        (place.file, place.line, place.column) for place in places
    }


@pytest.mark.parametrize("person", PEOPLE)
def test_what_the_check_passes_a_simulator_can_obey(person: str, tmp_path: Path) -> None:
    # Given an entry that is almost right
    root, _ = copy_of_wide(tmp_path)
    file = root / "schemas/test-persons.yaml"
    file.write_text(f"persons:\n  - {{{person}}}\n", encoding="utf-8")
    # When
    told = check(root, "dev")
    # Then nothing that the check passes stops a simulator
    try:
        Persons.load(file)
    except ConfigurationError:
        assert told


def test_no_code_of_an_adapter_runs(tmp_path: Path) -> None:
    # Given
    root, _ = copy_of_small(tmp_path)
    ran = tmp_path / "ran"
    (root / "adapters/registry/adapter.py").write_text(f"open({str(ran)!r}, 'w')\n", encoding="utf-8")
    # When
    check(root, "dev")
    # Then
    assert not ran.exists()


# --- Against the workspace before ----------------------------------------------------------------------------------


def two_workspaces(folder: Path, *edits: Edit) -> tuple[Path, Path]:
    """The small workspace as it was, and as it is after the edits."""
    for name in ("was", "now"):
        (folder / name).mkdir()
    return copy_of_small(folder / "was")[0], copy_of_small(folder / "now", *edits)[0]


def told(was: Path, now: Path) -> list[tuple[str, str, int]]:
    return [(fault.code, fault.file, fault.line) for fault in check(now, "dev", was=was)]


def test_a_workspace_that_only_adds_drops_nothing(tmp_path: Path) -> None:
    # Given a new one with one more service, other titles and another deadline
    was, now = two_workspaces(tmp_path, Edit(old="deadline: 10d", new="deadline: 9d"))
    text = (now / "routes.yaml").read_text(encoding="utf-8")
    service = text[text.index("  open-shop.v1:") :]
    (now / "routes.yaml").write_text(text + service.replace("open-shop.v1:", "open-shop.v2:"), encoding="utf-8")
    # When, Then
    assert told(was, now) == []
    # And back again, the added service is missed
    assert told(now, was) == [("dropped-service", "routes.yaml", 11)]


def test_an_operation_that_a_service_asked_for_is_missed_also_when_only_its_compensation_did(tmp_path: Path) -> None:
    # Given a service that no longer compensates, and an adapter that no longer offers what it compensated with
    was, now = two_workspaces(
        tmp_path,
        Edit(
            file="adapters/registry/manifest.yaml",
            old="  name.release.v1: {repeat: {idempotent: {window: 1d}}, timeout: 5s, batch: 1}\n",
            new="",
        ),
    )
    routes = (now / "routes.yaml").read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in routes if "name.release.v1" not in line and "compensate:" not in line]
    (now / "routes.yaml").write_text("".join(kept), encoding="utf-8")
    # When, Then
    assert told(was, now) == [("dropped-operation", "adapters/registry/manifest.yaml", 3)]


def without_permits(folder: Path, office: str) -> tuple[Path, Path]:
    """The small workspace, and the same where nobody gives permits any more; ``office`` is what is left of the desk."""
    desk = "  office:   {name: {en: Office, ar: المكتب}, desk: true}\n"
    was, now = two_workspaces(
        folder,
        Edit(file="env/dev.yaml", old="  office: {use: desk}\n", new=""),
        Edit(old=desk, new=office),
        Edit(old="      permit_number: steps.permit.number\n", new=""),
        Edit(old="needs: [name, permit]", new="needs: [name]"),
        Edit(old=", permit: steps.permit.number", new=""),
    )
    routes = (now / "routes.yaml").read_text(encoding="utf-8")
    routes = routes[: routes.index("      permit:")] + routes[routes.index("    output:") :]
    (now / "routes.yaml").write_text(routes, encoding="utf-8")
    return was, now


def test_a_desk_that_is_gone_takes_its_operations_along_and_contracts_are_missed_by_their_file(tmp_path: Path) -> None:
    # Given
    was, now = without_permits(tmp_path, office="")
    (now / "schemas/operation/site.permit.v1.input.json").unlink()
    # When, Then
    assert told(was, now) == [
        ("dropped-operation", "routes.yaml", 7),
        ("dropped-contract", "schemas/operation/site.permit.v1.input.json", 0),
    ]


def test_an_agency_that_only_asks_from_now_on_is_missed_with_what_it_answered(tmp_path: Path) -> None:
    was, now = without_permits(tmp_path, office="  office:   {name: {en: Office, ar: المكتب}}\n")
    assert told(was, now) == [("dropped-operation", "routes.yaml", 9)]


def test_a_member_that_is_gone_or_stands_for_another_agency_is_missed_once_at_its_group(tmp_path: Path) -> None:
    # Given a group of which one member is gone and another has changed
    for name in ("was", "now"):
        (tmp_path / name).mkdir()
    was, _ = copy_of_wide(tmp_path / "was")
    contract = "schemas/service/open-mall.v1.request.json"
    now, _ = copy_of_wide(
        tmp_path / "now",
        Edit(file="groups/towns.csv", old="0101,town_east,East Town,المدينة الشرقية\n", new=""),
        Edit(file="groups/towns.csv", old="town_west", new="town_far_west"),
        Edit(file="env/dev.yaml", old="town_west", new="town_far_west"),
        Edit(file=contract, old='["0101", "0102"]', new='["0102"]'),
    )
    # When
    faults = check(now, "dev", was=was)
    # Then
    assert [(fault.code, fault.file, fault.line) for fault in faults] == [("dropped-member", "groups/towns.csv", 1)] * 2
    assert ["0101" in faults[0].message, "town_far_west" in faults[1].message] == [True, True]


def test_a_group_that_is_gone_is_missed_with_its_operations(tmp_path: Path) -> None:
    # Given a step that asks one agency, and the group under another name
    for name in ("was", "now"):
        (tmp_path / name).mkdir()
    was, _ = copy_of_wide(tmp_path / "was")
    now, _ = copy_of_wide(
        tmp_path / "now",
        Edit(file="routes/open-mall.yaml", old="{one_of: branches, by: request.branch}", new="registry"),
        Edit(file="env/dev.yaml", old="  branches:", new="  offices:"),
        Edit(file="routes/registry.yaml", old="  branches:", new="  offices:"),
    )
    # When, Then
    assert told(was, now) == [("dropped-group", "routes/registry.yaml", 6)]


def test_a_workspace_before_that_cannot_be_read_is_told_with_its_own_path(tmp_path: Path) -> None:
    was, now = two_workspaces(tmp_path)
    (was / "routes.yaml").unlink()
    assert told(was, now) == [("file-missing", f"{was}/routes.yaml", 0)]


def test_the_command_line_compares_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Given
    was, now = two_workspaces(tmp_path, Edit(old="open-shop.v1:", new="open-shop.v2:"))
    asked = ["check", "--env", "dev", "--workspace", str(now)]
    # When, Then
    assert main(asked) == 0
    assert main([*asked, "--was", str(was)]) == 1
    assert "The service open-shop.v1 is gone" in capsys.readouterr().out


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
