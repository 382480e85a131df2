"""The yardstick ``celery``: a chord of four, results in Redis, late acknowledgements, quorum queues, confirms."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final

import celery  # type: ignore[import-untyped]
import kombu
import redis

from bus.bench.fanout import AGENCIES
from bus.bench.pace import Order
from bus.bench.yardsticks.redis_load import ENDED, load_with

#: Celery has no types, and kombu says that it has.
_CELERY: Final[Any] = celery
_KOMBU: Final[Any] = kombu
#: As large as the data of a message of the bus.
_BODY = "x" * 1000
_CALLBACKS = "callbacks"


class Fanout:
    """The tasks, on one broker."""

    def __init__(self, broker: str, results: str) -> None:
        client = redis.Redis.from_url(results)
        queues = [_CALLBACKS, *(f"tasks.{agency}" for agency in AGENCIES)]
        self.app: Any = _CELERY.Celery("fanout", broker=broker, backend=results, set_as_current=False)
        self.app.conf.update(
            task_queues=[_queue(name) for name in queues],
            task_default_queue=_CALLBACKS,
            task_acks_late=True,
            broker_transport_options={"confirm_publish": True},
            broker_connection_retry_on_startup=True,
            # Queues of the remote control are of a kind that RabbitMQ 4.3 refuses to declare.
            worker_enable_remote_control=False,
            worker_hijack_root_logger=False,
        )

        def end(answers: list[str], request: str) -> None:  # noqa: ARG001  # a chord passes the four answers
            client.rpush(ENDED, request)

        def ask(request: str, body: str) -> str:  # noqa: ARG001  # a null system wants to know nothing
            return body

        self._end = self.app.task(end, name="end", ignore_result=True)
        self._asks = [self.app.task(ask, name=f"ask.{agency}", queue=f"tasks.{agency}") for agency in AGENCIES]

    def submit(self, request: str) -> None:
        """One request."""
        _CELERY.chord([ask.s(request, _BODY) for ask in self._asks], app=self.app)(self._end.s(request=request))


def _queue(name: str) -> Any:
    return _KOMBU.Queue(name, _KOMBU.Exchange(name), routing_key=name, queue_arguments={"x-queue-type": "quorum"})


def _connect(order: Order) -> Callable[[str], None]:
    return Fanout(order.where["broker"], order.where["redis"]).submit


def _main(role: str, *addresses: str) -> None:
    if role == "load":
        load_with(_connect)
        return
    quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "WARNING")
    Fanout(*addresses).app.worker_main(["worker", *quiet])


if __name__ == "__main__":
    _main(*sys.argv[1:])
