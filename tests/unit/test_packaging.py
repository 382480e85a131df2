"""What a fresh clone gets: pinned packages, the same everywhere, and a summary that hides nothing."""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

ROOT = Path(__file__).parents[2]
#: This one, and the oldest of those that the project runs on.
PYTHONS: tuple[dict[str, str], ...] = ({}, {"python_version": "3.11", "python_full_version": "3.11.0"})


def declared() -> list[Requirement]:
    """Everything that ``pyproject.toml`` asks for, tools included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [text for group in project["optional-dependencies"].values() for text in group]
    wanted = [Requirement(text) for text in project["dependencies"] + extras]
    return [one for one in wanted if one.name != project["name"]]


def pins() -> list[Requirement]:
    """The lines of ``constraints.txt``."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def requires(name: str) -> list[str]:
    """What an installed package declares; nothing for one that only another Python needs."""
    try:
        return importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:
        return []


def closure(wanted: list[Requirement]) -> set[NormalizedName]:
    """The names of ``wanted`` and of all that they need, here or on the oldest Python, as the packages declare it."""
    found: set[tuple[NormalizedName, str]] = set()
    open_ = [(requirement, extra) for requirement in wanted for extra in ("", *requirement.extras)]
    while open_:
        requirement, extra = open_.pop()
        name = canonicalize_name(requirement.name)
        if (name, extra) in found:
            continue
        found.add((name, extra))
        needed = [Requirement(text) for text in requires(name)]
        open_ += [
            (each, of_each)
            for each in needed
            if each.marker is None or any(each.marker.evaluate({"extra": extra, **python}) for python in PYTHONS)
            for of_each in ("", *each.extras)
        ]
    return {name for name, _ in found}


def test_constraints_pin_exactly_what_the_bus_and_its_tools_need() -> None:
    assert {canonicalize_name(pin.name) for pin in pins()} == closure(declared())


def test_each_pin_is_one_exact_version_without_address_or_marker() -> None:
    loose = [
        str(pin)
        for pin in pins()
        if pin.url or pin.marker or [clause.operator for clause in pin.specifier] != ["=="] or "*" in str(pin.specifier)
    ]
    assert loose == []


def test_constraints_name_no_host_and_no_option() -> None:
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert not [sign for sign in ("://", "--", "@") if sign in text]


def test_each_pin_is_within_what_the_project_asks_for() -> None:
    pinned = {canonicalize_name(pin.name): next(iter(pin.specifier)).version for pin in pins()}
    outside = [str(wanted) for wanted in declared() if pinned[canonicalize_name(wanted.name)] not in wanted.specifier]
    assert outside == []


def test_a_run_names_the_long_tests_that_it_left_out(tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    kept = {"conftest.py", "support", "services.py"}
    shutil.copytree(ROOT / "tests", tmp_path / "tests", ignore=lambda _, names: set(names) - kept)
    (tmp_path / "tests" / "test_it.py").write_text(
        "import pytest\n\n\ndef test_short(): ...\n\n\n@pytest.mark.long\ndef test_long(): ...\n", encoding="utf-8"
    )

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )

    assert "1 long tests left out: run make test-faults" in done.stdout, done.stdout + done.stderr
    assert "1 passed, 1 deselected" in done.stdout
