"""Several process managers: a tick counts only when whatever was sent before it is settled, whoever had it."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bus.config import Settings
from bus.message.instant import SECOND, Instant, Milliseconds
from bus.ports import AgencyRow, Changes
from bus.runtime.hearing import Hearing
from bus.runtime.presence import Presence
from bus.stores.sql import SqlStore
from bus.stores.sqlite import SqliteStore, migrate
from tests.conformance.store_postgres_place import PostgresPlace, emptied, place

__all__ = ["emptied", "place"]

AGENCY = "agency_a"
SETTINGS = Settings()
#: A broker gives what a silent connection holds to others after this; it is shorter than the margin of a tick.
NOTICED: Milliseconds = 25 * SECOND


@dataclass(eq=False)
class Sent:
    """A reply, or a tick, in the channel of the agency."""

    at: Instant
    is_tick: bool = False
    was_given_back: bool = False
    is_settled: bool = False


@dataclass(eq=False)
class Manager:
    """A process manager as the others see it: what the broker handed to it, what it has read of that, what it says."""

    room: Room
    presence: Presence
    #: Handed over and not read yet; read, and when.
    way: deque[Sent] = field(default_factory=deque)
    hands: deque[tuple[Instant, Sent]] = field(default_factory=deque)
    #: Since when it stands still, as a machine does that swaps; None: it works.
    still_since: Instant | None = None
    is_connected: bool = True

    def age(self) -> Milliseconds:
        """As a consumer tells it."""
        return self.room.now - self.hands[0][0] if self.hands else 0

    def tell(self) -> None:
        self.presence.tell(self)  # type: ignore[arg-type]  # a consumer, as far as it is asked

    def read(self) -> None:
        while self.way:
            self.hands.append((self.room.now, self.way.popleft()))

    def settle_one(self) -> None:
        self.read()
        if self.hands:
            _, sent = self.hands.popleft()
            sent.is_settled = True
            if sent.is_tick:
                self.room.hear(sent.at)


class Room:
    """The broker's queue, process managers and a timekeeper, on one clock that the test moves."""

    def __init__(self, store: SqlStore, managers: int, intervals: Settings = SETTINGS) -> None:
        self.store = store
        self.settings = intervals
        self.begun = store.now()
        self.queue: deque[Sent] = deque()
        self.sent: list[Sent] = []
        self.managers = [self.new_manager() for _ in range(managers)]
        self.hearing = Hearing(store, intervals)
        with store.transaction() as transaction:
            transaction.write(Changes(agencies=[(AgencyRow(agency=AGENCY), AgencyRow(agency=AGENCY))]))

    @property
    def now(self) -> Instant:
        return self.store.now()

    def new_manager(self) -> Manager:
        made = Manager(self, Presence(self.store, self.settings, lambda: self.now))
        made.presence.tell(None)
        return made

    def pass_time(self, length: Milliseconds) -> None:
        """Time goes on; a broker lets nobody keep what he does not answer for."""
        self.store.offset += length
        for manager in self.managers:
            if manager.still_since is None:
                manager.read()
            elif self.now - manager.still_since >= NOTICED:
                self.take_back(manager)

    def take_back(self, manager: Manager) -> None:
        """Its connection is gone: what it had waits at the front of the queue again."""
        manager.is_connected = False
        back = [sent for _, sent in manager.hands] + list(manager.way)
        for sent in back:
            sent.was_given_back = True
        self.queue.extendleft(reversed([sent for sent in back if not sent.is_settled]))
        if manager.still_since is None:
            manager.hands.clear()
        manager.way.clear()

    def send(self, *, tick: bool = False) -> Sent:
        sent = Sent(at=self.now, is_tick=tick)
        self.queue.append(sent)
        self.sent.append(sent)
        return sent

    def hand(self, manager: Manager) -> None:
        """The broker hands the next one to this manager."""
        if self.queue and manager.is_connected:
            manager.way.append(self.queue.popleft())

    def hear(self, tick: Instant) -> None:
        with self.store.transaction() as transaction:
            row = transaction.agencies([AGENCY])[AGENCY]
            newest = max(row.heard_at or 0, tick)
            transaction.write(Changes(agencies=[(row, replace(row, heard_at=newest))]))

    def look(self) -> Instant | None:
        """Up to when the timekeeper takes the agency as heard."""
        return self.hearing.agencies(self.now)[AGENCY].heard_at

    def all_tell(self) -> None:
        for manager in self.managers:
            if manager.still_since is None:
                manager.tell()

    def go_on(self, seconds: int, *, who: Manager) -> Instant | None:
        """Ticks come and ``who`` settles them, for so long; up to when the agency is heard then."""
        heard = None
        for second in range(seconds):
            if second * SECOND % self.settings.tick_every == 0:
                self.send(tick=True)
            self.hand(who)
            who.settle_one()
            self.all_tell()
            heard = self.look()
            self.pass_time(SECOND)
        return heard


