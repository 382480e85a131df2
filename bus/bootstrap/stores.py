"""The store of an installation."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bus.bootstrap.folder import private
from bus.catalog import DatabaseUse, Workspace, reveal
from bus.catalog.secret import at_its_place, placed
from bus.errors import ConfigurationError, Fault, StoreUnavailableError
from bus.ports import Store
from bus.stores.sqlite import SqliteStore, migrate


def open_store(data: Path) -> SqliteStore:
    """The store in the folder, made or brought up to date if need be; the folder is for its owner alone."""
    private(data)
    migrate(data / "store.db")
    return SqliteStore(data / "store.db")


def store_of(workspace: Workspace, data: Path) -> Store:
    """The store that the environment names, else that of the folder."""
    use = workspace.env.store
    if use is None:
        return open_store(data)
    from bus.stores.postgres import PostgresStore  # noqa: PLC0415  # the embedded bus needs no driver

    with named(workspace, use):
        url, password = address_of(workspace, use)
        return PostgresStore(url, password=password)


def migrate_store(workspace: Workspace, data: Path) -> None:
    """Make the store of the environment, or bring it up to date."""
    use = workspace.env.store
    if use is None:
        open_store(data).close()
        return
    from bus.stores.postgres import migrate as migrate_postgres  # noqa: PLC0415  # the embedded bus needs no driver

    with named(workspace, use):
        url, password = address_of(workspace, use)
        migrate_postgres(url, password=password)


def address_of(workspace: Workspace, use: DatabaseUse) -> tuple[str, str | None]:
    """The address of a database and the password for it; keep the second out of logs."""
    told = reveal({"url": use.url, "password": use.password}, workspace.root, os.environ)
    return told["url"], told["password"]


@contextmanager
def named(workspace: Workspace, use: DatabaseUse) -> Iterator[None]:
    """What is wrong with the address or the login is told with its place; neither is worth another try."""
    from bus.stores.postgres_refusal import is_refusal  # noqa: PLC0415  # the embedded bus needs no driver

    file = f"env/{workspace.env.name}.yaml"
    try:
        with placed(use.url, "store-url", file):
            yield
    except StoreUnavailableError as error:
        if not is_refusal(error):
            raise
        mend = "Check user, password and database of the store, its certificate, whom the server lets in, and"
        mend += " the rights of the user in its tables."
        fault = Fault(code="store-refused", message=str(error), mend=mend)
        raise ConfigurationError((at_its_place(fault, use.password or use.url, file),)) from error
