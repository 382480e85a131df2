"""The checkers of these suites are able to fail: each is shown the damage that it is there to find."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import pytest

from tests.support.accounts import Look, Watch, assert_accepted_once, assert_it_added_up, ids_of, left_over
from tests.support.demo_workspace import SERVICE, application
from tests.support.fleet import VHOST, Fleet, fleet_on
from tests.support.installation_inside import InsideInstallation
from tests.support.ledgers import assert_all_is_well
from tests.support.load import Load, all_end
from tests.support.waiting import StuckError, wait_for

#: Seconds that the checkers have for what they would otherwise wait for.
SOON = 4.0


@pytest.fixture(scope="module")
def bus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InsideInstallation]:
    """An installation in which three requests have ended well."""
    with InsideInstallation(tmp_path_factory.mktemp("checked")) as running:
        for number in range(3):
            assert running.drive(running.submit(f"checked-{number}", premises=False)) == "completed"
        yield running


@pytest.fixture(autouse=True)
def _nothing_is_wrong_before_and_after(bus: InsideInstallation) -> Iterator[None]:
    assert_all_is_well(bus)
    yield
    assert_all_is_well(bus)


@contextmanager
def damaged(file: Path, table: str, damage: str) -> Iterator[None]:
    """Another hand writes into one table of the file; afterwards the table is as it was."""
    with closing(sqlite3.connect(file, timeout=10, isolation_level=None)) as connection:
        rows = connection.execute(f"SELECT * FROM {table}").fetchall()
        try:
            assert connection.execute(damage).rowcount, "nothing was damaged: the test proves nothing"
            yield
        finally:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(f"DELETE FROM {table}")
            connection.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(rows[0]))})", rows)
            connection.execute("COMMIT")


# --- the counts -------------------------------------------------------------------------------------------------------


def test_the_watch_sees_that_a_request_has_vanished(bus: InsideInstallation) -> None:
    [gone, *_] = before = ids(bus)
    with Watch(bus.store) as whole:
        wait_for("a few looks", lambda: len(whole.looks) > 2)
    assert_it_added_up(whole)
    with damaged(bus.data / "store.db", "request", f"DELETE FROM request WHERE id = '{gone}'"):
        with Watch(bus.store) as watch:
            wait_for("it is seen", lambda: watch.wrong)
        with pytest.raises(AssertionError, match="did not add up"):
            assert_it_added_up(watch)
        with pytest.raises(AssertionError, match="1 with a receipt are not in the store"):
            assert_accepted_once(ids(bus), receipts=before, attempted=before)


def ids(bus: InsideInstallation) -> list[str]:
    with bus.store() as store:
        return ids_of(store)


def test_a_watch_that_did_not_look_after_the_fault_began_proves_nothing(bus: InsideInstallation) -> None:
    watch = Watch(bus.store)
    with pytest.raises(AssertionError, match=r"nobody looked whether the counts add up$"):
        assert_it_added_up(watch)
    # A fault of before its time is no matter; of one in its time only looks at requests under way count.
    watch.looks.append(Look(at=time.monotonic(), alive=5))
    assert_it_added_up(watch, fault_at=watch.began - 1)
    fault_at = time.monotonic()
    watch.looks.append(Look(at=time.monotonic(), alive=0))
    with pytest.raises(AssertionError, match="after the fault began"):
        assert_it_added_up(watch, fault_at=fault_at)
    watch.looks.append(Look(at=time.monotonic(), alive=5))
    assert_it_added_up(watch, fault_at=fault_at)


def test_of_submissions_what_is_lost_doubled_or_strange_is_named() -> None:
    assert_accepted_once(["a", "b"], receipts=["a"], attempted=["a", "b", "c"])
    for found, told in (
        (["b"], "1 with a receipt are not in the store: .'a'."),
        (["a", "b", "b"], "1 are there more than once: .'b'."),
        (["a", "b", "x"], "1 are of no submission that anybody tried: .'x'."),
    ):
        with pytest.raises(AssertionError, match=told):
            assert_accepted_once(found, receipts=["a"], attempted=["a", "b", "c"])


def test_what_is_left_in_the_outbox_or_in_a_channel_is_named(bus: InsideInstallation) -> None:
    with bus.store() as store:
        assert left_over(store, dict) == {}
        assert left_over(store, lambda: {"tasks.a": 2}) == {"tasks.a": 2}
        with closing(sqlite3.connect(bus.data / "store.db", isolation_level=None)) as connection:
            # Younger than anything that a relay would touch.
            connection.execute(
                "INSERT INTO outbox (key, channel, message_id, type, correlation_id, payload_id)"
                " SELECT 1 << 62, 'tasks.a', 'm', 't', '', min(id) FROM payload"
            )
            assert left_over(store, dict) == {"the outbox": 1}
            connection.execute("DELETE FROM outbox WHERE key = 1 << 62")
        assert left_over(store, dict) == {}


# --- store and ledger -------------------------------------------------------------------------------------------------

LAST = "id = (SELECT max(id) FROM effect)"
EFFECTS = {
    "done more than once": "INSERT INTO effect (operation, reference, made, at)"
    f" SELECT operation, reference, made, at FROM effect WHERE {LAST}",
    "effects that belong to no step": "INSERT INTO effect (operation, reference, made, at)"
    f" SELECT operation, 'AAAABBBBCCCCDDDD', made, at FROM effect WHERE {LAST}",
    "store and ledger disagree": f"DELETE FROM effect WHERE {LAST}",
}


@pytest.mark.parametrize("told", EFFECTS)
def test_a_ledger_that_says_something_else_is_found_out(bus: InsideInstallation, told: str) -> None:
    file = bus.registry_data / "simulators" / "commercial_registry" / "ledger.db"
    with damaged(file, "effect", EFFECTS[told]), pytest.raises(AssertionError, match=told):
        assert_all_is_well(bus)


ROWS = {
    "a fact is missing": ("fact", "DELETE FROM fact WHERE version = 3", "the store does not add up"),
    "a result is missing": ("result", "DELETE FROM result", "the store does not add up"),
    "a request moves on": (
        "request",
        "UPDATE request SET state = 'open' WHERE key = (SELECT max(key) FROM request)",
        "the store does not add up|neither ended nor visibly waiting",
    ),
}


@pytest.mark.parametrize("what", ROWS)
def test_a_store_that_lacks_something_is_found_out(bus: InsideInstallation, what: str) -> None:
    table, damage, told = ROWS[what]
    with damaged(bus.data / "store.db", table, damage), pytest.raises(AssertionError, match=told):
        assert_all_is_well(bus)


# --- many processes ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Fleet, Load]]:
    """A fleet, and a load on it that has ended well."""
    with fleet_on(tmp_path_factory.mktemp("fleet")) as fleet:
        with Load(fleet) as load:
            load.wait_for(10)
            assert set(all_end(fleet, load)) == {"completed"}
        yield fleet, load


def test_a_message_that_is_left_in_a_channel_is_found_out(ended: tuple[Fleet, Load]) -> None:
    fleet, load = ended
    admin, name = fleet.rabbit.admin, "tasks.nobody"
    admin.ask("PUT", f"/api/queues/{VHOST}/{name}", {"durable": True, "arguments": {"x-queue-type": "quorum"}})
    message = {"routing_key": name, "payload": "left", "payload_encoding": "string", "properties": {}}
    assert admin.ask("POST", f"/api/exchanges/{VHOST}/amq.default/publish", message) == {"routed": True}
    try:
        with pytest.raises(StuckError, match=f"channels are empty: .*'{name}': 1"):
            all_end(fleet, load, within=SOON)
    finally:
        admin.ask("DELETE", f"/api/queues/{VHOST}/{name}")
    all_end(fleet, load)


def test_a_request_that_nobody_submitted_is_found_out(ended: tuple[Fleet, Load]) -> None:
    fleet, load = ended
    fleet.portal.submit(SERVICE, application(premises=False), key="of-nobody")
    with pytest.raises(AssertionError, match="1 are of no submission that anybody tried"):
        all_end(fleet, load)
    fleet.attempt("of-nobody")
    all_end(fleet, load)


def test_a_request_that_is_lost_is_found_out(ended: tuple[Fleet, Load]) -> None:
    fleet, load = ended
    with psycopg.connect(fleet.database, autocommit=True) as connection:
        # No rule of the database stands in the way of whoever damages it.
        connection.execute("SET session_replication_role = replica")
        connection.execute("CREATE TEMPORARY TABLE kept AS SELECT * FROM request WHERE id = %s", [load.accepted[0]])
        connection.execute("DELETE FROM request WHERE id = %s", [load.accepted[0]])
        with pytest.raises(AssertionError, match="1 with a receipt are not in the store"):
            all_end(fleet, load)
        load.accepted, kept = load.accepted[1:], load.accepted
        with pytest.raises(AssertionError, match="the counts did not add up"):
            all_end(fleet, load)
        load.accepted = kept
        connection.execute("INSERT INTO request SELECT * FROM kept")
    all_end(fleet, load)
