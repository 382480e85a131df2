"""Where an installation keeps its store, and how that is backed up and put back."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bus.bootstrap.folder import claimed, has_store, write_once
from bus.bootstrap.secrets import installation_secret, secret_of
from bus.bootstrap.stores import address_of, migrate_store, open_store, store_of
from bus.catalog import DatabaseUse, Workspace, load_workspace
from bus.catalog.document import read_document
from bus.errors import ConfigurationError, Fault
from bus.operations.caller import MACHINE, token_hash
from bus.ports import Act, Store
from bus.stores import sqlite_backup
from bus.stores.backup import SECRET, STORE, Engine, Manifest, unpacked, write_backup

#: How the store, and the token of the machine's own command line, are called in an installation's folder.
_STORE: Final = "store.db"
_TOKEN: Final = "token"  # noqa: S105  # the name of a file


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """Where an installation keeps its store and its secret: in its folder, or where its environment says."""

    data: Path
    #: None where the environment says nothing of either.
    workspace: Workspace | None

    @property
    def database(self) -> DatabaseUse | None:
        """The database of the store; None for a store in the folder."""
        return None if self.workspace is None else self.workspace.env.store

    @property
    def address(self) -> tuple[str, str | None] | None:
        """The address and the password of the database."""
        if self.workspace is None or self.database is None:
            return None
        return address_of(self.workspace, self.database)

    @property
    def engine(self) -> Engine:
        """What the store is kept in."""
        return "sqlite" if self.database is None else "postgresql"

    def open(self) -> Store:
        """The store; ConfigurationError where there is none: a slip must not make a new one."""
        if self.workspace is not None and self.database is not None:
            return store_of(self.workspace, self.data)
        if not has_store(self.data):
            mend = "Name the folder of the bus with --data, or make one with `bus store migrate`."
            raise _refused("no-store", "There is no store.", mend, self.data)
        return open_store(self.data)

    def migrate(self) -> None:
        """Make the store, or bring it up to date."""
        if self.workspace is None:
            open_store(self.data).close()
        else:
            migrate_store(self.workspace, self.data)

    def secret(self) -> bytes:
        """The installation's secret."""
        return installation_secret(self.data) if self.workspace is None else secret_of(self.workspace, self.data)


def keeping(workspace: Path, env: str, data: Path) -> Keeping:
    """Where this installation keeps what it keeps.

    A workspace that says nothing of it is not read: its faults stop nobody from looking after the store.
    """
    file = workspace / "env" / f"{env}.yaml"
    read = load_workspace(workspace.resolve(), env) if file.is_file() and _says_where(file) else None
    return Keeping(data=data.resolve(), workspace=read)


def _says_where(file: Path) -> bool:
    document, faults = read_document(file.name, file.read_bytes())
    named = document.value if isinstance(document.value, dict) else {}
    return bool(faults) or not {"store", "installation_secret"}.isdisjoint(named)


# --- backup -----------------------------------------------------------------------------------------------------------


def back_up(kept: Keeping, file: Path) -> Manifest:
    """Write the store and the secret to the file, while the bus runs; ConfigurationError if the file is there."""
    with closing(kept.open()) as store:
        installation, now = store.installation(), store.now()

    def dump(into: Path) -> None:
        if kept.address is None:
            sqlite_backup.dump(kept.data / _STORE, into)
            return
        from bus.stores import postgres_backup  # noqa: PLC0415  # the embedded bus needs no driver

        url, password = kept.address
        postgres_backup.dump(url, into, password=password)

    return write_backup(file, engine=kept.engine, dump=dump, secret=kept.secret(), installation=installation, now=now)


# --- restore ----------------------------------------------------------------------------------------------------------


