"""Copying a store in a file while the bus runs on it, and putting a copy in its place while nobody does."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from bus.errors import StoreUnavailableError
from bus.message.instant import Instant
from bus.ports import Act
from bus.stores.sqlite import SqliteStore, migrate

#: What SQLite keeps beside a store.
_BESIDE = ("-wal", "-shm")


def dump(store: Path, into: Path) -> None:
    """One committed state of the store, which goes on being written meanwhile.

    StoreUnavailableError if it cannot be read, or if the copy proves damaged: then the store is, too.
    """
    into.touch(mode=0o600)
    try:
        with (
            closing(sqlite3.connect(f"{store.absolute().as_uri()}?mode=ro", uri=True)) as source,
            closing(sqlite3.connect(into)) as copy,
        ):
            # In one step: it reads one state, and no writer waits for it.
            source.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")
            (wrong,) = copy.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        raise StoreUnavailableError(f"The store {store} cannot be copied: {error}.") from error
    if wrong != "ok":
        raise StoreUnavailableError(
            f"The store {store} is damaged: {wrong}.", code="store-damaged", mend="Restore an older backup."
        )


def make_ready(copy: Path, act: Act) -> None:
    """Bring a copy to the newest schema, and have it say that it was restored."""
    migrate(copy)
    with closing(SqliteStore(copy)) as store:
        store.begin_reconcile(act)
    with closing(sqlite3.connect(copy)) as driver:
        # All of it in the one file that is moved.
        driver.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def put_in_place(copy: Path, store: Path, now: Instant) -> Path | None:
    """Move a copy to where the store is; the old one stays beside it under the name that is returned."""
    old = store.with_name(f"{store.name}.replaced-{now}") if store.exists() else None
    if old is not None:
        # What belongs to the old one goes first: beside the new one it would be read into it.
        for end in _BESIDE:
            if (beside := store.with_name(store.name + end)).exists():
                beside.replace(old.with_name(old.name + end))
        store.replace(old)
    for end in _BESIDE:
        store.with_name(store.name + end).unlink(missing_ok=True)
    copy.replace(store)
    folder = os.open(store.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return old
