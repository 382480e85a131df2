"""Many processes under load, and the lines to their broker and to their database misbehave: it costs only time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bus.bench.services import PostgresNode, RabbitNode
from tests.support.fleet import VHOST, Fleet
from tests.support.ledgers import assert_all_is_well
from tests.support.load import Load, all_end, wait_until_flowing
from tests.support.proxy import Proxy, Weather, proxy
from tests.support.waiting import wait_for

#: Seconds within which requests end again after a fault: a dead link is noticed after 15, and what was lost with it is
#: asked for a while later.
RECOVERY = 60.0
#: Seconds that a line is dead, or as good as dead.
AWAY = 30.0
#: Seconds at least and at most by which a burst is late, on the line to the broker and on that to the database, which
#: is asked several times for each request.
FAR, NEAR = (0.05, 0.15), (0.01, 0.03)


class Lines:
    """A fleet, whose processes reach broker and database over these lines alone."""

    def __init__(self, fleet: Fleet, broker: Proxy, store: Proxy) -> None:
        self.fleet = fleet
        self.broker = broker
        self.store = store
        broker.lag, store.lag = FAR, NEAR

    def of(self, name: str) -> Proxy:
        return self.broker if name == "broker" else self.store

    def fair(self) -> None:
        self.broker.weather = self.store.weather = Weather.FAIR

    def wait_until_flowing(self, many: int = 20, within: float = RECOVERY) -> None:
        wait_until_flowing(self.fleet, many, within)


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lines]:
    with lines_in(tmp_path_factory.mktemp("lines")) as running:
        yield running


@contextmanager
def lines_in(folder: Path) -> Iterator[Lines]:
    with (
        RabbitNode(folder / "rabbit") as rabbit,
        PostgresNode(folder / "postgres") as postgres,
        proxy(rabbit.admin.hosts) as to_broker,
        proxy(f"127.0.0.1:{postgres.port}") as to_store,
    ):
        rabbit.admin.make_vhost(VHOST)
        (folder / "fleet").mkdir()
        broker_url, store_at = f"amqp://127.0.0.1:{to_broker.port}/{VHOST}", f"127.0.0.1:{to_store.port}"
        with Fleet(folder / "fleet", rabbit, postgres, broker_url=broker_url, store_at=store_at) as fleet:
            yield Lines(fleet, to_broker, to_store)


@pytest.fixture(autouse=True)
def _fair_again(lines: Lines) -> Iterator[None]:
    yield
    lines.fair()


def ends_well(lines: Lines, load: Load) -> None:
    outcomes = all_end(lines.fleet, load)
    assert set(outcomes) == {"completed"}
    assert_all_is_well(lines.fleet)


@pytest.mark.parametrize("name", ["broker", pytest.param("store", marks=pytest.mark.long)])
def test_links_that_break_all_at_once_again_and_again(lines: Lines, name: str) -> None:
    with Load(lines.fleet) as load:
        for _ in range(5):
            lines.wait_until_flowing()
            lines.fleet.fault_begins()
            lines.of(name).reset()
        lines.wait_until_flowing()
        ends_well(lines, load)


@pytest.mark.parametrize("name", ["broker", pytest.param("store", marks=pytest.mark.long)])
def test_links_that_are_dead_while_both_ends_believe_in_them(lines: Lines, name: str) -> None:
    line = lines.of(name)
    with Load(lines.fleet) as load:
        lines.wait_until_flowing()
        before = line.connections
        lines.fleet.fault_begins()
        line.forget()
        lines.wait_until_flowing()
        assert line.connections > before
        ends_well(lines, load)


@pytest.mark.long
@pytest.mark.parametrize("name", ["broker", "store"])
def test_a_line_that_swallows_everything_for_a_while_and_forgets_its_links(lines: Lines, name: str) -> None:
    line = lines.of(name)
    with Load(lines.fleet) as load:
        lines.wait_until_flowing()
        before = line.connections
        lines.fleet.fault_begins()
        lines.fleet.fault_begins()
        line.weather = Weather.BLACK_HOLE
        time.sleep(AWAY)
        line.forget()
        line.weather = Weather.FAIR
        lines.wait_until_flowing()
        assert line.connections > before
        ends_well(lines, load)
    assert lines.fleet.is_alive


@pytest.mark.long
@pytest.mark.parametrize("name", ["broker", "store"])
def test_a_line_that_holds_everything_back_for_a_while(lines: Lines, name: str) -> None:
    line = lines.of(name)
    with Load(lines.fleet) as load:
        lines.wait_until_flowing()
        lines.fleet.fault_begins()
        line.weather = Weather.STALLED
        time.sleep(AWAY)
        line.weather = Weather.FAIR
        lines.wait_until_flowing()
        ends_well(lines, load)


@pytest.mark.long
@pytest.mark.parametrize("name", ["broker", "store"])
def test_a_line_that_passes_a_byte_a_second_holds_nobody_for_ever(lines: Lines, name: str) -> None:
    line = lines.of(name)
    with Load(lines.fleet) as load:
        lines.wait_until_flowing()
        before, accepted = line.connections, len(load.accepted)
        line.weather = Weather.DRIP
        # A receipt needs the store and no broker; whoever gets none is told so, however much still drips in.
        if name == "store":
            wait_for("submissions are told to come again", lambda: load.refused["store-unavailable"], AWAY)
        else:
            wait_for("submissions are accepted", lambda: len(load.accepted) >= accepted + 20, AWAY)
        time.sleep(AWAY)
        line.weather = Weather.FAIR
        lines.wait_until_flowing()
        # What was given up was made anew.
        assert line.connections > before
        ends_well(lines, load)
    assert lines.fleet.is_alive


@pytest.mark.long
@pytest.mark.parametrize("weather", [Weather.SLOW, Weather.TRICKLE])
@pytest.mark.parametrize("name", ["broker", "store"])
def test_a_bad_line_delays_and_nothing_else(lines: Lines, name: str, weather: Weather) -> None:
    with Load(lines.fleet, rate=5) as load:
        lines.wait_until_flowing()
        lines.fleet.fault_begins()
        lines.of(name).weather = weather
        lines.wait_until_flowing(40, 2 * RECOVERY)
        load.stop()
        with lines.fleet.store() as store:
            wait_for("all of it has ended in this weather", lambda: not store.alive_requests(0, 1), RECOVERY)
        # On a line as bad as that there is always some sign of life in a channel.
        lines.fair()
        ends_well(lines, load)
