"""PostgreSQL dies, stands still, comes back or hands over to another one; what was promised stays promised."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from bus.bench.services import PostgresNode
from bus.errors import StoreUnavailableError, TransientError
from bus.stores.postgres import PostgresStore, migrate
from tests.conformance import store_values as values
from tests.conformance.store_contract import other_process
from tests.conformance.store_postgres_place import PostgresPlace, emptied, place, until
from tests.conformance.store_values import accept, accepted

__all__ = ["emptied", "place"]

#: Short, so that what hangs is told soon: an answer may be missing for three times as long.
PATIENCE = 500


@pytest.fixture
def store(place: PostgresPlace) -> Iterator[PostgresStore]:
    store = place.open()
    yield store
    store.close()


@pytest.fixture
def private(postgres_node: PostgresNode) -> Iterator[PostgresStore]:
    """A store in a server of its own, impatient."""
    migrate(postgres_node.url)
    store = PostgresStore(postgres_node.url, patience=PATIENCE)
    yield store
    store.close()


def terminate_all(place: PostgresPlace) -> int:
    """End every session but this one; how many there were."""
    ended = place.look(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )
    return len(ended)


def use(store: PostgresStore) -> bool:
    """Write and read something; whether that was possible."""
    try:
        each = accepted()
        accept(store, each)
        assert store.request(each.request.id) == each.request
    except StoreUnavailableError:
        return False
    return True


# --- a connection -----------------------------------------------------------------------------------------------------


def test_a_session_ended_in_the_middle_of_a_batch_leaves_nothing_of_it_and_the_next_one_goes_on(
    store: PostgresStore, place: PostgresPlace
) -> None:
    lost = values.with_message(accepted(values.step()))

    def write(before: Callable[[], Any], after: Callable[[], Any]) -> None:
        with store.transaction() as transaction:
            before()
            transaction.write(lost.changes())
            after()

    for moments in ((lambda: terminate_all(place), int), (int, lambda: terminate_all(place))):
        with pytest.raises(StoreUnavailableError, match=r"cannot be used now: .*terminat|cannot be used now: .*clos"):
            write(*moments)
        assert store.request(lost.request.id) is None

    assert accept(store, lost) == store.request(lost.request.id)
    assert store.recount() == ()


def test_connections_that_died_while_nobody_used_them_are_noticed_by_nobody(
    store: PostgresStore, place: PostgresPlace
) -> None:
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(lambda _: use(store), range(12)))
    assert terminate_all(place) >= 1

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(lambda _: use(store), range(12)))


def test_a_process_that_stands_still_in_a_transaction_does_not_hold_up_the_others_for_ever(
    store: PostgresStore, place: PostgresPlace
) -> None:
    request = accept(store, accepted())
    script = f"""
from bus.errors import StoreUnavailableError
store = PostgresStore({place.url!r}, patience={PATIENCE})
try:
    with store.transaction() as transaction:
        transaction.load([{request.id!r}])
        print("holds", flush=True)
        input()
        transaction.load([{request.id!r}])
except StoreUnavailableError as error:
    print(error, flush=True)
