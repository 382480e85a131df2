"""One process at a time: who has the turn keeps it, and one who is gone loses it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bus.message.instant import SECOND
from bus.runtime.turn import Turn
from bus.stores.sql import SqlStore
from bus.stores.sqlite import SqliteStore, migrate
from tests.conformance.store_postgres_place import PostgresPlace, emptied, place

__all__ = ["emptied", "place"]

LEASE = 80 * SECOND


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


def turn(store: SqlStore, what: str = "webhook:a") -> Turn:
    """On the clock of the store."""
    return Turn(store, what, LEASE, store.now)


def test_of_many_who_ask_at_once_one_has_the_turn(store: SqlStore) -> None:
    turns = [turn(store) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        mine = list(pool.map(Turn.is_mine, turns))
    assert sum(mine) == 1
    # And it stays with that one, for as long as it asks.
    for _ in range(5):
        assert [one.is_mine() for one in turns] == mine
        store.offset += LEASE // 2


def test_another_thing_has_a_turn_of_its_own(store: SqlStore) -> None:
    assert turn(store, "webhook:a").is_mine()
    assert turn(store, "webhook:b").is_mine()


def test_one_who_does_not_ask_any_more_loses_it_after_the_lease_and_not_before(store: SqlStore) -> None:
    gone, next_one = turn(store), turn(store)
    assert gone.is_mine()
    store.offset += LEASE - SECOND
    assert not next_one.is_mine()
    store.offset += 2 * SECOND
    assert next_one.is_mine()
    # Who comes back knows it.
    assert not gone.is_mine()


def test_who_ends_his_turn_lets_the_next_one_go_on_at_once_and_takes_nothing_from_others(store: SqlStore) -> None:
    first, second = turn(store), turn(store)
    assert first.is_mine()
    second.end()
    assert not second.is_mine()
    first.end()
    assert second.is_mine()
    first.end()
    assert second.is_mine()
    assert not first.is_mine()


def test_a_turn_that_was_taken_on_a_clock_that_was_set_back_since_does_not_last_for_ever(store: SqlStore) -> None:
    gone = turn(store)
    assert gone.is_mine()
    store.offset -= 3600 * SECOND
    assert turn(store).is_mine()


def test_while_it_is_mine_nobody_else_may_take_it_for_half_a_lease(store: SqlStore) -> None:
    mine, other = turn(store), turn(store)
    assert mine.is_mine()
    store.offset += LEASE - 10 * SECOND
    # Whatever is begun now has half a lease.
    assert mine.is_mine()
    store.offset += LEASE // 2 - SECOND
    assert not other.is_mine()
