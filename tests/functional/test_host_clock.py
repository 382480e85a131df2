"""A host dies and comes back on a clock that was set: nothing waits until that clock has caught up with the old one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bus.message.envelope import Message
from bus.message.instant import HOUR
from bus.message.reply import Completed, Effect, Failed, Pending, Unknown
from bus.process.definition import RepeatKind
from tests.support.host_rig import Rig

KINDS: tuple[RepeatKind, ...] = ("queryable", "at_most_once", "natural_key")


def asked(rig: Rig, step: str, kind: RepeatKind, **more: Any) -> Message:
    return rig.task(step, kind=kind, expirytime=rig.now + 10 * HOUR, **more)


@contextmanager
def died(folder: Path, kind: RepeatKind, by: int) -> Iterator[Rig]:
    """A host that died within a call, with a task received and not begun, and is back on a clock that was set."""
    rig = Rig(folder)
    rig.start()
    rig.send(asked(rig, "called", kind, do="hang"))
    while not rig.legacy.calls:
        rig.host.step()
    rig.send(asked(rig, "waits", kind))
    rig.host.step()
    # No word of what comes of the call is in the journal.
    rig.now += by
    dead, rig.host = rig.host, rig.new_host()
    rig.start()
    yield rig
    rig.legacy.released.set()
    for host in (dead, rig.host):
        host.close()
    rig.journal.close()


@pytest.mark.parametrize("by", [-HOUR, HOUR])
@pytest.mark.parametrize("kind", KINDS)
def test_what_was_received_and_what_was_being_called_are_answered_at_once_and_not_done_twice(
    tmp_path: Path, kind: RepeatKind, by: int
) -> None:
    with died(tmp_path, kind, by) as rig:
        assert rig.legacy.effects(rig.interaction("waits")) == 1
        said = rig.answers(asked(rig, "called", kind, do="hang", attempt=2))
        # Nobody keeps silent until an hour is over.
        assert isinstance(said[-1], Unknown if kind == "at_most_once" else Completed)
        assert rig.legacy.effects(rig.interaction("called")) == 1


def test_a_call_that_a_living_host_makes_is_left_to_it_while_their_clocks_are_less_than_a_lease_apart(
    tmp_path: Path,
) -> None:
    with died(tmp_path, "queryable", -400) as rig:
        assert rig.answers(asked(rig, "called", "queryable", do="hang", attempt=2)) == []


def test_after_the_clock_was_set_back_absence_counts_after_its_time_and_not_when_the_clock_has_caught_up(
    tmp_path: Path,
) -> None:
    # Given a call that never reached the legacy system, from a host whose clock was an hour fast
    rig = Rig(tmp_path)
    rig.start()
    rig.answers(asked(rig, "lost", "queryable", do="raise_before"))
    rig.now -= HOUR
    # When it is asked about with the right clock
    assert rig.answers(rig.query("lost", kind="queryable")) == [Pending()]
    rig.now += 2_000
    # Then absence is believed as long after the first question as it would have been after the call
    (reply,) = rig.answers(rig.query("lost", kind="queryable"))
    assert isinstance(reply, Failed)
    assert (reply.code, reply.effect) == ("absent", Effect.NONE)
    rig.host.close()
    rig.journal.close()


def test_what_a_host_received_on_a_fast_clock_before_it_died_is_done_by_the_other_one(tmp_path: Path) -> None:
    # Given two hosts on one journal
    rig = Rig(tmp_path)
    rig.start()
    dead = rig.new_host()
    dead.open()
    while not dead.is_admitted:
        rig.host.step()
        dead.step()
        rig.hear()
    # When one of them has a task received while the clock is an hour fast, and dies within the call before it
    rig.now += HOUR
    rig.send(asked(rig, "called", "queryable", do="hang"))
    while not rig.legacy.calls:
        dead.step()
    rig.send(asked(rig, "waits", "queryable"))
    dead.step()
    dead.close()
    # And the clock is put right
    rig.now -= HOUR
    rig.settle()
    # Then the other one does it once nobody can be about to, and not only in an hour
    for _ in range(4):
        rig.now += 1_000
        rig.settle()
    assert rig.legacy.effects(rig.interaction("waits")) == 1
    rig.legacy.released.set()
    rig.host.close()
    rig.journal.close()
