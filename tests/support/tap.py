"""A tap on the channels of an agency: a copy of everything that goes through them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pika  # type: ignore[import-untyped]

from bus.message.channel import replies, tasks
from tests.support.demo_workspace import REGISTRY
from tests.support.fleet import VHOST, Fleet


class Copy(NamedTuple):
    """One message, as the broker passed it on."""

    channel: str
    body: bytes
    properties: pika.BasicProperties


class Tap:
    """Keeps the copies in their order."""

    def __init__(self, amqp: pika.adapters.blocking_connection.BlockingChannel, queue: str) -> None:
        self._amqp = amqp
        self._queue = queue
        #: What came until it was read last.
        self.copies: list[Copy] = []

    def read(self) -> list[Copy]:
        """All that has come until now."""
        while True:
            method, properties, body = self._amqp.basic_get(self._queue, auto_ack=True)
            if method is None:
                return self.copies
            self.copies.append(Copy(method.routing_key, body, properties))


@contextmanager
def tapped(fleet: Fleet, agency: str = REGISTRY) -> Iterator[Tap]:
    """Copies of the agency's tasks and replies meanwhile."""
    connection = pika.BlockingConnection(pika.URLParameters(fleet.rabbit.admin.url_with_user(VHOST)))
    amqp = connection.channel()
    queue = amqp.queue_declare("tap", durable=False, exclusive=True).method.queue
    for name in (tasks(agency), replies(agency)):
        amqp.queue_bind(queue, name, name)
    tap = Tap(amqp, queue)
    try:
        yield tap
        tap.read()
    finally:
        connection.close()
