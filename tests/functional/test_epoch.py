"""A wiped broker where several relays share the store: one of them begins the new epoch, and what is sent goes once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from bus.errors import StoreUnavailableError
from bus.ports import Decided, Decider, Incoming
from bus.runtime.epoch import LEASE, connect
from bus.runtime.turn import Turn
from tests.support.runtime_rig import AGENCIES, A, RuntimeRig, runtime


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[RuntimeRig]:
    with runtime(tmp_path) as made:
        made.admit(*AGENCIES)
        yield made


class Interrupted(Decider):
    """Decides as the process manager does; before each batch something else happens."""

    def __init__(self, rig: RuntimeRig, happens: Sequence[object]) -> None:
        self._rig = rig
        self._happens = iter(happens)

    def decide(self, batch: Sequence[Incoming]) -> tuple[Decided, ...]:
        happens = next(self._happens, None)
        if callable(happens):
            happens()
        return self._rig.manager.decide(batch)


class Relays:
    """Each with its own turn at the epoch of one store."""

    def __init__(self, rig: RuntimeRig) -> None:
        self._rig = rig
        self.begun: list[bool] = []

    def connect(self, turn: Turn, *happens: object) -> bool:
        rig = self._rig
        begun = connect(rig.broker, rig.store, Interrupted(rig, happens), AGENCIES, turn)
        self.begun.append(begun)
        return begun

    def turn(self) -> Turn:
        return Turn(self._rig.store, "epoch", LEASE, self._rig.store.now)


def wiped(rig: RuntimeRig) -> int:
    """Requests under way, and a broker that has forgotten the epoch; how many tasks there are for one agency."""
    rig.submit("one", "two")
    rig.store.save_epoch("forgotten")
    return len(rig.tasks(A))


def test_of_two_relays_that_see_a_wiped_broker_one_sends_again(rig: RuntimeRig) -> None:
    # Given a wiped broker, and a relay that begins the new epoch
    tasks, relays = wiped(rig), Relays(rig)
    one, other = relays.turn(), relays.turn()
    # When another one sees the same meanwhile, and again when the first has done
    relays.connect(one, lambda: relays.connect(other))
    relays.connect(other)
    # Then one began it, and each task came again once
    assert relays.begun == [False, True, False]
    assert len(rig.tasks(A)) == tasks
    epoch = rig.store.epoch()
    assert epoch is not None
    assert rig.broker.has_epoch(epoch)


def test_a_relay_that_asked_before_another_had_done_begins_no_second_epoch(rig: RuntimeRig) -> None:
    # Given a relay that has just seen that the epoch is unknown
    tasks, relays = wiped(rig), Relays(rig)
    late = relays.turn()
    take = late.is_mine

    def after_another() -> bool:
        relays.connect(relays.turn())
        return take()

    late.is_mine = after_another  # type: ignore[method-assign]
    # When another begins it before this one has its turn
    relays.connect(late)
    # Then
    assert relays.begun == [True, False]
    assert len(rig.tasks(A)) == tasks


def test_an_epoch_of_which_a_relay_died_is_begun_by_another_after_the_lease(rig: RuntimeRig) -> None:
    # Given a relay that dies on the way, and does not give its turn back
    tasks, relays = wiped(rig), Relays(rig)
    gone = relays.turn()
    gone.end = lambda: None  # type: ignore[method-assign]

    def dies() -> None:
        raise StoreUnavailableError

    with pytest.raises(StoreUnavailableError):
        relays.connect(gone, dies)
    # When another looks at once, and after the lease
    other = relays.turn()
    relays.connect(other)
    rig.pass_time(LEASE)
    relays.connect(other)
    # Then
    assert relays.begun == [False, True]
    assert len(rig.tasks(A)) == tasks


def test_a_relay_that_was_held_up_for_longer_than_the_lease_leaves_the_epoch_to_the_next(rig: RuntimeRig) -> None:
    # Given a relay that stops in the middle for longer than its lease, while another takes the turn
    _, relays = wiped(rig), Relays(rig)
    slow, other = relays.turn(), relays.turn()

    def held_up() -> None:
        rig.pass_time(LEASE)
        assert other.is_mine()

    # When it goes on
    assert not relays.connect(slow, held_up)
    # Then it has begun nothing, and the other does
    assert rig.store.epoch() == "forgotten"
    assert relays.connect(other)


def test_a_relay_that_was_held_up_while_another_began_the_epoch_and_ended_begins_no_second_one(rig: RuntimeRig) -> None:
    # Given a relay that stops in the middle for longer than its lease
    _, relays = wiped(rig), Relays(rig)
    slow, other = relays.turn(), relays.turn()

    def held_up() -> None:
        rig.pass_time(LEASE)
        # And another that meanwhile takes the turn, begins the epoch and gives the turn back
        assert relays.connect(other)
        begun.append(rig.store.epoch())

    begun: list[str | None] = []
    # When the first goes on, and finds that nobody has the turn
    assert not relays.connect(slow, held_up)
    # Then the epoch is the other's
    assert [rig.store.epoch()] == begun
    assert not relays.connect(relays.turn())


def test_a_relay_that_was_held_up_before_its_first_batch_begins_no_second_epoch(rig: RuntimeRig) -> None:
    # Given a relay that has the turn and has seen that the epoch is unknown
    tasks, relays = wiped(rig), Relays(rig)
    slow, alive = relays.turn(), rig.store.alive_requests
    looks = iter([True])

    def held_up(after: int, most: int) -> tuple[str, ...]:
        if next(looks, False):
            rig.pass_time(LEASE)
            relays.connect(relays.turn())
        return alive(after, most)

    rig.store.alive_requests = held_up  # type: ignore[method-assign]
    # When it goes on after another has begun the epoch and ended its turn
    relays.connect(slow)
    # Then one began it; what the slow one had under its hands came twice at most
    assert relays.begun == [True, False]
    assert len(rig.tasks(A)) <= 2 * tasks


def test_an_epoch_that_was_begun_gives_the_turn_back_for_the_next_one(rig: RuntimeRig) -> None:
    _, relays = wiped(rig), Relays(rig)
    assert relays.connect(relays.turn())
    rig.store.save_epoch("forgotten again")
    assert relays.connect(relays.turn())
