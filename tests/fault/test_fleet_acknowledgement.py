"""Many processes, and what cannot be committed: it stays with the broker, and of what was committed a row is kept."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg
import pytest

from bus.message.channel import replies, tasks
from bus.message.envelope import MessageType
from bus.message.replies import REPLY_TYPES
from bus.process.state import StepState
from tests.fault.test_fleet_store import all_work, stranger
from tests.support.demo_workspace import ALWAYS_FREE, REGISTRY, SERVICE, application
from tests.support.fleet import VHOST, Fleet, fleet_on
from tests.support.ledgers import assert_all_is_well
from tests.support.waiting import wait_for

MANY = 10
#: Steps of the demo's route that the registry does.
STEPS = 2


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    # Process managers that hold answers show no sign of life, and are to count as alive all the while.
    with fleet_on(tmp_path_factory.mktemp("fleet"), intervals={"dead_after": "20s"}) as running:
        all_work(running)
        yield running


@pytest.fixture(autouse=True)
def _nobody_asks_again(fleet: Fleet) -> Iterator[None]:
    """Without a timekeeper each message leaves once: what the broker has forgotten stays forgotten."""
    with fleet.store() as store:
        wait_for("nothing is under way", lambda: not store.alive_requests(0, 1))
    fleet.kill_one("clock")
    yield
    fleet.start()


def submitted(fleet: Fleet, name: str) -> list[str]:
    """One after the other, each once: whoever insists would start again who is meant to be dead."""

    def submit(key: str) -> str:
        fleet.attempt(key)
        return str(fleet.portal.submit(SERVICE, application(ALWAYS_FREE, premises=False), key=key)["request_id"])

    return [submit(f"{name}-{number}") for number in range(MANY)]


def in_the_broker(fleet: Fleet, channel: str, types: frozenset[str]) -> set[str]:
    """The requests of which a message of these types waits, once nobody holds any; they stay where they are."""
    asked = {"count": 10_000, "ackmode": "ack_requeue_true", "encoding": "auto"}
    found = fleet.rabbit.admin.ask("POST", f"/api/queues/{VHOST}/{channel}/get", asked)
    sent = [message["properties"] for message in found]
    return {str(one["correlation_id"]) for one in sent if one.get("type") in types}


def all_completed(fleet: Fleet, requests: list[str]) -> None:
    fleet.start()
    for request in requests:
        wait_for(f"the end of {request}", lambda request=request: fleet.state(request) == "completed")  # type: ignore[misc]
    assert_all_is_well(fleet)


@contextmanager
def locked_inbox(fleet: Fleet) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """Somebody has the table in which process managers note what they received."""
    with stranger(fleet) as connection, connection.transaction():
        connection.execute("LOCK TABLE inbox IN ACCESS EXCLUSIVE MODE")
        yield connection


def test_answers_that_cannot_be_committed_are_all_still_with_the_broker_when_the_process_managers_die(
    fleet: Fleet,
) -> None:
    managers = [name for name in fleet.roles if name.startswith("manager")]
    with locked_inbox(fleet) as look:
        requests = submitted(fleet, "answers")

        def waits() -> bool:
            waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query ~ 'INTO inbox'"
            look.execute("SELECT pg_stat_clear_snapshot()")
            return look.execute(waiting).fetchall() == [(len(managers),)]

        wait_for("each process manager has answers in its hand", waits)
        for name in managers:
            fleet.kill_one(name)
        wait_for(
            "every answer is in the broker",
            lambda: in_the_broker(fleet, replies(REGISTRY), frozenset(map(str, REPLY_TYPES))) >= set(requests),
        )
    all_completed(fleet, requests)


def test_each_answer_that_counted_has_its_row_by_which_it_is_known_if_it_comes_again(fleet: Fleet) -> None:
    requests = submitted(fleet, "rows")
    all_completed(fleet, requests)
    with fleet.store() as store, stranger(fleet) as connection:
        kept = Counter(key for (key,) in connection.execute("SELECT request_key FROM inbox").fetchall())
        assert min(kept[store.key_of(request)] for request in requests) >= STEPS


def test_tasks_that_cannot_be_committed_are_all_still_with_the_broker_when_their_host_dies(fleet: Fleet) -> None:
    def refused() -> int:
        return fleet.log.read_bytes().count(b'"event":"store_unavailable"')

    with closing(sqlite3.connect(fleet.journal, isolation_level=None)) as journal:
        journal.execute("BEGIN IMMEDIATE")
        before = refused()
        requests = submitted(fleet, "tasks")
        # A host that cannot write says that it lives, and takes tasks, no longer than for a moment.
        wait_for("the host has tried", lambda: refused() > before)
        fleet.kill_one("host")
        with fleet.store() as store:
            found = [request for id_ in requests if (request := store.request(id_)) is not None]
        sent = {
            request.id
            for request in found
            if any(step.state is StepState.DISPATCHED for step in request.steps.values())
        }
        assert sent
        wait_for(
            "every task is in the broker",
            lambda: in_the_broker(fleet, tasks(REGISTRY), frozenset({str(MessageType.TASK_REQUESTED)})) >= sent,
        )
    all_completed(fleet, requests)
