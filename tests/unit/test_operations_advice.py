"""Every failure tells whoever is woken by it what happened and what to do."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import bus
from bus.operations.advice import CODES, advice

ROOT = Path(bus.__file__).parent
#: Calls whose second or only text is the code of a failure.
_OPENING = re.compile(r"^(park|open_failure|_show|_alarm|alarm|exhausted)$")


def shown_codes() -> set[str]:
    """The codes that the bus itself opens failures with, read from its code."""
    found: set[str] = set()
    for file in [*(ROOT / "process").glob("*.py"), *(ROOT / "runtime").glob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                if _OPENING.match(name):
                    constants = [one.value for one in node.args if isinstance(one, ast.Constant)]
                    found |= {value for value in constants if isinstance(value, str)}
    return found


def test_the_bus_opens_no_failure_without_words_of_its_own() -> None:
    codes = shown_codes()
    assert {"unknown", "deadline", "early"} <= codes, "the search finds nothing any more"
    assert codes <= CODES


@pytest.mark.parametrize("code", [*sorted(CODES), "invalid:not-json", "name_service_down"])
def test_a_code_has_what_and_mend_in_both_languages(code: str) -> None:
    told = advice(code)
    for text in (told.what, told.mend):
        assert text.en.endswith(".") or text.en.endswith("?") or "`" in text.en
        assert re.search("[\u0621-\u064a]{3}", text.ar)
