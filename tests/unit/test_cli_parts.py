"""The parts of the command line: quick start, exit codes, tables in two scripts, and the client under it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from unicodedata import category

import click
import httpx
import pytest

from bus.cli import COMMANDS, main
from bus.cli.connection import connect
from bus.cli.outcome import told
from bus.cli.show import as_text, language, table
from bus.client import Client
from bus.errors import (
    BusError,
    ConfigurationError,
    ConflictError,
    Fault,
    ForbiddenError,
    InvalidMessageError,
    NotFoundError,
    StoreUnavailableError,
    TransientError,
    UnauthenticatedError,
)

_FAULT = Fault(code="wrong", message="It is wrong.", mend="Mend it.", file="routes.yaml", line=3, column=7)


def test_the_help_names_every_command_and_imports_none_of_them() -> None:
    program = (
        "import sys; from bus.cli import main; code = main(['--help']);"
        "print([name for name in sys.modules if name.startswith(('fastapi', 'pydantic', 'sqlalchemy', 'httpx'))])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    *help_lines, imported = done.stdout.strip().splitlines()
    assert imported == "[]"
    listed = {line.split()[0] for line in help_lines if line.strip()}
    assert {name for name, place in COMMANDS.items() if place.exists} <= listed


@pytest.mark.parametrize("name", [name for name, place in COMMANDS.items() if place.exists])
def test_every_command_that_is_listed_can_be_loaded_and_explains_itself(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([name, "--help"]) == 0
    assert "Usage: bus" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NotFoundError("gone"), 1),
        (ConflictError("late"), 1),
        (ForbiddenError("no"), 1),
        (InvalidMessageError((_FAULT,)), 2),
        (ConfigurationError((_FAULT,)), 2),
        (UnauthenticatedError("who"), 2),
        (TransientError("later"), 3),
        (StoreUnavailableError("later"), 3),
        (click.UsageError("how"), 2),
    ],
)
def test_each_kind_of_error_has_its_exit_code(error: Exception, code: int) -> None:
    def fail() -> None:
        raise error

    assert told(fail) == code


def test_an_error_is_told_on_stderr_with_code_and_mend_in_both_languages(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise ConflictError("Somebody was first.", code="row-taken", mend="Look again.\nراجع الحالة.")

    told(fail)

    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines() == ["bus: Somebody was first. [row-taken]", "  Look again.", "  راجع الحالة."]


def test_every_fault_is_told_with_its_place(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise ConfigurationError((_FAULT, _FAULT))

    told(fail)

    assert capsys.readouterr().err.count("routes.yaml:3:7: It is wrong. Mend it. [wrong]") == 2


def test_columns_are_aligned_by_what_is_seen_and_empty_ones_left_out() -> None:
    rows = [{"name": "اسم", "none": None, "n": 1}, {"name": "e\u0301t\u0301e", "none": None, "n": 22}]

    assert table(rows) == ["NAME  N", "اسم   1", "e\u0301t\u0301e   22"]


def test_what_is_there_in_both_languages_is_shown_in_the_wanted_one() -> None:
    value = {"title": {"en": "Open", "ar": "مفتوح"}, "items_": [{"name": {"en": "One", "ar": "واحد"}}]}

    assert "Open" in as_text(value, "en")
    assert "One" in as_text(value, "en")
    assert "مفتوح" in as_text(value, "ar")
    assert "واحد" in as_text(value, "ar")


def test_what_others_wrote_cannot_command_the_terminal_or_break_the_table() -> None:
    reason = "gone\x1b[2J\r\nall well \u202eltr \x9b1m"

    shown = as_text({"items": [{"reason": reason, "codes": ["a\x1bc"], "more": [{"x": "\x07"}]}]}, "en")

    assert len(shown.splitlines()) == 2
    assert not any(category(sign) == "Cc" or sign == "\u202e" for sign in shown.replace("\n", ""))
    assert "gone\ufffd[2J" in shown


@pytest.mark.parametrize(("locale", "lang"), [("ar_EG.UTF-8", "ar"), ("en_GB.UTF-8", "en"), ("C", "en"), ("", "en")])
def test_the_locale_chooses_the_language(monkeypatch: pytest.MonkeyPatch, locale: str, lang: str) -> None:
    for name in ("LC_ALL", "LC_MESSAGES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LANG", locale)

    assert language() == lang


def test_where_the_gateway_is_comes_from_the_folder_that_serve_left_or_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("BUS_URL", "BUS_TOKEN", "BUS_DATA", "BUS_AGENCY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigurationError) as missing:
        connect(tmp_path, None)
    (tmp_path / "url").write_text("http://127.0.0.1:1\n")
    (tmp_path / "token").write_text("bus_x\n")
    connect(tmp_path, None).close()
    monkeypatch.setenv("BUS_URL", "http://127.0.0.1:2")
    monkeypatch.setenv("BUS_TOKEN", "bus_y")
    connect(tmp_path / "nothing", None).close()

    assert {fault.code for fault in missing.value.faults} == {"url-missing", "token-missing"}


def _client(answer: Callable[[httpx.Request], httpx.Response]) -> Client:
    return Client("http://bus", "bus_x", agency="shop", transport=httpx.MockTransport(answer))


def test_what_may_be_repeated_is_tried_again_when_the_connection_breaks() -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        if len(asked) < 3:
            raise httpx.ConnectError("refused")
        return httpx.Response(202, json={"state": "open"})

    with _client(answer) as client:
        assert client.submit("a.v1", {}, key="k") == {"state": "open"}

    assert {request.headers["idempotency-key"] for request in asked} == {"k"}
    assert {request.headers["bus-agency"] for request in asked} == {"shop"}


def test_the_proxy_of_the_machine_never_sees_a_token_that_is_meant_for_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        proxy.settimeout(0.01)
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.getsockname()[1]}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        with Client("http://127.0.0.1:9", "bus_x") as client, pytest.raises(TransientError):
            client.request_cancel("r", reason="no more")
        with suppress(TimeoutError):
            seen.append(proxy.accept()[0].recv(100))

    assert seen == []


def test_what_may_not_be_repeated_is_sent_once() -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        raise httpx.ReadError("reset")

    with _client(answer) as client, pytest.raises(TransientError) as failed:
        client.request_cancel("r", reason="no more")

    assert len(asked) == 1
    assert failed.value.code == "gateway-unreachable"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidMessageError),
        (401, UnauthenticatedError),
        (403, ForbiddenError),
        (404, NotFoundError),
        (409, ConflictError),
        (422, InvalidMessageError),
        (503, TransientError),
    ],
)
def test_a_problem_becomes_the_error_of_its_kind_with_both_mends(status: int, kind: type[BusError]) -> None:
    problem = {"code": "c-1", "detail": "It is so.", "mend": "Do this.", "i18n": {"ar": {"mend": "افعل هذا."}}}

    with _client(lambda _: httpx.Response(status, json=problem)) as client, pytest.raises(kind) as raised:
        client.status()

    assert (raised.value.code, raised.value.mend) == ("c-1", "Do this.\nافعل هذا.")
    assert "It is so." in str(raised.value)


def test_an_answer_that_is_no_problem_is_still_an_error() -> None:
    with _client(lambda _: httpx.Response(500, text="<html>")) as client, pytest.raises(BusError) as raised:
        client.status()

    assert "500" in str(raised.value)


def test_whatever_is_typed_as_an_id_stays_one_part_of_the_path() -> None:
    asked: list[bytes] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.raw_path)
        return httpx.Response(200, json={})

    with _client(answer) as client:
        client.request_show("../../status?x=1#y")

    assert asked[0].startswith(b"/v1/requests/..%2F..%2Fstatus%3Fx%3D1%23y?")


def test_check_says_no_to_a_broken_workspace_and_names_the_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "routes.yaml").write_text("version: 1\nversion: 2\n")

    code = main(["check", "--workspace", str(tmp_path), "--json"])

    faults = json.loads(capsys.readouterr().out)["faults"]
    assert code == 1
    assert faults
    assert all(fault["message"] and fault["code"] for fault in faults)


def test_a_slip_in_the_folder_makes_no_new_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["store", "recount", "--data", str(tmp_path / "slip")]) == 2
    assert main(["user", "add", "omar", "--role", "operator", "--data", str(tmp_path / "slip")]) == 2
    assert "no-store" in capsys.readouterr().err
    assert not (tmp_path / "slip").exists()
