"""The thread of the sockets does all that it is handed, in order, and wakes up no more often than it must."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace

import pytest

from bus.brokers import rabbitmq_io
from bus.brokers.rabbitmq_io import IoThread

#: Seconds for what must happen.
PATIENCE = 10


@pytest.fixture
def io() -> Iterator[IoThread]:
    thread = IoThread("test")
    yield thread
    thread.stop()


def test_what_is_handed_over_is_done_in_its_order_from_whatever_thread(io: IoThread) -> None:
    done: list[tuple[int, int]] = []

    def hand_over(giver: int) -> None:
        for number in range(500):
            io.call(partial(done.append, (giver, number)))

    givers = [threading.Thread(target=hand_over, args=(giver,)) for giver in range(4)]
    for giver in givers:
        giver.start()
    for giver in givers:
        giver.join()
    wait_for(io)

    assert len(done) == 2000
    assert [[number for giver, number in done if giver == one] for one in range(4)] == [[*range(500)]] * 4


def test_what_is_handed_over_while_it_is_busy_wakes_it_once(io: IoThread, monkeypatch: pytest.MonkeyPatch) -> None:
    wakings: list[Callable[[], None]] = []
    wake = io.loop.add_callback_threadsafe
    is_busy, go_on = threading.Event(), threading.Event()
    io.call(partial(hold_up, is_busy, go_on))
    is_busy.wait(PATIENCE)

    def note(work: Callable[[], None]) -> None:
        wakings.append(work)
        wake(work)

    monkeypatch.setattr(io.loop, "add_callback_threadsafe", note)

    for _ in range(100):
        io.call(lambda: None)
    go_on.set()
    wait_for(io)

    # A second time at most for what this test waits for.
    assert 1 <= len(wakings) <= 2


def test_one_that_fails_holds_up_nothing_behind_it(io: IoThread) -> None:
    is_busy, go_on, done = threading.Event(), threading.Event(), threading.Event()
    io.call(partial(hold_up, is_busy, go_on))
    is_busy.wait(PATIENCE)

    io.call(fail)
    io.call(done.set)
    go_on.set()

    assert done.wait(PATIENCE)


def test_what_is_gathered_follows_what_came_in_meanwhile(io: IoThread, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    moments: list[float] = []
    monkeypatch.setattr(rabbitmq_io, "time", SimpleNamespace(sleep=moments.append, monotonic=time.monotonic))

    def gather() -> None:
        io.gather(lambda: done.append("gathered"))
        io.gather(lambda: done.append("gathered too"))
        # As if it had come in during the moment.
        io.call(lambda: done.append("came in"))

    io.call(gather)
    wait_until(lambda: len(done) == 3)

    assert done == ["came in", "gathered", "gathered too"]
    assert len(moments) == 1


def test_an_error_that_nobody_expected_keeps_nobody_from_gathering_later(io: IoThread) -> None:
    # Given that the moment of a gathering goes down with an error of the same turn of the loop
    cut, lost, gathered = threading.Event(), threading.Event(), threading.Event()

    def both() -> None:
        io.later(0, fail)
        io.gather(lost.set)

    io.watch(Cut(io, cut))
    io.call(both)
    assert cut.wait(PATIENCE)
    # Then the next one is told
    io.call(lambda: io.gather(gathered.set))
    assert gathered.wait(PATIENCE)
    assert not lost.is_set()


def test_one_that_cannot_be_cut_off_saves_no_other_from_it_and_ends_no_thread(io: IoThread) -> None:
    # Given a connection in a state of which nobody thought, beside another
    cut, done = threading.Event(), threading.Event()
    stuck = Stuck()
    io.watch(stuck)
    io.watch(Cut(io, cut))
    # When the thread runs into an error
    io.call(fail)
    # Then the other one is cut off, and the thread goes on
    assert cut.wait(PATIENCE)
    io.call(done.set)
    assert done.wait(PATIENCE)
    io.forget(stuck)


class Stuck:
    """A connection that cannot be cut off."""

    def cut(self, why: str) -> None:
        raise RuntimeError(why)


class Cut:
    """A connection that tells that it was cut off."""

    def __init__(self, io: IoThread, told: threading.Event) -> None:
        self._io, self._told = io, told

    def cut(self, why: str) -> None:
        assert why
        self._io.forget(self)
        self._told.set()


def hold_up(is_busy: threading.Event, go_on: threading.Event) -> None:
    is_busy.set()
    go_on.wait(PATIENCE)


def fail() -> None:
    raise RuntimeError("nobody expected that")


def wait_for(io: IoThread) -> None:
    done = threading.Event()
    io.call(done.set)
    assert done.wait(PATIENCE)


def wait_until(true: Callable[[], bool]) -> None:
    for _ in range(PATIENCE * 100):
        if true():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it did not happen")