@pytest.fixture(params=["file", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqlStore]:
    made: SqlStore
    if request.param == "file":
        migrate(tmp_path / "store.db")
        made = SqliteStore(tmp_path / "store.db")
    else:
        postgres: PostgresPlace = request.getfixturevalue("place")
        made = postgres.open()
    yield made
    made.close()


def test_ticks_count_while_everybody_settles_what_he_is_given(store: SqlStore) -> None:
    room = Room(store, 3)
    before = room.now
    heard = room.go_on(100, who=room.managers[0])
    assert heard is not None
    assert heard >= before


def test_a_tick_does_not_count_while_one_who_counts_as_alive_holds_a_reply_that_is_older(store: SqlStore) -> None:
    # Given a reply with a manager that stands still, and ticks that others settle
    room = Room(store, 2)
    held, quick = room.managers
    room.send()
    room.hand(held)
    held.read()
    room.pass_time(1)
    # When it says again and again that it is there, but has settled nothing
    heard = room.go_on(200, who=quick)
    # Then nothing counts
    assert heard is None
    # And when it has settled, it does
    held.settle_one()
    heard = room.go_on(100, who=quick)
    assert heard is not None


def test_a_manager_that_stands_still_stops_the_ticks_until_it_counts_as_dead_and_its_replies_are_settled(
    store: SqlStore,
) -> None:
    room = Room(store, 2)
    still, quick = room.managers
    reply = room.send()
    room.hand(still)
    still.read()
    still.still_since = room.now
    # When it counts as alive yet, nothing counts
    heard = room.go_on(44, who=quick)
    assert heard is None
    # Then its reply comes to the other one, before anything counts
    while heard is None:
        assert room.now - room.begun < 300 * SECOND
        heard = room.go_on(1, who=quick)
    assert reply.is_settled
    assert reply.was_given_back


def test_what_one_gives_back_when_he_stops_is_settled_by_the_other_before_a_tick_counts(store: SqlStore) -> None:
    # Given a tick that one has settled, and an older reply that the other holds for long
    room = Room(store, 2)
    leaves, quick = room.managers
    reply = room.send()
    room.hand(leaves)
    leaves.read()
    room.go_on(60, who=quick)
    # When he stops, and the reply is handed to one who has other things to do
    room.take_back(leaves)
    leaves.presence.leave()
    room.managers.remove(leaves)
    room.hand(quick)
    quick.read()
    for _ in range(200):
        room.pass_time(SECOND)
        quick.tell()
        # Then nothing counts until it is settled
        assert room.look() is None
    quick.settle_one()
    assert reply.is_settled
    assert room.go_on(100, who=quick) is not None


def test_while_nobody_listens_nothing_more_counts(store: SqlStore) -> None:
    # Given ticks that count, and a manager that leaves with a reply that came before the last one
    room = Room(store, 1)
    (only,) = room.managers
    counted = room.go_on(100, who=only)
    assert counted is not None
    room.hear(room.now)
    only.presence.leave()
    room.managers.clear()
    # When time passes with nobody there
    for _ in range(300):
        room.pass_time(SECOND)
        room.look()
    # Then no tick counts that did not before
    assert (room.look() or 0) <= room.now - 300 * SECOND - SETTINGS.tick_margin


def test_a_timekeeper_that_starts_believes_no_tick_that_was_there_before(store: SqlStore) -> None:
    room = Room(store, 2)
    held, quick = room.managers
    room.send()
    room.hand(held)
    held.read()
    room.go_on(30, who=quick)
    room.hearing = Hearing(store, SETTINGS)
    assert room.look() is None
    assert room.go_on(100, who=quick) is None


def test_who_was_last_heard_on_a_clock_that_was_set_back_lets_nothing_count(store: SqlStore) -> None:
    # Given one who stands still with a reply, as far as the clock knows in an hour
    room = Room(store, 2)
    still, quick = room.managers
    room.send()
    room.hand(still)
    still.read()
    room.pass_time(3600 * SECOND)
    still.hands.clear()
    still.tell()
    still.still_since = room.now
    room.pass_time(-3600 * SECOND)
    room.hearing.begin_anew()
    assert room.go_on(100, who=quick) is None


# --- any order of things ----------------------------------------------------------------------------------------------


class Accidents:
    """What may happen in a room, in any order; a message comes back once at most: see what `Hearing` allows for."""

    def __init__(self, room: Room, chance: random.Random) -> None:
        self.room = room
        self.chance = chance

    def moves(self) -> list[Callable[[], object]]:
        """Everything that may happen next."""
        room = self.room
        found: list[Callable[[], object]] = [room.send, room.all_tell, self.wait, self.enter, *[self.calm] * 6]
        found.append(lambda: room.send(tick=True))
        for manager in self.working():
            hand = partial(room.hand, manager)
            found += [hand, hand, manager.settle_one, manager.settle_one, manager.tell]
        one = self.chance.choice(room.managers)
        if one.still_since is not None:
            found.append(partial(self.wake, one))
        elif not any(sent.was_given_back for sent in [*one.way, *(sent for _, sent in one.hands)]):
            found += [partial(self.stand_still, one), partial(self.leave, one)]
        return found

    def working(self) -> list[Manager]:
        return [manager for manager in self.room.managers if manager.still_since is None]

    def wait(self) -> None:
        self.room.pass_time(self.chance.choice([SECOND, 5 * SECOND, 20 * SECOND]))

    def calm(self) -> None:
        """Everybody who works settles what he gets, but for one."""
        self.room.send(tick=True)
        for manager in self.working()[1:]:
            self.room.hand(manager)
            manager.settle_one()
        self.room.all_tell()
        self.room.pass_time(10 * SECOND)

    def enter(self) -> None:
        if len(self.room.managers) < 3:
            self.room.managers.append(self.room.new_manager())

    def leave(self, manager: Manager) -> None:
        if len(self.room.managers) > 1:
            self.room.take_back(manager)
            manager.presence.leave()
            self.room.managers.remove(manager)

    def stand_still(self, manager: Manager) -> None:
        manager.still_since = self.room.now

    def wake(self, manager: Manager) -> None:
        manager.still_since = None
        if not manager.is_connected:
            # What it had is with others, and it connects anew under its name.
            manager.hands.clear()
            manager.is_connected = True
        manager.tell()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_whatever_happens_in_whatever_order_no_tick_counts_before_what_is_older(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    file = tmp_path_factory.mktemp("hearing") / "store.db"
    migrate(file)
    store, chance = SqliteStore(file), random.Random(seed)
    room = Room(store, 2)
    accidents = Accidents(room, chance)
    for _ in range(200):
        chance.choice(accidents.moves())()
        heard = room.look()
        if heard is not None:
            older = [sent for sent in room.sent if sent.at < heard and not sent.is_tick and not sent.is_settled]
            assert not older
    store.close()
