"""How a role begins while something it needs is away, refuses, or is wrong: it waits, or ends and names it."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from bus.bootstrap import assemble, assemble_patiently, host_broker, load_workspace, running, store_of
from bus.bootstrap.brokers import try_login
from bus.bootstrap.patience import patiently
from bus.brokers.rabbitmq_link import LoginRefusedError
from bus.catalog import Workspace
from bus.cli.greeting import at_work
from bus.errors import BrokerUnavailableError, ConfigurationError, StoreUnavailableError
from bus.ports import Broker
from tests.conformance.store_postgres_place import PostgresPlace, emptied, place
from tests.support.demo_workspace import REGISTRY, ROOT
from tests.support.proxy import Weather, proxy
from tests.support.waiting import PATIENCE, wait_for
from tests.support.workspaces.copies import copy_of_repository

__all__ = ["emptied", "place"]

SECRET = "hunter2hunter2"  # what must not be told


def workspace(folder: Path, text: str = "", **files: str) -> Workspace:
    """A copy of the repository's with more in its environment, and these files for its secrets."""
    root, _ = copy_of_repository(folder)
    (root / "secrets").mkdir()
    for name, content in files.items():
        (root / "secrets" / name).write_text(content, encoding="utf-8")
    file = root / "env" / "test.yaml"
    file.write_text(f"{file.read_text(encoding='utf-8')}\n{text}", encoding="utf-8")
    return load_workspace(root, "test")


# --- a store that is away ---------------------------------------------------------------------------------------------


def test_a_store_that_comes_back_is_waited_for_and_the_log_says_so(capfd: pytest.CaptureFixture[str]) -> None:
    answers: Iterator[str | Exception] = iter((StoreUnavailableError(), StoreUnavailableError(), "the store"))

    def begin() -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert patiently(begin, 60) == "the store"
    assert capfd.readouterr().err.count("store_unavailable") == 2


def test_a_store_that_stays_away_ends_the_role_after_the_time_that_was_set() -> None:
    def begin() -> str:
        raise StoreUnavailableError

    began = time.monotonic()
    with pytest.raises(StoreUnavailableError):
        patiently(begin, 1)
    assert 1 <= time.monotonic() - began < 10


def test_what_waiting_does_not_mend_ends_it_at_once() -> None:
    tries = []

    def begin() -> str:
        tries.append(1)
        raise ConfigurationError(())

    with pytest.raises(ConfigurationError):
        patiently(begin, 60)
    assert len(tries) == 1


def test_all_that_a_role_waits_for_has_one_time_and_what_was_opened_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a store that is away for a while, then lets itself be opened, and is away again
    class Opened:
        closed = False

        def close(self) -> None:
            self.closed = True

        def save_definition(self, *_: object) -> None:
            raise StoreUnavailableError

    opened, began = Opened(), time.monotonic()

    def open_late(*_: object) -> Opened:
        if time.monotonic() - began < 1.5:
            raise StoreUnavailableError
        return opened

    monkeypatch.setattr("bus.bootstrap.patience.store_of", open_late)
    monkeypatch.setattr("bus.bootstrap.patience.try_login", lambda *_: True)
    read = shared(tmp_path, "postgresql://h/bus")
    # When a role waits for it
    with pytest.raises(StoreUnavailableError):
        assemble_patiently(read, tmp_path, 3)
    # Then it has waited as long as it was told, by and large, and leaves nothing open
    waited = time.monotonic() - began
    assert (3 <= waited < 5, opened.closed) == (True, True), waited


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


@contextmanager
def role(read: Workspace, folder: Path, *more: str) -> Iterator[tuple[subprocess.Popen[bytes], Callable[[], str]]]:
    """A process that keeps time, and what it has said so far."""
    command = [sys.executable, "-m", "bus", "serve", "--workspace", str(read.root), "--env", "test"]
    command += ["--data", str(folder / "data"), "--role", "timekeeper", "--no-simulators", *more]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BUS_")}
    log = folder / "log"
    with log.open("wb") as out, subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=out) as process:
        try:
            yield process, lambda: log.read_text(encoding="utf-8")
        finally:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE)


SHARED = """
broker: {url: 'amqp://127.0.0.1:1/bus', password: {file: secrets/word}}
installation_secret: {file: secrets/installation}
store: {url: {file: secrets/url}, password: {file: secrets/word}}
"""


def shared(folder: Path, url: str) -> Workspace:
    return workspace(folder, SHARED, word=SECRET, installation="ab" * 32, url=url)


