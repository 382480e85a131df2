"""A host that cannot begin is tried again and again: nothing that was made for it in vain is left behind."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bus.bootstrap import hosting, load_workspace
from bus.brokers.kombu import KombuBroker
from bus.catalog import AdapterManifest
from bus.errors import StoreUnavailableError
from tests.support.host_rig import LandOffice, Legacy

ROOT = Path(__file__).parents[2]


class Noted(LandOffice):
    """Remembers whether it was closed."""

    is_closed = False

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Noted]:
    """The adapters that were made."""
    adapters: list[Noted] = []

    def make(_manifest: AdapterManifest, _settings: Mapping[str, Any]) -> Noted:
        adapters.append(Noted(Legacy()))
        return adapters[-1]

    monkeypatch.setattr("bus.bootstrap.host.load_adapter", make)
    return adapters


def test_where_the_journal_cannot_be_used_the_adapter_lets_go_of_its_system(tmp_path: Path, made: list[Noted]) -> None:
    # Given a journal of a newer release
    workspace = load_workspace(ROOT, "test")
    agency = next(iter(workspace.adapters))
    (tmp_path / "journals").mkdir(mode=0o700)
    tmp_path.chmod(0o700)
    with closing(sqlite3.connect(tmp_path / "journals" / f"{agency}.db")) as journal:
        journal.execute("PRAGMA user_version = 99")
    # When its host is to begin
    broker = KombuBroker()
    with pytest.raises(StoreUnavailableError, match="newer version"), hosting(workspace, tmp_path, agency, broker):
        pass
    broker.close()
    # Then nothing that was opened stays open
    assert [adapter.is_closed for adapter in made] == [True]
