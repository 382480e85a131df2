"""The demo workspace as tests run it: its names, what a citizen asks for, and a copy in which nobody waits long."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from bus.client import Json

ROOT = Path(__file__).parents[2]
SERVICE = "open-business.v1"
PORTAL, REGISTRY, DESK = "one_stop_shop", "commercial_registry", "municipality"
#: A test person's trade name, which the registry never finds taken: a second reservation of it really happens.
ALWAYS_FREE = "مؤسسة سلمى للعطور"

#: What the registry's operations say of trying again, where a test wants nothing else.
QUERYABLE = "{queryable: {absence_proof_after: 2s}}"
#: File, pattern, and what takes its place: a call lasts a second at most.
_SHORT = ((f"adapters/{REGISTRY}/manifest.yaml", r"timeout: \w+", "timeout: 1s"),)


def shorten(workspace: Path, repeat: str, intervals: Mapping[str, str]) -> None:
    """Make waiting short in a copy of the workspace; every operation of the registry may be repeated as told."""
    manifest = (f"adapters/{REGISTRY}/manifest.yaml", r"repeat: .+", f"repeat: {repeat}")
    settings = [("env/test.yaml", rf"{name}: \w+", f"{name}: {value}") for name, value in intervals.items()]
    file = workspace / "env" / "test.yaml"
    said = file.read_text(encoding="utf-8")
    # Its intervals stand last.
    more = "".join(f"  {name}: 1\n" for name in intervals if f"  {name}: " not in said)
    file.write_text(said + more, encoding="utf-8")
    for name, pattern, new in (*_SHORT, manifest, *settings):
        file = workspace / name
        text, count = re.subn(pattern, new, file.read_text(encoding="utf-8"))
        assert count, f"{name} has nothing like {pattern}"
        file.write_text(text, encoding="utf-8")


def without_tax(workspace: Path) -> None:
    """Take the tax clearance out of a copy of the workspace: what fails in a test is the registry, and nobody else."""
    cuts = (
        ("routes.yaml", r"(?m)^      tax:\n(?:        .*\n)+", ""),
        ("routes.yaml", r"needs: \[name, tax, permit\]", "needs: [name, permit]"),
        ("routes.yaml", r"(?m)^      tax_certificate: .*\n", ""),
        ("env/test.yaml", r"tax_authority: \{use: simulator\}", "tax_authority: {use: closed}"),
    )
    for name, pattern, new in cuts:
        file = workspace / name
        text, count = re.subn(pattern, new, file.read_text(encoding="utf-8"))
        assert count == 1, f"{name} has nothing like {pattern}"
        file.write_text(text, encoding="utf-8")


def application(name: str = ALWAYS_FREE, *, premises: bool = True) -> Json:
    """What a citizen asks for, under this trade name."""
    place = {"premises": {"address": "شارع السكة الجديدة ٧، المنصورة"}} if premises else {}
    return {
        "applicant": {"national_id": "28501011234567", "name": "سلمى عبد الرحمن", "birth_date": "1985-01-01"},
        "business": {"name": name, "kind": "sole", **place},
    }
