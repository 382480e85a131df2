"""A backup of an installation in one file: the store, the installation's secret, and what proves both whole.

The file is a tar archive. Its first member, ``manifest.json``, names the others with their sizes and SHA-256.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, Any, Final, Literal, TypeAlias

import orjson

from bus.errors import ConfigurationError, Fault, StoreUnavailableError
from bus.message.instant import Instant, to_rfc3339

Engine: TypeAlias = Literal["sqlite", "postgresql"]

MANIFEST: Final = "manifest.json"
SECRET: Final = "secret"  # noqa: S105  # the name of a member
#: How the store is called in a backup, by engine.
STORE: Final[Mapping[Engine, str]] = {"sqlite": "store.db", "postgresql": "store.dump"}
_FORMAT: Final = 1
_CHUNK: Final = 1 << 20
_MOST_MANIFEST: Final = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One member besides the manifest."""

    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a backup says of itself."""

    engine: Engine
    #: RFC 3339.
    made_at: str
    #: The id of the store.
    installation: str
    parts: Mapping[str, Part]


def write_backup(
    file: Path, *, engine: Engine, dump: Callable[[Path], None], secret: bytes, installation: str, now: Instant
) -> Manifest:
    """Make the backup, whole or not at all, for its owner's eyes alone; ``dump`` writes the store to a path.

    ConfigurationError if the file is there already or its folder is not; StoreUnavailableError if the disk is full.
    """
    _refuse_place(file)
    try:
        with tempfile.TemporaryDirectory(dir=file.parent, prefix=f".{file.name}-") as folder:
            (Path(folder) / SECRET).touch(mode=0o600)
            (Path(folder) / SECRET).write_bytes(secret)
            dump(Path(folder) / STORE[engine])
            parts = {name: _part(Path(folder) / name) for name in (SECRET, STORE[engine])}
            manifest = Manifest(engine=engine, made_at=to_rfc3339(now), installation=installation, parts=parts)
            _pack(Path(folder), manifest)
            # Never over a file that came meanwhile.
            os.link(Path(folder) / "backup", file)
            _flush(file.parent)
    except FileExistsError as error:
        raise ConfigurationError((_exists(file),)) from error
    except OSError as error:
        raise StoreUnavailableError(
            f"The backup {file} cannot be written: {error.strerror}.", mend="Look at the disk's space and rights."
        ) from error
    return manifest


@contextmanager
def unpacked(file: Path, beside: Path) -> Iterator[tuple[Manifest, Path]]:
    """The members of a backup in a folder below ``beside`` that is gone afterwards, once all of them proved whole.

    ConfigurationError names what is missing, truncated or altered; StoreUnavailableError if the disk is full.
    """
    try:
        archive = tarfile.open(file, "r:")  # noqa: SIM115  # closed right below, by its own with
    except (OSError, tarfile.TarError) as error:
        raise _damaged(file, f"It cannot be read: {error}.") from error
    with archive, tempfile.TemporaryDirectory(dir=beside, prefix=".restore-") as folder:
        manifest = _manifest(file, archive)
        for name, part in manifest.parts.items():
            _extract(file, archive, name, part, Path(folder) / name)
        yield manifest, Path(folder)


# --- writing --------------------------------------------------------------------------------------------------------


def _refuse_place(file: Path) -> None:
    if file.exists():
        raise ConfigurationError((_exists(file),))
    if not file.parent.is_dir():
        fault = Fault(
            code="no-folder",
            message="The folder for the backup is not there.",
            mend="Make it, or name another file.",
            file=str(file),
        )
        raise ConfigurationError((fault,))


def _exists(file: Path) -> Fault:
    mend = "Name another file: no backup is ever overwritten."
    return Fault(code="backup-exists", message="This file is there already.", mend=mend, file=str(file))


def _part(file: Path) -> Part:
    with file.open("rb") as content:
        return Part(sha256=hashlib.file_digest(content, "sha256").hexdigest(), bytes=file.stat().st_size)


def _pack(folder: Path, manifest: Manifest) -> None:
    parts = {name: {"sha256": part.sha256, "bytes": part.bytes} for name, part in manifest.parts.items()}
    told = {"format": _FORMAT, "engine": manifest.engine, "made_at": manifest.made_at}
    body = orjson.dumps(told | {"installation": manifest.installation, "parts": parts})
    backup = folder / "backup"
    backup.touch(mode=0o600)
    with backup.open("wb") as out:
        with tarfile.open(fileobj=out, mode="w:", format=tarfile.PAX_FORMAT) as archive:
            archive.addfile(_member(MANIFEST, len(body)), BytesIO(body))
            for name, part in manifest.parts.items():
                with (folder / name).open("rb") as content:
                    archive.addfile(_member(name, part.bytes), content)
        out.flush()
        os.fsync(out.fileno())


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o600
    return member


def _flush(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


# --- reading --------------------------------------------------------------------------------------------------------


def _manifest(file: Path, archive: tarfile.TarFile) -> Manifest:
    try:
        told = orjson.loads(_content(file, archive, MANIFEST).read(_MOST_MANIFEST))
        version = told["format"]
        manifest = Manifest(
            engine=told["engine"],
            made_at=told["made_at"],
            installation=told["installation"],
            parts={name: Part(**part) for name, part in told["parts"].items()},
        )
        expected = {SECRET, STORE[manifest.engine]}
    except (OSError, tarfile.TarError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise _damaged(file, f"Its member {MANIFEST} cannot be read: {error!r}.") from error
    if version != _FORMAT:
        raise _damaged(file, f"It has format {version}; this release reads format {_FORMAT}.")
    if set(manifest.parts) != expected:
        raise _damaged(file, f"Its members are {sorted(manifest.parts)} in place of {sorted(expected)}.")
    return manifest


def _content(file: Path, archive: tarfile.TarFile, name: str) -> IO[bytes]:
    # One after the other: asked by name, it would read all of them first, and blame the first for the last.
    member = archive.next()
    content = archive.extractfile(member) if member is not None and member.name == name else None
    if content is None:
        raise _damaged(file, f"Its member {name} is missing.")
    return content


def _extract(file: Path, archive: tarfile.TarFile, name: str, part: Part, into: Path) -> None:
    into.touch(mode=0o600)
    digest, size = hashlib.sha256(), 0
    try:
        with _content(file, archive, name) as content, into.open("wb") as out:
            while chunk := content.read(_CHUNK):
                out.write(chunk)
                digest.update(chunk)
                size += len(chunk)
            out.flush()
            os.fsync(out.fileno())
    except (tarfile.TarError, EOFError) as error:
        raise _damaged(file, f"Its member {name} is truncated.") from error
    except OSError as error:
        raise StoreUnavailableError(
            f"The backup {file} cannot be unpacked in {into.parent.parent}: {error.strerror}.",
            mend="Nothing was changed. Look at the disk's space, or unpack it elsewhere with --data.",
        ) from error
    if size != part.bytes:
        raise _damaged(file, f"Its member {name} has {size} bytes in place of {part.bytes}: it is truncated.")
    if digest.hexdigest() != part.sha256:
        raise _damaged(file, f"Its member {name} was altered: its SHA-256 is another.")


def _damaged(file: Path, what: str) -> ConfigurationError:
    mend: Any = "Nothing was changed. Use another copy of it, or an older backup."
    return ConfigurationError((Fault(code="backup-damaged", message=what, mend=mend, file=str(file)),))