def restore(kept: Keeping, file: Path, *, replace: bool = False) -> tuple[Manifest, Path | None]:
    """Put a backup in the place of the store, which then asks before anything else is sent.

    What the backup says of itself, and where the store is that was there before. ConfigurationError, and nothing
    changed, for a backup that is not whole or not of this installation's kind, and, unless ``replace``, where a store
    or another secret is; TransientError while the bus runs.
    """
    with claimed(kept.data), unpacked(file, kept.data) as (manifest, folder):
        if manifest.engine != kept.engine:
            message = f"It is of a store in {manifest.engine}, and this installation keeps its store in {kept.engine}."
            raise _refused("backup-of-another-engine", message, "Name the right workspace and environment.", file)
        secret = (folder / SECRET).read_bytes()
        _refuse_other_secret(kept, secret, replace=replace)
        act = Act(actor=MACHINE, what="store_restored", target="store", reason=f"backup of {manifest.made_at}")
        old = _put_back(kept, folder / STORE[manifest.engine], act, replace=replace)
        if kept.workspace is None or kept.workspace.env.installation_secret is None:
            _write_secret(kept.data, secret)
        _drop_unknown_token(kept)
    return manifest, old


def begin_reconcile(kept: Keeping, *, by: str, reason: str) -> None:
    """Have a store that lost what it had committed ask before anything else is sent, as a restored one does.

    TransientError while the bus runs: its processes have seen an open store, which stays open for them.
    """
    with claimed(kept.data):
        if kept.address is not None:
            from bus.stores import postgres_backup  # noqa: PLC0415  # the embedded bus needs no driver

            url, password = kept.address
            postgres_backup.refuse_in_use(url, password=password, replace=True)
        with closing(kept.open()) as store:
            store.begin_reconcile(Act(actor=by, what="store_went_back", target="store", reason=reason))


def _put_back(kept: Keeping, copy: Path, act: Act, *, replace: bool) -> Path | None:
    if kept.address is None:
        current = kept.data / _STORE
        if current.exists() and not replace:
            mend = "Add --replace to take its place; the store that is there is then kept under another name."
            raise _refused("store-exists", "There is a store already.", mend, current)
        sqlite_backup.make_ready(copy, act)
        return sqlite_backup.put_in_place(copy, current, time.time_ns() // 1_000_000)
    from bus.stores import postgres_backup  # noqa: PLC0415  # the embedded bus needs no driver

    url, password = kept.address
    postgres_backup.refuse_in_use(url, password=password, replace=replace)
    postgres_backup.restore(copy, url, act, password=password)
    return None


def _refuse_other_secret(kept: Keeping, secret: bytes, *, replace: bool) -> None:
    """With another secret the same submission would become another request."""
    named = None if kept.workspace is None else kept.workspace.env.installation_secret
    if named is not None:
        if kept.secret() != secret:
            mend = f"Write the backup's secret there first: tar -xOf FILE {SECRET} | xxd -p -c 64 shows it."
            message = "The environment names another installation secret than that of the backup."
            raise _refused("secret-differs", message, mend, named.asked_in)
        return
    here = kept.data / SECRET
    if here.exists() and here.read_bytes() != secret and not replace:
        mend = "Add --replace if the backup's is the right one."
        raise _refused("secret-differs", "Another installation's secret is here.", mend, here)


def _write_secret(data: Path, secret: bytes) -> None:
    here = data / SECRET
    if here.exists() and here.read_bytes() == secret:
        return
    here.unlink(missing_ok=True)
    write_once(here, secret)


def _drop_unknown_token(kept: Keeping) -> None:
    """The token of this machine may be younger than the backup: then the next start makes another."""
    token = kept.data / _TOKEN
    if not token.is_file():
        return
    with closing(kept.open()) as store:
        if store.token(token_hash(token.read_text(encoding="utf-8").strip())) is None:
            token.unlink()


def _refused(code: str, message: str, mend: str, file: Path | str) -> ConfigurationError:
    return ConfigurationError((Fault(code=code, message=message, mend=mend, file=str(file)),))
