"""Every way to break included files, owners, groups, their tables, lists and test persons is told with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from bus.catalog import load_workspace
from bus.errors import ConfigurationError, Fault
from tests.support.workspaces.copies import Edit, Place, copy_of_wide
from tests.support.workspaces.wide_broken_groups import BROKEN_GROUPS
from tests.support.workspaces.wide_broken_lists import BROKEN_LISTS
from tests.support.workspaces.wide_files import MALL, PERSONS, REGISTRY, TABLE, TOWNS

BROKEN = BROKEN_GROUPS | BROKEN_LISTS

#: Faults that bring another one along.
FOLLOWED = {"no list of persons": {"missing-name"}, "an unknown group in the environment": {"agency-missing"}}


def faults_of(root: Path) -> tuple[Fault, ...]:
    with pytest.raises(ConfigurationError) as error:
        load_workspace(root, "dev")
    return error.value.faults


def place_of(fault: Fault) -> Place:
    return Place(file=fault.file, line=fault.line, column=fault.column)


def test_the_wide_workspace_itself_has_no_fault(tmp_path: Path) -> None:
    root, _ = copy_of_wide(tmp_path)
    assert load_workspace(root, "dev").services


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_workspace_is_told_once_with_file_line_column_and_mend(name: str, tmp_path: Path) -> None:
    # Given
    edits, code, mend = BROKEN[name]
    root, (place,) = copy_of_wide(tmp_path, *edits)
    # When
    faults = faults_of(root)
    # Then
    told = [fault for fault in faults if fault.code not in FOLLOWED.get(name, ())]
    assert [(fault.code, place_of(fault)) for fault in told] == [(code, place)], "\n".join(map(str, faults))
    assert mend in told[0].mend
    assert told[0].mend or code in ("bad-value", "unknown-name")


def test_twelve_faults_of_seven_files_are_told_at_once_each_with_its_place(tmp_path: Path) -> None:
    # Given
    root, places = copy_of_wide(
        tmp_path,
        Edit(old="[routes/*.yaml]", new="[routes/*.yaml, ☞more/*.yaml]"),
        Edit(file=TABLE, old="town_east", new="☞Town East"),
        Edit(file=TABLE, old="المدينة الغربية", new="☞"),
        Edit(file="env/dev.yaml", old="database: legacy.db", new="database: ☞7"),
        Edit(file=MALL, old="final: true", new="☞finale: true"),
        Edit(file=MALL, old="number: item.number", new="number: ☞item.numbr"),
        Edit(file=MALL, old="by: request.branch", new="by: ☞request.brunch"),
        Edit(file=MALL, old="most: 10", new="most: ☞9"),
        Edit(file=MALL, old="entry: steps.book.entry", new="entry: ☞steps.book.entri"),
        Edit(file=REGISTRY, old="code: south", new="code: ☞north"),
        Edit(file=PERSONS, old="behaviour: late", new="behaviour: ☞lat"),
        Edit(file="schemas/operation/site.withdraw.v1.output.json", old='"object"', new='"objekt"'),
    )
    # When
    faults = faults_of(root)
    # Then
    assert len(faults) == 12, "\n".join(map(str, faults))
    # A schema is told with its file and the JSON pointer in it.
    told = {place_of(fault) for fault in faults}
    assert told - set(places) == {Place(file="schemas/operation/site.withdraw.v1.output.json", line=0, column=0)}
    assert set(places) <= told
    assert all(fault.mend for fault in faults)


def test_a_file_that_a_link_brings_in_from_outside_is_refused(tmp_path: Path) -> None:
    # Given
    root, _ = copy_of_wide(tmp_path)
    (tmp_path / "elsewhere.yaml").write_text("version: 1\n", encoding="utf-8")
    (root / "routes/linked.yaml").symlink_to(tmp_path / "elsewhere.yaml")
    # When
    faults = faults_of(root)
    # Then
    assert [(fault.code, fault.file, fault.line, fault.column) for fault in faults] == [
        ("outside", "routes.yaml", 2, 11)
    ]
    assert "routes/linked.yaml" in faults[0].message


def test_a_table_that_a_link_brings_in_from_outside_is_refused(tmp_path: Path) -> None:
    # Given
    root, _ = copy_of_wide(tmp_path)
    table = root / TABLE
    table.rename(tmp_path / "towns.csv")
    table.symlink_to(tmp_path / "towns.csv")
    # When
    faults = faults_of(root)
    # Then
    assert [(fault.code, fault.file, fault.line, fault.column) for fault in faults] == [("file-missing", TOWNS, 4, 62)]


def test_the_second_of_two_files_is_told_with_the_place_in_the_first(tmp_path: Path) -> None:
    # Given
    root, _ = copy_of_wide(
        tmp_path, Edit(file=TOWNS, old="groups:", new="agencies:\n  registry: {name: {en: R, ar: س}}\ngroups:")
    )
    # When
    (fault,) = faults_of(root)
    # Then
    assert "first in routes/registry.yaml:4:3." in fault.message
    assert (fault.file, fault.line, fault.column) == (TOWNS, 4, 3)


def test_an_included_file_that_cannot_be_read_brings_no_faults_about_what_it_may_define(tmp_path: Path) -> None:
    # Given
    root, (place,) = copy_of_wide(tmp_path, Edit(file=REGISTRY, old="agencies:", new="agencies☞"))
    # When
    faults = faults_of(root)
    # Then
    assert [(fault.code, fault.file) for fault in faults] == [("yaml", place.file)]


@pytest.mark.parametrize(
    "raw", [b"code,id,name_en,name_ar\n1,a,\xff,b\n", "code,id,name_en,name_ar\n1,a,أ,".encode() + b"\xff"]
)
def test_a_table_that_is_not_utf_8_is_told_with_the_line_and_column_of_the_byte(raw: bytes, tmp_path: Path) -> None:
    # Given
    root, _ = copy_of_wide(tmp_path)
    (root / TABLE).write_bytes(raw)
    # When
    (fault,) = faults_of(root)
    # Then
    assert (fault.code, fault.file, fault.line) == ("not-utf-8", TABLE, 2)
    assert fault.column == len(raw.split(b"\n")[1].partition(b"\xff")[0].decode()) + 1


def test_hidden_files_are_not_included(tmp_path: Path) -> None:
    # Given what an editor leaves behind
    root, _ = copy_of_wide(tmp_path)
    (root / "routes/.#towns.yaml").symlink_to("me@here.1:2")
    (root / "routes/.towns.yaml").write_text("nonsense", encoding="utf-8")
    # When, Then
    assert load_workspace(root, "dev").groups.keys() == {"branches", "towns"}


def test_routes_without_any_service_are_told(tmp_path: Path) -> None:
    # Given
    root, _ = copy_of_wide(tmp_path)
    (root / MALL).unlink()
    # When
    (fault,) = faults_of(root)
    # Then
    assert (fault.code, fault.file, fault.mend) == (
        "missing-name",
        "routes.yaml",
        "Add services, here or in an included file.",
    )
