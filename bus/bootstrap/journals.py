"""The journals of agency hosts."""

from __future__ import annotations

import os
from pathlib import Path

from bus.bootstrap.folder import private
from bus.catalog import Workspace, reveal
from bus.journals.sqlite import SqliteJournal
from bus.ports import Journal


def open_journal(data: Path, agency: str) -> SqliteJournal:
    """The journal of an agency's host in the folder."""
    private(data)
    return SqliteJournal(data / "journals" / f"{agency}.db")


def journal_of(workspace: Workspace, data: Path, agency: str) -> Journal:
    """The journal that the environment names for the agency's hosts, else that of the folder."""
    use = workspace.env.agencies[agency].journal
    if use is None:
        return open_journal(data, agency)
    from bus.journals.postgres import PostgresJournal  # noqa: PLC0415  # a host with a file needs no driver

    told = reveal({"url": use.url, "password": use.password}, workspace.root, os.environ)
    return PostgresJournal(told["url"], agency=agency, password=told["password"])
