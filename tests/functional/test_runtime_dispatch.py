"""The dispatcher: what holds a task back, whose clock rests meanwhile, and that one agency's trouble is its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bus.message.reply import Effect, Failed
from bus.process.state import StepState
from bus.runtime.dispatcher import Dispatcher
from bus.runtime.process_manager import ProcessManager
from tests.support.runtime_rig import AGENCIES, MINUTE, OPERATION, A, B, RuntimeRig, runtime

AWAY = Failed(code="unavailable", effect=Effect.NONE, retryable=True)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[RuntimeRig]:
    with runtime(tmp_path) as made:
        yield made


def pause(rig: RuntimeRig, *, paused: bool) -> None:
    before = rig.agency()
    assert rig.store.save_agency(replace(before, paused=paused), before)


def states(rig: RuntimeRig, requests: list[str], name: str = A) -> list[str]:
    return [rig.step(request, name).state.value for request in requests]


def restarted(rig: RuntimeRig) -> ProcessManager:
    """The process manager of a process that begins anew on the same store."""
    dispatcher = Dispatcher(rig.store, rig.settings)
    dispatcher.look(rig.store.now())
    tools = rig.parts.tools
    return ProcessManager(store=rig.store, publisher=rig.broker.publisher, tools=tools, dispatcher=dispatcher)


def test_a_task_waits_for_a_host_and_leaves_once_one_is_admitted(rig: RuntimeRig) -> None:
    # Given a request, and hosts for all agencies but one
    rig.admit(*AGENCIES[1:])
    requests = rig.submit("one")
    assert (states(rig, requests), states(rig, requests, B)) == (["ready"], ["dispatched"])
    # When that one is admitted
    rig.admit(A)
    rig.manager.dispatch_waiting([A])
    # Then its task leaves, for the first time
    assert [task.envelope.attempt for task in rig.tasks(A)] == [1]


def test_a_host_that_went_silent_gets_nothing_more(rig: RuntimeRig) -> None:
    rig.admit(*AGENCIES)
    rig.pass_time(rig.settings.dead_after)
    assert states(rig, rig.submit("one")) == ["ready"]


def test_behind_a_pause_the_clock_stands_still_and_no_attempt_is_used(rig: RuntimeRig) -> None:
    # Given a paused agency and a request for it
    rig.admit(*AGENCIES)
    pause(rig, paused=True)
    (request,) = rig.submit("one")
    held = rig.step(request)
    assert (held.state, held.expires_at, held.deadline_at) == (StepState.READY, None, None)
    # When an hour later the pause is over
    rig.pass_time(60 * MINUTE)
    rig.admit(A)
    pause(rig, paused=False)
    rig.manager.dispatch_waiting([A])
    # Then the task leaves with all the time that it had
    sent = rig.step(request)
    assert (sent.state, sent.attempt, sent.clock_left) == (StepState.DISPATCHED, 1, None)
    assert sent.expires_at is not None
    assert held.clock_left is not None
    assert sent.expires_at - rig.store.now() == pytest.approx(held.clock_left, abs=5_000)


def test_a_pause_stops_the_clocks_of_those_that_wait_already(rig: RuntimeRig) -> None:
    # Given more ready steps than one look takes, which wait for a host
    requests = rig.submit(*(f"r{number}" for number in range(6)))
    rig.admit(A, operations={})
    pause(rig, paused=True)
    # When the dispatcher looks
    rig.manager.dispatch_waiting([A])
    rig.manager.dispatch_waiting([A])
    # Then all of them rest
    assert [rig.step(request).expires_at for request in requests] == [None] * 6


def test_no_more_than_the_window_is_in_flight_and_each_answer_makes_room(rig: RuntimeRig) -> None:
    # Given a window of four and six requests
    rig.admit(*AGENCIES)
    requests = rig.submit(*(f"r{number}" for number in range(6)))
    assert states(rig, requests).count("dispatched") == 4
    # When two are answered
    first, second, *_ = rig.tasks(A)
    rig.answer(rig.reply(first), rig.reply(second))
    # Then the two that waited leave in the same transaction
    assert states(rig, requests).count("ready") == 0
    assert len(rig.tasks(A)) == 2


def test_what_is_in_flight_counts_also_after_a_restart(rig: RuntimeRig) -> None:
    # Given a full window, and a process that begins anew on the same store
    rig.admit(*AGENCIES)
    rig.submit(*(f"r{number}" for number in range(4)))
    anew = restarted(rig)
    # When another request comes
    anew.decide([rig.incoming("another")])
    # Then it waits
    assert rig.store.counts(StepState.READY)[A] == 1


def test_an_operation_that_nobody_offers_is_one_failure_however_many_wait_for_it(rig: RuntimeRig) -> None:
    # Given a host without the operation
    rig.admit(*AGENCIES[1:])
    rig.admit(A, operations={"other.do.v1": "0" * 64})
    # When five requests want it, at once and one after the other, and the dispatcher looks again
    rig.submit("one", "two", "three")
    rig.submit("four")
    rig.submit("five")
    rig.manager.dispatch_waiting([A])
    # Then there is one failure, also for a process that begins anew
    assert [failure.cause for failure in rig.failures()] == [f"{A}/{OPERATION}/not_offered"]
    restarted(rig).dispatch_waiting([A])
    assert rig.codes() == ["not_offered"]
    # When a host offers it at last, everything leaves
    rig.admit(A)
    rig.manager.dispatch_waiting([A])
    assert len(rig.tasks(A)) == 4


def test_five_troubles_open_the_breaker_and_exactly_one_probe_follows(rig: RuntimeRig) -> None:
    # Given an agency whose system is away
    rig.admit(*AGENCIES)
    requests = rig.submit(*(f"r{number}" for number in range(4)))
    rig.answer(*(rig.reply(task, AWAY) for task in rig.tasks(A)))
    requests += rig.submit("fifth")
    rig.answer(*(rig.reply(task, AWAY) for task in rig.tasks(A)))
    assert rig.agency().breaker == "open"
    # When more wait than one, and the time of the probe has come
    waiting = rig.submit("sixth", "seventh")
    assert states(rig, waiting) == ["ready", "ready"]
    rig.pass_time(rig.settings.breaker_probe_first)
    rig.admit(A)
    rig.manager.dispatch_waiting([A])
    rig.manager.dispatch_waiting([A])
    # Then one of them leaves
    (probe,) = rig.tasks(A)
    assert rig.agency().breaker == "probing"
    # When it is answered
    rig.answer(rig.reply(probe))
    # Then all others follow
    assert rig.agency().breaker == "closed"
    assert len(rig.tasks(A)) == 1


def test_a_task_that_breaks_its_contract_waits_for_a_person_and_its_neighbours_leave(rig: RuntimeRig) -> None:
    # Given a request whose data no task can be made of, beside a sound one
    rig.admit(*AGENCIES)
    broken, sound = rig.incoming("broken", {"id": 7, "note": "x"}), rig.incoming("sound")
    rig.decide(broken, sound)
    # Then nothing of the one is sent, all of it is shown, and the other is on its way
    assert states(rig, [broken.request_id, sound.request_id]) == ["parked", "dispatched"]
    assert rig.codes() == ["input_invalid"] * 4
    assert [task.envelope.correlationid for task in rig.tasks(A)] == [sound.request_id]


def test_a_task_whose_bytes_are_lost_waits_for_a_person_and_its_neighbours_leave(rig: RuntimeRig) -> None:
    # Given two requests that wait for a host, and the store has lost the data of one
    lost, sound = rig.submit("lost", "sound")
    rig.sql("UPDATE payload SET bytes = x'5b5d' WHERE id = ?", rig.request(lost).data_id)
    # When the host comes
    rig.admit(A)
    rig.manager.dispatch_waiting([A])
    # Then
    assert states(rig, [lost, sound]) == ["parked", "dispatched"]
    assert rig.codes() == ["input_invalid"]
