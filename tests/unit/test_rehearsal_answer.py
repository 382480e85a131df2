"""What an author wishes agencies to answer is read as it is meant, or refused with every fault and its mend."""

from __future__ import annotations

import pytest

from bus.tools.rehearsal_answer import parse_answers
from tests.support.rehearsal_play import SAMPLES, definition


@pytest.mark.parametrize(
    ("answer", "code", "mend"),
    [
        ("nam=refused", "unknown-step", "Did you mean name?"),
        ("name=refusd", "unknown-answer", "Did you mean refused?"),
        ("name=", "unknown-answer", "completed"),
        ("name", "not-an-answer", "Write STEP=WORD"),
        ("name=late", "duration", "Write late:30s or late:2d."),
        ("name=late:soon", "duration", "Write late:30s or late:2d."),
        ("name=silent:2d", "unknown-answer", "Write silent alone."),
        ("name=refused:too_ugly", "unknown-sample", "name_taken"),
        ("name=refused:never", "unknown-sample", "name_taken"),
        ("name/0=lost", "unknown-item", "Write name."),
        ("partners/3=lost", "unknown-item", "partners/0 to partners/2"),
        ("partners/x=lost", "unknown-item", "partners/0 to partners/2"),
        ("undo:register=lost", "no-compensation", "Give it compensate"),
        ("permit=lost", "not-for-a-desk", "Clerks can say: completed, refused, returned, late, silent."),
        ("name=lost,name=silent", "said-twice", "Leave one of the two away."),
    ],
)
def test_an_answer_that_means_nothing_is_a_fault_with_its_mend(answer: str, code: str, mend: str) -> None:
    _, faults = parse_answers([answer], definition(), SAMPLES)
    assert [fault.code for fault in faults] == [code]
    assert mend in faults[0].mend


def test_all_faults_of_all_answers_are_told_at_once() -> None:
    _, faults = parse_answers(["nam=refused,name=refusd", "permit=down:5s"], definition(), SAMPLES)
    assert [fault.code for fault in faults] == ["unknown-step", "unknown-answer", "not-for-a-desk"]
