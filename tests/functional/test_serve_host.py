"""Which addresses `bus serve` listens on: this machine's own, and others only where tokens are configured."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from bus.bootstrap import open_store
from bus.errors import ConfigurationError, TransientError
from bus.gateway.server import address_of, is_loopback, listen
from bus.operations.caller import Role, mint_token
from tests.support.demo_workspace import ROOT
from tests.support.waiting import PATIENCE, wait_for
from tests.support.workspaces.copies import copy_of_repository


def _command(folder: Path, *more: str) -> list[str]:
    workspace, _ = copy_of_repository(folder)
    where = ["--workspace", str(workspace), "--env", "test", "--data", str(folder / "data"), "--port", "0"]
    return [sys.executable, "-m", "bus", "serve", *where, *more]


def _refused(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])  # noqa: S104  # that is what is refused
def test_an_address_that_others_reach_is_refused_while_only_this_machine_has_a_token(tmp_path: Path, host: str) -> None:
    # Given a bus that ran here before, so that the token of this machine is there
    with closing(open_store(tmp_path / "data")) as store:
        mint_token(store, "local", Role.ADMIN)
    # When it is to listen for others
    ended = _refused(_command(tmp_path, "--host", host))
    # Then it does not start, and says what would mend it
    assert (ended.returncode, "Traceback" in ended.stderr) == (2, False)
    assert "tokens-needed" in ended.stderr
    assert "bus user add" in ended.stderr


def test_with_tokens_it_listens_for_others_and_says_so_in_both_languages(tmp_path: Path) -> None:
    with closing(open_store(tmp_path / "data")) as store:
        token = mint_token(store, "samir", Role.OPERATOR)
    command = _command(tmp_path, "--host", "0.0.0.0")  # noqa: S104  # that is what is tried
    log = tmp_path / "log"
    with log.open("wb") as out, subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out) as process:
        try:
            address = tmp_path / "data" / "url"
            url = wait_for(
                "it listens", lambda: address.read_text(encoding="utf-8").strip() if address.exists() else ""
            )
            asked = wait_for("it answers", lambda: _status(url, token))
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0
    said = log.read_text(encoding="utf-8")
    assert asked == 200
    # The command line of this machine goes the short way.
    assert url.startswith("http://127.0.0.1:")
    assert f"listens on {url}" in said
    assert "0.0.0.0" in said  # noqa: S104  # that is what it says
    assert "TLS" in said
    assert "رموز الدخول" in said


def _status(url: str, token: str) -> int | None:
    try:
        return httpx.get(f"{url}/v1/status", headers={"Authorization": f"Bearer {token}"}).status_code
    except httpx.TransportError:
        return None


@pytest.mark.parametrize("host", ["example.org", "127.0.0", "", "127.0.0.1:80"])
def test_a_host_that_is_no_address_is_bad_input(host: str) -> None:
    with pytest.raises(ConfigurationError, match="IP address"):
        listen(0, host)


def test_an_address_of_another_machine_is_told_with_the_mend() -> None:
    with pytest.raises(TransientError) as refused:
        listen(0, "192.0.2.1")
    assert (refused.value.code, "--host" in refused.value.mend) == ("address-unknown", True)


@pytest.mark.parametrize(
    ("host", "is_own"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("localhost", True), ("::1", True), ("0.0.0.0", False), ("::", False)],  # noqa: S104
)
def test_loopback_is_what_only_this_machine_reaches(host: str, *, is_own: bool) -> None:
    assert is_loopback(host) is is_own


def test_an_answer_is_sent_at_once_and_waits_for_no_acknowledgement() -> None:
    # Without the protocol's name on the listening socket, asyncio would leave Nagle's algorithm on.
    with listen(0) as listening:
        assert listening.proto == socket.IPPROTO_TCP
        assert address_of(listening) == f"http://127.0.0.1:{listening.getsockname()[1]}"
