"""What stands behind the channels in RabbitMQ (an exchange and a queue for each), and who may do what with them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from bus.message.channel import BUS_USER, POISON, Channel, control, host_user, replies, tasks

#: The queues that tell a broker that was wiped from one that knows the bus are called so, and a random id.
EPOCH_PREFIX: Final = "bus.epoch."
#: Deliveries of one message before the broker gives it up.
DELIVERY_LIMIT: Final = 20
#: Of what it gave up it gives up nothing more: since RabbitMQ 4.0 a queue without a limit has one of 20, and before 4.0
#: the -1 that lifts it loses the message at its second delivery.
NO_DELIVERY_LIMIT: Final = (1 << 31) - 1
#: Bytes that wait in one queue before it takes no more: at some kilobytes a message, a month of a large agency.
MOST_BYTES: Final = 4 << 30

#: All names of the bus, so that an agency that is new needs no other rights of the bus. Declaring a queue with dead
#: letters wants the right to read it, and binding it the right to read its exchange: the bus may read all it made.
_ALL_OF_THE_BUS: Final = rf"^((tasks|control|replies)\..+|{POISON}|{re.escape(EPOCH_PREFIX)}.+)$"
#: Matches no name: of queues, of exchanges, nor of the default exchange, which rights call amq.default.
_NOTHING: Final = "^$"


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """One channel in the broker: a durable direct exchange, a durable quorum queue, and the binding of the two.

    The exchange, the queue and the routing key are all called like the channel.
    """

    name: Channel
    #: Arguments of the queue. RabbitMQ refuses to declare it again with others.
    arguments: Mapping[str, str | int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rights:
    """What one user may do in the virtual host of the bus: regular expressions over the names of exchanges and queues.

    To configure is to declare and delete, to write is to publish, to read is to consume.
    """

    user: str
    configure: str
    write: str
    read: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """Everything that must stand in one virtual host for the hosts of some agencies to speak with the bus."""

    #: The virtual host.
    vhost: str
    #: How many nodes keep a copy of each queue.
    replicas: int
    #: The first takes the dead letters of all others.
    declarations: tuple[Declaration, ...]
    #: Of the bus first, then of each agency.
    rights: tuple[Rights, ...]


def topology(agencies: Collection[str], vhost: str, replicas: int) -> Topology:
    """The topology for these agencies, in the order of their names. ValueError for what cannot name an agency.

    ``vhost`` is the bus's own: nothing else lives in it.
    """
    names = sorted(set(agencies))
    return Topology(
        vhost=vhost,
        replicas=replicas,
        declarations=tuple(declaration(channel, replicas) for channel in _channels(names)),
        rights=(
            Rights(user=BUS_USER, configure=_ALL_OF_THE_BUS, write=_ALL_OF_THE_BUS, read=_ALL_OF_THE_BUS),
            *map(rights_of_hosts, names),
        ),
    )


def declaration(channel: Channel, replicas: int) -> Declaration:
    """The declaration of a channel; ``replicas`` is the number of nodes that keep a copy of its queue."""
    arguments: dict[str, str | int] = {
        "x-queue-type": "quorum",
        "x-quorum-initial-group-size": replicas,
        "x-max-length-bytes": MOST_BYTES,
        # A full queue says no to the publisher; otherwise it would drop its oldest message.
        "x-overflow": "reject-publish",
    }
    if channel == POISON:
        arguments |= {"x-delivery-limit": NO_DELIVERY_LIMIT}
    else:
        arguments |= {
            "x-delivery-limit": DELIVERY_LIMIT,
            "x-dead-letter-exchange": POISON,
            "x-dead-letter-routing-key": POISON,
            # Kept here until the other queue has it.
            "x-dead-letter-strategy": "at-least-once",
        }
    return Declaration(name=channel, arguments=arguments)


def rights_of_hosts(agency: str) -> Rights:
    """What the hosts of an agency may do: bring its replies, take what is for it, and nothing else whatever."""
    return Rights(
        user=host_user(agency),
        configure=_NOTHING,
        write=rf"^replies\.{re.escape(agency)}$",
        read=rf"^(tasks|control)\.{re.escape(agency)}$",
    )


def may_write(rights: Rights, name: str) -> bool:
    """Whether this user may publish to what is called so."""
    return re.search(rights.write, name) is not None


def may_read(rights: Rights, name: str) -> bool:
    """Whether this user may consume from what is called so."""
    return re.search(rights.read, name) is not None


def _channels(agencies: Collection[str]) -> list[Channel]:
    per_agency = (maker(agency) for agency in agencies for maker in (tasks, control, replies))
    return [POISON, *per_agency]
