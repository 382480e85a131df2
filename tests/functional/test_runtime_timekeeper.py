"""Time: nothing expires while the bus cannot hear, nor on a clock that jumped, and nothing spins meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bus.message.channel import replies
from bus.message.envelope import MessageType
from bus.message.reply import Effect, Failed, Need, Returned
from bus.message.text import Text
from bus.process.state import RequestState
from tests.support.runtime_rig import AGENCIES, MINUTE, A, RuntimeRig, runtime

HOUR = 60 * MINUTE


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[RuntimeRig]:
    with runtime(tmp_path) as made:
        made.admit(*AGENCIES)
        yield made


def kinds(rig: RuntimeRig, request: str) -> list[str]:
    return [fact.kind for fact in rig.store.facts(request)]


def settle_others(rig: RuntimeRig) -> None:
    """All agencies but one answer."""
    rig.answer(*(rig.reply(task) for name in AGENCIES[1:] for task in rig.tasks(name)))


def test_a_missing_answer_counts_only_after_a_tick_came_through_its_channel_and_the_margin(rig: RuntimeRig) -> None:
    # Given a task that is not answered within its time
    (request,) = rig.submit("one")
    settle_others(rig)
    rig.pass_time(rig.settings.answer_within)
    # When its channel was not heard since, nothing happens, however late it is
    rig.pass_time(HOUR)
    assert rig.timekeeper.due(rig.store.now()) == []
    # When a tick comes through
    rig.tick()
    # Then it is sent again, if its host is alive
    rig.admit(A)
    assert rig.timekeeper.step() == 1
    assert kinds(rig, request)[-1] == "resent"
    assert rig.timekeeper.step() == 0


def test_a_tick_that_came_through_early_proves_nothing_before_the_margin_is_over(rig: RuntimeRig) -> None:
    (request,) = rig.submit("one")
    settle_others(rig)
    at = rig.step(request).answer_at
    assert at is not None
    rig.pass_time(at - rig.store.now() + 1)
    rig.tick()
    assert rig.timekeeper.due(rig.store.now()) == []
    rig.pass_time(rig.settings.tick_margin)
    rig.admit(A)
    assert [one.request_id for one in rig.timekeeper.due(rig.store.now())] == [request]


def test_a_tick_from_before_the_deadline_proves_nothing(rig: RuntimeRig) -> None:
    rig.tick()
    rig.submit("one")
    rig.pass_time(HOUR)
    assert rig.timekeeper.due(rig.store.now()) == []


def test_a_retry_needs_no_proof(rig: RuntimeRig) -> None:
    # Given a step that is tried again later, and a channel that nobody hears
    rig.submit("one")
    (task,) = rig.tasks(A)
    rig.answer(rig.reply(task, Failed(code="unavailable", effect=Effect.NONE, retryable=True)))
    rig.pass_time(HOUR)
    rig.admit(A)
    # When it is due, then it leaves
    assert rig.timekeeper.step() == 1
    assert [task.envelope.attempt for task in rig.tasks(A)] == [2]


def test_ticks_go_into_every_channel_in_their_rhythm_also_to_paused_agencies(rig: RuntimeRig) -> None:
    # Given an agency that is paused
    before = rig.agency()
    assert rig.store.save_agency(replace(before, paused=True), before)
    # When the timekeeper steps twice, and once more after its interval
    for _ in range(2):
        rig.timekeeper.step()
    assert [rig.broker.depth(replies(name)) for name in AGENCIES] == [1] * 4
    rig.pass_time(rig.settings.tick_every)
    rig.timekeeper.step()
    # Then each channel has had one for each interval, and all are heard
    assert [rig.broker.depth(replies(name)) for name in AGENCIES] == [2] * 4
    rig.settle()
    assert all(rig.agency(name).heard_at is not None for name in AGENCIES)


@pytest.mark.parametrize("jump", [40 * 24 * HOUR, -HOUR])
def test_a_clock_that_jumps_raises_the_alarm_and_ends_nothing_at_first(rig: RuntimeRig, jump: int) -> None:
    # Given a request whose step was returned to the applicant, another that waits for an agency, and ticks
    returned, waiting = rig.submit("returned", "waiting")
    task, _ = rig.tasks(A)
    need = Need(pointer="/note", reason_code="missing", text=Text(en="Missing.", ar="ناقص."))
    rig.answer(rig.reply(task, Returned(needs=(need,))))
    rig.tick()
    before = [rig.request(request).version for request in (returned, waiting)]
    # When somebody sets the clock
    rig.set_clock(jump)
    rig.timekeeper.step()
    rig.settle()
    # Then an operator sees it, and for a while nothing ends
    assert rig.codes() == ["clock_drift"]
    assert [rig.request(request).version for request in (returned, waiting)] == before
    rig.timekeeper.step()
    assert rig.codes() == ["clock_drift"]


def test_after_a_jump_deadlines_go_on_once_a_tick_came_on_the_new_time(rig: RuntimeRig) -> None:
    (request,) = rig.submit("one")
    rig.set_clock(40 * 24 * HOUR)
    rig.timekeeper.step()
    rig.settle()
    rig.pass_time(rig.settings.tick_every + rig.settings.tick_margin)
    assert rig.timekeeper.step() > 0
    assert kinds(rig, request).count("deadline_passed") == 1
    assert rig.request(request).state is RequestState.OPEN


def test_what_was_heard_before_the_clock_was_set_back_proves_nothing_after_it(rig: RuntimeRig) -> None:
    # Given a tick that was heard an hour ahead of what the clock says now
    rig.pass_time(HOUR)
    rig.tick()
    rig.set_clock(-HOUR)
    # When an answer is missing, and no tick came since
    rig.submit("one")
    rig.pass_time(rig.settings.answer_within + rig.settings.tick_margin)
    # Then it is not yet missed
    assert rig.timekeeper.due(rig.store.now()) == []
    # When one comes on the new time
    rig.tick()
    # Then it is
    assert len(rig.timekeeper.due(rig.store.now())) == 4


def test_timers_that_may_not_fire_hide_none_of_those_that_may(tmp_path: Path) -> None:
    # Given more requests than one look takes, whose answers are missing and not known to be
    with runtime(tmp_path) as rig:
        rig.admit(*AGENCIES[1:])
        rig.submit(*(f"r{number}" for number in range(250)))
        rig.sql("UPDATE step SET state = 'dispatched', answer_at = 1 WHERE state IN ('ready', 'dispatched')")
        rig.sql("UPDATE request SET due = 1")
        assert len(rig.store.due(1, 1_000)) == 250
        # and one whose next try is due, the last of all
        rig.admit(A)
        (request,) = rig.submit("last")
        rig.sql(
            "UPDATE step SET state = 'retrying', answer_at = NULL, next_at = 2 WHERE request_key = ? AND step = ?",
            rig.request(request).key,
            A,
        )
        rig.sql("UPDATE request SET due = 2 WHERE id = ?", request)
        # Then it fires
        assert [one.request_id for one in rig.timekeeper.due(rig.store.now())] == [request]


def test_a_timer_that_can_move_nothing_does_not_fire_again_and_again(rig: RuntimeRig) -> None:
    # Given a due timer of a request whose definition is lost
    (request,) = rig.submit("one")
    (task,) = rig.tasks(A)
    rig.answer(rig.reply(task, Failed(code="unavailable", effect=Effect.NONE, retryable=True)))
    rig.sql("UPDATE request SET revision = 'gone' WHERE id = ?", request)
    rig.pass_time(HOUR)
    # When it is time
    assert rig.timekeeper.step() == 0
    # Then it rests until the next tick, and so does the timekeeper
    assert rig.timekeeper.due(rig.store.now()) == []
    rig.pass_time(rig.settings.tick_every)
    rig.sql("UPDATE request SET revision = ? WHERE id = ?", _revision(rig), request)
    rig.admit(A)
    rig.timekeeper.step()
    assert [task.envelope.attempt for task in rig.tasks(A)] == [2]


def _revision(rig: RuntimeRig) -> str:
    (service,) = rig.parts.workspace.services.values()
    return service.revision


def test_a_host_that_is_dead_is_sent_nothing_and_is_not_in_trouble(rig: RuntimeRig) -> None:
    (request,) = rig.submit("one")
    settle_others(rig)
    rig.pass_time(HOUR)
    rig.tick()
    rig.timekeeper.step()
    assert kinds(rig, request)[-1] == "resend_waits"
    assert rig.agency().troubles == 0
    assert [task.envelope.type for task in rig.tasks(A)] == [MessageType.TASK_REQUESTED]


def test_answers_that_stay_away_five_times_open_the_breaker(rig: RuntimeRig) -> None:
    rig.submit("1", "2", "3", "4")
    settle_others(rig)
    for _ in range(2):
        rig.pass_time(HOUR)
        rig.admit(*AGENCIES)
        rig.tick()
        rig.timekeeper.step()
    assert rig.agency().breaker == "open"
