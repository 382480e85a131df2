"""Many processes that stop, or are away over a deadline: no answer that came is doubted, and nothing is done twice."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from bus.message.channel import replies
from bus.message.envelope import decode
from bus.message.replies import REPLY_TYPES
from bus.process.state import StepKey, StepState
from tests.fault.test_fleet_store import all_work
from tests.fault.test_fleet_time import doubts, now
from tests.support.accounts import Watch, assert_it_added_up
from tests.support.demo_workspace import REGISTRY, SERVICE, application
from tests.support.fleet import ROLES, Fleet, fleet_on
from tests.support.ledgers import all_requests, assert_all_is_well
from tests.support.load import Load, all_end
from tests.support.tap import Copy, tapped
from tests.support.waiting import wait_for

#: Seconds after which the first step is over, if no answer came by then.
DEADLINE = 6
#: Milliseconds that the bus is away for longer than that, and for longer than it waits for any answer.
LONGER = 3_000
#: Milliseconds for which a process counts as alive that is not heard: so long its host is sent tasks, too.
BELIEVED = 12_000
#: How many answers wait.
MANY = 20


class Patient(Fleet):
    """Its host leaves the registry time: nothing is doubted only because the machine is busy."""

    def __init__(self, *places: Any, **more: Any) -> None:
        super().__init__(*places, **more)
        for name, old, new in (
            ("env/test.yaml", "timeout_s: 0.7, busy_s: 0.2", "timeout_s: 8, busy_s: 4"),
            (f"adapters/{REGISTRY}/manifest.yaml", "timeout: 1s", "timeout: 10s"),
            (f"adapters/{REGISTRY}/manifest.yaml", "absence_proof_after: 2s", "absence_proof_after: 30s"),
        ):
            file = self.workspace / name
            text = file.read_text(encoding="utf-8")
            assert old in text
            file.write_text(text.replace(old, new), encoding="utf-8")


@pytest.fixture
def hurried(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A fleet in which all work, and whose next requests have little time for their first step."""
    intervals = {"dead_after": f"{BELIEVED}ms", "answer_within": "5s", "answer_most": "5s"}
    with fleet_on(tmp_path_factory.mktemp("hurried"), Patient, intervals=intervals) as running:
        all_work(running)
        with running.store() as store:
            wait_for("what came before has ended", lambda: not store.alive_requests(0, 1))
            running.kill()
            hurry(running)
            begun = store.now()
            running.start()
            wait_for("the host is heard", lambda: (store.agencies()[REGISTRY].alive_at or 0) > begun)
        yield running


def hurry(fleet: Fleet) -> None:
    file = fleet.workspace / "routes.yaml"
    text, line = file.read_text(encoding="utf-8"), "        operation: name.reserve.v1\n"
    assert text.count(line) == 1
    file.write_text(text.replace(line, f"{line}        deadline: {DEADLINE}s\n"), encoding="utf-8")


def test_answers_that_wait_in_the_broker_while_the_bus_is_down_over_a_deadline_count(hurried: Fleet) -> None:
    fleet = hurried
    began = now(fleet)
    # Given requests whose first step is answered, and nobody who listens
    for name in ("manager-1", "manager-2"):
        fleet.kill_one(name)
    with tapped(fleet) as tap:
        requests = submit_many(fleet)
        wait_for("all of them are answered", lambda: {one for one, _ in answers(tap.read())} >= set(requests))
    with fleet.store() as store:
        wait_for("nothing is left to be sent", lambda: not store.outbox_depth())
    for name in ("gateway", "clock"):
        fleet.kill_one(name)
    assert first_steps(fleet, requests) == [StepState.DISPATCHED] * MANY
    # When the bus is away until the deadline of each is over, and nobody counts as a listener any more
    until = max(last_deadline(fleet, requests), now(fleet) + BELIEVED) + LONGER
    wait_for("every deadline is over", lambda: now(fleet) > until)
    assert fleet.depths()[replies(REGISTRY)] >= MANY

    # Then nothing is given up before the answers were read, though the clock is there first
    with Watch(fleet.store) as watch:
        fleet.start_one("clock")
        time.sleep(LONGER / 1000)
        assert first_steps(fleet, requests) == [StepState.DISPATCHED] * MANY
        fleet.start()
        wait_for("all of them end", lambda: {fleet.state(request) for request in requests} == {"completed"})
    # And nothing was doubted, given up, or asked for again
    assert doubts(fleet, began) == []
    assert attempts(fleet, requests) == {1}
    assert_it_added_up(watch, fault_at=fleet.fault_at)
    assert_all_is_well(fleet)


def submit_many(fleet: Fleet) -> list[str]:
    """Without reviving anybody."""
    keys = [f"waits-{number}" for number in range(MANY)]
    told = [fleet.portal.submit(SERVICE, application(premises=False), key=key)["request_id"] for key in keys]
    assert told == [fleet.attempt(key) for key in keys]
    return [str(request) for request in told]


def answers(copies: list[Copy]) -> list[tuple[str, str]]:
    """Request and message id of each answer of a host."""
    envelopes = [decode(copy.body).envelope for copy in copies]
    return [(str(one.correlationid), one.id) for one in envelopes if one.type in REPLY_TYPES]


def first_steps(fleet: Fleet, requests: list[str]) -> list[StepState]:
    with fleet.store() as store:
        found = [store.request(request) for request in requests]
    return [request.steps[StepKey("name")].state for request in found if request is not None]


def last_deadline(fleet: Fleet, requests: list[str]) -> int:
    with fleet.store() as store:
        found = [store.request(request) for request in requests]
    times = [request.steps[StepKey("name")].deadline_at for request in found if request is not None]
    assert all(times), "a step without a deadline proves nothing"
    return max(time or 0 for time in times)


def attempts(fleet: Fleet, requests: list[str]) -> set[int]:
    """Which attempts there were of any step that was sent."""
    with fleet.store() as store:
        found = [request for request in all_requests(store) if request.id in set(requests)]
    return {step.attempt for request in found for step in request.steps.values() if step.ever_sent}


# --- clean stops ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Nobody asks again only because something takes its time."""
    intervals = {"answer_within": "60s", "answer_most": "60s", "drain_within": "15s"}
    with fleet_on(tmp_path_factory.mktemp("calm"), Patient, intervals=intervals) as running:
        all_work(running)
        yield running


@pytest.fixture
def all_run_again(calm: Fleet) -> Iterator[None]:
    """Afterwards, whatever became of the test."""
    yield
    calm.start()


STOPPED = [name if name == "host" else pytest.param(name, marks=pytest.mark.long) for name in ROLES]


@pytest.mark.usefixtures("all_run_again")
@pytest.mark.parametrize("name", STOPPED)
def test_after_a_clean_stop_under_load_nothing_is_sent_or_done_a_second_time(calm: Fleet, name: str) -> None:
    with tapped(calm) as tap, Load(calm) as load:
        load.wait_for(20)
        began = now(calm)
        assert calm.stop_one(name) == 0
        calm.start_one(name)
        load.wait_for(20)
        outcomes = all_end(calm, load)
    assert set(outcomes) == {"completed"}
    assert doubts(calm, began) == []
    assert attempts(calm, load.accepted) == {1}
    sent = Counter((copy.channel, copy.properties.message_id) for copy in tap.copies if of(copy, load))
    assert len(sent) >= 4 * len(load.accepted)
    assert [message for message, count in sent.items() if count > 1] == []
    assert_all_is_well(calm)


def of(copy: Copy, load: Load) -> bool:
    """Whether the message is about one of the load's requests."""
    return decode(copy.body).envelope.correlationid in load.keys
