"""`bus agency restore`: a journal that was put back gets a new identity, and who audits the bus can see that it did."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from bus.bootstrap import has_store, open_journal, open_store
from bus.cli.restore import restore
from bus.errors import ConfigurationError

AGENCY = "registry"


def _journal_id(data: Path) -> str:
    with closing(open_journal(data, AGENCY)) as journal:
        return journal.identity().journal_id


def test_a_journal_that_was_put_back_is_another_one_and_the_list_of_acts_says_so(tmp_path: Path) -> None:
    open_store(tmp_path).close()
    before = _journal_id(tmp_path)

    ran = CliRunner().invoke(restore, [AGENCY, "--data", str(tmp_path)])

    assert ran.exit_code == 0, ran.output
    assert _journal_id(tmp_path) != before
    assert f"the file {tmp_path / 'journals' / 'registry.db'}" in ran.output
    with closing(open_store(tmp_path)) as store:
        (act,) = store.acts(after=0, most=9)
    assert (act.actor, act.what, act.target) == ("machine", "journal_restored", f"{AGENCY}/{before}")


def test_beside_a_host_without_the_bus_no_store_is_made(tmp_path: Path) -> None:
    before = _journal_id(tmp_path)

    ran = CliRunner().invoke(restore, [AGENCY, "--data", str(tmp_path)])

    assert ran.exit_code == 0, ran.output
    assert _journal_id(tmp_path) != before
    assert not has_store(tmp_path)


def test_a_journal_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    ran = CliRunner().invoke(restore, ["moon", "--data", str(tmp_path)])

    assert ran.exit_code == 1
    assert not (tmp_path / "journals").exists()


@pytest.mark.parametrize("said", [["--env", "prod"], ["--workspace", "."]])
def test_who_names_an_environment_that_is_not_at_hand_does_not_mean_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    # Given an old file, and nobody who says where the journal stands
    monkeypatch.chdir(tmp_path)
    before = _journal_id(tmp_path)

    ran = CliRunner().invoke(restore, [AGENCY, "--data", str(tmp_path), *said])

    assert isinstance(ran.exception, ConfigurationError)
    assert "--workspace" in ran.exception.faults[0].mend
    assert _journal_id(tmp_path) == before


def test_an_environment_named_by_the_machine_counts_as_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BUS_ENV", "prod")
    _journal_id(tmp_path)

    ran = CliRunner().invoke(restore, [AGENCY, "--data", str(tmp_path)])

    assert isinstance(ran.exception, ConfigurationError)


def test_without_a_workspace_the_file_is_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BUS_ENV", raising=False)
    before = _journal_id(tmp_path)

    ran = CliRunner().invoke(restore, [AGENCY, "--data", str(tmp_path)])

    assert ran.exit_code == 0, ran.output
    assert _journal_id(tmp_path) != before
