"""What the demo plays is a file of the workspace: what cannot be played is told before anything begins."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bus.catalog import load_workspace
from bus.cli.demo.scenes import Refuse, read_script
from bus.errors import ConfigurationError
from tests.support.workspaces.copies import HERE, REPOSITORY, Edit, copy_of_repository, edit

FILE = "docs/samples/demo.yaml"


def workspace(folder: Path) -> Path:
    root, _ = copy_of_repository(folder)
    shutil.copytree(REPOSITORY / "docs" / "samples", root / "docs" / "samples")
    return root


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("service: open-business.v1", f"service: {HERE}open-busines.v1", "unknown-service"),
        ("name.reserve.v1, fails: down", f"name.reserve.v1, fails: {HERE}melted", "unknown-trouble"),
        (
            "{operation: name.reserve.v1, fails: down",
            f"{{operation: {HERE}name.keep.v1, fails: down",
            "unknown-operation",
        ),
        (
            "{operation: name.reserve.v1, fails: down",
            f"{{operation: {HERE}site.permit.v1, fails: down",
            "not-simulated",
        ),
        (
            "- operation: site.permit.v1\n        answer",
            f"- operation: {HERE}name.reserve.v1\n        answer",
            "not-a-desk",
        ),
        ("request: open-business-refused.json", f"request: {HERE}nothing.json", "file-missing"),
        ("        answer: permit.json\n", "", "no-act"),
        ("left_open: open-business-waiting.json", f"left_open: {HERE}../permit.json", "bad-value"),
    ],
)
def test_what_cannot_be_played_is_told_with_its_place_and_the_mend(
    tmp_path: Path, old: str, new: str, code: str
) -> None:
    # Given a workspace whose scenes have one fault
    root = workspace(tmp_path)
    places = edit(root, Edit(old=old, new=new, file=FILE))
    # When they are read
    with pytest.raises(ConfigurationError) as refused:
        read_script(load_workspace(root, "demo"))
    # Then that fault is told, at its place, with the mend
    (fault,) = refused.value.faults
    assert (fault.code, fault.file) == (code, FILE)
    assert fault.mend
    assert [(place.line, place.column) for place in places] in ([], [(fault.line, fault.column)])


def test_a_workspace_without_scenes_is_told_which_file_to_add(tmp_path: Path) -> None:
    root = workspace(tmp_path)
    (root / FILE).unlink()
    with pytest.raises(ConfigurationError, match=FILE):
        read_script(load_workspace(root, "demo"))


def test_the_scenes_of_this_repository_name_steps_by_their_operations_alone(tmp_path: Path) -> None:
    # Given the repository's workspace with a step under another name
    root = workspace(tmp_path)
    file = root / "routes.yaml"
    text = file.read_text(encoding="utf-8").replace("      permit:\n", "      place:\n")
    text = text.replace("tax, permit]", "tax, place]").replace("steps.permit.", "steps.place.")
    file.write_text(text, encoding="utf-8")
    # When its scenes are read
    script = read_script(load_workspace(root, "demo"))
    # Then they speak of that step
    (refused,) = [act for scene in script.scenes for act in scene.clerk if isinstance(act, Refuse)]
    assert script.steps[refused.operation].name == "place"
    assert "permit" not in script.definition.steps
