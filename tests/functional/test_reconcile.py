"""The store is put back by an hour: it asks before it does anything, and no effect happens twice."""

from __future__ import annotations

import threading
from contextlib import closing
from pathlib import Path

import pytest

from bus.bootstrap import open_store
from bus.errors import TransientError
from bus.message.envelope import MessageType
from bus.message.identity import request_id
from bus.message.instant import HOUR
from bus.ports import Mode
from bus.process.state import ALIVE, StepState
from tests.support.demo_workspace import PORTAL, REGISTRY, SERVICE, application
from tests.support.installation_inside import InsideInstallation
from tests.support.ledgers import all_requests, doubled, wrong_effects
from tests.support.restored import RestoredInstallation, run_store
from tests.support.waiting import wait_for

#: Submitted while the backup is taken, and after it.
CROWD = 10


def submit_while_backing_up(bus: InsideInstallation, backup: Path) -> list[str]:
    """Requests keep coming before, while and after the backup is taken; every fourth goes through the desk."""
    requests: list[str] = []
    half = threading.Event()

    def keep_coming() -> None:
        for number in range(CROWD):
            requests.append(bus.submit(f"crowd-{number}", premises=number % 4 == 0))
            if number == CROWD // 2:
                half.set()

    thread = threading.Thread(target=keep_coming)
    thread.start()
    assert half.wait(30)
    done = run_store("backup", backup, "--data", bus.data, "--workspace", bus.folder)
    assert done.exit_code == 0, done.output
    thread.join()
    return requests


def assert_it_only_asked(bus: RestoredInstallation) -> None:
    """Look-ups were sent and nothing else; what the answers made ready waits, with its clock at rest."""
    assert MessageType.TASK_QUERIED in bus.listening.to_agencies
    assert bus.listening.to_agencies <= {MessageType.TASK_QUERIED, MessageType.HOST_ADMITTED}
    assert bus.bus_store.counts(StepState.READY)[REGISTRY]
    for request in all_requests(bus.bus_store):
        ready = [step for step in request.steps.values() if step.state is StepState.READY]
        assert all(step.deadline_at is None for step in ready)


def test_a_store_from_an_hour_ago_asks_first_and_causes_no_second_effect(tmp_path: Path) -> None:
    # Given a bus under load, a backup, and an hour of work after it that the backup does not know
    backup = tmp_path / "bus.backup"
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    with InsideInstallation(tmp_path / "first") as first:
        ended = [first.submit("long-before", premises=False)]
        first.drive(ended[0])
        # Some answers are on their way when the backup is taken: the store believes that they are awaited.
        first.broker.holds = True
        requests = submit_while_backing_up(first, backup)
        first.broker.holds = False
        first.broker.release()
        first.advance(HOUR)
        late = first.submit("after-the-backup", premises=False)
        outcomes = {one: first.drive(one) for one in (*requests, late)}
        done_before = dict(first.ledger.counts())
    # When the store is put back, and the bus starts again with the journals and the registry as they are
    with RestoredInstallation(tmp_path / "second", first, backup, HOUR) as bus:
        known = {request.id for request in all_requests(bus.bus_store)}
        open_before = {request.id for request in all_requests(bus.bus_store) if request.state in ALIVE}
        assert known >= set(ended)
        assert late not in known
        assert open_before, "all had ended when the backup was taken: the test proves nothing"
        wait_for("the end of asking", lambda: bus.bus_store.mode() is Mode.ASKED and not bus.bus_store.unanswered())
        # Then nothing but look-ups was sent, nothing new is accepted, and nothing happened
        assert_it_only_asked(bus)
        with pytest.raises(TransientError) as refused:
            bus.portal.submit(SERVICE, application(premises=False), key="after-the-backup")
        assert "restored" in str(refused.value)
        assert bus.ledger.counts() == done_before
        # And once a person has opened it, everything ends as it had ended, with nothing done twice
        opened = run_store("open", "--reason", "looked at all", "--data", bus.data, "--workspace", bus.folder)
        assert opened.exit_code == 0, (opened.output, opened.exception)
        assert {one: bus.drive(one) for one in known} == {one: outcomes.get(one, "completed") for one in known}
        # And what was accepted after the backup is the same request again, which the journals know
        assert bus.submit("after-the-backup", premises=False) == late
        assert late == request_id((bus.data / "secret").read_bytes(), PORTAL, "after-the-backup")
        assert bus.drive(late) == outcomes[late]
        assert not doubled(bus.ledger)
        assert not wrong_effects(all_requests(bus.bus_store), bus.ledger.counts())
        assert bus.ledger.counts() == done_before
        assert bus.bus_store.recount() == ()
        acts = [act.what for act in bus.bus_store.acts(after=0, most=50)]
        assert acts.index("store_restored") < acts.index("store_opened")


def test_a_store_that_was_not_restored_has_nothing_to_open(tmp_path: Path) -> None:
    open_store(tmp_path).close()
    told = run_store("open", "--reason", "tried", "--data", tmp_path, "--workspace", tmp_path)
    assert told.exit_code == 1
    with closing(open_store(tmp_path)) as store:
        assert store.mode() is Mode.OPEN
        assert store.acts(after=0, most=9) == ()
