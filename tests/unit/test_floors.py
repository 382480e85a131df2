"""The floors of the house: who may import whom, and that the bus knows no agency by name."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]

#: What the two sides of an adapter's folder may import from the bus.
ALLOWED = {"adapter": ("bus.adapter", "bus.record"), "simulator": ("bus.simulator",)}


def lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    """The contracts of ``pyproject.toml`` over the package ``bus`` in ``root``."""
    program = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [program, "--no-logo", "--no-cache"], cwd=root, capture_output=True, text=True, encoding="utf-8", check=False
    )


def imports_of(file: Path, root: Path) -> Iterator[tuple[int, str]]:
    """Line and full dotted name of everything that ``file`` imports, its package being named from ``root``."""
    package = file.parent.relative_to(root).parts
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"), file)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else ()
            base = ".".join((*above, *(node.module or "").split("."))).strip(".")
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def within(name: str, *rooms: str) -> bool:
    """Whether ``name`` is one of ``rooms`` or something inside one."""
    return any(name == room or name.startswith(f"{room}.") for room in rooms)


def side_of(part: str) -> str:
    """The side to which a file or a name of an adapter's folder belongs: ``simulator*``, or all the rest."""
    return "simulator" if part.startswith("simulator") else "adapter"


def broken_walls(adapters: Path) -> list[str]:
    """Imports by which an adapter leaves its folder, or by which adapter and simulator share code."""
    broken = []
    for file in sorted(adapters.glob("*/**/*.py")):
        agency, *inside = file.relative_to(adapters).with_suffix("").parts
        side = side_of(inside[0])
        for line, name in imports_of(file, adapters.parent):
            parts = name.split(".")
            if parts[0] == "bus":
                fine = within(name, *ALLOWED[side])
            elif parts[0] == "adapters":
                fine = parts[1:2] == [agency] and len(parts) > 2 and side_of(parts[2]) == side
            else:
                fine = True
            if not fine:
                broken.append(f"{file.relative_to(adapters.parent)}:{line}: {name}")
    return broken


def agencies_of(root: Path) -> set[str]:
    """The ids of every agency and group that the workspace in ``root`` names."""
    ids = {folder.name for folder in (root / "adapters").glob("[a-z]*/") if folder.is_dir()}
    for file in [*root.glob("routes.yaml"), *root.glob("routes/*.yaml")]:
        routes = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        ids |= {*routes.get("agencies", {}), *routes.get("groups", {})}
    return ids


def agencies_named(root: Path) -> list[str]:
    """Places under ``bus/`` that name an agency, also as ``Tax office`` or ``TaxOffice`` for ``tax_office``."""
    ids = sorted(agencies_of(root))
    if not ids:
        return []
    names = "|".join(re.escape(agency).replace("_", "[_ -]?") for agency in ids)
    pattern = re.compile(f"(?<![A-Za-z])(?i:{names})(?![a-z])")
    return [
        f"{file.relative_to(root)}:{number}: {found.group()}"
        for file in sorted((root / "bus").rglob("*.py"))
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if (found := pattern.search(line))
    ]


def write(root: Path, files: dict[str, str]) -> Path:
    """``root``, with these files in it."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


def test_every_room_imports_only_what_its_floor_allows() -> None:
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("file", "code", "contract"),
    [
        ("bus/message/broken.py", "import bus.process", "A room imports only lower floors"),
        ("bus/audit/broken.py", "import bus.record", "A room imports only lower floors"),
        ("bus/attic.py", "", "A room imports only lower floors"),
        ("bus/process/broken.py", "import time", "The pure rooms know no clock"),
        ("bus/gateway/broken.py", "import bus.stores", "Only bootstrap names a concrete broker"),
        ("bus/cli/broken.py", "import bus.brokers", "Only bootstrap names a concrete broker"),
        ("bus/operations/broken.py", "import sqlite3", "Only brokers know a broker's client"),
    ],
)
def test_an_import_against_the_floors_is_caught(tmp_path: Path, file: str, code: str, contract: str) -> None:
    shutil.copytree(ROOT / "bus", tmp_path / "bus", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    write(tmp_path, {file: code})

    done = lint_imports(tmp_path)

    assert done.returncode == 1
    assert re.search(rf"{contract}.* BROKEN", done.stdout), done.stdout + done.stderr


def test_adapters_keep_to_their_folder_and_share_no_code_with_their_simulator() -> None:
    assert broken_walls(ROOT / "adapters") == []


@pytest.mark.parametrize(
    ("file", "code"),
    [
        ("tax/adapter.py", "from bus.errors import BusError"),
        ("tax/adapter.py", "from bus import record, config"),
        ("tax/adapter.py", "from bus.adapters_of_old import x"),
        ("tax/translate.py", "import bus.process.state"),
        ("tax/translate.py", "from bus.simulator import Ledger"),
        ("tax/simulator.py", "from bus.record import page"),
        ("tax/simulator.py", "from bus.adapter import Task"),
        ("tax/adapter.py", "from . import simulator"),
        ("tax/translate.py", "from .simulator import Simulator"),
        ("tax/layouts/person.py", "from ..simulator import Simulator"),
        ("tax/simulator.py", "from .translate import to_native"),
        ("tax/simulator.py", "from adapters.tax import adapter"),
        ("tax/simulator.py", "from . import layouts"),
        ("tax/adapter.py", "from adapters.customs.adapter import Customs"),
        ("tax/adapter.py", "from ..customs import translate"),
        ("tax/adapter.py", "def later():\n    import bus.stores"),
    ],
)
def test_an_adapter_that_breaks_a_wall_is_caught(tmp_path: Path, file: str, code: str) -> None:
    adapters = write(tmp_path / "adapters", {file: code})
    last_line = len(code.splitlines())
    assert [found.rsplit(":", 1)[0] for found in broken_walls(adapters)] == [f"adapters/{file}:{last_line}"]


def test_an_adapter_may_import_its_own_side_its_toolbox_and_libraries(tmp_path: Path) -> None:
    files = {
        "tax/adapter.py": "import sqlite3\nfrom bus.adapter import Adapter\nfrom . import translate\n",
        "tax/translate.py": "from bus import record\nfrom adapters.tax.layouts import person\n",
        "tax/layouts/person.py": "from bus.record.codepage import decode\n",
        "tax/simulator.py": "import sqlite3\nfrom bus.simulator import Ledger\nfrom .simulator_tables import TABLES\n",
    }
    assert broken_walls(write(tmp_path / "adapters", files)) == []


def test_the_bus_names_no_agency() -> None:
    assert agencies_of(ROOT), "the workspace names no agency: nothing was looked for"
    assert agencies_named(ROOT) == []


@pytest.mark.parametrize("text", ["tax_office", "The Tax office", "TaxOfficeAdapter", "harbour", "villages", "kiosk"])
def test_an_agency_named_in_the_bus_is_caught(tmp_path: Path, text: str) -> None:
    write(
        tmp_path,
        {
            "adapters/tax_office/adapter.py": "",
            "routes.yaml": "agencies: {harbour: {}}\ngroups: {villages: {}}\n",
            "routes/kiosk.yaml": "agencies: {kiosk: {}}\n",
            "bus/runtime/host.py": f"\n# {text}\n",
        },
    )
    assert [found.rsplit(":", 1)[0] for found in agencies_named(tmp_path)] == ["bus/runtime/host.py:2"]


def test_a_word_that_only_contains_an_id_is_no_agency(tmp_path: Path) -> None:
    write(tmp_path, {"adapters/tax/adapter.py": "", "bus/runtime/host.py": "# the syntax of taxonomies\n"})
    assert agencies_named(tmp_path) == []
