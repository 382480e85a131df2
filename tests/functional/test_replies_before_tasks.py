"""A store that went back hears answers to what it has yet to ask; when it asks, the same comes again, and counts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bus.message.envelope import Message
from bus.message.identity import interaction_id
from bus.message.reply import Completed, Effect, Failed, Need, Refused, Reply, Returned, Unknown
from bus.message.text import Text
from bus.process.state import Kind
from bus.runtime.dispatcher import Dispatcher
from tests.support.runtime_rig import MINUTE, A, B, RuntimeRig, runtime

TEXT = Text(en="Not so.", ar="ليس كذلك.")
NOT_DONE = Failed(code="not_now", effect=Effect.NONE, retryable=True)
RETURNED = Returned(needs=[Need(pointer="/id", reason_code="missing", text=TEXT)])


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[RuntimeRig]:
    """One agency has a host; what is wanted of the other waits for one."""
    with runtime(tmp_path) as made:
        made.admit(A)
        yield made


def task_to_come(rig: RuntimeRig, request: str, attempt: int = 1) -> Message:
    """The task that the other agency has had, and that this store has yet to send."""
    (task,) = rig.tasks(A)
    identity = interaction_id(request, B, None, Kind.TASK, 0)
    return replace(task, envelope=replace(task.envelope, step=B, provider=B, interactionid=identity, attempt=attempt))


def send_what_waits(rig: RuntimeRig) -> None:
    rig.admit(B)
    dispatcher: Dispatcher = rig.parts.dispatcher
    dispatcher.look(rig.store.now())
    rig.manager.dispatch_waiting(dispatcher.backlog())
    assert len(rig.tasks(B)) == 1
    assert state(rig) == "dispatched"


def state(rig: RuntimeRig) -> str:
    (request,) = rig.store.alive_requests(0, 9)
    return rig.step(request, B).state.value


@pytest.mark.parametrize(
    ("said", "then"),
    [
        (Completed(data={"id": 7}), "parked"),
        (None, "succeeded"),
        (Refused(reason_code="no", text=TEXT), "refused"),
        (RETURNED, "returned"),
        (NOT_DONE, "retrying"),
    ],
    ids=["unreadable", "completed", "refused", "returned", "failed"],
)
@pytest.mark.parametrize("attempt", [1, 2])
def test_an_answer_that_came_before_its_task_was_sent_counts_when_it_comes_again(
    rig: RuntimeRig, said: Reply | None, then: str, attempt: int
) -> None:
    # Given an answer that this store cannot know of, which is shown to a person once, however often it comes
    (request,) = rig.submit("one")
    answer = rig.reply(task_to_come(rig, request, attempt), said)
    rig.answer(answer)
    rig.answer(answer)
    assert (state(rig), rig.codes()) == ("ready", ["early"])
    # When the task is sent, and the journal of the host gives the same answer
    send_what_waits(rig)
    rig.answer(answer)
    # Then it counts, and once
    assert rig.step(request, B).state == then
    version = rig.request(request).version
    rig.answer(answer, answer)
    assert rig.request(request).version == version


def test_an_answer_that_came_while_its_attempt_waited_for_its_time_counts_when_it_comes_again(rig: RuntimeRig) -> None:
    # Given a second attempt that waits for its time, and an answer to it
    (request,) = rig.submit("one")
    first = task_to_come(rig, request)
    send_what_waits(rig)
    rig.answer(rig.reply(first, NOT_DONE))
    assert rig.step(request, B).attempt == 2
    answer = rig.reply(replace(first, envelope=replace(first.envelope, attempt=2)), NOT_DONE)
    rig.answer(answer)
    assert (rig.step(request, B).state, rig.step(request, B).attempt) == ("retrying", 2)
    # When that attempt is sent, and the same comes
    rig.pass_time(MINUTE)
    rig.admit(B)
    rig.decide(*rig.timekeeper.due(rig.store.now()))
    assert rig.step(request, B).state == "dispatched"
    rig.answer(answer)
    # Then it was not done this time either
    assert (rig.step(request, B).state, rig.step(request, B).attempt) == ("retrying", 3)


def test_one_answer_that_leaves_the_step_in_doubt_is_counted_once_however_often_it_comes(rig: RuntimeRig) -> None:
    (request,) = rig.submit("one")
    task = task_to_come(rig, request)
    send_what_waits(rig)
    for doubt in (Unknown(), Failed(code="lost", effect=Effect.UNKNOWN, retryable=True)):
        answer = rig.reply(task, doubt)
        rig.answer(answer)
        before = rig.request(request)
        rig.answer(answer, answer)
        assert rig.request(request) == before
