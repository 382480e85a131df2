"""Tables of PostgreSQL that change: never under a living process unnoticed, and with the rights that were given."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, cast

import psycopg
import pytest
from sqlalchemy import create_engine, text

from bus.config import Settings
from bus.errors import ConfigurationError, StoreUnavailableError, TransientError
from bus.message.channel import replies
from bus.message.key import Keys
from bus.ports import Consumer, Delivery
from bus.runtime.hosts import Hosts
from bus.runtime.process_manager import ProcessManager
from bus.runtime.replies import ReplyConsumer
from bus.stores.postgres import PostgresStore, migrate
from tests.conformance import store_values as values
from tests.conformance.store_migrations import old_store
from tests.conformance.store_postgres_place import PostgresPlace
from tests.conformance.store_values import accept, accepted


@pytest.fixture
def own(make_new_database: Callable[..., str]) -> PostgresPlace:
    """A store that no other test uses."""
    url = make_new_database()
    migrate(url)
    return PostgresPlace(url)


@pytest.fixture
def store(own: PostgresPlace) -> Iterator[PostgresStore]:
    store = own.open()
    yield store
    store.close()


def old(url: str, revision: str) -> None:
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        old_store(connection, revision)
    engine.dispose()


# --- under a living process -------------------------------------------------------------------------------------------


class _Replies:
    """One reply, again and again; what was acknowledged of it."""

    def __init__(self) -> None:
        self.acknowledged: list[Delivery] = []

    def collect(self, most: int, _wait: int) -> tuple[Delivery, ...]:
        return (Delivery(tag=0, channel=replies("tax_authority"), body=b"no message"),) * min(2, most)

    def acknowledge(self, deliveries: Collection[Delivery]) -> None:
        self.acknowledged += deliveries

    def close(self) -> None:
        """As a consumer."""


class _Manager:
    """Writes something for each batch."""

    def __init__(self, store: PostgresStore) -> None:
        self._store = store

    def settle(self, batch: Sequence[Any], before: Callable[[Any], None]) -> tuple[Any, ...]:
        del before
        accept(self._store, accepted())
        return tuple(batch)


def test_a_table_that_grows_under_a_living_process_stops_it_and_costs_no_reply(
    own: PostgresPlace, store: PostgresStore
) -> None:
    # Given a process that settles replies
    consumer, keys = _Replies(), Keys(lambda: 0, 0)
    manager = cast("ProcessManager", _Manager(store))
    settling = ReplyConsumer(lambda: cast("Consumer", consumer), manager, Hosts(keys), keys, Settings())
    settling.step(cast("Consumer", consumer))
    assert len(consumer.acknowledged) == 2
    # When another release adds a column to what it writes
    own.look("ALTER TABLE fact ADD COLUMN newer bigint")
    # Then it says so, and acknowledges nothing
    looks = iter((False, True))
    with pytest.raises(StoreUnavailableError, match="not as this process knows them") as told:
        settling.run(lambda: next(looks, True))
    assert (told.value.code, "release" in (told.value.mend or "")) == ("store-schema-changed", True)
    assert len(consumer.acknowledged) == 2


@pytest.mark.parametrize(
    "change",
    ["ALTER TABLE fact ADD COLUMN newer bigint", "DROP TABLE fact", "ALTER TABLE fact DROP COLUMN hash CASCADE"],
)
def test_whatever_becomes_of_a_table_is_no_fault_of_what_is_written(
    own: PostgresPlace, store: PostgresStore, change: str
) -> None:
    accept(store, accepted())
    own.look(change)

    for _ in range(2):
        with pytest.raises(StoreUnavailableError) as told:
            accept(store, accepted())
        assert told.value.code == "store-schema-changed"


def test_a_plan_that_does_not_fit_any_more_is_made_anew(own: PostgresPlace, store: PostgresStore) -> None:
    # Given statements that every connection has prepared
    request = accept(store, accepted())
    assert store.facts(request.id)
    # When what they give has another type, which this process reads as well
    own.look("ALTER TABLE fact ALTER COLUMN actor TYPE varchar")
    # Then one try says so, and the next one works
    with pytest.raises(StoreUnavailableError):
        store.facts(request.id)
    assert store.facts(request.id)


def test_a_table_that_was_made_anew_as_it_was_is_written_again(own: PostgresPlace, store: PostgresStore) -> None:
    # Given connections that know the number of a table's rows
    accept(store, accepted())
    # When the same table has another one
    own.look("CREATE TABLE other (LIKE fact INCLUDING ALL); DROP TABLE fact; ALTER TABLE other RENAME TO fact")
    # Then one try says so, and the next one works
    with pytest.raises(StoreUnavailableError):
        accept(store, accepted())
    request = accept(store, accepted())
    assert store.facts(request.id)


# --- migrating --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["", "?application_name=bus-of-the-ministry"])
def test_a_store_that_has_to_change_is_not_migrated_while_others_of_the_bus_use_it(
    make_new_database: Callable[..., str], given: str
) -> None:
    # Given a store of an earlier release, with a process of that release on it
    url = make_new_database()
    old(url, "0003")
    name = given.partition("=")[2] or "bus"
    with psycopg.connect(url, application_name=name):
        # When it is to be migrated, then that is refused, and it is as it was
        with pytest.raises(TransientError, match="1 connections") as refused:
            migrate(url + given)
        assert (refused.value.code, "Stop every role" in (refused.value.mend or "")) == ("store-in-use", True)
        with pytest.raises(ConfigurationError, match="has schema 0003"):
            PostgresStore(url)
    # And when the process has ended, somebody who only watches hinders nobody
    with psycopg.connect(url, application_name="watcher"):
        migrate(url + given)
    PostgresStore(url).close()


def test_a_store_that_is_up_to_date_is_migrated_beside_those_who_use_it(
    own: PostgresPlace, store: PostgresStore
) -> None:
    with store.reading():
        migrate(own.url)


def test_whoever_may_use_a_table_may_still_when_it_was_migrated(make_new_database: Callable[..., str]) -> None:
    # Given a store in which somebody was given rights in each table
    url = make_new_database()
    old(url, "0002")
    place = PostgresPlace(url)
    place.look("CREATE ROLE auditor_of_rights")
    try:
        place.look("GRANT SELECT ON ALL TABLES IN SCHEMA public TO auditor_of_rights")
        rights = "SELECT table_name FROM information_schema.role_table_grants WHERE grantee = 'auditor_of_rights'"
        given = set(place.look(rights))
        assert ("failure",) in given
        # When it is migrated
        migrate(url)
        # Then they are there
        assert set(place.look(rights)) == given
    finally:
        place.look("DROP OWNED BY auditor_of_rights")
        place.look("DROP ROLE auditor_of_rights")


# --- looking ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("statement", ["DELETE FROM setting", "WITH gone AS (DELETE FROM setting) SELECT 1"])
def test_who_only_looks_cannot_write(store: PostgresStore, statement: str) -> None:
    with pytest.raises(Exception, match="only a SELECT"), store.looking() as connection:
        connection.execute(text(statement))
    with pytest.raises(psycopg.ProgrammingError, match="only a SELECT"), store.looking() as connection:
        cast("psycopg.Connection[Any]", connection.connection.driver_connection).execute(statement.encode())

    with store.looking() as connection:
        assert connection.scalar(text("SELECT count(*) FROM setting"))


def test_who_looks_asks_once_for_outside_a_transaction_two_answers_are_of_two_states(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given everything that looks
    request = accept(store, accepted())
    looks: dict[str, Callable[[], Any]] = {
        "counts": lambda: store.counts(values.step().state),
        "agencies": store.agencies,
        "definition": lambda: store.definition("r"),
        "epoch": store.epoch,
        "presences": lambda: store.presences(0),
        "mode": store.mode,
        "token": lambda: store.token("t"),
        "results": lambda: store.results("c", after=0, most=1),
        "uncollected": lambda: store.uncollected("c", most=1),
        "payloads": lambda: store.payloads([request.data_id]),
        "next_due": store.next_due,
        "find": lambda: store.find(request.id),
        "versions": lambda: store.versions([request.id]),
        "tracked": lambda: store.tracked(["T"]),
        "key_of": lambda: store.key_of(request.id),
        "accepted": store.accepted,
        "outbox_depth": store.outbox_depth,
        "outbox_depths": store.outbox_depths,
    }
    every = {name: getattr(PostgresStore, name) for name in dir(PostgresStore) if not name.startswith("_")}
    assert {name for name, each in every.items() if "looking" in getattr(each, "__code__", _NONE).co_names} == set(
        looks
    )
    asked: list[str] = []
    execute = psycopg.Cursor.execute

    def noted(self: Any, query: Any, *more: Any, **named: Any) -> Any:
        asked.append(str(query))
        return execute(self, query, *more, **named)

    monkeypatch.setattr(psycopg.Cursor, "execute", noted)
    # When each looks
    for name, look in looks.items():
        asked.clear()
        look()
        # Then it has asked once, beside the time
        assert len([query for query in asked if "clock_timestamp" not in query]) == 1, (name, asked)


_NONE = (lambda: None).__code__
