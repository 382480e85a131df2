"""The whole life of a host: it dies, comes back, is told to stop, and its journal forgets what is old."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bus.errors import StoreUnavailableError
from bus.logs import bind
from bus.message import channel
from bus.message.envelope import MessageType
from bus.message.instant import DAY, HOUR
from bus.message.reply import Completed, Unknown
from bus.ports import Delivery
from bus.runtime.host_intake import sort, take
from bus.runtime.host_sweep import FORGET_AT_ONCE
from tests.support.host_rig import AGENCY, NOW, SETTINGS, Rig, started


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with started(tmp_path) as rig:
        yield rig


def test_a_reply_whose_confirmation_was_lost_is_sent_again_as_the_same_bytes(tmp_path: Path) -> None:
    # Given a host that dies before it has recorded that the broker took its reply
    rig = Rig(tmp_path)
    rig.start()
    rig.send(rig.task())
    while not rig.journal.outbox(1):
        rig.host.step()
    # When it starts again
    rig.restart()
    # Then the reply leaves once more, the outbox is empty, and nothing ran again
    sent = [message for message in rig.heard if message.envelope.step]
    assert len(sent) == 2
    assert sent[0].body == sent[1].body
    assert rig.journal.outbox(1) == ()
    assert rig.legacy.effects(rig.interaction()) == 1
    rig.host.close()
    rig.journal.close()


def test_what_was_received_and_not_begun_is_run_by_the_next_life(tmp_path: Path) -> None:
    # Given a host that dies right after it took a task over: the broker has forgotten it
    rig = Rig(tmp_path)
    rig.start()
    batch = sort([Delivery(tag=1, channel=channel.tasks(AGENCY), body=rig.task().body)], AGENCY, NOW, bind())
    take(rig.host._setup, batch, ())  # noqa: SLF001
    assert rig.legacy.calls == []
    # When it starts again
    rig.restart()
    # Then the task is run, once
    assert [m.envelope.type for m in rig.heard if m.envelope.step] == [MessageType.TASK_COMPLETED]
    assert rig.legacy.effects(rig.interaction()) == 1
    rig.host.close()
    rig.journal.close()


def test_a_task_that_the_journal_could_not_take_stays_with_the_broker(tmp_path: Path) -> None:
    # Given a host whose journal can no longer be written
    rig = Rig(tmp_path)
    rig.start()
    task = rig.task()
    rig.journal.close()
    # When a task comes
    rig.send(task)
    with pytest.raises(StoreUnavailableError):
        rig.host.step()
    # Then the broker still has it, and the next life answers it
    rig.restart()
    assert [m.envelope.type for m in rig.heard if m.envelope.step] == [MessageType.TASK_COMPLETED]
    rig.host.close()
    rig.journal.close()


def test_a_host_told_to_stop_finishes_its_call_and_leaves_the_rest_for_later(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    stop = threading.Event()
    life = threading.Thread(target=rig.host.run, args=(stop,))
    life.start()
    rig.send(*(rig.task(f"plot_{number}") for number in range(30)))
    while sum(m.envelope.type == MessageType.TASK_COMPLETED for m in rig.heard) < 30:
        rig.hear()
    stop.set()
    life.join(10)
    assert not life.is_alive()
    assert rig.journal.outbox(1) == ()
    assert len(rig.legacy.ledger) == 30
    rig.journal.close()


def test_an_interaction_first_sent_before_the_pruned_past_is_not_run(rig: Rig) -> None:
    rig.ask(rig.task())
    rig.journal.prune(NOW + 1)
    assert rig.answers(rig.task()) == [Unknown()]
    assert rig.legacy.effects(rig.interaction()) == 1


def test_a_journal_forgets_once_a_day_what_was_answered_and_is_old(rig: Rig) -> None:
    # Given an answer and a doubt of long ago, and an answer of late
    rig.ask(rig.task("old"))
    rig.ask(rig.task("doubt", do="raise"))
    rig.now += SETTINGS.keep_journal + 1
    rig.ask(rig.task("late", firstsent=rig.now, expirytime=rig.now + HOUR))

    def kept() -> set[str]:
        names = {rig.interaction(name): name for name in ("old", "doubt", "late", "day")}
        with rig.journal.transaction() as transaction:
            return {names[id_] for id_ in transaction.load(names)}

    # Then at the next sweep the old answer is gone, and nothing else
    sweep(rig)
    assert kept() == {"doubt", "late"}
    # And what becomes old within the day waits for the next
    rig.ask(rig.task("day", firstsent=rig.now - SETTINGS.keep_journal - 1, expirytime=rig.now + HOUR))
    sweep(rig)
    assert "day" in kept()
    rig.now += DAY
    rig.ask(rig.task("next", firstsent=rig.now, expirytime=rig.now + HOUR))
    sweep(rig)
    assert "day" not in kept()


def test_a_host_whose_clock_is_fast_by_years_forgets_nothing_of_late(rig: Rig) -> None:
    # Given an answer, and a host that comes back on such a clock
    rig.ask(rig.task())
    rig.now += 3 * SETTINGS.keep_journal
    rig.restart()
    # When it sweeps, having heard nothing yet, and after the bus has asked something by its own clock
    sweep(rig)
    rig.ask(rig.task("next", kind="safe", firstsent=NOW + DAY))
    sweep(rig)
    # Then the answer is there, and what comes next counts as never seen
    assert [type(one) for one in rig.answers(rig.task())] == [Completed]
    assert rig.journal.identity().oldest == 0


def test_a_host_that_starts_forgets_as_soon_as_it_has_heard_the_time_of_the_bus(rig: Rig) -> None:
    # Given an answer of long ago
    rig.ask(rig.task("old"))
    rig.now += SETTINGS.keep_journal + 1
    rig.restart()
    sweep(rig)
    assert rig.journal.identity().oldest == 0
    # When the bus asks something, then it does not take another day
    rig.ask(rig.task("late", firstsent=rig.now, expirytime=rig.now + HOUR))
    sweep(rig)
    assert rig.journal.identity().oldest > NOW


def test_what_is_too_much_to_forget_at_once_is_forgotten_at_the_next_sweeps(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a journal with more to forget than one sweep takes
    rig.ask(rig.task())
    counts, asked = [FORGET_AT_ONCE, FORGET_AT_ONCE + 7, 3], []

    def prune(before: int, most: int) -> int:
        asked.append((before, most))
        return counts.pop(0)

    monkeypatch.setattr(rig.journal, "prune", prune)
    # When a day has passed, and several sweeps
    rig.now += DAY
    for _ in range(5):
        sweep(rig)
    # Then it was asked until there was less than that
    assert counts == []
    assert {most for _, most in asked} == {FORGET_AT_ONCE}
    assert all(before <= rig.now - SETTINGS.keep_journal for before, _ in asked)


def sweep(rig: Rig) -> None:
    rig.now += SETTINGS.lease
    rig.settle()
