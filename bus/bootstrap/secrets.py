"""The secret of an installation, from which ids and pseudonyms are made."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from bus.bootstrap.folder import private, write_once
from bus.catalog import Workspace, reveal
from bus.errors import ConfigurationError, Fault

_BYTES = 32


def secret_of(workspace: Workspace, data: Path) -> bytes:
    """The installation's secret: the one that the environment names, else that of the folder.

    ConfigurationError where a store is shared and no secret is named: each machine would make one of its own, and
    the same submission would become another request on each.
    """
    env = workspace.env
    if env.installation_secret is not None:
        return _read(workspace)
    if env.store is not None:
        fault = Fault(
            code="installation-secret-missing",
            message="The store is shared, and the installation's secret is not.",
            mend="Make one with `openssl rand -hex 32` in a file, and write installation_secret: {file: <path>}.",
            file=f"env/{env.name}.yaml",
        )
        raise ConfigurationError((fault,))
    return installation_secret(data)


def _read(workspace: Workspace) -> bytes:
    written = workspace.env.installation_secret
    assert written is not None  # noqa: S101  # asked right before
    text = reveal({"secret": written}, workspace.root, os.environ)["secret"]
    try:
        secret = bytes.fromhex(text)
    except ValueError:
        secret = b""
    if len(secret) != _BYTES:
        fault = Fault(
            code="installation-secret-damaged",
            message="The installation's secret is not 64 hexadecimal digits.",
            mend="Put it back from the backup: without it, known requests get other ids.",
            file=written.asked_in,
            line=written.line,
        )
        raise ConfigurationError((fault,))
    return secret


def installation_secret(data: Path) -> bytes:
    """The secret from which ids and pseudonyms are made; made once, part of every backup."""
    private(data)
    file = data / "secret"
    if not file.exists():
        write_once(file, secrets.token_bytes(_BYTES))
    secret = file.read_bytes()
    if len(secret) != _BYTES:
        fault = Fault(
            code="secret-damaged",
            message=f"The installation's secret has {len(secret)} bytes in place of {_BYTES}.",
            mend="Put it back from the backup: without it, known requests get other ids.",
            file=str(file),
        )
        raise ConfigurationError((fault,))
    return secret
