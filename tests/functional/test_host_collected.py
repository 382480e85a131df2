"""What an adapter hands over of answers that came later: nonsense, or an error, holds up nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bus.adapter import AgencyUnavailableError
from bus.message.envelope import MessageType
from bus.message.identity import reference
from bus.message.reply import Completed, Pending
from tests.support.host_rig import LandOffice, Legacy, Rig


class Odd(LandOffice):
    """A simulator whose `collect` gives anything, or raises it."""

    def __init__(self, gives: Any) -> None:
        super().__init__(Legacy())
        self._gives = gives

    def collect(self) -> Any:
        if isinstance(self._gives, Exception):
            raise self._gives
        return self._gives


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path)
    yield rig
    rig.host.close()
    rig.journal.close()


@pytest.mark.parametrize("gives", [None, 7, [7], [("r", None)], [("r", "text")], [(b"r", b"raw")], [(["r"], b"raw")]])
def test_nonsense_is_told_in_the_log_and_the_host_goes_on(rig: Rig, gives: Any) -> None:
    # Given an adapter that hands over something else than references with raw answers
    rig.host.close()
    rig.simulator = Odd(gives)
    rig.host = rig.new_host()
    rig.start()
    # When it does so again and again, then tasks are done all the same
    for number in range(3):
        rig.now += 1_000
        rig.settle()
        assert [type(one) for one in rig.answers(rig.task(f"plot_{number}"))] == [Completed]


def test_a_stand_in_that_is_down_holds_up_no_answers_of_the_real_system(rig: Rig) -> None:
    # Given a host with both, whose stand-in is down, and a task that the real system answers later
    rig.host.close()
    rig.simulator = Odd(AgencyUnavailableError())
    rig.host = rig.new_host()
    rig.start()
    assert rig.answers(rig.task(do="later")) == [Pending()]
    # When the answer is there
    name = reference(rig.interaction())
    rig.legacy.later = [(name, f'["{name}", "succeed"]'.encode())]
    before = len(rig.heard)
    rig.now += 1_000
    rig.settle()
    # Then it is told
    assert [message.envelope.type for message in rig.heard[before:]].count(MessageType.TASK_COMPLETED) == 1
