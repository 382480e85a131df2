"""Private RabbitMQ clusters, whose nodes can be killed, paused and cut off."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bus.bench.services.network import Network
from bus.bench.services.rabbit import RabbitNode, Seat
from bus.bench.services.rabbit_admin import RabbitAdmin
from bus.bench.services.waiting import wait_until

#: The ports that RabbitMQ uses by itself: each node has a network of its own.
_AMQP, _MANAGEMENT, _DISTRIBUTION, _REGISTER = 5672, 15672, 25672, 4369
#: Seconds until nodes that can reach each other know it.
_JOIN = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RabbitCluster:
    """Nodes that know each other, on a network that can be cut."""

    nodes: tuple[RabbitNode, ...]
    network: Network

    @property
    def admin(self) -> RabbitAdmin:
        """Of all nodes; the management API is the first node's."""
        first = self.nodes[0].admin
        return RabbitAdmin(hosts=",".join(node.admin.hosts for node in self.nodes), management=first.management)

    def isolate(self, node: RabbitNode) -> None:
        """Part one node from all others; clients reach it as before. The others are the majority."""
        for other in self.nodes:
            if other is not node:
                self.network.cut(self.nodes.index(node) + 1, self.nodes.index(other) + 1)

    def heal(self) -> None:
        """Undo every cut, and wait until all nodes see each other again."""
        self.network.heal()
        self.wait_until_whole()

    def wait_until_whole(self) -> None:
        """Wait until every node sees all others running."""
        names = {node.name for node in self.nodes}
        for node in self.nodes:

            def sees_all(node: RabbitNode = node) -> bool:
                return node.running() == names

            wait_until(f"{node.name} sees all others", sees_all, within=_JOIN, log=node.log, alive=lambda: True)


@contextmanager
def rabbit_cluster(folder: Path, n: int = 3) -> Iterator[RabbitCluster]:
    """Start ``n`` nodes and join them."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        network = stack.enter_context(Network(folder, n))
        seats = [_seat(network, host) for host in range(1, n + 1)]
        peers = {f"cluster_formation.classic_config.nodes.{i}": seat.name for i, seat in enumerate(seats, 1)}
        settings = {
            "cluster_formation.peer_discovery_backend": "classic_config",
            **peers,
            # Seconds of silence after which a node counts as gone; six times as long would be RabbitMQ's own choice.
            "net_ticktime": "10",
        }
        nodes = [
            stack.enter_context(_later(RabbitNode(folder / f"node-{i}", settings=settings, seat=seat)))
            for i, seat in enumerate(seats, 1)
        ]
        with ThreadPoolExecutor(n) as pool:  # each waits for the others
            list(pool.map(RabbitNode.start, nodes))
        cluster = RabbitCluster(nodes=tuple(nodes), network=network)
        cluster.wait_until_whole()
        yield cluster


@contextmanager
def _later(node: RabbitNode) -> Iterator[RabbitNode]:
    """Kill the node at the end, whether it was started or not."""
    try:
        yield node
    finally:
        node.kill()


def _seat(network: Network, host: int) -> Seat:
    return Seat(
        host=network.address(host),
        amqp=_AMQP,
        management=_MANAGEMENT,
        distribution=_DISTRIBUTION,
        register=_REGISTER,
        name=f"rabbit@{network.address(host)}",
        network=network.namespace(host),
    )
