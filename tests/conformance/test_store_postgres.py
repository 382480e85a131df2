"""The PostgreSQL store keeps the promises of every store, and refuses a schema that is not its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine
from sqlalchemy.exc import DBAPIError

from bus.errors import ConfigurationError, StoreUnavailableError
from bus.ports import Changes, Payload, Store
from bus.process.state import StepState
from bus.stores.postgres import PostgresStore, migrate
from bus.stores.schema import metadata
from tests.conformance import store_values as values
from tests.conformance.store_contract import StoreContract
from tests.conformance.store_failures_contract import FailuresContract, assert_joined, leave_failures
from tests.conformance.store_hosts_contract import HostsContract
from tests.conformance.store_migrations import old_store
from tests.conformance.store_people_contract import PeopleContract
from tests.conformance.store_postgres_place import PostgresPlace, emptied, place
from tests.conformance.store_recount_contract import RecountContract
from tests.conformance.store_values import accept, accepted, put

__all__ = ["emptied", "place"]


@pytest.fixture
def store(place: PostgresPlace) -> Iterator[Store]:
    store = place.open()
    yield store
    store.close()


class TestPostgresStore(StoreContract):
    """The contract, over PostgreSQL."""


class TestPostgresFailures(FailuresContract):
    """Failures that stand for a cause, over PostgreSQL."""


class TestPostgresHosts(HostsContract):
    """Starts of hosts, over PostgreSQL."""


class TestPostgresPeople(PeopleContract):
    """What people need, over PostgreSQL."""


class TestPostgresRecount(RecountContract):
    """The recount, over PostgreSQL."""


# --- the schema -------------------------------------------------------------------------------------------------------

_SHAPES = (
    (
        "SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns"
        " WHERE table_schema = 'public' ORDER BY 1, 2"
    ),
    "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1, 2",
    (
        "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2"
    ),
    "SELECT relname, reloptions FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' ORDER BY 1",
)


def _sqlalchemy(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg://", 1)


def test_the_migrations_make_the_tables_that_the_code_knows(
    place: PostgresPlace, make_new_database: Callable[..., str]
) -> None:
    fresh = PostgresPlace(make_new_database())
    engine = create_engine(_sqlalchemy(fresh.url))
    metadata.create_all(engine)
    engine.dispose()
    migrated = create_engine(_sqlalchemy(place.url))
    with migrated.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    migrated.dispose()

    # The comparison above does not see conditions of indexes and settings of tables.
    for shape in _SHAPES:
        found = [row for row in place.look(shape) if "alembic_version" not in str(row[0])]
        assert found == fresh.look(shape)


def test_a_store_of_an_earlier_schema_keeps_what_it_holds(make_new_database: Callable[..., str]) -> None:
    url = make_new_database()
    engine = create_engine(_sqlalchemy(url))
    with engine.begin() as connection:
        kept = old_store(connection, "0002")
        leave_failures(connection)
    engine.dispose()

    with pytest.raises(ConfigurationError, match=r"has schema 0002.*needs schema 0004.*bus store migrate"):
        PostgresStore(url)
    migrate(url)

    store = PostgresStore(url)
    assert store.submission_of(kept.request.id) == kept.submission
    assert_joined(store)
    store.close()


def test_a_database_that_nobody_has_migrated_is_refused_with_the_mend(database: str) -> None:
    with pytest.raises(ConfigurationError, match=r"has no schema.*bus store migrate"):
        PostgresStore(database)


def test_a_store_of_a_newer_release_is_neither_opened_nor_migrated(make_new_database: Callable[..., str]) -> None:
    url = make_new_database()
    migrate(url)
    PostgresPlace(url).damage("UPDATE alembic_version SET version_num = '9999'")

    for use in (PostgresStore, migrate):
        with pytest.raises(ConfigurationError, match="schema 9999, which this code does not know"):
            use(url)


def test_many_who_migrate_at_once_make_one_store(database: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(migrate, [database] * 4))

    store = PostgresStore(database)
    assert store.installation()
    assert store.recount() == ()
    store.close()


# --- addresses and sessions -------------------------------------------------------------------------------------------


def test_an_address_that_nobody_can_read_is_refused_without_telling_what_is_in_it() -> None:
    with pytest.raises(ConfigurationError, match="cannot be read") as refused:
        PostgresStore("postgresql://bus:s3cret%zz@localhost/bus")

    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("url", ["postgresql://bus:s3cret@127.0.0.1:1/bus", "postgresql://bus@127.0.0.1:1/bus"])
def test_a_server_that_is_not_there_is_named_without_the_password(url: str) -> None:
    with pytest.raises(StoreUnavailableError, match=r"postgresql://127\.0\.0\.1:1/bus") as refused:
        PostgresStore(url, password=None if "s3cret" in url else "s3cret")

    assert "s3cret" not in str(refused.value)
    assert "s3cret" not in repr(refused.value.__cause__)
    assert refused.value.mend


def test_every_session_flushes_its_commits_and_bounds_its_waits(place: PostgresPlace) -> None:
    store = PostgresStore(f"{place.url}?options=-c%20work_mem%3D5MB", patience=3_000)
    names = ("synchronous_commit", "lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout")

    for way, isolation in ((store.reading, "repeatable read"), (store.writing, "read committed")):
        with way() as connection:
            assert [connection.exec_driver_sql(f"SHOW {name}").scalar() for name in names] == ["on", "3s", "6s", "6s"]
            assert connection.exec_driver_sql("SHOW transaction_isolation").scalar() == isolation
            assert connection.exec_driver_sql("SHOW application_name").scalar() == "bus"
            assert connection.exec_driver_sql("SHOW work_mem").scalar() == "5MB"
    store.close()


def test_a_reader_sees_one_state_and_cannot_write(place: PostgresPlace) -> None:
    store = place.open()
    request = accept(store, accepted())

    with store.reading() as connection:
        seen = store.hot(connection).peek(request.id)
        put(store, values.moved(request)[1])
        assert store.hot(connection).peek(request.id) == seen
    with pytest.raises(StoreUnavailableError, match="read-only"), store.reading() as connection:
        connection.exec_driver_sql("DELETE FROM request")

    assert store.versions([request.id]) == {request.id: 3}
    store.close()


#: Whether the statement is the first one of its transaction.
_IS_FIRST = "SELECT now() = statement_timestamp()"


def test_a_look_leaves_its_connection_as_transactions_need_it(place: PostgresPlace) -> None:
    store = place.open()
    # Given looks of which one breaks
    with pytest.raises(ZeroDivisionError), store.looking():
        raise ZeroDivisionError
    with pytest.raises(DBAPIError), store.looking() as connection:
        connection.exec_driver_sql("SELECT 1 / 0")
    with store.looking() as connection:
        connection.exec_driver_sql("SELECT 1")
        assert connection.exec_driver_sql(_IS_FIRST).scalar()
    # When the connection is used again
    # Then readers and writers have their transactions
    with store.reading() as connection:
        assert connection.exec_driver_sql("SHOW transaction_isolation").scalar() == "repeatable read"
        assert not connection.exec_driver_sql(_IS_FIRST).scalar()
    with store.writing() as connection:
        assert connection.exec_driver_sql("SHOW transaction_isolation").scalar() == "read committed"
        assert not connection.exec_driver_sql(_IS_FIRST).scalar()
    store.close()


def test_no_column_but_the_bytes_of_payloads_holds_what_people_wrote(place: PostgresPlace, store: Store) -> None:
    name = "فاطمة الزهراء 29001011234567"
    each = values.with_message(accepted(values.step()))
    each.payloads = (*each.payloads, Payload(id=values.key(), request_key=each.request.key, bytes=name.encode()))
    accept(store, each)

    found = {
        (table.name, column.name)
        for table in metadata.tables.values()
        for column in table.columns
        if place.look(
            f"SELECT 1 FROM {table.name} WHERE position(convert_to('{name}', 'UTF8') IN \"{column.name}\") > 0"
            if str(column.type) == "BLOB"
            else f"SELECT 1 FROM {table.name} WHERE strpos(\"{column.name}\"::text, '{name}') > 0"
        )
    }

    assert found == {("payload", "bytes")}


def test_every_statement_that_runs_all_the_time_uses_an_index_however_young_its_table_is(place: PostgresPlace) -> None:
    store = PostgresStore(place.url)
    each = values.with_message(accepted(values.step()))
    request = accept(store, each)
    scans = (
        "SELECT relname, seq_scan FROM pg_stat_user_tables"
        " WHERE relname IN ('request', 'submission', 'step', 'fact', 'inbox', 'outbox', 'payload', 'failure', 'result')"
    )
    before = sorted(place.look(scans))

    store.request(request.id)
    store.find("T-free")
    store.facts(request.id)
    store.payloads([request.data_id])
    store.due(values.NOW, 10)
    store.next_due()
    store.versions([request.id])
    store.tracked(["T-free"])
    store.counts(StepState.DISPATCHED)
    store.results("one_stop_shop", after=0, most=10)
    store.uncollected("one_stop_shop", most=10)
    store.requests(consumer="one_stop_shop", states=[], after=0, most=10)
    store.told(request.id)
    store.disclosures(after=(0, 0, 0), until=None, most=9)
    store.failures(is_open=True, after=0, most=10)
    store.open_failures(request.id)
    store.alive_requests(0, 10)
    store.leftovers(values.key(), 10, 1)
    store.collect("one_stop_shop", [1])
    with store.transaction() as transaction:
        transaction.load([request.id])
        transaction.ready("tax_authority", 10)
        transaction.submission("one_stop_shop", "key")
        moved = values.moved(request, values.step(answer_at=5))[1]
        transaction.write(Changes(updates=moved.updates, steps=moved.steps, confirmed=[each.outbox[0].key]))
        transaction.write(Changes(results=accepted().results))
    # What a session has counted is told to the others when it ends.
    with store.reading() as connection:
        connection.exec_driver_sql("SELECT pg_stat_force_next_flush()")
    store.close()

    assert sorted(place.look(scans)) == before


def test_a_pool_that_is_used_up_says_so(place: PostgresPlace) -> None:
    store = PostgresStore(place.url, patience=200)
    entered = []

    def enter() -> None:
        for _ in range(30):
            way = store.reading()
            way.__enter__()
            entered.append(way)

    with pytest.raises(StoreUnavailableError, match="Too many threads"):
        enter()

    for way in entered:
        way.__exit__(None, None, None)
    store.save_epoch("e1")
    assert store.epoch() == "e1"
    store.close()


def test_a_server_that_has_no_room_for_another_connection_says_so(place: PostgresPlace) -> None:
    name = place.url.rpartition("/")[2]
    place.look(f"ALTER DATABASE {name} CONNECTION LIMIT 0")
    place.look("CREATE ROLE crowded LOGIN")

    try:
        with pytest.raises(StoreUnavailableError, match="too many connections"):
            PostgresStore(place.url.replace("postgres@", "crowded@"))
    finally:
        place.look("DROP ROLE crowded")
        place.look(f"ALTER DATABASE {name} CONNECTION LIMIT -1")