def test_a_role_that_starts_before_its_store_goes_on_when_the_store_is_there(
    place: PostgresPlace, tmp_path: Path
) -> None:
    # Given a role whose store cannot be reached yet
    server = place.url.rpartition("@")[2].partition("/")[0]
    with proxy(server) as way:
        way.weather = Weather.BLACK_HOLE
        read = shared(tmp_path, place.url.replace(server, f"127.0.0.1:{way.port}"))
        with role(read, tmp_path, "--lang", "ar") as (process, said):
            wait_for("it says that it waits", lambda: "store_unavailable" in said())
            assert process.poll() is None
            # When the store is there
            way.weather = Weather.FAIR
            # Then it is at work, and says so in the language that was asked for
            wait_for("it is at work", lambda: "قيد العمل" in said())
            assert "at work" not in said()


def test_a_role_whose_store_stays_away_ends_with_the_code_for_trying_again(tmp_path: Path) -> None:
    read = shared(tmp_path, f"postgresql://bus@127.0.0.1:{free_port()}/bus")
    with role(read, tmp_path, "--wait", "1") as (process, said):
        assert process.wait(PATIENCE) == 3
        assert "store-unavailable" in said()


# --- what refuses -----------------------------------------------------------------------------------------------------


@contextmanager
def refusing_server(message: str, sqlstate: str) -> Iterator[int]:
    """Speaks PostgreSQL for as long as it takes to say no."""
    fields = f"SFATAL\0VFATAL\0C{sqlstate}\0M{message}\0\0".encode()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    with connection:
                        # No encryption, where that is asked for first.
                        while connection.recv(1024)[4:8] == struct.pack("!I", 80877103):
                            connection.sendall(b"N")
                        connection.sendall(b"E" + struct.pack("!I", 4 + len(fields)) + fields)

        threading.Thread(target=serve, daemon=True).start()
        yield int(listening.getsockname()[1])


@pytest.mark.parametrize(
    "said", ['password authentication failed for user "bus"', 'no pg_hba.conf entry for host "192.0.2.7"']
)
def test_a_store_that_lets_nobody_in_ends_the_role_and_names_where_its_password_stands(
    tmp_path: Path, said: str
) -> None:
    with refusing_server(said, "28P01") as port:
        read = shared(tmp_path, f"postgresql://bus@127.0.0.1:{port}/bus")
        with pytest.raises(ConfigurationError, match=said.partition(" for ")[0]) as refused:
            store_of(read, tmp_path)
    (fault,) = refused.value.faults
    assert (fault.code, fault.file, fault.line > 0) == ("store-refused", "env/test.yaml", True)
    assert "secrets/word" in fault.message
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("may", ["", "alembic_version", "alembic_version, setting"])
def test_a_store_whose_tables_a_role_may_not_use_ends_it_at_once(
    place: PostgresPlace, tmp_path: Path, may: str
) -> None:
    # Given a login that may do little or nothing in the store
    place.look("CREATE ROLE without_rights LOGIN")
    if may:
        place.look(f"GRANT SELECT ON {may} TO without_rights")
    read = shared(tmp_path, place.url.replace("postgres@", "without_rights@"))
    began = time.monotonic()
    try:
        # When a role starts with it, then it does not wait
        with pytest.raises(ConfigurationError, match="permission denied") as refused:
            assemble_patiently(read, tmp_path, 30)
        assert time.monotonic() - began < 25
    finally:
        place.look("DROP OWNED BY without_rights")
        place.look("DROP ROLE without_rights")
    (fault,) = refused.value.faults
    assert (fault.code, "the rights of the user" in (fault.mend or "")) == ("store-refused", True)


def test_a_store_that_is_just_starting_is_no_refusal(tmp_path: Path) -> None:
    with refusing_server("the database system is starting up", "57P03") as port:
        read = shared(tmp_path, f"postgresql://bus@127.0.0.1:{port}/bus")
        with pytest.raises(StoreUnavailableError, match="starting up"):
            store_of(read, tmp_path)


class Door:
    """A broker that gives these answers to whoever knocks, the last one for ever."""

    def __init__(self, *answers: Exception | None) -> None:
        self._answers = list(answers)
        self.knocks = 0

    def publisher(self) -> Door:
        self.knocks += 1
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if answer is not None:
            raise answer
        return self

    def close(self) -> None:
        """As a publisher."""


def knock(door: Door, read: Workspace) -> bool:
    assert read.env.broker is not None
    return try_login(read, _broker(door), read.env.broker.password)


def _broker(door: Door) -> Broker:
    return door  # type: ignore[return-value]


