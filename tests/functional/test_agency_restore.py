"""`bus agency restore`: a journal that was put back gets a new identity, and who audits the bus can see that it did."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from click.testing import CliRunner

from bus.bootstrap import has_store, open_journal, open_store
from bus.cli.restore import restore

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
