"""A task that kills every host that reads it: the broker gives it up, a person sees it, and its neighbours go on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bus.message.identity import request_id
from tests.support.accounts import Watch, assert_accepted_once, assert_it_added_up, ids_of, left_over
from tests.support.demo_workspace import PORTAL, REGISTRY
from tests.support.fleet import VHOST, Fleet, fleet_on
from tests.support.ledgers import assert_all_is_well
from tests.support.waiting import wait_for

#: Deaths after which the test's broker gives a message up: fewer than where nobody waits for it.
LIMIT = 6
#: Seconds for the deaths: each time the host starts, says so, and is admitted.
PATIENCE = 240.0

#: Python reads this at its start: whoever decodes a message with these words is killed before he has acknowledged it,
#: as by a parser that crashes.
DEADLY = """
import os, signal
from bus.message import envelope

decode = envelope.decode

def die_of_it(body):
    if os.environ["DEADLY_WORDS"].encode() in body:
        os.kill(os.getpid(), signal.SIGKILL)
    return decode(body)

envelope.decode = die_of_it
"""


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    # Long enough for the deaths, lest the task be sent again for lack of an answer.
    with fleet_on(tmp_path, intervals={"answer_within": "30s", "answer_most": "30s"}) as running:
        definition = {"pattern": f"^tasks[.]{REGISTRY}$", "definition": {"delivery-limit": LIMIT}, "apply-to": "queues"}
        running.rabbit.admin.ask("PUT", f"/api/policies/{VHOST}/limit", definition)
        yield running


def make_deadly(fleet: Fleet, words: str) -> None:
    """From now on every host dies of messages with these words."""
    folder = fleet.folder / "deadly"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(DEADLY, encoding="utf-8")
    fleet.environments["host"] = {"PYTHONPATH": str(folder), "DEADLY_WORDS": words}
    fleet.kill_one("host")
    fleet.start_one("host")


@pytest.mark.long
def test_a_task_that_kills_every_host_is_tried_twice_and_shown_and_its_neighbours_succeed(fleet: Fleet) -> None:
    deadly = request_id(fleet.secret, PORTAL, "deadly")
    make_deadly(fleet, deadly)

    with Watch(fleet.store) as watch:
        neighbours = [fleet.submit(f"before-{number}", premises=False) for number in range(5)]
        assert fleet.submit("deadly", premises=False) == deadly
        neighbours += [fleet.submit(f"after-{number}", premises=False) for number in range(5)]

        # Asking for failures starts the dead host again.
        failure = wait_for(
            "it is shown", lambda: next((one for one in fleet.failures() if one["code"] == "poison"), None), PATIENCE
        )
        assert (failure["request_id"], failure["agency"]) == (deadly, REGISTRY)
        # Also those that a dying host was about to carry out: it is asked, and looks whether it did.
        for neighbour in neighbours:
            wait_for("a neighbour succeeds", lambda of=neighbour: fleet.state(of) == "completed", PATIENCE)  # type: ignore[misc]
    assert_it_added_up(watch, fault_at=fleet.fault_at)
    assert [one["request_id"] for one in fleet.failures()] == [deadly]
    # The broker gave it up, it was sent once more, and it was given up again.
    assert fleet.deaths > 2 * LIMIT
    assert "isolation_began" in fleet.log.read_text(encoding="utf-8")
    assert_all_is_well(fleet, parked=1)
    with fleet.store() as store:
        assert_accepted_once(ids_of(store), receipts=[deadly, *neighbours], attempted=fleet.attempted)
        wait_for("nothing is left", lambda: not left_over(store, fleet.depths))
