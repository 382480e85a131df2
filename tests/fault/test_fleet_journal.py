"""Two hosts of one agency under load, on a journal in a PostgreSQL of the agency's own that has accidents."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psycopg
import pytest

from bus.bench.services import PostgresNode, RabbitNode
from tests.fault.test_fleet_store import all_work
from tests.support.accounts import Watch, assert_accepted_once, assert_it_added_up, ids_of, left_over
from tests.support.demo_workspace import REGISTRY
from tests.support.fleet import VHOST, Fleet
from tests.support.ledgers import assert_all_is_well
from tests.support.load import Load, all_end
from tests.support.waiting import wait_for

ROLES: Mapping[str, tuple[str, ...]] = {
    "gateway": ("gateway",),
    "manager-1": ("process-manager",),
    "clock": ("relay", "timekeeper"),
    "host-1": (f"agency:{REGISTRY}",),
    "host-2": (f"agency:{REGISTRY}",),
}


class Twins(Fleet):
    """Each host has a folder of its own, as on a machine of its own; they share the agency's database."""

    def __init__(self, folder: Path, rabbit: RabbitNode, postgres: PostgresNode, agency: PostgresNode) -> None:
        self.agency = agency
        super().__init__(folder, rabbit, postgres, roles=ROLES)
        file = self.workspace / "env" / "test.yaml"
        text, plain = file.read_text(encoding="utf-8"), f"{REGISTRY}: {{use: real, "
        assert text.count(plain) == 1
        file.write_text(text.replace(plain, f"{plain}journal: {{url: {json.dumps(agency.url)}}}, "), encoding="utf-8")

    def folder_of(self, name: str) -> Path:
        return self.data / name if name.startswith("host") else self.data


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    folder = tmp_path_factory.mktemp("twins")
    (folder / "fleet").mkdir()
    with (
        RabbitNode(folder / "rabbit") as rabbit,
        PostgresNode(folder / "postgres") as postgres,
        PostgresNode(folder / "agency") as agency,
    ):
        rabbit.admin.make_vhost(VHOST)
        with Twins(folder / "fleet", rabbit, postgres, agency) as running:
            all_work(running)
            yield running


@pytest.fixture(autouse=True)
def _all_run(twins: Twins) -> Iterator[None]:
    yield
    twins.start()


def journal(twins: Twins, *statements: str) -> list[tuple[object, ...]]:
    with psycopg.connect(twins.agency.url) as connection:
        cursor = connection.execute(f"SET search_path = journal_{REGISTRY}".encode())
        for statement in statements:
            cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def test_a_journal_that_is_killed_under_two_hosts_costs_time_and_nothing_else(twins: Twins) -> None:
    with Load(twins, rate=20) as load:
        for _ in range(2):
            load.wait_for(20)
            twins.fault_begins()
            twins.agency.kill()
            try:
                load.wait_for(20)
            finally:
                twins.agency.start()
        load.wait_for(20)
        outcomes = all_end(twins, load)
    assert set(outcomes) == {"completed"}
    assert_all_is_well(twins)
    assert twins.is_alive


@pytest.mark.long
def test_either_host_may_be_killed_while_the_other_works(twins: Twins) -> None:
    with Load(twins, rate=20) as load:
        for name in ("host-1", "host-2"):
            load.wait_for(20)
            twins.kill_one(name)
            load.wait_for(20)
            twins.start_one(name)
        outcomes = all_end(twins, load)
    assert set(outcomes) == {"completed"}
    assert_all_is_well(twins)


def test_a_journal_put_back_under_living_hosts_becomes_another_one_and_no_effect_happens_twice(twins: Twins) -> None:
    # Given a copy of the journal, and work after it
    tables = [
        str(name)
        for (name,) in journal(
            twins, f"SELECT tablename FROM pg_tables WHERE schemaname = 'journal_{REGISTRY}' AND tablename <> 'version'"
        )
    ]
    old = twins.known_journal()
    with Load(twins, rate=20) as load:
        load.wait_for(20)
        journal(
            twins,
            "CREATE SCHEMA copy",
            *(f"CREATE TABLE copy.{table} AS SELECT * FROM {table}" for table in tables),
        )
        load.wait_for(40)
        twins.fault_begins()
        # When the copy takes the journal's place while both hosts live
        journal(
            twins,
            *(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE" for table in tables),
            *(f"DELETE FROM {table}" for table in tables),
            *(f"INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT * FROM copy.{table}" for table in tables),
            "DROP SCHEMA copy CASCADE",
        )
        load.wait_for(10)
        # Then they find out, and the bus admits what is another journal now only when it is told that the old is lost
        wait_for("it is another journal", lambda: journal(twins, "SELECT journal_id FROM journal") != [(old,)])
        twins.wait_for_failure("second_journal", agency=REGISTRY)
        time.sleep(1)
        twins.retire_journal()
        load.stop()
        # And every request ends, or waits visibly where nobody can tell what happened
        ends(twins, load)
    parked = sum(1 for failure in twins.failures() if failure["request_id"])
    assert_all_is_well(twins, parked=parked)
    # Both hosts serve again.
    with Load(twins, rate=20) as load:
        load.wait_for(20)
        ends(twins, load)
    assert_all_is_well(twins, parked=parked)


def ends(twins: Twins, load: Load) -> None:
    """Wait until every request has ended or waits for a person; each is there, and the counts added up meanwhile."""

    def nothing_is_left() -> bool:
        with twins.store() as store:
            return not store.alive_requests(0, 1) and not left_over(store, twins.depths)

    load.stop()
    with Watch(twins.store) as watch:
        wait_for("nothing is under way", nothing_is_left, 90)
    with twins.store() as store:
        assert_accepted_once(ids_of(store), receipts=load.accepted, attempted=twins.attempted)
    assert not load.wrong
    assert_it_added_up(load.watch, watch, fault_at=twins.fault_at)
