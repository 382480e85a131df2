"""A host whose clock is wrong is shown to those who run the bus; one whose word was long on its way is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from bus.message.channel import control
from bus.message.instant import HOUR, Milliseconds
from bus.receiver.announcement import Alive, Started, alive_message, started_message
from bus.receiver.row import JournalIdentity
from tests.support.runtime_rig import AGENCIES, OPERATION, SECOND, A, RuntimeRig, runtime

FAST, SLOW = "host_clock_fast", "host_clock_slow"


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[RuntimeRig]:
    with runtime(tmp_path) as made:
        made.admit(*AGENCIES[1:])
        yield made


class Host:
    """A host whose clock is ahead of the bus's by so much. The bus hears nothing of it before the rig settles."""

    def __init__(self, rig: RuntimeRig, ahead: Milliseconds = 0) -> None:
        self._rig = rig
        self.ahead = ahead
        self._start_id = str(uuid4())
        self._journal = JournalIdentity(journal_id=rig.journals[A], seq=9)

    def starts(self) -> None:
        offered = {OPERATION: "0" * 64}
        started = Started(agency=A, start_id=self._start_id, journal=self._journal, operations=offered, versions={})
        self._rig.say(A, started_message(started, id=str(uuid4()), now=self._now()))

    def lives(self) -> None:
        alive = Alive(agency=A, start_id=self._start_id, journal_id=self._journal.journal_id, seq=9)
        self._rig.say(A, alive_message(alive, id=str(uuid4()), now=self._now()))

    def _now(self) -> int:
        return self._rig.store.now() + self.ahead


def shown(rig: RuntimeRig) -> list[tuple[str, str | None, int | None]]:
    return [(failure.code, failure.agency, failure.times) for failure in rig.failures()]


def admitted(rig: RuntimeRig, ahead: Milliseconds = 0) -> Host:
    host = Host(rig, ahead)
    host.starts()
    rig.settle()
    return host


@pytest.mark.parametrize(("ahead", "code"), [(HOUR, FAST), (-HOUR, SLOW)])
def test_a_wrong_clock_is_one_failure_of_its_agency_and_told_no_more_once_it_is_right(
    rig: RuntimeRig, ahead: Milliseconds, code: str
) -> None:
    # Given a host whose clock is wrong
    host = admitted(rig, ahead)
    for _ in range(3):
        rig.pass_time(15 * SECOND)
        host.lives()
        rig.settle()
    # Then one failure says so, and that it goes on
    assert shown(rig) == [(code, A, 3)]
    # And no more once it was put right
    host.ahead = 0
    rig.pass_time(15 * SECOND)
    host.lives()
    rig.settle()
    assert shown(rig) == [(code, A, 3)]


@pytest.mark.parametrize("ahead", [4 * SECOND, -4 * SECOND])
def test_clocks_may_part_by_as_much_as_the_settings_allow(rig: RuntimeRig, ahead: Milliseconds) -> None:
    host = admitted(rig, ahead)
    host.lives()
    rig.settle()
    assert shown(rig) == []


def test_words_that_waited_for_hours_are_no_slow_clock(rig: RuntimeRig) -> None:
    host = admitted(rig)
    for _ in range(3):
        host.lives()
        rig.pass_time(HOUR)
    rig.settle()
    assert shown(rig) == []


def test_an_announcement_that_comes_again_hours_later_is_answered_and_makes_no_slow_clock(rig: RuntimeRig) -> None:
    # Given a host that was taken in, and says that it lives while the bus is away
    host = admitted(rig)
    rig.pass_time(SECOND)
    # When what it announced is brought once more, ahead of what waited meanwhile, all in one batch
    host.starts()
    host.lives()
    rig.pass_time(HOUR)
    rig.settle()
    # And what it said at that time comes alone
    host.ahead = -HOUR
    host.lives()
    rig.settle()
    # Then it began when it was taken in for the first time
    assert shown(rig) == []


def test_a_clock_of_the_bus_that_was_set_back_blames_no_host_that_is_right_now(rig: RuntimeRig) -> None:
    # Given a host that was taken in while the bus's own clock was an hour fast
    rig.set_clock(HOUR)
    host = admitted(rig)
    # When that is put right
    rig.set_clock(-HOUR)
    host.lives()
    rig.settle()
    # Then
    assert shown(rig) == []


def test_a_host_that_announced_itself_often_while_the_bus_was_away_is_answered_once_a_batch(rig: RuntimeRig) -> None:
    # Given announcements of one start that have piled up
    listening = rig.broker.consumer([control(A)], 1000)
    host = Host(rig)
    for _ in range(rig.settings.batch_most):
        host.starts()
    # When the bus hears them
    rig.settle()
    # Then the host is told once
    assert len(listening.collect(1000, 0)) == 1
    listening.close()
