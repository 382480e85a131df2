"""The journal's PostgreSQL killed, stopped still and put back under a working host: no effect twice, no answer lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from bus.bench.services import PostgresNode
from bus.errors import StoreUnavailableError
from bus.journals.postgres import PostgresJournal
from bus.message.reply import Completed
from bus.receiver.row import State
from tests.conformance.journal_contract import a_row, load, write
from tests.functional.test_two_hosts import LATER, answers, asked, host
from tests.support.host_rig import AGENCY, Rig

STEPS = [f"plot_{number}" for number in range(60)]


@contextmanager
def running(rig: Rig) -> Iterator[None]:
    """The host lives on a thread of its own, as in a process of its own; the bus is the test."""
    stop = threading.Event()
    life = threading.Thread(target=rig.host.run, args=(stop,))
    life.start()
    try:
        while not rig.host.is_admitted:
            rig.hear()
        yield
    finally:
        stop.set()
        life.join()


def unanswered(rig: Rig) -> list[str]:
    said = answers(rig)
    return [step for step in STEPS if not isinstance(said.get(rig.interaction(step)), Completed)]


@pytest.mark.parametrize("accident", ["killed", "stopped_still", "disconnected"])
def test_under_load_every_task_is_answered_and_has_one_effect(
    tmp_path: Path, postgres_node: PostgresNode, monkeypatch: pytest.MonkeyPatch, accident: str
) -> None:
    monkeypatch.setattr("bus.journals.postgres_link._ANSWER", 1.0)
    monkeypatch.setattr("bus.journals.postgres_link._CONNECT", 2)
    with host(tmp_path, postgres_node.url) as rig, running(rig):
        for third in range(3):
            steps = STEPS[third::3]
            # Given tasks on their way, one by one
            for step in steps[:10]:
                rig.send(*asked(rig, [(step, "queryable")]))
            # When the database has its accident
            harm(postgres_node, accident)
            for step in steps[10:]:
                rig.send(*asked(rig, [(step, "queryable")]))
            mend(postgres_node, accident)
        # And the bus asks again for what it hears nothing of
        attempt = 1
        while missing := unanswered(rig):
            rig.now += LATER
            attempt += 1
            rig.send(*asked(rig, [(step, "queryable") for step in missing], attempt=attempt))
            settled = threading.Event()
            while not settled.wait(0.2) and rig.hear():
                pass
        # Then
        assert [rig.legacy.effects(rig.interaction(step)) for step in STEPS] == [1] * len(STEPS)


def harm(node: PostgresNode, accident: str) -> None:
    match accident:
        case "killed":
            node.kill()
        case "stopped_still":
            node.pause()
        case "disconnected":
            with psycopg.connect(node.url, autocommit=True) as connection:
                others = "usename IS NOT NULL AND pid <> pg_backend_pid()"
                connection.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")


def mend(node: PostgresNode, accident: str) -> None:
    match accident:
        case "killed":
            node.start()
        case "stopped_still":
            node.resume()


def test_a_host_killed_within_a_transaction_leaves_nothing_of_it_and_holds_up_nobody(database: str) -> None:
    # Given a journal with one row, and another process that dies after its write and before its commit
    journal = PostgresJournal(database, agency=AGENCY)
    write(journal, rows=[a_row("kept")])
    program = (
        "import os, sys, signal\n"
        "from bus.journals.postgres import PostgresJournal\n"
        "from bus.ports import JournalChanges\n"
        "from tests.conformance.journal_contract import a_row\n"
        f"with PostgresJournal(sys.argv[1], agency={AGENCY!r}).transaction() as transaction:\n"
        "    transaction.write(JournalChanges(rows=[a_row('lost')]))\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    dead = subprocess.run([sys.executable, "-c", program, database], check=False, env={**os.environ})
    # Then only that row is there, and the other host goes on
    assert dead.returncode == -signal.SIGKILL
    write(journal, rows=[a_row("after")])
    assert load(journal, "kept", "lost", "after").keys() == {"kept", "after"}
    journal.close()


def test_every_commit_that_was_told_is_there_after_the_server_was_killed(postgres_node: PostgresNode) -> None:
    journal = PostgresJournal(postgres_node.url, agency=AGENCY)
    told: list[str] = []
    for life in range(3):
        for number in range(20):
            write(journal, rows=[a_row(f"{life}/{number}", state=State.COMPLETED)])
            told.append(f"{life}/{number}")
        postgres_node.kill()
        with pytest.raises(StoreUnavailableError):
            journal.identity()
        postgres_node.start()
    assert load(journal, *told).keys() == {*told}
    assert journal.identity().seq == len(told)
    journal.close()


def test_a_journal_put_back_under_living_hosts_begins_nothing_on_either(database: str) -> None:
    # Given two hosts that have both written, and a copy taken before the last of it
    one, other = (PostgresJournal(database, agency=AGENCY) for _ in range(2))
    write(one, rows=[a_row("a")])
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"SET search_path = journal_{AGENCY}")
        connection.execute("CREATE TABLE saved AS SELECT * FROM interaction")
        (seq,) = connection.execute("SELECT seq FROM journal").fetchone() or (0,)
        write(one, rows=[a_row("b")])
        write(other, rows=[a_row("c")])
        # When the copy takes the place of the journal
        connection.execute("DELETE FROM interaction")
        connection.execute("INSERT INTO interaction SELECT * FROM saved")
        connection.execute("UPDATE journal SET seq = %s", (seq,))
    # Then both find it out
    for journal in (one, other):
        with pytest.raises(StoreUnavailableError) as found:
            write(journal, rows=[a_row("d")])
        assert found.value.code == "journal-rolled-back"
    # And one declares it another journal, which the other then takes up
    renewed = one.renew(0)
    write(other, rows=[a_row("d")])
    assert other.identity().journal_id == renewed.journal_id
    assert load(one, "a")["a"].state is State.UNKNOWN
    one.close()
    other.close()
