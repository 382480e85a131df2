"""Included files, groups and lists become values: members are agencies, and a step knows who may be asked."""

from __future__ import annotations

from pathlib import Path

from bus.catalog import Owner, Workspace, load_workspace
from bus.message.text import Text
from bus.process.closure import from_closure
from bus.process.definition import OneOf
from bus.process.mapping import parse_path
from tests.support.workspaces.copies import Edit, copy_of_wide

MALL = "routes/open-mall.yaml"
TABLE = "groups/towns.csv"


def wide(folder: Path, *edits: Edit) -> Workspace:
    root, _ = copy_of_wide(folder, *edits)
    return load_workspace(root, "dev")


def test_the_members_of_a_table_and_of_a_list_are_agencies_of_their_group(tmp_path: Path) -> None:
    # When
    workspace = wide(tmp_path)
    # Then
    west = workspace.agencies["town_west"]
    assert (west.name, west.desk, west.adapter, west.group) == (
        Text(en="West Town, old", ar="المدينة الغربية"),
        True,
        None,
        "towns",
    )
    north, south = workspace.agencies["branch_north"], workspace.agencies["branch_south"]
    assert [(one.adapter, one.desk, one.group) for one in (north, south)] == [
        ("registry", False, "branches"),
        (None, True, "branches"),
    ]
    assert workspace.groups["towns"].members == {"0101": "town_east", "0102": "town_west"}
    assert workspace.agencies["registry"].group is None
    assert workspace.adapters.keys() == {"registry", "branch_north"}


def test_an_agency_a_group_and_a_service_know_where_they_stand_and_who_answers_for_it(tmp_path: Path) -> None:
    # When
    workspace = wide(tmp_path)
    # Then
    home_office = Owner(team="Home office", contact="towns@example.org")
    origins = [
        workspace.services["open-mall.v1"].origin,
        workspace.groups["towns"].origin,
        workspace.agencies["town_west"].origin,
        workspace.agencies["portal"].origin,
    ]
    assert [(origin.file, origin.line, origin.owner) for origin in origins] == [
        (MALL, 4, Owner(team="Trade desk", contact="trade@example.org")),
        ("routes/towns.yaml", 4, home_office),
        (TABLE, 3, home_office),
        ("routes.yaml", 8, None),
    ]


def test_a_step_that_chooses_its_provider_knows_every_member_and_which_are_desks(tmp_path: Path) -> None:
    # When
    steps = wide(tmp_path).services["open-mall.v1"].definition.steps
    # Then
    assert steps["name"].provider == OneOf(
        group="branches",
        by=parse_path("request.branch"),
        members={"north": "branch_north", "south": "branch_south"},
        desks=frozenset({"branch_south"}),
    )
    assert (steps["name"].repeat.kind, steps["name"].desk) == ("queryable", False)
    assert (steps["permits"].repeat.kind, steps["permits"].is_desk("town_east")) == ("at_most_once", True)


def test_a_step_for_each_item_knows_its_list_and_its_most(tmp_path: Path) -> None:
    # When
    service = wide(tmp_path).services["open-mall.v1"]
    # Then
    permits = service.definition.steps["permits"]
    assert (permits.for_each, permits.most) == (parse_path("request.shops"), 10)
    assert service.definition.steps["name"].for_each is None
    assert from_closure(service.closure)[0] == service.definition


def test_an_environment_reaches_members_as_their_group_says_unless_it_names_them(tmp_path: Path) -> None:
    # When
    env = wide(tmp_path).env
    # Then a member that is a desk of its own is not reached by the adapter of its group
    assert {name: use.use for name, use in env.agencies.items()} == {
        "registry": "real",
        "branch_north": "real",
        "branch_south": "desk",
        "town_east": "desk",
        "town_west": "closed",
    }
    assert env.agencies["branch_north"].settings["database"] == "branch.db"


def test_a_group_whose_members_are_all_desks_in_an_environment_is_tried_as_a_desk_is(tmp_path: Path) -> None:
    # When
    group = "  branches:\n    use: real\n    settings: {database: branch.db, password: {env: BRANCH_PASSWORD}}\n"
    workspace = wide(tmp_path, Edit(file="env/dev.yaml", old=group, new="  branches: {use: desk}\n"))
    # Then
    step = workspace.services["open-mall.v1"].definition.steps["name"]
    assert isinstance(step.provider, OneOf)
    assert step.provider.desks == {"branch_north", "branch_south"}
    assert step.repeat.kind == "at_most_once"


def test_a_group_may_be_closed_and_one_member_opened(tmp_path: Path) -> None:
    # When
    workspace = wide(
        tmp_path,
        Edit(file="env/dev.yaml", old="town_west: {use: closed}", new="towns: {use: closed}\n  town_east: {use: desk}"),
    )
    # Then
    assert [workspace.env.agencies[name].use for name in ("town_east", "town_west")] == ["desk", "closed"]


def test_a_table_may_name_desks_and_have_windows_line_ends_and_empty_lines(tmp_path: Path) -> None:
    # Given a group with an adapter, whose members stand in a table
    listed = """
      - {code: north, id: branch_north, name: {en: North branch, ar: الفرع الشمالي}}
      - {code: south, id: branch_south, name: {en: South branch, ar: الفرع الجنوبي}, desk: true}
"""
    root, _ = copy_of_wide(tmp_path, Edit(file="routes/registry.yaml", old=listed, new=" groups/branches.csv\n"))
    rows = ["code,id,name_en,name_ar,desk", 'north,branch_north,"The ""North"", old",الشمال,', ""]
    # A code may be the id of something: it is looked up in its group alone.
    rows += ["south,branch_south,South,الجنوب,true", "registry,branch_west,West,الغرب,false", ""]
    (root / "groups/branches.csv").write_bytes("\r\n".join(rows).encode())
    # When
    agencies = load_workspace(root, "dev").agencies
    # Then
    assert agencies["branch_north"].name.en == 'The "North", old'
    assert [
        (agencies[name].adapter, agencies[name].desk) for name in ("branch_north", "branch_south", "branch_west")
    ] == [
        ("registry", False),
        (None, True),
        ("registry", False),
    ]


def test_a_glob_may_match_the_routes_themselves_which_are_read_once(tmp_path: Path) -> None:
    workspace = wide(tmp_path, Edit(old="[routes/*.yaml]", new="['routes*.yaml', routes/*.yaml, 'routes/t*.yaml']"))
    assert workspace.groups.keys() == {"towns", "branches"}


def test_which_file_a_name_stands_in_changes_no_revision(tmp_path: Path) -> None:
    # Given the same workspace with the agencies of one file moved into another
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    line = "  registry: {name: {en: Registry, ar: السجل}, adapter: registry}\n"
    one = wide(tmp_path / "a")
    other = wide(
        tmp_path / "b",
        Edit(file="routes/registry.yaml", old=f"agencies:\n{line}", new=""),
        Edit(old="agencies:\n", new=f"agencies:\n{line}"),
    )
    # Then
    assert one.services["open-mall.v1"].revision == other.services["open-mall.v1"].revision
