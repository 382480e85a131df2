"""Private RabbitMQ, PostgreSQL and Redis for tests and benchmarks: own ports, own data, and nothing stays behind."""

from bus.bench.services.cluster import RabbitCluster, rabbit_cluster
from bus.bench.services.node import Node
from bus.bench.services.postgres import PostgresNode, drop_database, make_database
from bus.bench.services.rabbit import RabbitNode
from bus.bench.services.rabbit_admin import RabbitAdmin
from bus.bench.services.redis import RedisNode
from bus.bench.services.standby import PostgresStandby
from bus.bench.services.waiting import ServiceError

__all__ = [
    "Node",
    "PostgresNode",
    "PostgresStandby",
    "RabbitAdmin",
    "RabbitCluster",
    "RabbitNode",
    "RedisNode",
    "ServiceError",
    "drop_database",
    "make_database",
    "rabbit_cluster",
]
