"""Roles as threads: one that breaks begins again, and they stop in the order in which work flows out."""

from __future__ import annotations

import threading
from queue import Queue

import pytest

from bus.errors import StoreUnavailableError
from bus.runtime.loop import Loop, Loops

PATIENCE = 20.0


def test_a_role_that_breaks_is_told_and_begins_again() -> None:
    # Given a step that breaks, then finds the store away, then works
    happened: Queue[str] = Queue()
    moods = iter([ValueError("a bad row"), StoreUnavailableError()])

    def step() -> int:
        mood = next(moods, None)
        happened.put(type(mood).__name__)
        if mood is not None:
            raise mood
        return 0

    loops = Loops()
    loops.start(Loop(role="test", step=step, rest=0.01, close=lambda: happened.put("closed")))
    # Then it goes on after each
    assert [happened.get(timeout=PATIENCE) for _ in range(3)] == ["ValueError", "StoreUnavailableError", "NoneType"]
    # When told to stop, it lets go of what it had, once and at the end
    assert loops.stop(PATIENCE)
    left = []
    while not happened.empty():
        left.append(happened.get())
    assert left[-1] == "closed"
    assert left.count("closed") == 1


def test_those_that_began_last_stop_first_and_those_that_began_together_stop_together() -> None:
    # Given one role that is needed by two others
    stopped: list[str] = []
    meeting = threading.Barrier(2)

    def alone(stop: threading.Event) -> None:
        stop.wait()
        stopped.append("alone")

    def together(stop: threading.Event) -> None:
        stop.wait()
        meeting.wait(PATIENCE)
        stopped.append("together")

    loops = Loops()
    loops.run("alone", alone)
    loops.run_beside({"one": together, "other": together})
    # When all are stopped, then the two meet in their end, and the one outlives them
    assert loops.stop(PATIENCE)
    assert stopped == ["together", "together", "alone"]


def test_a_role_that_does_not_stop_in_time_is_told_of() -> None:
    release = threading.Event()
    loops = Loops()

    def stubborn(_: threading.Event) -> None:
        release.wait()

    loops.run("stubborn", stubborn)
    assert not loops.stop(0.01)
    release.set()
    assert loops.stop(PATIENCE)


def test_roles_that_a_signal_kept_from_starting_do_not_keep_the_others_from_stopping(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loops = Loops()
    loops.run("before", until_told)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(SystemExit):
            loops.run("after", until_told)
    assert loops.stop(PATIENCE)


def until_told(stop: threading.Event) -> None:
    stop.wait()


def interrupted(_: threading.Thread) -> None:
    raise SystemExit(0)
