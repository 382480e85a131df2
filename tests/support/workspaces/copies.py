"""Workspaces to break: copies of a small sound one, or of the repository's own, with pieces of text exchanged."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]
SMALL = Path(__file__).parent / "small"
#: Files that make another workspace of the small one: included files, groups, lists, test persons.
WIDE = Path(__file__).parent / "wide"
#: Stands in a new piece of text where the fault is expected; it is taken out before the text is written.
HERE = "☞"


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """One piece of text, found exactly once in a file, and what takes its place."""

    old: str
    new: str
    file: str = "routes.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the mark stood: one-based."""

    file: str
    line: int
    column: int


def copy_of_small(folder: Path, *edits: Edit) -> tuple[Path, tuple[Place, ...]]:
    """A copy of the small workspace with the edits made, and where their marks stood."""
    root = folder / "workspace"
    shutil.copytree(SMALL, root)
    for name in ("routes", "env", "test-persons"):
        file = f"schemas/meta/{name}.schema.json"
        shutil.copy(REPOSITORY / file, root / file)
    return root, edit(root, *edits)


def copy_of_wide(folder: Path, *edits: Edit) -> tuple[Path, tuple[Place, ...]]:
    """A copy of the wide workspace, whose routes stand in several files, with the edits made."""
    root, _ = copy_of_small(folder)
    shutil.copytree(WIDE, root, dirs_exist_ok=True)
    return root, edit(root, *edits)


def copy_of_repository(folder: Path, *edits: Edit) -> tuple[Path, tuple[Place, ...]]:
    """A copy of the workspace that is the repository's root, with the edits made."""
    root = folder / "workspace"
    for part in ("adapters", "schemas", "env", "routes", "groups"):
        shutil.copytree(REPOSITORY / part, root / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "routes.yaml", root)
    return root, edit(root, *edits)


def edit(root: Path, *edits: Edit) -> tuple[Place, ...]:
    """Make the edits below ``root``; the places of the marks in the order of the edits."""
    places = []
    for one in edits:
        file = root / one.file
        # Bytes, so that line ends stay as they are.
        text = file.read_bytes().decode("utf-8")
        assert text.count(one.old) == 1, f"{one.old!r} stands {text.count(one.old)} times in {one.file}"
        text = text.replace(one.old, one.new)
        before, mark, after = text.partition(HERE)
        if mark:
            line = before.count("\n") + 1
            places.append(Place(file=one.file, line=line, column=len(before) - before.rfind("\n")))
        file.write_bytes((before + after).encode())
    return tuple(places)
