"""What people and programs read of a command: tables in two languages, words for nothing, errors as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from bus.cli import main
from bus.cli.headings import ARABIC
from bus.cli.show import as_text, table
from bus.message.text import Text
from bus.operations.caller import Role
from bus.operations.registry import OPERATIONS
from tests.support.gateway_rig import PERMIT, PORTAL, REGISTRY, Rig, application, gateway

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with gateway(Path(tmp_path_factory.mktemp("gateway"))) as rig:
        rig.admit_host()
        yield rig


@pytest.fixture
def run(rig: Rig, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("BUS_URL", rig.url)
    monkeypatch.setenv("BUS_TOKEN", rig.token(Role.ADMIN, user="root"))
    monkeypatch.setenv("LANG", "en_GB.UTF-8")
    monkeypatch.delenv("LC_ALL", raising=False)

    def type_(*words: str) -> tuple[int, str, str]:
        code = main(words)
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return type_


def _file(folder: Path, value: Any) -> str:
    file = folder / "input.json"
    file.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
    return str(file)


def test_a_request_is_found_by_its_reference_and_states_on_the_command_line(run: Run, tmp_path: Path) -> None:
    words = ("--as", PORTAL, "--purpose", "business-licensing", "--reference", "F/5", "--json")
    receipt = json.loads(run("submit", PERMIT, _file(tmp_path, application()), "--key", "cli-1", *words)[1])

    found = run("request", "list", "--reference", "F/5", "--state", "open", "--state", "closing", "--as", PORTAL)
    none = run("request", "list", "--reference", "F/5", "--state", "failed", "--as", PORTAL)

    assert receipt["tracking"] in found[1]
    assert none[1] == "There is nothing to show.\n"


def test_an_event_is_submitted_from_a_file(run: Run, tmp_path: Path) -> None:
    event = {
        "specversion": "1.0",
        "id": "cli-event",
        "source": f"/agency/{PORTAL}",
        "type": "bus.request.submitted.v1",
        "service": PERMIT,
        "purposeid": "business-licensing",
        "data": application(),
    }

    code, out, err = run("event", "submit", _file(tmp_path, event), "--as", PORTAL, "--json")

    assert code == 0, err
    assert json.loads(out)["key"] == "cli-event"


def test_the_audit_and_the_acts_are_read_on_the_command_line(run: Run) -> None:
    run("agency", "pause", REGISTRY, "--reason", "moving house")

    acts = run("audit", "acts", "--lang", "ar")
    told = run("audit", "list", "--agency", PORTAL, "--from", "2020-01-01", "--json")

    assert "moving house" in acts[1]
    assert "إيقاف الإرسال إلى جهة" in acts[1]
    assert told[0] == 0
    assert all(PORTAL in (item["told"], item["told_by"]) for item in json.loads(told[1])["items"][:1])


def test_arabic_tables_have_arabic_headings_and_words_for_nothing(run: Run) -> None:
    agencies = run("agency", "list", "--lang", "ar")[1]
    nothing = run("result", "list", "--as", PORTAL, "--lang", "ar")[1]

    assert ARABIC["agency"] in agencies.splitlines()[0]
    assert "AGENCY" not in agencies
    assert nothing.splitlines()[0] == "لا يوجد ما يُعرض."


def test_every_name_that_an_operation_answers_has_an_arabic_heading() -> None:
    names: set[str] = set()

    def walk(kind: Any) -> None:
        if kind is not Text and isinstance(kind, type) and is_dataclass(kind):
            hints = get_type_hints(kind)
            names.update(field.name for field in fields(kind))
            for hint in hints.values():
                walk(hint)
        for inner in get_args(kind):
            walk(inner)

    for operation in OPERATIONS:
        walk(operation.output)

    assert names <= set(ARABIC)


def test_values_inside_a_cell_are_written_for_people() -> None:
    rows = [{"step": "name", "data": {"city": "Giza", "rooms": [1, 2]}, "needs": [{"code": "a"}, {"code": "b"}]}]

    assert table(rows) == ["STEP  DATA                     NEEDS", "name  city: Giza, rooms: 1, 2  code: a; code: b"]
    assert table([{"test": True}], "ar") == [ARABIC["test"], "نعم"]
    assert "{" not in as_text({"items": rows}, "en")


def test_with_json_an_error_is_json_with_every_fault(run: Run, tmp_path: Path) -> None:
    file = _file(tmp_path, {"name": "x"})
    words = ("--purpose", "business-licensing", "--as", PORTAL, "--json")

    wrong = run("submit", PERMIT, file, "--key", "cli-bad", *words)
    missing = run("request", "show", "none", "--json")

    assert (wrong[0], wrong[1]) == (2, "")
    problem = json.loads(wrong[2])
    assert problem["code"] == "contract"
    assert {fault["pointer"] for fault in problem["faults"]} == {"/national_id", "/address"}
    assert missing[0] == json.loads(missing[2])["exit_code"] == 1
    assert json.loads(missing[2])["code"] == "request-unknown"
