"""`bus serve` as a program: it says why it does not start, stops when told to, and leaves nothing half-made."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bus.bootstrap import installation_secret, write_once
from bus.errors import ConfigurationError
from tests.support.demo_workspace import ROOT
from tests.support.installation import Installation
from tests.support.waiting import PATIENCE


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with Installation(tmp_path_factory.mktemp("installation")) as installation:
        yield installation


def serve(running: Installation, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bus", "serve", "--workspace", str(running.workspace), "--env", "test", *more]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)


def test_a_taken_port_is_told_in_one_line_with_the_mend(running: Installation, tmp_path: Path) -> None:
    # Given a port that another program listens on
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        # When the bus is to use it
        ended = serve(running, "--data", str(tmp_path / "data"), "--port", str(port))
    # Then it ends with "try again later", and shows a person no traceback
    assert ended.returncode == 3
    assert f"Port {port} is taken." in ended.stderr
    assert "--port" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_second_bus_on_the_same_folder_is_refused(running: Installation) -> None:
    ended = serve(running, "--data", str(running.data), "--port", "0")
    assert ended.returncode == 3
    assert "data-in-use" in ended.stderr
    assert running.is_alive


def test_a_port_that_is_none_is_bad_input(running: Installation, tmp_path: Path) -> None:
    ended = serve(running, "--data", str(tmp_path / "data"), "--port", "99999")
    assert (ended.returncode, "Traceback" in ended.stderr) == (2, False)


def test_address_and_token_are_for_the_owner_alone(running: Installation) -> None:
    assert {name: (running.data / name).stat().st_mode & 0o777 for name in ("token", "url", "secret")} == dict.fromkeys(
        ("token", "url", "secret"), 0o600
    )
    assert running.data.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_it_ends_well_and_takes_its_simulators_with_it(tmp_path: Path, told: signal.Signals) -> None:
    # Given a bus with a request under way
    with Installation(tmp_path) as installation:
        request = installation.submit("under-way", premises=False)
        process = installation.process
        assert process is not None
        # When it is told to stop
        process.send_signal(told)
        # Then it ends as done, and the request is what it was: accepted
        assert process.wait(PATIENCE) == 0
        assert "unexpected_error" not in installation.log.read_text(encoding="utf-8")
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)
        installation.process = None
        with installation.store() as store:
            assert store.request(request) is not None
            assert store.recount() == ()


def test_many_starts_at_once_make_one_secret(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(lambda _: installation_secret(tmp_path / "data"), range(64)))
    assert len(set(made)) == 1
    assert len(made[0]) == 32
    assert {file.name for file in (tmp_path / "data").iterdir()} == {"secret"}


def test_a_file_that_is_made_once_is_whole_or_not_there_and_stays(tmp_path: Path) -> None:
    write_once(tmp_path / "file", b"first")
    write_once(tmp_path / "file", b"second")
    assert (tmp_path / "file").read_bytes() == b"first"


def test_a_damaged_secret_is_refused_and_never_made_anew(tmp_path: Path) -> None:
    # Another one would give every known request another id.
    installation_secret(tmp_path)
    (tmp_path / "secret").write_bytes(b"half")
    with pytest.raises(ConfigurationError, match="backup"):
        installation_secret(tmp_path)
    assert (tmp_path / "secret").read_bytes() == b"half"
