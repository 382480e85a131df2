"""Three nodes of RabbitMQ under load: each killed, shut down, paused and cut off; nothing confirmed is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from bus.bench.services import RabbitCluster, RabbitNode
from bus.brokers.rabbitmq import RabbitBroker
from bus.errors import BrokerUnavailableError
from bus.message.channel import tasks
from bus.ports import Confirmation, Outgoing
from tests.support.broker_load import BrokerLoad
from tests.support.waiting import wait_for

CHANNEL = tasks("civil_registry")
#: Seconds after a fault within which messages flow again: a node is believed dead after 15, a confirmation after 10,
#: and a client may try a dead node first, twice.
RECOVERY = 60.0
#: Seconds that a node is away while it is paused or cut off: until everybody has noticed.
AWAY = 20.0


def broker(cluster: RabbitCluster, *nodes: RabbitNode) -> RabbitBroker:
    """A client that knows these nodes; all of them if none is given."""
    hosts = ",".join(node.admin.hosts for node in nodes or cluster.nodes)
    admin = cluster.nodes[0].admin
    return RabbitBroker(f"amqp://{hosts}/%2F", user=admin.user, password=admin.password, replicas=len(cluster.nodes))


@pytest.fixture
def load(cluster: RabbitCluster) -> Iterator[BrokerLoad]:
    with BrokerLoad(lambda: broker(cluster), CHANNEL) as running:
        running.wait_until_flowing(RECOVERY)
        yield running


def leader(cluster: RabbitCluster) -> RabbitNode:
    """The node that answers for the channel."""
    name = cluster.nodes[0].admin.ask("GET", f"/api/queues/%2F/{CHANNEL}")["leader"]
    return next(node for node in cluster.nodes if node.name == name)


def replicas(cluster: RabbitCluster) -> set[str]:
    """The nodes that keep the channel."""
    return set(cluster.nodes[0].admin.ask("GET", f"/api/queues/%2F/{CHANNEL}")["members"])


@pytest.mark.parametrize("end", [RabbitNode.kill, pytest.param(RabbitNode.stop, marks=pytest.mark.long)])
def test_nothing_confirmed_is_lost_while_each_node_in_turn_goes_and_comes_back(
    cluster: RabbitCluster, load: BrokerLoad, end: Callable[[RabbitNode], None]
) -> None:
    assert replicas(cluster) == {node.name for node in cluster.nodes}
    for node in cluster.nodes:
        end(node)
        load.wait_until_flowing(RECOVERY)
        node.start()
        cluster.wait_until_whole()
    load.wait_until_flowing(RECOVERY)
    load.finish(RECOVERY)
    assert load.reconnections["publisher"]
    assert load.reconnections["consumer"]


@pytest.mark.long
def test_nothing_confirmed_is_lost_while_each_node_in_turn_stands_still(
    cluster: RabbitCluster, load: BrokerLoad
) -> None:
    for node in cluster.nodes:
        node.pause()
        load.wait_until_flowing(RECOVERY)
        load.stay(AWAY)
        node.resume()
        cluster.wait_until_whole()
        load.wait_until_flowing(RECOVERY)
    load.finish(RECOVERY)


@pytest.mark.long
def test_nothing_confirmed_is_lost_while_the_node_that_leads_is_cut_off_again_and_again(
    cluster: RabbitCluster, load: BrokerLoad
) -> None:
    for _ in range(3):
        cluster.isolate(leader(cluster))
        load.wait_until_flowing(RECOVERY)
        load.stay(AWAY)
        cluster.heal()
        load.wait_until_flowing(RECOVERY)
    load.finish(RECOVERY)


def test_a_consumer_whose_node_is_cut_off_consumes_from_another_meanwhile(
    cluster: RabbitCluster, load: BrokerLoad
) -> None:
    # That node does not know that it knows nothing: it says that nothing waits.
    lonely = node_of(cluster, "bus consumer")

    cluster.isolate(lonely)

    load.wait_until_flowing(RECOVERY)
    assert load.reconnections["consumer"]
    cluster.heal()
    load.finish(RECOVERY)


def node_of(cluster: RabbitCluster, connection: str) -> RabbitNode:
    """The node that the connection of that name leads to; RabbitMQ tells of a new one after some seconds."""

    def found() -> str | None:
        every = cluster.nodes[0].admin.ask("GET", "/api/connections")
        names = {one.get("client_properties", {}).get("connection_name"): one["node"] for one in every}
        return names.get(connection)

    name = wait_for(f"a connection {connection}", found)
    return next(node for node in cluster.nodes if node.name == name)


def test_a_client_that_reaches_only_a_node_that_is_cut_off_is_never_told_that_something_is_stored(
    cluster: RabbitCluster,
) -> None:
    everywhere = broker(cluster)
    everywhere.apply([CHANNEL])
    lonely = leader(cluster)
    alone = broker(cluster, lonely)
    publisher = alone.publisher()
    assert publisher.publish([message("before")]) == (Confirmation.CONFIRMED,)

    cluster.isolate(lonely)
    with pytest.raises(BrokerUnavailableError):
        publisher.publish([message("during")])

    cluster.heal()
    publisher = alone.publisher()
    assert publisher.publish([message("during")]) == (Confirmation.CONFIRMED,)
    consumer = everywhere.consumer([CHANNEL], 10)
    found = [one.message_id for _ in range(2) for one in consumer.collect(10, 5_000)]
    assert found[0] == "before"
    assert "during" in found
    alone.close()
    everywhere.close()


def message(id: str) -> Outgoing:
    return Outgoing(channel=CHANNEL, message_id=id, type="bus.tick.v1", correlation_id=id, body=b"{}")
