"""Two hosts of one agency on RabbitMQ and PostgreSQL: one stands still in its work, and the other one takes over."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from bus import killpoint
from bus.killpoint import KillPoint
from bus.simulator import Misbehaviour
from tests.fault.test_fleet_journal import Twins, journal, twins
from tests.support.demo_workspace import ROOT, SERVICE, application
from tests.support.ledgers import assert_all_is_well
from tests.support.load import Load, all_end
from tests.support.waiting import wait_for

__all__ = ["twins"]

#: Seconds of a call's lease: its time-out, and as long again as the test's workspace gives.
LEASE = 2.0
#: Seconds that the registry takes for the call of the one that takes over: the first one comes back in the middle.
CALL = 0.4
#: What a host has whose points stop it, until it is told to go on, where they would kill it.
_STOPS = """
import signal, types
import bus.killpoint
bus.killpoint.signal = types.SimpleNamespace(SIGKILL=signal.SIGSTOP)
"""


@dataclass(frozen=True, slots=True)
class Held:
    """What the journal says of an interaction."""

    state: str
    process: str
    reference: str
    #: The answer that is kept.
    body: bytes | None


class Still:
    """Two hosts, of which the first stands still at points that are armed for it alone."""

    def __init__(self, twins: Twins) -> None:
        self.twins = twins
        self.points = twins.folder / "stands-still"
        code = twins.folder / "stops"
        for folder in (self.points, code):
            folder.mkdir()
        (code / "sitecustomize.py").write_text(_STOPS, encoding="utf-8")
        twins.environments["host-1"] = {"PYTHONPATH": f"{code}:{ROOT}", "BUS_KILL_DIR": str(self.points)}
        twins.kill_one("host-1")
        twins.start_one("host-1")

    def stands(self) -> bool:
        stat = Path(f"/proc/{self.twins.processes['host-1'].pid}/stat").read_text(encoding="ascii", errors="replace")
        return stat.rpartition(")")[2].split()[0] == "T"

    def go_on(self) -> None:
        self.twins.signal_one("host-1", signal.SIGCONT)

    def rows(self, condition: str = "true") -> Mapping[str, Held]:
        found = journal(
            self.twins,
            "SELECT interaction_id, state, process, reference, body"
            f" FROM interaction LEFT JOIN result USING (interaction_id) WHERE {condition}",
        )
        return {
            str(id_): Held(str(state), str(process), str(reference), body if isinstance(body, bytes) else None)
            for id_, state, process, reference, body in found
        }

    def until_it_stands(self, point: KillPoint) -> Mapping[str, Held]:
        """Have the first host alone take three tasks and stand still with them; the rows that it has in its hand."""
        with self.twins.store() as store:
            wait_for("nothing is under way", lambda: not store.alive_requests(0, 1))
        self.twins.kill_one("host-2")
        killpoint.arm(self.points, point)
        for number in range(3):
            # Once: whoever insists would start again who is meant to be away.
            key = f"{point}-{time.monotonic_ns()}-{number}"
            self.twins.attempt(key)
            self.twins.portal.submit(SERVICE, application(premises=False), key=key)
        wait_for("a host stands still", self.stands)
        return self.rows("state = 'begun'")


@pytest.fixture(scope="module")
def still(twins: Twins) -> Still:
    return Still(twins)


@pytest.fixture(autouse=True)
def _both_run(still: Still) -> Iterator[None]:
    yield
    with still.twins.control as control:
        control.disarm()
    still.go_on()
    still.twins.start()


def sleep_until(monotonic: float) -> None:
    time.sleep(max(0.0, monotonic - time.monotonic()))


@pytest.mark.long
@pytest.mark.parametrize("leases", [1, 3])
def test_a_host_that_stood_still_before_its_call_neither_calls_nor_speaks_once_another_has_begun(
    still: Still, leases: int
) -> None:
    # Given a host that has committed its intents and stands still before the first byte
    held = still.until_it_stands("host.intended")
    stood = time.monotonic()
    assert held
    with still.twins.control as control:
        for row in held.values():
            control.arm(Misbehaviour.SLOW, about=row.reference, times=None, seconds=CALL)
    with Load(still.twins, rate=8) as load:
        # When its leases are over, and with three also another one is in the middle of the same call
        taken: Mapping[str, Held] = {}
        if leases == 3:
            sleep_until(stood + leases * LEASE)
        still.twins.start_one("host-2")
        if leases == 3:
            taken = wait_for("another one calls", lambda: others(still, held))
        sleep_until(stood + leases * LEASE)
        still.go_on()
        # Then what that one does is what counts
        for id_ in taken:
            came_to = wait_for("the end of that call", lambda id_=id_: ended(still, id_))  # type: ignore[misc]
            assert came_to in {"completed", "unknown"}
        load.wait_for(20)
        outcomes = all_end(still.twins, load)
    assert set(outcomes) == {"completed"}
    assert_all_is_well(still.twins)
    assert still.twins.is_alive


def others(still: Still, held: Mapping[str, Held]) -> Mapping[str, Held]:
    """What another process has begun of what was held."""
    begun = still.rows("state = 'begun'")
    return {id_: row for id_, row in begun.items() if id_ in held and row.process != held[id_].process}


def ended(still: Still, interaction: str) -> str:
    (row,) = still.rows(f"interaction_id = '{interaction}'").values()
    return "" if row.state == "begun" else row.state


@pytest.mark.long
@pytest.mark.parametrize("leases", [1, 3])
def test_a_host_that_stood_still_with_an_answer_in_its_hand_writes_nothing_once_another_has_looked_it_up(
    still: Still, leases: int
) -> None:
    # Given a host whose calls have had their effect, and that stands still before it has written so
    held = still.until_it_stands("host.called")
    stood = time.monotonic()
    assert held
    with Load(still.twins, rate=8) as load:
        # When its leases are over, and with three also another one has answered
        before: Mapping[str, Held] = {}
        if leases == 3:
            sleep_until(stood + leases * LEASE)
        still.twins.start_one("host-2")
        if leases == 3:
            wait_for("another one has answered", lambda: all(ended(still, id_) == "completed" for id_ in held))
            before = {id_: row for id_, row in still.rows().items() if id_ in held}
        sleep_until(stood + leases * LEASE)
        still.go_on()
        load.wait_for(20)
        outcomes = all_end(still.twins, load)
    # Then the answer that was given stays the answer, byte for byte
    after = still.rows()
    assert before == {id_: after[id_] for id_ in before}
    assert set(outcomes) == {"completed"}
    assert_all_is_well(still.twins)
    assert still.twins.is_alive
