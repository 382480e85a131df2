"""What stands behind the channels in RabbitMQ: an exchange and a queue of its own for each, bound to each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from bus.message.channel import POISON, Channel

#: Deliveries of one message before the broker gives it up.
DELIVERY_LIMIT: Final = 20
#: Bytes that wait in one queue before it takes no more: at some kilobytes a message, a month of a large agency.
MOST_BYTES: Final = 4 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """One channel in the broker: a durable direct exchange, a durable quorum queue, and the binding of the two.

    The exchange, the queue and the routing key are all called like the channel.
    """

    name: Channel
    #: Arguments of the queue. RabbitMQ refuses to declare it again with others.
    arguments: Mapping[str, str | int]


def declaration(channel: Channel, replicas: int) -> Declaration:
    """The declaration of a channel; ``replicas`` is the number of nodes that keep a copy of its queue."""
    arguments: dict[str, str | int] = {
        "x-queue-type": "quorum",
        "x-quorum-initial-group-size": replicas,
        "x-max-length-bytes": MOST_BYTES,
        # A full queue says no to the publisher; otherwise it would drop its oldest message.
        "x-overflow": "reject-publish",
    }
    if channel != POISON:
        arguments |= {
            "x-delivery-limit": DELIVERY_LIMIT,
            "x-dead-letter-exchange": POISON,
            "x-dead-letter-routing-key": POISON,
            # Kept here until the other queue has it.
            "x-dead-letter-strategy": "at-least-once",
        }
    return Declaration(name=channel, arguments=arguments)
