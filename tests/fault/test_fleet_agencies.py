"""Two agencies under load: what befalls the channel of one holds up nobody else, and what is given up has its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bus.message.channel import POISON, tasks
from bus.process.state import StepKey, StepState
from tests.fault.test_fleet_broker import full, told
from tests.fault.test_fleet_store import all_work
from tests.support.demo_workspace import REGISTRY
from tests.support.fleet import VHOST, Fleet, fleet_on
from tests.support.fleet_of_two import TAX, TAX_HOST, FleetOfTwo
from tests.support.ledgers import all_requests, assert_all_is_well, assert_ledger_agrees
from tests.support.load import Load, all_end, wait_until_flowing
from tests.support.waiting import wait_for

#: A host that takes nothing counts as alive for long, and so is sent more; nobody asks it before it is back.
INTERVALS = {"dead_after": "20s", "answer_within": "60s", "answer_most": "60s"}
#: Requests that come while the channel of one agency is full.
MANY = 30
#: Seconds within which everything ends that was asked for again meanwhile.
RECOVERY = 120.0

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FleetOfTwo]:
    with fleet_on(tmp_path_factory.mktemp("fleet"), FleetOfTwo, intervals=INTERVALS) as running:
        assert isinstance(running, FleetOfTwo)
        all_work(running)
        yield running


@pytest.fixture(autouse=True)
def _all_run(fleet: FleetOfTwo) -> Iterator[None]:
    yield
    fleet.start()


def ends_well(fleet: FleetOfTwo, load: Load) -> None:
    outcomes = all_end(fleet, load, within=RECOVERY)
    assert set(outcomes) == {"completed"}
    assert_all_is_well(fleet)
    with fleet.store() as store:
        assert_ledger_agrees(fleet.tax_ledger, all_requests(store), TAX)


def succeeded(fleet: Fleet, requests: list[str], step: str) -> int:
    """For how many of them this step has succeeded."""
    with fleet.store() as store:
        found = [store.request(request) for request in requests]
    return sum(request is not None and request.steps[StepKey(step)].state is StepState.SUCCEEDED for request in found)


def test_while_the_channel_of_one_agency_is_full_the_steps_of_the_other_go_on(fleet: FleetOfTwo) -> None:
    channel = tasks(TAX)
    refused = told(fleet, "publish_refused", by=channel)
    with Load(fleet) as load:
        wait_until_flowing(fleet)
        with full(fleet, channel):
            # Given that nobody takes anything out, and that the channel takes no more
            fleet.kill_one(TAX_HOST)
            wait_for("the channel refuses", lambda: told(fleet, "publish_refused", by=channel) > refused)
            # When ever more tasks are for it
            before, certificates = len(fleet.ledger.entries()), len(fleet.tax_ledger.entries())
            known = len(load.accepted)
            load.wait_for(MANY)
            later = load.accepted[known : known + MANY]
            # Then the other agency does its part of the same requests, and they end no sooner
            wait_for("the registry works on", lambda: len(fleet.ledger.entries()) >= before + MANY)
            wait_for("its steps succeed", lambda: succeeded(fleet, later, "name") == MANY)
            assert (succeeded(fleet, later, "tax"), len(fleet.tax_ledger.entries())) == (0, certificates)
            waiting = fleet.depths()
            assert waiting[channel] > 0
            assert tasks(REGISTRY) not in waiting
        # And when there is room again and the host is back, all of it ends
        fleet.start_one(TAX_HOST)
        load.wait_for(20)
        ends_well(fleet, load)


@pytest.mark.parametrize(
    "what", ["queue", *(pytest.param(one, marks=pytest.mark.long) for one in ("exchange", "binding"))]
)
def test_the_channel_of_what_is_given_up_is_made_again_though_nothing_is_sent_there(
    fleet: FleetOfTwo, what: str
) -> None:
    # Given hosts that are all heard, so that nothing else makes channels again
    with Load(fleet) as load:
        wait_until_flowing(fleet)
        fleet.delete(what, POISON)
        load.wait_for(15)
        ends_well(fleet, load)
    wait_for("it is made again", lambda: not fleet.differences())
    # Then what comes there is taken and shown again
    message = {"routing_key": POISON, "payload": "given up", "payload_encoding": "string", "properties": {}}
    sent = fleet.rabbit.admin.ask("POST", f"/api/exchanges/{VHOST}/{POISON}/publish", message)
    assert sent == {"routed": True}
    wait_for("it is taken", lambda: not fleet.depths())
    fleet.wait_for_failure("poison")
