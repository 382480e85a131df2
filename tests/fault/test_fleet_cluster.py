"""The whole bus on a RabbitMQ of three nodes, under load: each is killed, stopped, paused and cut off in its turn."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bus.bench.services import PostgresNode, RabbitCluster, RabbitNode, rabbit_cluster
from tests.fault.test_cluster import AWAY, node_of
from tests.support.fleet import VHOST, Fleet
from tests.support.ledgers import assert_all_is_well
from tests.support.load import Load, all_end, wait_until_flowing

pytestmark = pytest.mark.long

#: Seconds after a fault within which requests end again: a node that says nothing is given up after 15 seconds, whoever
#: connects may try it again, and what was lost on the way is asked for a while later.
RECOVERY = 120.0
#: Requests that are accepted while a node is away: until everybody has noticed.
AWAY_FOR = round(15 * AWAY)
#: Seconds for which nodes are parted for a moment, again and again.
FLAPPING = 60.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitCluster]:
    with rabbit_cluster(tmp_path_factory.mktemp("cluster")) as nodes:
        yield nodes


@pytest.fixture(scope="module")
def fleet(cluster: RabbitCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("fleet")
    cluster.admin.make_vhost(VHOST)
    url, copies = cluster.admin.url(VHOST), len(cluster.nodes)
    with (
        PostgresNode(folder / "postgres") as postgres,
        Fleet(made(folder / "fleet"), cluster.nodes[0], postgres, broker_url=url, replicas=copies) as running,
    ):
        yield running


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def ends_well(fleet: Fleet, load: Load) -> None:
    outcomes = all_end(fleet, load, within=RECOVERY)
    assert set(outcomes) == {"completed"}
    assert_all_is_well(fleet)


def flows(fleet: Fleet) -> None:
    wait_until_flowing(fleet, within=RECOVERY)


@pytest.mark.parametrize("end", [RabbitNode.kill, RabbitNode.stop])
def test_each_node_in_turn_goes_and_comes_back(
    fleet: Fleet, cluster: RabbitCluster, end: Callable[[RabbitNode], None]
) -> None:
    with Load(fleet) as load:
        flows(fleet)
        for node in cluster.nodes:
            fleet.fault_begins()
            try:
                end(node)
                flows(fleet)
            finally:
                node.start()
            cluster.wait_until_whole()
        flows(fleet)
        ends_well(fleet, load)
    assert fleet.differences() == []


def test_a_node_that_stands_still_is_left_to_itself(fleet: Fleet, cluster: RabbitCluster) -> None:
    with Load(fleet) as load:
        flows(fleet)
        node = node_of(cluster, "bus consumer")
        fleet.fault_begins()
        node.pause()
        try:
            flows(fleet)
            load.wait_for(AWAY_FOR)
            flows(fleet)
        finally:
            node.resume()
        cluster.wait_until_whole()
        flows(fleet)
        ends_well(fleet, load)


@pytest.mark.parametrize("connection", ["bus consumer", "bus publisher", "agency.commercial_registry consumer"])
def test_a_node_that_is_cut_off_does_not_take_its_clients_with_it(
    fleet: Fleet, cluster: RabbitCluster, connection: str
) -> None:
    with Load(fleet) as load:
        flows(fleet)
        fleet.fault_begins()
        cluster.isolate(node_of(cluster, connection))
        try:
            flows(fleet)
            load.wait_for(AWAY_FOR)
            flows(fleet)
        finally:
            cluster.heal()
        flows(fleet)
        ends_well(fleet, load)


def test_a_network_that_parts_and_heals_again_and_again_costs_time_and_nothing_else(
    fleet: Fleet, cluster: RabbitCluster
) -> None:
    chance = random.Random(7)
    with Load(fleet) as load:
        flows(fleet)
        until = time.monotonic() + FLAPPING
        while time.monotonic() < until:
            # Too short for the nodes to give one another up, long enough for them to choose who leads anew.
            fleet.fault_begins()
            cluster.isolate(chance.choice(cluster.nodes))
            time.sleep(chance.uniform(1, 3))
            cluster.network.heal()
            time.sleep(chance.uniform(1, 3))
        cluster.wait_until_whole()
        flows(fleet)
        ends_well(fleet, load)
    assert fleet.differences() == []
