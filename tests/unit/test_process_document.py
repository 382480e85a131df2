"""The page of states says what the table says."""

from __future__ import annotations

from pathlib import Path

import pytest

from bus.process import table
from bus.process.reply_verb import VERBS as REPLY_VERBS
from bus.process.timer import VERBS as TIMER_VERBS
from bus.tools.document import VERBS, main, stale, states

ROOT = Path(__file__).parents[2]


def test_the_committed_page_of_states_is_fresh() -> None:
    assert stale(ROOT) == (), "run make docs"


def test_a_stale_page_is_named_and_then_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", str(tmp_path), "--check"]) == 1
    assert "docs/states.md" in capsys.readouterr().out
    assert main(["--root", str(tmp_path)]) == 0
    assert main(["--root", str(tmp_path), "--check"]) == 0
    assert (tmp_path / "docs/states.md").read_text(encoding="utf-8") == states()


def test_every_verb_of_the_tables_is_explained_and_none_besides() -> None:
    tables = [value for name, value in vars(table).items() if name.isupper() and name != "CODES"]
    used = {verb for cells in tables for verb in cells.values()}
    used |= {verb for verbs in table.CODES.values() for verb in verbs}
    assert used == set(VERBS)


def test_every_verb_of_replies_and_timers_is_done_by_some_cell() -> None:
    replies = [table.REPLIES_OPEN, table.REPLIES_CLOSING, table.REPLIES_COMPENSATION]
    replies += [table.REPLIES_OLDER, table.REPLIES_OLDER_COMPENSATION]
    named = {verb for cells in replies for verb in cells.values()} - {"older"}
    named |= {verb for verbs in table.CODES.values() for verb in verbs} | {"void_edit"}
    assert named == set(REPLY_VERBS)
    timers = [table.TIMERS_OPEN, table.TIMERS_CLOSING, table.TIMERS_COMPENSATION]
    assert {verb for cells in timers for verb in cells.values()} == set(TIMER_VERBS)