def test_a_broker_that_lets_nobody_in_ends_the_role_and_one_that_is_away_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    read = shared(tmp_path, "postgresql://h/bus")
    # Given a broker that says no again and again, one that says it while it starts, one that is away, one that is there
    no = LoginRefusedError("The broker does not let the user in.")
    with pytest.raises(ConfigurationError) as refused:
        knock(Door(no), read)
    (fault,) = refused.value.faults
    assert (fault.code, fault.file, fault.line > 0) == ("broker-login-refused", "env/test.yaml", True)
    assert "secrets/word" in fault.message
    assert SECRET not in str(refused.value)
    assert knock(Door(no, None), read)
    assert not knock(away := Door(BrokerUnavailableError()), read)
    assert away.knocks == 1


# --- what is wrong in a secret ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["store", "broker"])
def test_a_refused_address_names_the_file_it_is_read_from_and_never_what_stands_there(
    tmp_path: Path, what: str
) -> None:
    # Given an address that nobody understands, in a file
    bad = f"nothing at all {SECRET}"
    text = SHARED.replace("'amqp://127.0.0.1:1/bus'", "{file: secrets/url}")
    own = f"{REGISTRY}: {{use: simulator, broker_password: {{file: secrets/word}}}}"
    read = workspace(tmp_path, text, word=SECRET, installation="ab" * 32, url=bad)
    file = read.root / "env" / "test.yaml"
    file.write_text(file.read_text(encoding="utf-8").replace(f"{REGISTRY}: {{use: simulator}}", own), encoding="utf-8")
    read = load_workspace(read.root, "test")
    # When it is used
    with pytest.raises(ConfigurationError) as refused:
        store_of(read, tmp_path) if what == "store" else host_broker(read, REGISTRY)
    # Then
    (fault,) = refused.value.faults
    lines = file.read_text(encoding="utf-8").splitlines()
    assert fault.code == f"{what}-url"
    assert fault.file == "env/test.yaml"
    assert lines[fault.line - 1].startswith(f"{what}: ")
    assert "secrets/url" in fault.message
    assert SECRET not in str(refused.value)


def test_a_refused_address_that_stands_in_the_environment_names_its_file(tmp_path: Path) -> None:
    text = SHARED.replace("{url: {file: secrets/url}", "{url: 'postgresql://h/bus?of=nothing'")
    read = workspace(tmp_path, text, word=SECRET, installation="ab" * 32)
    with pytest.raises(ConfigurationError) as refused:
        store_of(read, tmp_path)
    assert [(fault.code, fault.file) for fault in refused.value.faults] == [("store-url", "env/test.yaml")]


# --- all in one process -----------------------------------------------------------------------------------------------


def test_a_host_whose_settings_are_wrong_ends_and_is_shown_while_the_others_serve(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # Given a bus in one process, where one agency's host lacks a secret
    read = workspace(tmp_path)
    file = read.root / "env" / "test.yaml"
    wrong = f"{REGISTRY}: {{use: real, settings: {{database: /nowhere, timeout_s: {{file: secrets/nowhere}}}}}}"
    file.write_text(
        file.read_text(encoding="utf-8").replace(f"{REGISTRY}: {{use: simulator}}", wrong), encoding="utf-8"
    )
    parts = assemble(load_workspace(read.root, "test"), tmp_path / "data")
    store = parts.store

    def journals() -> dict[str, str | None]:
        return {name: row.journal_id for name, row in store.agencies().items()}

    # When it runs
    with running(parts):
        wait_for("the other host is there", lambda: journals().get("tax_authority"))
        wait_for("it is shown", lambda: store.failures(is_open=True, after=0, most=9))
        time.sleep(1.5)
        shown = store.failures(is_open=True, after=0, most=9)
        assert journals().get(REGISTRY) is None
    # Then it was tried once, and the log names what is wrong and where
    assert [(one.agency, one.code, one.times) for one in shown] == [(REGISTRY, "host_misconfigured", 1)]
    said = [line for line in capfd.readouterr().err.splitlines() if "host_misconfigured" in line]
    assert [("secret-missing" in line, '"place":"env/test.yaml:' in line) for line in said] == [(True, True)]


# --- what it says -----------------------------------------------------------------------------------------------------


def test_a_greeting_is_in_both_languages_or_in_the_one_that_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    at_work(None, "relay", "test")
    both = capsys.readouterr().out.splitlines()
    at_work("ar", "relay", "test")
    at_work("en", "relay", "test")
    assert capsys.readouterr().out.splitlines() == both[::-1]
    assert ["at work" in line for line in both] == [True, False]
    assert ["قيد العمل" in line for line in both] == [False, True]