store.save_epoch("works again")
"""
    with other_process(place, script) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == "holds\n"

        # Its session is ended by the server, which frees the request.
        with store.transaction() as transaction:
            assert set(transaction.load([request.id])) == {request.id}

        other.stdin.write("\n")
        other.stdin.flush()
        assert "cannot be used now" in other.stdout.readline()
    assert other.returncode == 0
    assert store.epoch() == "works again"


# --- a server ---------------------------------------------------------------------------------------------------------


def test_a_server_that_was_restarted_while_nobody_asked_is_noticed_by_nobody(
    private: PostgresStore, postgres_node: PostgresNode
) -> None:
    assert use(private)

    postgres_node.restart()

    assert use(private)


def test_a_server_that_is_gone_says_so_at_once_and_works_when_it_is_back(
    private: PostgresStore, postgres_node: PostgresNode
) -> None:
    request = accept(private, accepted())
    postgres_node.kill()

    for call in (private.epoch, lambda: private.save_epoch("e1"), lambda: private.request(request.id)):
        with pytest.raises(StoreUnavailableError, match=r"postgresql://127\.0\.0\.1"):
            call()
    # Time goes on without it.
    before = private.now()
    until(lambda: private.now() > before + 20)

    postgres_node.start()
    assert private.request(request.id) == request
    assert use(private)


def test_a_server_that_stands_still_is_given_up_in_time_and_works_when_it_goes_on(
    private: PostgresStore, postgres_node: PostgresNode
) -> None:
    request = accept(private, accepted())
    calls: list[Callable[[], Any]] = [
        private.epoch,
        lambda: private.save_epoch("e1"),
        lambda: accept(private, accepted()),
        lambda: private.request(request.id),
    ]

    def waited(call: Callable[[], Any]) -> float:
        start = time.monotonic()
        with pytest.raises(StoreUnavailableError):
            call()
        return time.monotonic() - start

    postgres_node.pause()
    try:
        with ThreadPoolExecutor(4) as pool:
            # A little more than the patience for an answer, or for a connection; it would be for ever otherwise.
            assert max(pool.map(waited, calls)) < 30
    finally:
        postgres_node.resume()

    until(lambda: use(private))
    assert private.request(request.id) == request
    assert private.recount() == ()


def test_a_server_that_stands_still_in_the_middle_of_a_batch_is_given_up_and_the_batch_can_be_repeated(
    private: PostgresStore, postgres_node: PostgresNode
) -> None:
    each = values.with_message(accepted(values.step()))

    def write() -> None:
        with private.transaction() as transaction:
            postgres_node.pause()
            transaction.write(each.changes())

    with pytest.raises(StoreUnavailableError):
        write()
    postgres_node.resume()

    # What it was told before it stood still it does not commit: nobody asked it to.
    until(lambda: use(private))
    assert private.request(each.request.id) is None
    assert accept(private, each) == private.request(each.request.id)


def test_what_writers_were_told_is_committed_is_there_after_the_server_was_killed_under_load(
    postgres_node: PostgresNode,
) -> None:
    migrate(postgres_node.url)
    store = PostgresStore(postgres_node.url)
    stop = threading.Event()
    told: list[str] = []

    def work() -> None:
        while not stop.is_set():
            each = values.with_message(accepted(values.step()))
            try:
                accept(store, each)
            except TransientError:
                stop.wait(0.05)
            else:
                told.append(each.request.id)

    writers = [threading.Thread(target=work, daemon=True) for _ in range(4)]
    for writer in writers:
        writer.start()

    def until_more() -> None:
        enough = len(told) + 50
        until(lambda: len(told) > enough)

    for _ in range(3):
        until_more()
        postgres_node.kill()
        postgres_node.start()
    until_more()
    stop.set()
    for writer in writers:
        writer.join()

    assert all(store.versions([request_id]) for request_id in told)
    # A commit whose answer was lost may have been done, one for each writer and kill.
    assert len(told) <= store.accepted() <= len(told) + 4 * 3
    assert store.recount() == ()
    store.close()


def test_of_two_servers_the_one_that_takes_writes_is_used_also_when_they_change_places(
    postgres_node: PostgresNode, tmp_path_factory: pytest.TempPathFactory
) -> None:
    def serve(node: PostgresNode, *, writes: bool) -> None:
        with psycopg.connect(node.url, autocommit=True) as connection:
            setting = "off" if writes else "on"
            connection.execute("SET default_transaction_read_only = off")
            connection.execute(f"ALTER SYSTEM SET default_transaction_read_only = {setting}".encode())
            connection.execute("SELECT pg_reload_conf()")
        until(lambda: _is_read_only(node) is not writes)

    with PostgresNode(tmp_path_factory.mktemp("second")) as second:
        for node in (postgres_node, second):
            migrate(node.url)
        serve(postgres_node, writes=False)
        url = f"postgresql://postgres@127.0.0.1:{postgres_node.port},127.0.0.1:{second.port}/postgres"
        store = PostgresStore(url, patience=2_000)
        assert use(store)
        assert _requests(second) == 1

        serve(second, writes=False)
        serve(postgres_node, writes=True)

        # The first use may find that its server writes no more; then the other one is used.
        assert [use(store), use(store)][1]
        assert _requests(postgres_node) >= 1
        assert _requests(second) == 1
        store.close()


def _is_read_only(node: PostgresNode) -> bool:
    with psycopg.connect(node.url) as connection:
        return connection.execute("SHOW default_transaction_read_only").fetchall() == [("on",)]


def _requests(node: PostgresNode) -> int:
    with psycopg.connect(node.url) as connection:
        return int(connection.execute("SELECT count(*) FROM request").fetchall()[0][0])
