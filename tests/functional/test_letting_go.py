"""A process manager that cannot reach the store gives back what it was handed: the others may reach it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from bus.config import Settings
from bus.message.channel import replies
from bus.message.instant import SECOND
from bus.process.state import StepState
from bus.runtime.hosts import Hosts
from bus.runtime.loop import Loops
from bus.runtime.presence import Presence
from bus.runtime.replies import ReplyConsumer
from tests.support.runtime_rig import A, RuntimeRig, runtime
from tests.support.waiting import wait_for

SETTINGS = Settings(dead_after=2 * SECOND, tick_every=SECOND)


@contextmanager
def listening(rig: RuntimeRig) -> Iterator[Presence]:
    """A process manager among others, on a thread of its own."""
    presence, loops, keys = Presence(rig.store, rig.settings), Loops(), rig.parts.tools.keys
    consumer = ReplyConsumer(rig.broker_consumer, rig.manager, Hosts(keys), keys, rig.settings, presence)
    loops.run("process-manager", lambda stop: consumer.run(stop.is_set))
    try:
        yield presence
    finally:
        assert loops.stop(10)


def test_answers_are_given_back_while_the_store_is_away_and_settled_when_it_is_back(tmp_path: Path) -> None:
    with runtime(tmp_path, SETTINGS) as rig:
        # Given an answer to a task, and a process manager that is there
        rig.admit(A)
        (request,) = rig.submit("one")
        (task,) = rig.tasks(A)
        with listening(rig) as presence, closing(sqlite3.connect(tmp_path / "store.db", isolation_level=None)) as lock:
            wait_for("it is there", lambda: presence.process in rig.store.presences(0))
            # When it is handed the answer, and nobody can write
            lock.execute("BEGIN IMMEDIATE")
            rig.say(A, rig.reply(task))
            wait_for("it has the answer", lambda: rig.broker.depth(replies(A)) == 0)
            # Then it does not keep it
            wait_for("it gives it back", lambda: rig.broker.depth(replies(A)) == 1)
            lock.execute("ROLLBACK")
            # And it counts when the store is there again
            wait_for("it counts", lambda: rig.step(request).state is StepState.SUCCEEDED)
        # And who has stopped is not there any more
        assert presence.process not in rig.store.presences(0)
