"""Certificates for development: made whole, for the right names, and trusted by nobody else; the broker speaks TLS."""

from __future__ import annotations

import os
import re
import shutil
import socket
import ssl
import stat
import subprocess
import threading
from pathlib import Path

import pytest

from bus.bench.services import RabbitNode
from bus.bench.services.ports import free_ports
from bus.bench.services.rabbit_programs import find
from bus.cli import main
from tests.functional.test_topology import workspace

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "topology.md"


def make(folder: Path, *names: str) -> subprocess.CompletedProcess[str]:
    program = ROOT / "scripts" / "make-development-ca"
    return subprocess.run([program, folder, *names], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls") / "made"
    done = make(folder, "rabbit-1", "rabbit-2.gov.example", "10.0.0.7")
    assert done.returncode == 0, done.stderr
    return folder


def shake_hands(folder: Path, server: str, name: str, authority: Path) -> str | None:
    """The version of TLS on which a client that looks for ``name`` and the server agree; None where they do not."""
    ours, theirs = socket.socketpair()
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(folder / f"{server}.pem", folder / f"{server}.key")
    asking = ssl.create_default_context(cafile=str(authority))
    asking.verify_flags |= ssl.VERIFY_X509_STRICT

    def serve() -> None:
        try:
            with serving.wrap_socket(theirs, server_side=True) as served:
                served.recv(1)
        except OSError:
            return

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with asking.wrap_socket(ours, server_hostname=name) as asked:
            return asked.version()
    except ssl.SSLError:
        return None
    finally:
        ours.close()
        thread.join()
        theirs.close()


@pytest.mark.parametrize("name", ["rabbit-2.gov.example", "localhost", "127.0.0.1", "::1"])
def test_a_client_who_trusts_the_authority_trusts_the_server_under_its_names(made: Path, name: str) -> None:
    assert shake_hands(made, "rabbit-2.gov.example", name, made / "ca.pem") == "TLSv1.3"


def test_a_server_may_be_called_by_its_address(made: Path) -> None:
    assert shake_hands(made, "10.0.0.7", "10.0.0.7", made / "ca.pem") == "TLSv1.3"


@pytest.mark.parametrize("name", ["rabbit-1", "gov.example", "x.rabbit-2.gov.example", "10.0.0.7"])
def test_a_certificate_is_good_for_no_other_server(made: Path, name: str) -> None:
    assert shake_hands(made, "rabbit-2.gov.example", name, made / "ca.pem") is None


def test_who_trusts_another_authority_trusts_none_of_it(made: Path, tmp_path: Path) -> None:
    assert make(tmp_path / "other", "rabbit-1").returncode == 0

    assert shake_hands(made, "rabbit-1", "rabbit-1", tmp_path / "other" / "ca.pem") is None


def test_keys_are_for_their_owner_alone_and_the_key_of_the_authority_is_gone(made: Path) -> None:
    names = sorted(file.name for file in made.iterdir())
    keys = [file for file in made.iterdir() if file.suffix == ".key"]

    servers = ["10.0.0.7", "rabbit-1", "rabbit-2.gov.example"]
    assert names == sorted(["ca.pem", *(f"{one}.{kind}" for one in servers for kind in ("key", "pem"))])
    assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}


def test_what_is_there_is_not_overwritten(made: Path) -> None:
    before = {file: file.read_bytes() for file in made.iterdir()}

    done = make(made, "rabbit-1")

    assert done.returncode == 2
    assert "not overwritten" in done.stderr
    assert {file: file.read_bytes() for file in made.iterdir()} == before


@pytest.mark.parametrize(
    "names", [(), ("ca",), ("../x",), ("-rf",), ("a b",), ("a\nDNS:evil",), ("a,DNS:evil",), ("",)]
)
def test_a_name_that_is_none_makes_nothing(tmp_path: Path, names: tuple[str, ...]) -> None:
    done = make(tmp_path / "made", *names)

    assert done.returncode == 2
    assert "make-development-ca:" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_where_the_work_fails_nothing_is_left(tmp_path: Path) -> None:
    # Given an openssl that makes the authority and then no certificate
    tools = tmp_path / "tools"
    tools.mkdir()
    real = shutil.which("openssl")
    (tools / "openssl").write_text(f'#!/bin/sh\n[ "$1" != x509 ] || exit 1\nexec {real} "$@"\n', encoding="utf-8")
    (tools / "openssl").chmod(0o755)
    program = ROOT / "scripts" / "make-development-ca"
    path = f"{tools}:{os.environ['PATH']}"

    done = subprocess.run(
        [program, tmp_path / "made", "a"], capture_output=True, check=False, env={**os.environ, "PATH": path}
    )

    assert done.returncode != 0
    assert [file.name for file in tmp_path.iterdir()] == ["tools"]


def test_topology_is_applied_and_checked_over_tls_by_who_trusts_the_authority(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Given a RabbitMQ that is set up with the lines of the page, and its management over TLS
    folder = tmp_path / "rabbit"
    tls, management = free_ports(2)
    inside = find("4").folder_inside or folder
    written = re.findall(r"^((?:listeners|ssl_options)\S+) = (.+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    settings = {name: value.replace("/etc/rabbitmq/tls", str(inside)) for name, value in written}
    assert sorted(settings) == ["listeners.ssl.default", "listeners.tcp", "ssl_options.certfile", "ssl_options.keyfile"]
    del settings["listeners.tcp"]  # by which a node for tests is known to stand
    settings["listeners.ssl.default"] = str(tls)
    settings["management.ssl.port"] = str(management)
    settings["management.ssl.certfile"] = settings["ssl_options.certfile"]
    settings["management.ssl.keyfile"] = settings["ssl_options.keyfile"]
    folder.mkdir()
    for kind in ("pem", "key"):
        shutil.copy(made / f"rabbit-1.{kind}", folder)
        (folder / f"rabbit-1.{kind}").chmod(0o644)  # RabbitMQ runs as a user of its own
    with RabbitNode(folder, settings=settings):
        # When the workspace names the authority
        access = (
            f"  management: {{url: 'https://localhost:{management}', user: guest, password: {{file: secrets/ops}}}}\n"
        )
        root = workspace(tmp_path, f"amqps://localhost:{tls}/gov", f"  ca: secrets/ca.pem\n{access}")
        shutil.copy(made / "ca.pem", root / "secrets")
        verbs = [main(["topology", verb, "--workspace", str(root)]) for verb in ("apply", "check")]
        # Then everything is made and found over TLS
        assert verbs == [0, 0], capsys.readouterr().err
        # And an authority that did not vouch for it is not enough
        assert make(tmp_path / "other", "rabbit-1").returncode == 0
        shutil.copy(tmp_path / "other" / "ca.pem", root / "secrets")
        assert main(["topology", "check", "--workspace", str(root)]) == 3
