"""An installation's folder, and the claim of the processes that run in it."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from bus.errors import ConfigurationError, Fault, TransientError

_MEND: Final = (
    "Name a folder of your own with --data or BUS_DATA; in a container, one in a volume. "
    "سمِّ مجلدًا تملكه بالخيار ‎--data أو بالمتغير BUS_DATA، وفي الحاوية مجلدًا داخل وحدة تخزين."
)


def has_store(data: Path) -> bool:
    """Whether the bus itself keeps its store in the folder; beside an agency's host alone there is none."""
    return (data / "store.db").is_file()


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
def claimed(data: Path, *, shared: bool = False) -> Iterator[None]:
    """This process alone runs on the folder until the end of the ``with``; TransientError if another one does.

    ConfigurationError where nothing can be written. With ``shared``, others that share it may, too. The claim is a lock
    on an open file, so that it ends with its process, however that dies.
    """
    private(data)
    with _lock(data) as file:
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
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


def private(data: Path) -> None:
    """The folder is for its owner alone; ConfigurationError where it cannot be made so."""
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        data.chmod(0o700)
    except OSError as error:
        raise _unusable(data, error) from error


def _lock(data: Path) -> BinaryIO:
    try:
        return (data / "lock").open("ab")
    except OSError as error:
        raise _unusable(data, error) from error


def _unusable(data: Path, error: OSError) -> ConfigurationError:
    message = f"The folder of the bus cannot be used: {error.strerror}."
    return ConfigurationError((Fault(code="data-unusable", message=message, mend=_MEND, file=str(data)),))
