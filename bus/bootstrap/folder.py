"""An installation's folder: its store, journals, secret, and the claim of the one process that runs it."""

from __future__ import annotations

import fcntl
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bus.errors import ConfigurationError, Fault, TransientError
from bus.journals.sqlite import SqliteJournal
from bus.stores.sqlite import SqliteStore, migrate

_SECRET_BYTES = 32


def open_store(data: Path) -> SqliteStore:
    """The store of an installation, made or brought up to date if need be; the folder is for its owner alone."""
    _private(data)
    migrate(data / "store.db")
    return SqliteStore(data / "store.db")


def has_store(data: Path) -> bool:
    """Whether the bus itself keeps its store in the folder; beside an agency's host alone there is none."""
    return (data / "store.db").is_file()


def open_journal(data: Path, agency: str) -> SqliteJournal:
    """The journal of an agency's host."""
    _private(data)
    return SqliteJournal(data / "journals" / f"{agency}.db")


def installation_secret(data: Path) -> bytes:
    """The secret from which ids and pseudonyms are made; made once, part of every backup."""
    _private(data)
    file = data / "secret"
    if not file.exists():
        write_once(file, secrets.token_bytes(_SECRET_BYTES))
    secret = file.read_bytes()
    if len(secret) != _SECRET_BYTES:
        fault = Fault(
            code="secret-damaged",
            message=f"The installation's secret has {len(secret)} bytes in place of {_SECRET_BYTES}.",
            mend="Put it back from the backup: without it, known requests get other ids.",
            file=str(file),
        )
        raise ConfigurationError((fault,))
    return secret


def write_once(file: Path, content: bytes) -> None:
    """Make a file that only its owner may read, whole or not at all; one that is there already stays as it is."""
    with tempfile.NamedTemporaryFile(dir=file.parent, prefix=f".{file.name}-") as new:
        new.write(content)
        new.flush()
        os.fsync(new.fileno())
        try:
            os.link(new.name, file)
        except FileExistsError:
            return


@contextmanager
def claimed(data: Path) -> Iterator[None]:
    """This process alone runs the installation until the end of the ``with``; TransientError if another one does.

    The claim is a lock on an open file, so that it ends with its process, however that dies.
    """
    _private(data)
    with (data / "lock").open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise TransientError(
                f"Another `bus serve` runs on {data}.",
                code="data-in-use",
                mend="Stop it first, or give this one a folder of its own with --data.",
            ) from error
        yield


def simulator_folder(data: Path, agency: str) -> Path:
    """Where the simulator of an agency keeps its system, its ledger and its orders."""
    return data / "simulators" / agency


def _private(data: Path) -> None:
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    data.chmod(0o700)
