"""Sessions of PostgreSQL that cannot be put in order, or end at once: the batch is decided again, or later."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pytest
from psycopg import errors
from sqlalchemy import event, exc

from bus.errors import StaleVersionError, StoreUnavailableError
from bus.ports import AgencyRow, Changes, Transaction
from bus.stores.postgres import PostgresStore
from bus.stores.postgres_connections import Driver
from tests.conformance import store_values as values
from tests.conformance.store_postgres_place import PostgresPlace, emptied, place
from tests.conformance.store_values import NOW, accept, accepted
from tests.conformance.test_postgres_store_writers import beside

__all__ = ["emptied", "place"]

LAND, TAX = (AgencyRow(agency=name, journal_id="j1", start_id="s1", alive_at=NOW) for name in ("land", "tax"))


@pytest.fixture
def strict(place: PostgresPlace) -> Iterator[tuple[PostgresStore, PostgresStore]]:
    """Two processes' stores on a server whose sessions are serializable unless somebody says otherwise."""
    more = "&" if "?" in place.url else "?"
    url = f"{place.url}{more}options=-c%20default_transaction_isolation%3Dserializable"
    both = PostgresStore(url), PostgresStore(url)
    yield both
    for store in both:
        store.close()


@contextmanager
def fails_to_serialize() -> Iterator[None]:
    with pytest.raises(StaleVersionError) as told:
        yield
    cause = told.value.__cause__
    cause = cause.orig if isinstance(cause, exc.DBAPIError) else cause
    assert isinstance(cause, errors.SerializationFailure), cause


def test_who_waited_for_a_request_that_moved_meanwhile_decides_again(
    strict: tuple[PostgresStore, PostgresStore], place: PostgresPlace
) -> None:
    one, other = strict
    request = accept(one, accepted(values.step()))

    def move() -> None:
        with other.transaction() as transaction:
            found = transaction.load([request.id])[request.id]
            transaction.write(values.moved(found)[1])

    with ExitStack() as waits:
        with one.transaction() as transaction:
            transaction.load([request.id])
            transaction.write(values.moved(request)[1])
            called = waits.enter_context(beside(place, move))
        with fails_to_serialize():
            called.result()
    assert one.versions([request.id]) == {request.id: 3}

    move()
    assert one.versions([request.id]) == {request.id: 4}
    assert one.recount() == ()


def test_of_two_who_each_read_what_the_other_writes_one_decides_again(
    strict: tuple[PostgresStore, PostgresStore],
) -> None:
    one, other = strict
    with one.transaction() as transaction:
        transaction.write(Changes(agencies=((AgencyRow(agency="land"), LAND), (AgencyRow(agency="tax"), TAX))))

    def write(transaction: Transaction, row: AgencyRow) -> None:
        transaction.write(Changes(agencies=((row, replace(row, journal_seq=7)),)))

    with fails_to_serialize(), one.transaction() as first:
        first.agencies(["land", "tax"])
        with other.transaction() as second:
            second.agencies(["land", "tax"])
            write(second, TAX)
        write(first, LAND)

    assert {name: row.journal_seq for name, row in one.agencies().items()} == {"land": 0, "tax": 7}
    with one.transaction() as again:
        write(again, LAND)
    assert {name: row.journal_seq for name, row in one.agencies().items()} == {"land": 7, "tax": 7}


def test_a_server_that_ends_each_session_before_its_use_is_told_as_a_store_that_is_away(
    place: PostgresPlace,
) -> None:
    store = PostgresStore(place.url)
    ends = True

    def end(driver: Driver, *_: object) -> None:
        if ends:
            place.look(f"SELECT pg_terminate_backend({driver.info.backend_pid}, 5000)")

    # Before the store itself looks whether the connection still lives.
    event.listen(store.engine, "checkout", end, insert=True)
    with pytest.raises(StoreUnavailableError, match="ends connections"):
        store.save_epoch("e1")

    ends = False
    store.save_epoch("e1")
    assert store.epoch() == "e1"
    store.close()
