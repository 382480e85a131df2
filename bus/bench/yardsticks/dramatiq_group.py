"""The yardstick ``dramatiq``: a group of four with a completion callback, its counting in Redis.

Quorum queues, and every message confirmed before the next. The callback is told that the four are done, and no answer
of theirs: that is less than a result, and so in Dramatiq's favour. The worker is its own program with its defaults.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final

import dramatiq
import redis
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.middleware import GroupCallbacks
from dramatiq.rate_limits.backends import RedisBackend

from bus.bench.fanout import AGENCIES
from bus.bench.pace import Order
from bus.bench.yardsticks.redis_load import ENDED, load_with

#: Its types are half done.
_DRAMATIQ: Final[Any] = dramatiq
#: As large as the data of a message of the bus.
_BODY = "x" * 1000
#: Environment variables of the worker: its program imports a module and passes it nothing.
BROKER, REDIS = "BUS_BENCH_BROKER", "BUS_BENCH_REDIS"


class Fanout:
    """The actors, on one broker."""

    def __init__(self, broker: str, counting: str) -> None:
        client = redis.Redis.from_url(counting)
        self._broker = RabbitmqBroker(url=broker, confirm_delivery=True)
        self._broker.add_middleware(GroupCallbacks(RedisBackend(client=client)))
        _DRAMATIQ.set_broker(self._broker)

        def end(request: str) -> None:
            client.rpush(ENDED, request)

        def ask(request: str, body: str) -> None:
            """One agency, which answers at once."""

        self._end: Any = _DRAMATIQ.actor(end, broker=self._broker, queue_name="callbacks")
        self._asks: list[Any] = [
            _DRAMATIQ.actor(ask, broker=self._broker, queue_name=f"tasks-{agency}", actor_name=f"ask-{agency}")
            for agency in AGENCIES
        ]

    def submit(self, request: str) -> None:
        """One request."""
        group = _DRAMATIQ.group([ask.message(request, _BODY) for ask in self._asks], broker=self._broker)
        group.add_completion_callback(self._end.message(request))
        group.run()


def work() -> None:
    """Called by Dramatiq's own program in each of its workers."""
    Fanout(os.environ[BROKER], os.environ[REDIS])


def _connect(order: Order) -> Callable[[str], None]:
    return Fanout(order.where["broker"], order.where["redis"]).submit


if __name__ == "__main__":
    load_with(_connect)
