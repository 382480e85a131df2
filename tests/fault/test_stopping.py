"""SIGTERM under load drains within its bound and loses nothing; one installation is run by one process."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator

import pytest

from bus.client import Client
from bus.errors import BusError
from tests.support.demo_workspace import PORTAL, SERVICE, application
from tests.support.installation import Installation
from tests.support.ledgers import all_requests, assert_all_is_well
from tests.support.waiting import wait_for

#: Settings under which nothing is asked a second time because the machine is busy.
CALM = {"answer_within": "60s", "answer_most": "60s", "drain_within": "15s"}
#: `drain_within`, and what an interpreter on a busy machine needs to end.
DRAIN, MARGIN = 15.0, 15.0


@pytest.fixture(scope="module")
def bus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with Installation(tmp_path_factory.mktemp("stopping"), intervals=CALM) as running:
        yield running


class Load:
    """Submits until it cannot, and remembers each receipt: these are the promises."""

    def __init__(self, bus: Installation) -> None:
        url = (bus.data / "url").read_text(encoding="utf-8").strip()
        token = (bus.data / "token").read_text(encoding="utf-8").strip()
        self._client = Client(url, token, agency=PORTAL)
        self.receipts: list[str] = []
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        self._thread.join(60)
        self._client.close()

    def _run(self) -> None:
        number = 0
        while True:
            key = f"load-{number}"
            try:
                receipt = self._client.submit(SERVICE, application(premises=False), key=key)
            except BusError:
                return
            self.receipts.append(str(receipt["request_id"]))
            number += 1


def test_sigterm_under_load_drains_within_its_bound_and_loses_nothing(bus: Installation) -> None:
    # Given a bus under load
    load = Load(bus)
    load.start()
    wait_for("a crowd", lambda: len(load.receipts) > 20)

    # When it is told to stop
    code = bus.terminate(within=DRAIN + MARGIN)
    load.join()

    # Then it says that it drained, and every receipt is kept after the next start
    assert code == 0
    events = [json.loads(line) for line in bus.log.read_text(encoding="utf-8").splitlines() if line.startswith("{")]
    assert [event["how"] for event in events if event["event"] == "drain_ended" and "how" in event] == ["whole"]
    with bus.store() as store:
        dispatched = {request.id: attempts(bus, request.id) for request in all_requests(store)}
    bus.start()
    assert {bus.drive(request) for request in load.receipts} == {"completed"}
    assert set(dispatched) >= set(load.receipts)
    assert_all_is_well(bus)


def attempts(bus: Installation, request: str) -> int:
    with bus.store() as store:
        return sum(fact.kind == "step_dispatched" for fact in store.facts(request))


def test_after_a_clean_stop_nothing_is_tried_a_second_time(bus: Installation) -> None:
    # Given requests that ended before and across a clean stop
    with bus.store() as store:
        steps = [step for request in all_requests(store) for step in request.steps.values()]

    # Then no step needed a second attempt
    assert steps
    assert {step.attempt for step in steps} == {1}


def test_a_second_serve_on_the_same_data_is_refused_and_the_first_goes_on(bus: Installation) -> None:
    second = bus.spawn()

    assert second.wait(30) == 3
    assert "data-in-use" in bus.last_words()
    assert bus.is_alive
    assert bus.drive(bus.submit("still-served", premises=False)) == "completed"


def test_the_claim_on_the_data_ends_with_a_killed_process(bus: Installation) -> None:
    bus.restart()

    assert bus.drive(bus.submit("served-again", premises=False)) == "completed"


def test_a_stop_during_the_start_is_a_stop(bus: Installation) -> None:
    bus.kill()
    words = len(bus.log.read_bytes())
    starting = bus.spawn()
    wait_for("its first word", lambda: len(bus.log.read_bytes()) > words)

    starting.terminate()

    assert starting.wait(DRAIN + MARGIN) == 0
    bus.start()
