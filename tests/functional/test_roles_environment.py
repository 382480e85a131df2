"""What an environment lacks or says wrongly, and a broker that cannot prove who it is: told with place and mend."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from contextlib import closing, suppress
from pathlib import Path

import pytest

from bus.bootstrap import bus_broker, host_broker, roles_of, secret_of
from bus.brokers.rabbitmq import RabbitBroker
from bus.catalog import Workspace, load_workspace
from bus.errors import BrokerUnavailableError, ConfigurationError
from bus.message.channel import host_user
from tests.support.demo_workspace import REGISTRY
from tests.support.workspaces.copies import copy_of_repository

# --- a broker that cannot prove who it is -----------------------------------------------------------------------------

_AUTHORITY = """
[ca]
default_ca = own
[own]
database = index
serial = serial
new_certs_dir = .
default_md = sha256
policy = any
[any]
commonName = supplied
"""


def expired(folder: Path) -> tuple[Path, Path]:
    """A certificate for localhost that was good for a day, years ago, and its key."""
    (folder / "config").write_text(_AUTHORITY, encoding="ascii")
    (folder / "index").touch()
    (folder / "serial").write_text("01", encoding="ascii")
    (folder / "names").write_text("subjectAltName = DNS:localhost\n", encoding="ascii")
    ask = "req -newkey rsa:2048 -nodes -keyout key.pem -out asked.pem -subj /CN=localhost"
    sign = (
        "ca -batch -selfsign -config config -keyfile key.pem -in asked.pem -out made.pem -notext -extfile names"
        " -startdate 20200101000000Z -enddate 20200102000000Z"
    )
    for command in (ask, sign):
        subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True)
    return folder / "made.pem", folder / "key.pem"


def test_an_expired_certificate_is_told_as_what_it_is_and_at_once(tmp_path: Path) -> None:
    # Given a broker whose certificate has expired
    certificate, key = expired(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            accepted, _ = listening.accept()
            with accepted, suppress(OSError):
                context.wrap_socket(accepted, server_side=True).close()

        threading.Thread(target=serve, daemon=True).start()
        url = f"amqps://localhost:{listening.getsockname()[1]}/bus"
        broker = RabbitBroker(url, user="bus", password="geheim", ca=certificate)
        # When somebody connects
        with closing(broker), pytest.raises(BrokerUnavailableError, match="certificate has expired") as refused:
            broker.publisher()
    # Then a log, which holds no messages, says it too
    assert refused.value.code == "broker-certificate-refused"


# --- what the environment lacks ---------------------------------------------------------------------------------------

_BROKER = "broker: {url: 'amqp://h/bus', password: {env: BUS_WORD}}\n"


def environment(folder: Path, text: str) -> Workspace:
    root, _ = copy_of_repository(folder)
    file = root / "env" / "test.yaml"
    own = f"{REGISTRY}: {{use: simulator, broker_password: {{env: REGISTRY_WORD}}}}"
    there = file.read_text(encoding="utf-8").replace(f"{REGISTRY}: {{use: simulator}}", own)
    assert own in there
    file.write_text(f"{there}\n{text}", encoding="utf-8")
    return load_workspace(root, "test")


@pytest.mark.parametrize(
    ("text", "role", "codes"),
    [
        ("", "gateway", ["broker-missing", "store-missing"]),
        ("", f"agency:{REGISTRY}", ["broker-missing"]),
        (_BROKER, "relay", ["store-missing"]),
        (_BROKER, f"agency:{REGISTRY}", []),
    ],
)
def test_a_role_is_refused_without_what_it_shares_with_the_others(
    tmp_path: Path, text: str, role: str, codes: list[str]
) -> None:
    workspace = environment(tmp_path, text)
    if not codes:
        assert roles_of([role], workspace).agencies == (REGISTRY,)
        return
    with pytest.raises(ConfigurationError) as refused:
        roles_of([role], workspace)
    assert [fault.code for fault in refused.value.faults] == codes


def test_a_shared_store_without_a_shared_secret_is_refused(tmp_path: Path) -> None:
    workspace = environment(tmp_path, f"{_BROKER}store: {{url: 'postgresql://bus@db/bus'}}\n")
    with pytest.raises(ConfigurationError, match="the installation's secret is not"):
        secret_of(workspace, tmp_path / "data")


def test_the_hosts_of_an_agency_reach_the_broker_under_their_own_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUS_WORD", "of the bus")
    monkeypatch.setenv("REGISTRY_WORD", "of the registry")
    workspace = environment(tmp_path, _BROKER)
    seen = []
    for broker in (host_broker(workspace, REGISTRY), bus_broker(workspace)):
        with closing(broker):
            login = broker._connector.login  # type: ignore[attr-defined]  # noqa: SLF001 - what it would say
            seen.append((login.user, login.password))
    assert seen == [(host_user(REGISTRY), "of the registry"), ("bus", "of the bus")]


# --- what an environment says wrongly ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("broker: {url: 'amqp://[::1'}", "not-an-address"),
        ("store: {url: 'postgresql://[db'}", "not-an-address"),
        ("broker: {url: 7}", "not-an-address"),
        ("store: {url: 'postgresql://bus@db/bus?sslmode=require&password=geheim'}", "secret-in-clear"),
        ("store: {url: 'postgresql://bus:geheim@db/bus'}", "secret-in-clear"),
        ("store: {url: 'postgresql://bus:@db/bus'}", "secret-in-clear"),
    ],
)
def test_an_address_that_is_none_or_holds_a_password_is_a_fault_with_its_place(
    tmp_path: Path, text: str, code: str
) -> None:
    root, _ = copy_of_repository(tmp_path)
    file = root / "env" / "test.yaml"
    file.write_text(f"{file.read_text(encoding='utf-8')}\n{text}\n", encoding="utf-8")
    with pytest.raises(ConfigurationError) as refused:
        load_workspace(root, "test")
    found = next(fault for fault in refused.value.faults if fault.code == code)
    assert (found.file, found.line is not None, "geheim" in str(refused.value)) == ("env/test.yaml", True, False)
