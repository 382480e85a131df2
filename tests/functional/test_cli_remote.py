"""The commands against a running gateway: what people type and read, and how scripts tell the answers apart."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from bus.cli import main
from bus.operations.caller import Role
from tests.support.gateway_rig import (
    BUSINESS,
    DESK,
    PERMIT,
    PORTAL,
    REGISTRY,
    Rig,
    application,
    business,
    gateway,
    permit,
)

_KEYS = count()


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with gateway(Path(tmp_path_factory.mktemp("gateway"))) as rig:
        rig.admit_host()
        yield rig


class Shell:
    """Runs commands as an administrator of the machine would type them."""

    def __init__(self, capsys: pytest.CaptureFixture[str], folder: Path) -> None:
        self._capsys = capsys
        self._folder = folder

    def run(self, *words: str) -> tuple[int, str, str]:
        code = main(words)
        shown = self._capsys.readouterr()
        return code, shown.out, shown.err

    def json(self, *words: str) -> Any:
        code, out, err = self.run(*words, "--json")
        assert code == 0, err or out
        return json.loads(out)

    def file(self, value: Any) -> str:
        file = self._folder / f"{next(_KEYS)}.json"
        file.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
        return str(file)


@pytest.fixture
def shell(rig: Rig, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.setenv("BUS_URL", rig.url)
    monkeypatch.setenv("BUS_TOKEN", rig.token(Role.ADMIN, user="root"))
    monkeypatch.setenv("LANG", "en_GB.UTF-8")
    monkeypatch.delenv("LC_ALL", raising=False)
    return Shell(capsys, tmp_path)


def _submit(shell: Shell, service: str = PERMIT) -> dict[str, Any]:
    data = application() if service == PERMIT else business()
    words = ["--as", PORTAL, "--key", f"cli-{next(_KEYS)}", "--purpose", "business-licensing"]
    receipt: dict[str, Any] = shell.json("submit", service, shell.file(data), *words)
    return receipt


def test_a_request_goes_all_the_way_by_commands_alone(rig: Rig, shell: Shell) -> None:
    receipt = _submit(shell)
    row = str(rig.row_of(receipt["request_id"]))

    need = ("--pointer", "/lease_number", "--code", "lease_missing", "--text-en", "Missing.", "--text-ar", "ناقص.")
    shell.json("desk", "claim", row, "--as", DESK)
    shell.json("desk", "return", row, *need, "--within", "2d", "--as", DESK)
    asked = shell.json("request", "show", receipt["tracking"], "--as", PORTAL)
    shell.json("request", "supplement", receipt["request_id"], "--set", "/lease_number=L-1", "--as", PORTAL)
    shell.json("desk", "answer", row, shell.file(permit()), "--as", DESK)
    ended = shell.json("request", "show", receipt["tracking"], "--as", PORTAL)

    assert asked["waiting_for"] == "applicant"
    assert ended["state"] == "completed"
    assert [fact["version"] for fact in ended["facts"]] == list(range(1, ended["version"] + 1))


def test_people_read_titles_in_their_language(shell: Shell) -> None:
    receipt = _submit(shell)

    english = shell.run("request", "show", receipt["tracking"])
    arabic = shell.run("request", "show", receipt["tracking"], "--lang", "ar")

    assert "In progress" in english[1]
    assert "Site permit" in english[1]
    assert "قيد التنفيذ" in arabic[1]
    assert "رخصة الموقع" in arabic[1]


def test_without_a_key_one_is_made_and_told_so_that_it_can_be_given_again(shell: Shell) -> None:
    words = ("submit", BUSINESS, shell.file(business()), "--as", PORTAL)

    _, out, err = shell.run(*words, "--json")
    key = json.loads(out)["key"]
    again = shell.json(*words, "--key", key)

    assert f"--key {key}" in err
    assert again["repeated"]
    assert again["request_id"] == json.loads(out)["request_id"]


def test_the_feed_is_read_and_acknowledged(rig: Rig, shell: Shell) -> None:
    receipt = _submit(shell)
    shell.json("desk", "answer", str(rig.row_of(receipt["request_id"])), shell.file(permit()), "--as", DESK)

    page = shell.json("result", "list", "--as", PORTAL, "--most", "200")
    cursor = page["items"][-1]["cursor"]

    assert page["items"][-1]["message"]["correlationid"] == receipt["request_id"]
    assert shell.json("result", "ack", cursor, "--as", PORTAL) == {"collected": 1}
    assert shell.run("result", "list", "--as", PORTAL, "--after", cursor)[0] == 0


def test_following_tells_each_fact_once_and_the_end(rig: Rig, shell: Shell) -> None:
    receipt = _submit(shell)
    shell.json("desk", "answer", str(rig.row_of(receipt["request_id"])), shell.file(permit()), "--as", DESK)

    code, out, _ = shell.run("request", "show", receipt["request_id"], "--follow", "--as", PORTAL)

    assert code == 0
    assert out.count("step_succeeded") == 1
    assert "Completed" in out


def test_a_failure_is_listed_shown_and_given_up(rig: Rig, shell: Shell) -> None:
    receipt = _submit(shell, BUSINESS)
    rig.fail(receipt["request_id"], "name")

    line = next(one for one in shell.json("failure", "list")["items"] if one["request_id"] == receipt["request_id"])
    shown = shell.json("failure", "show", line["failure"])
    moved = shell.json("failure", "giveup", line["failure"], "--reason", "system is gone")
    again = shell.run("failure", "replay", line["failure"], "--reason", "try anyway")

    assert shown["step_state"] == "parked"
    assert moved["state"] == "failed"
    assert again[0] == 1
    assert "[failure-closed]" in again[2]


def test_agencies_services_and_the_status_are_shown(shell: Shell) -> None:
    assert shell.json("agency", "pause", REGISTRY)["paused"]
    assert not shell.json("agency", "resume", REGISTRY)["paused"]
    assert REGISTRY in shell.run("agency", "list")[1]
    assert PERMIT in shell.run("service", "list")[1]
    assert shell.json("service", "show", PERMIT)["title"]["ar"] == "رخصة موقع"
    assert shell.json("status")["requests"]["open"] >= 0
    assert shell.json("health")["status"] == "ok"


def test_a_drafted_and_released_task_is_listed(rig: Rig, shell: Shell) -> None:
    row = str(rig.row_of(_submit(shell)["request_id"]))

    shell.json("desk", "draft", row, shell.file({"permit_number": "P"}), "--as", DESK)
    drafted = shell.json("desk", "show", row, "--as", DESK)
    shell.json("desk", "release", row, "--as", DESK)
    text = {"text-en": "No.", "text-ar": "لا."}
    options = [word for name, value in text.items() for word in (f"--{name}", value)]
    refused = shell.json("desk", "refuse", row, "--reason-code", "zone_closed", *options, "--as", DESK)

    assert drafted["draft"] == {"permit_number": "P"}
    assert refused["request_state"] == "rejected"


def test_scripts_tell_no_from_bad_input_from_unreachable_by_the_exit_code(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    no = shell.run("request", "show", "00000000-0000-8000-8000-000000000000")
    bad_data = shell.run("submit", BUSINESS, shell.file({}), "--as", PORTAL, "--key", "bad")
    bad_option = shell.run("request", "list", "--state", "ill")
    no_agency = shell.run("desk", "list")
    monkeypatch.setenv("BUS_TOKEN", "bus_wrong")
    bad_token = shell.run("status")
    monkeypatch.setenv("BUS_URL", "http://127.0.0.1:9")
    unreachable = shell.run("status")

    assert [run[0] for run in (no, bad_data, bad_option, no_agency, bad_token, unreachable)] == [1, 2, 2, 1, 2, 3]
    assert all(run[1] == "" for run in (no, bad_data, no_agency, bad_token, unreachable))
    assert "--as AGENCY" in no_agency[2]
    assert "قارن المعرّف" in no[2]


def test_a_file_that_is_read_in_two_ways_is_refused_before_it_is_sent(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "twice.json"
    file.write_text('{"a": 1, "a": 2}')

    code, _, err = shell.run("submit", BUSINESS, str(file), "--as", PORTAL)

    assert code == 2
    assert "[duplicate-key]" in err


def test_a_new_user_can_ask_at_once_and_only_what_his_role_allows(
    rig: Rig, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = str(rig.parts.data)
    added = shell.json("user", "add", "fatima", "--role", "clerk", "--agency", DESK, "--data", data)
    without_agency = shell.run("user", "add", "omar", "--role", "clerk", "--data", data)
    monkeypatch.setenv("BUS_TOKEN", added["token"])

    assert shell.run("desk", "list")[0] == 0
    assert shell.run("failure", "list")[0] == 1
    assert without_agency[0] == 2
    assert added["token"].encode() not in b"".join(file.read_bytes() for file in rig.parts.data.glob("store.db*"))


def test_a_user_who_was_removed_may_ask_nothing_more(rig: Rig, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    data = str(rig.parts.data)
    token = shell.json("user", "add", "leaver", "--role", "operator", "--data", data)["token"]
    removed = shell.run("user", "remove", "leaver", "--data", data)
    again = shell.run("user", "remove", "leaver", "--data", data)
    monkeypatch.setenv("BUS_TOKEN", token)

    assert (removed[0], again[0]) == (0, 1)
    assert "[token-unknown]" in shell.run("status")[2]


def test_a_clerk_of_an_agency_that_the_workspace_has_not_gets_no_token(rig: Rig, shell: Shell) -> None:
    words = ("user", "add", "fatima", "--role", "clerk", "--data", str(rig.parts.data))

    code, _, err = shell.run(*words, "--agency", "moon", "--workspace", str(rig.parts.workspace.root), "--env", "test")

    assert code == 2
    assert DESK in err


def test_the_store_is_recounted_and_migrated_beside_a_running_bus(rig: Rig, shell: Shell) -> None:
    _submit(shell)

    recount = shell.json("store", "recount", "--data", str(rig.parts.data))

    assert recount["wrong"] == []
    assert recount["requests"]["open"] >= 1
    assert shell.run("store", "migrate", "--data", str(rig.parts.data))[0] == 0


def test_the_configuration_is_shown_with_the_line_that_set_it(rig: Rig, shell: Shell) -> None:
    rows = shell.json("config", "show", "--workspace", str(rig.parts.workspace.root), "--env", "test")["items"]

    by_name = {row["name"]: row for row in rows}
    assert by_name["agencies.municipality.use"]["value"] == "desk"
    assert by_name["agencies.municipality.use"]["set_in"].startswith("env/test.yaml:")
    assert by_name["intervals.batch_most"]["set_in"] == "default"
