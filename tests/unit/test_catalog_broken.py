"""Every way to break included files, owners, groups, their tables, lists and test persons is told with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from bus.catalog import load_workspace
from bus.errors import ConfigurationError, Fault
from tests.support.workspaces.copies import Edit, Place, copy_of_wide

MALL = "routes/open-mall.yaml"
REGISTRY = "routes/registry.yaml"
TOWNS = "routes/towns.yaml"
TABLE = "groups/towns.csv"
PERSONS = "schemas/test-persons.yaml"
REQUEST = "schemas/service/open-mall.v1.request.json"

#: What is broken -> the edits (the mark stands where the fault is told), the code, and words of the mend.
BROKEN: dict[str, tuple[tuple[Edit, ...], str, str]] = {
    # --- Included files and owners
    "an included file without owner": (
        (Edit(file=MALL, old="version: 1\nowner: {team: Trade desk, contact: trade@example.org}", new="☞version: 1"),),
        "missing-name",
        "Add owner.",
    ),
    "an owner whom nobody can reach": (
        (Edit(file=TOWNS, old="{team: Home office, contact: towns@example.org}", new="☞{team: Home office}"),),
        "missing-name",
        "Add contact.",
    ),
    "an included file that includes": (
        (Edit(file=TOWNS, old="groups:", new="☞include: [routes/more.yaml]\ngroups:"),),
        "unknown-name",
        "",
    ),
    "an included file with defaults": (
        (Edit(file=MALL, old="services:", new="☞defaults: {}\nservices:"),),
        "unknown-name",
        "",
    ),
    "a glob that matches nothing": (
        (Edit(old="[routes/*.yaml]", new="[routes/*.yaml, ☞services/*.yaml]"),),
        "nothing-included",
        "Add such a file",
    ),
    "a glob out of the workspace": (
        (Edit(old="[routes/*.yaml]", new="[routes/*.yaml, ☞../*.yaml]"),),
        "bad-include",
        "routes/*.yaml",
    ),
    "an absolute glob": (
        (Edit(old="[routes/*.yaml]", new="[routes/*.yaml, ☞/etc/*.yaml]"),),
        "bad-include",
        "routes/*.yaml",
    ),
    "a glob of another kind of file": (
        (Edit(old="[routes/*.yaml]", new="[routes/*.yaml, ☞groups/*]"),),
        "bad-include",
        "routes/*.yaml",
    ),
    "the same agency in two files": (
        (Edit(file=REGISTRY, old="agencies:\n", new="agencies:\n  ☞portal: {name: {en: P, ar: ب}}\n"),),
        "duplicate-name",
        "Keep one of the two.",
    ),
    "a fault of a path whose step and contract stand in other files": (
        (Edit(file=MALL, old="entry: steps.book.entry", new="entry: ☞steps.book.entri"),),
        "unknown-member",
        "Did you mean entry?",
    ),
    # --- Groups
    "an unknown group": (
        (Edit(file=MALL, old="one_of: towns", new="one_of: ☞town"),),
        "unknown-group",
        "Did you mean towns?",
    ),
    "an agency as a group": (
        (Edit(file=MALL, old="one_of: towns", new="one_of: ☞registry"),),
        "unknown-group",
        "Write provider: registry.",
    ),
    "a group as an agency": (
        (Edit(file=MALL, old="provider: {one_of: branches, by: request.branch}", new="provider: ☞branches"),),
        "group-as-agency",
        "{one_of: branches, by:",
    ),
    "a choice without code": (
        (Edit(file=MALL, old="{one_of: branches, by: request.branch}", new="☞{one_of: branches}"),),
        "missing-name",
        "Add by.",
    ),
    "a code that may be absent": (
        (Edit(file=MALL, old="by: request.branch", new="by: ☞request.spare_branch"),),
        "optional-source",
        "always there",
    ),
    "a code that is no text": (
        (Edit(file=MALL, old="by: request.branch", new="by: ☞request.partners"),),
        "wrong-type",
        "code of one member",
    ),
    "a code that may be null": (
        (
            Edit(file=REQUEST, old='"branch": {"enum": [', new='"branch": {"enum": [null, '),
            Edit(file=MALL, old="by: request.branch", new="by: ☞request.branch"),
        ),
        "wrong-type",
        "code of one member",
    ),
    "a code of a list of answers": (
        (Edit(file=MALL, old="by: request.branch", new="by: ☞steps.partners.town"),),
        "wrong-type",
        "code of one member",
    ),
    "codes that no member has": (
        (
            Edit(file=REGISTRY, old="code: south", new="code: west"),
            Edit(file=MALL, old="by: request.b", new="by: ☞request.b"),
        ),
        "unknown-code",
        "Add the members",
    ),
    "a group that answers nothing": (
        (
            Edit(
                file=TOWNS,
                old="  towns: {name: {en: Towns, ar: المدن}, desk: true,",
                new="  ☞towns: {name: {en: T, ar: ت},",
            ),
        ),
        "no-adapter",
        "adapter: or desk: true",
    ),
    "a group with adapter and desk": (
        (
            Edit(
                file=REGISTRY,
                old="adapter: registry\n    members",
                new="adapter: registry\n    desk: ☞true\n    members",
            ),
        ),
        "two-ways",
        "Keep one",
    ),
    "a member whose desk is taken from it": (
        (
            Edit(
                file=TABLE,
                old="name_ar\n0101,town_east,East Town,المدينة الشرقية\n0102",
                new="name_ar,desk\n0101,town_east,East Town,المدينة الشرقية,☞false\n0102",
            ),
            Edit(file=TABLE, old="المدينة الغربية", new="المدينة الغربية,"),
        ),
        "no-adapter",
        "Leave its desk out.",
    ),
    "a member with the id of an agency": (
        (Edit(file=TABLE, old="town_east", new="☞registry"),),
        "duplicate-name",
        "Give one of them another.",
    ),
    "a member of two groups": (
        (Edit(file=TABLE, old="town_east", new="☞branch_south"),),
        "duplicate-name",
        "Give one of them another.",
    ),
    "a group with the id of an agency": (
        (
            Edit(file=REGISTRY, old="  branches:", new="  ☞portal:"),
            Edit(file=MALL, old="one_of: branches", new="one_of: portal"),
            Edit(file="env/dev.yaml", old="  branches:", new="  portal:"),
        ),
        "duplicate-name",
        "Give one of them another.",
    ),
    "an inline member without name": (
        (
            Edit(
                file=REGISTRY,
                old="{code: north, id: branch_north, name: {en: North branch, ar: الفرع الشمالي}}",
                new="☞{code: north, id: branch_north}",
            ),
        ),
        "missing-name",
        "Add name.",
    ),
    "an operation that the adapter of a group does not offer": (
        (
            Edit(
                file=MALL,
                old="operation: name.reserve.v1\n        input: {name: request.name}",
                new="operation: ☞name.reserv.v1\n        input: {name: request.name}",
            ),
        ),
        "unknown-operation",
        "Did you mean name.reserve.v1?",
    ),
    "an operation that a group of desks has no contract for": (
        (Edit(file=MALL, old="operation: site.permit.v1", new="operation: ☞site.permits.v1"),),
        "unknown-operation",
        "Did you mean site.permit.v1?",
    ),
    # --- Tables of members
    "a table that is not there": (
        (Edit(file=TOWNS, old="groups/towns.csv", new="☞groups/town.csv"),),
        "file-missing",
        "Did you mean groups/towns.csv?",
    ),
    "a table with other columns": (
        (Edit(file=TABLE, old="code,id", new="☞number,id"),),
        "bad-header",
        "code,id,name_en,name_ar",
    ),
    "a table without members": (
        (
            Edit(
                file=TABLE,
                old='0101,town_east,East Town,المدينة الشرقية\n0102,town_west,"West Town, old",المدينة الغربية\n',
                new="☞",
            ),
            Edit(file="env/dev.yaml", old="  town_west: {use: closed}\n", new=""),
        ),
        "no-members",
        "Add a line for each.",
    ),
    "a line with a cell too many": (
        (
            Edit(file=TABLE, old='0102,town_west,"West Town, old"', new="☞0102,town_west,West Town, old"),
            Edit(file="env/dev.yaml", old="  town_west: {use: closed}\n", new=""),
        ),
        "cell-count",
        "quote a cell",
    ),
    "a quote that is not closed": (
        (
            Edit(file=TABLE, old='0102,town_west,"West Town, old"', new='☞0102,town_west,"West Town'),
            Edit(file="env/dev.yaml", old="  town_west: {use: closed}\n", new=""),
        ),
        "bad-line",
        "Quote a cell",
    ),
    "a code that two members have": (
        (Edit(file=TABLE, old="0102,", new="☞0101,"), Edit(file=REQUEST, old='["0101", "0102"]', new='["0101"]')),
        "duplicate-name",
        "Give one of them another.",
    ),
    "a bad id in a table": (
        (
            Edit(file=TABLE, old="town_west", new="☞Town-West"),
            Edit(file="env/dev.yaml", old="  town_west: {use: closed}\n", new=""),
        ),
        "bad-value",
        "small letters",
    ),
    "an empty name behind a quoted comma": (
        (
            Edit(file=TABLE, old='"West Town, old",المدينة الغربية', new='"West ""Town"", old",☞'),
            Edit(file="env/dev.yaml", old="  town_west: {use: closed}\n", new=""),
        ),
        "bad-value",
        "at least one letter",
    ),
    # --- Lists
    "a list without most": (
        (Edit(file=MALL, old="for_each: request.partners\n        most: 5\n", new="☞for_each: request.partners\n"),),
        "missing-name",
        "Add most",
    ),
    "most without a list": (
        (Edit(file=MALL, old="final: true", new="final: true\n        ☞most: 5"),),
        "missing-name",
        "Add for_each",
    ),
    "more items than any step may have": ((Edit(file=MALL, old="most: 10", new="most: ☞1001"),), "bad-value", ""),
    "a list that is longer than most": (
        (Edit(file=MALL, old="most: 10", new="most: ☞9"),),
        "list-too-long",
        "Write 10",
    ),
    "a list without limit": (
        (
            Edit(file=REQUEST, old='"maxItems": 3, ', new=""),
            Edit(file=MALL, old="for_each: request.tags", new="for_each: ☞request.tags"),
        ),
        "unlimited-list",
        "Add maxItems (at most 3) to it in schemas/service/open-mall.v1.request.json.",
    ),
    "a list that is none": (
        (Edit(file=MALL, old="for_each: request.tags", new="for_each: ☞request.name"),),
        "wrong-type",
        "Read a list",
    ),
    "a list that may be null": (
        (
            Edit(file=REQUEST, old='"type": "array", "maxItems": 3', new='"type": ["array", "null"], "maxItems": 3'),
            Edit(file=MALL, old="for_each: request.tags", new="for_each: ☞request.tags"),
        ),
        "wrong-type",
        "Read a list",
    ),
    "a list with prefixItems": (
        (
            Edit(file=REQUEST, old='"maxItems": 3, "items"', new='"maxItems": 3, "prefixItems": [{}], "items"'),
            Edit(file=MALL, old="for_each: request.tags", new="for_each: ☞request.tags"),
        ),
        "not-supported",
        "with items:",
    ),
    "a list of the answers about items": (
        (Edit(file=MALL, old="for_each: request.tags", new="for_each: ☞steps.permits.number"),),
        "list-of-answers",
        "done once",
    ),
    "a list of each item's item": (
        (Edit(file=MALL, old="for_each: request.tags", new="for_each: ☞item.tags"),),
        "no-item",
        "request or steps",
    ),
    "an unknown member of the item": (
        (Edit(file=MALL, old="number: item.number", new="number: ☞item.numbr"),),
        "unknown-member",
        "Did you mean number?",
    ),
    "a member of the item of another type": (
        (Edit(file=MALL, old="number: item.number", new="number: ☞item.age"),),
        "wrong-type",
        "of that type",
    ),
    "a record of the item": (
        (Edit(file=MALL, old="number: item.number", new="number: ☞item.address"),),
        "whole-record",
        "one by one",
    ),
    "a whole record as item": (
        (Edit(file=MALL, old="number: item.number", new="number: ☞item"),),
        "whole-record",
        "one by one",
    ),
    "a member of the item that may be absent": (
        (Edit(file=MALL, old="address: item.address}\n        comp", new="address: ☞item.code}\n        comp"),),
        "optional-source",
        "",
    ),
    "a condition on an item": (
        (Edit(file=MALL, old="path: request.level", new="path: ☞item.level"),),
        "no-item",
        "request or steps",
    ),
    "a condition on a list of answers": (
        (
            Edit(file=MALL, old="when: {path: request.level, in: [gold, silver]}", new="when: ☞steps.partners.known"),
            Edit(file=MALL, old="needs: [permits]\n", new="needs: [permits, partners]\n"),
        ),
        "list-as-condition",
        "done once",
    ),
    "an item outside its step": (
        (Edit(file=MALL, old="name: request.name, permits", new="name: ☞item.name, permits"),),
        "no-item",
        "",
    ),
    "answers about items as a single value": (
        (Edit(file=MALL, old="entry: steps.book.entry", new="entry: ☞steps.permits.number"),),
        "wrong-type",
        "take a list there",
    ),
    "answers about items in a list of another type": (
        (Edit(file=MALL, old="permits: steps.permits.number}", new="ages: ☞steps.permits.number}"),),
        "wrong-type",
        "of that type",
    ),
    "answers about more items than the list takes": (
        (Edit(file=MALL, old="entry: steps.book.entry", new="names: ☞steps.permits.number"),),
        "list-too-long",
        "agree",
    ),
    "answers about items of a list that may be empty": (
        (
            Edit(file=REQUEST, old='"minItems": 1,', new=""),
            Edit(
                file=MALL,
                old="permits: steps.permits.number\n      entry",
                new="permits: ☞steps.permits.number\n      entry",
            ),
        ),
        "skipped-source",
        "always has output",
    ),
    # --- Conditions
    "a condition that no request meets": (
        (Edit(file=MALL, old="in: [gold, silver]", new="in: [gold, ☞sliver]"),),
        "wrong-value",
        "silver?",
    ),
    "a condition without values": ((Edit(file=MALL, old="in: [gold, silver]", new="in: ☞[]"),), "bad-value", ""),
    # --- Test persons
    "a person of an unknown agency": (
        (Edit(file=PERSONS, old="agency: towns", new="agency: ☞town"),),
        "unknown-agency",
        "Did you mean towns?",
    ),
    "a number without quotes": ((Edit(file=PERSONS, old='"9002"', new="☞9002"),), "wrong-kind", "Write a text."),
    "an unknown behaviour": (
        (Edit(file=PERSONS, old="behaviour: late", new="behaviour: ☞lat"),),
        "not-a-choice",
        "Did you mean late?",
    ),
    "a number of two persons": (
        (Edit(file=PERSONS, old='"9002"', new='☞"9001"'),),
        "person-twice",
        "Give one of them another.",
    ),
    "a day that is none": (
        (Edit(file=PERSONS, old="1982-02-14", new="☞1982-02-30"),),
        "bad-value",
        "a day of the calendar",
    ),
    "a person without a name in Arabic": (
        (Edit(file=PERSONS, old="{en: B, ar: ب}", new="☞{en: B}"),),
        "missing-name",
        "Add ar.",
    ),
    "no list of persons": (
        (Edit(file=PERSONS, old="persons:\n", new="☞people:\n"),),
        "unknown-name",
        "Known: persons.",
    ),
    # --- Environments
    "an unknown group in the environment": (
        (Edit(file="env/dev.yaml", old="  branches:", new="  ☞branchs:"),),
        "unknown-agency",
        "Did you mean branches?",
    ),
    "a group of desks used as a real system": (
        (Edit(file="env/dev.yaml", old="  town_west: {use: closed}", new="  towns: {use: ☞real}"),),
        "no-adapter",
        "desk or closed",
    ),
    "a setting that the adapter of a group has not": (
        (Edit(file="env/dev.yaml", old="{database: branch.db,", new="{database: branch.db, ☞atempts: 3,"),),
        "unknown-name",
        "attempts?",
    ),
}

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
