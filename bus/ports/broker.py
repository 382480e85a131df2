"""The conveyor: publishes and collects batches of bytes on channels."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeAlias

from bus.message.channel import Channel
from bus.message.instant import Milliseconds


class Confirmation(StrEnum):
    """What the broker says of one published message."""

    CONFIRMED = "confirmed"
    #: The channel does not exist: the message is nowhere.
    UNROUTABLE = "unroutable"
    #: The broker refused it: the channel is full.
    REFUSED = "refused"
    #: The broker takes this very message in no way, and has nothing against others in its channel.
    UNACCEPTABLE = "unacceptable"

    @property
    def is_of_the_channel(self) -> bool:
        """Whether it was not taken for its channel's sake: then the others in it fare alike, and it may recover."""
        return self in {Confirmation.UNROUTABLE, Confirmation.REFUSED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """One message on its way to a channel: the stored bytes and what the broker may know of them."""

    channel: Channel
    message_id: str
    type: str
    correlation_id: str
    body: bytes
    #: Place of the batch signature.
    signature: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One message as it came from a channel. ``tag`` is only good on the consumer that collected it."""

    tag: int
    channel: Channel
    body: bytes
    message_id: str | None = None
    redelivered: bool = False
    signature: str | None = None
    #: The user whom the broker vouches for as its sender, "" where it vouches for nobody; None for a broker without
    #: users, which nobody outside of this process can reach.
    sender: str | None = None
    #: Of what the broker gave up (`POISON`): the channel in which it did; None if it does not say.
    died_in: Channel | None = None


#: Called with one confirmation for each message of a batch, same order; None: none of it is known to be stored.
Told: TypeAlias = Callable[[tuple[Confirmation, ...] | None], None]


class Publisher(Protocol):
    """Publishes batches. One thread at a time."""

    def publish(self, batch: Sequence[Outgoing]) -> tuple[Confirmation, ...]:
        """One confirmation for each message, same order. BrokerUnavailableError: none of it is known to be stored."""

    def post(self, batch: Sequence[Outgoing], told: Told) -> None:
        """Hand a batch over and do not wait; ``told`` is called once, on whatever thread, and must be quick.

        BrokerUnavailableError, and ``told`` is never called: it cannot be handed over now, for the connection is gone,
        the broker takes nothing at present, or too much that was handed over is not confirmed yet.
        """

    def close(self) -> None:
        """Let go of the connection."""


class Consumer(Protocol):
    """Collects batches from its channels. One thread at a time; channels may be paused one by one."""

    def collect(self, most: int, wait: Milliseconds) -> tuple[Delivery, ...]:
        """Up to ``most`` deliveries; returns as soon as some are there and no more follow, or after ``wait``, empty."""

    def acknowledge(self, deliveries: Collection[Delivery]) -> None:
        """These are settled: the broker may forget them. Unacknowledged ones come again to another consumer."""

    def age(self) -> Milliseconds:
        """How long the oldest delivery has been in its hands, collected or not, and unacknowledged; 0 without any."""

    def pause(self, channel: Channel) -> None:
        """Collect nothing from this channel until it is resumed."""

    def resume(self, channel: Channel) -> None:
        """Collect from it again."""

    def close(self) -> None:
        """Stop; what was not acknowledged goes back to its channels."""


class Broker(Protocol):
    """A conveyor, never the record."""

    @property
    def volatile(self) -> bool:
        """Whether everything in it is gone when it stops: each start is a new epoch."""

    def apply(self, channels: Collection[Channel]) -> None:
        """Make the channels exist; those that do already are left as they are."""

    def has_epoch(self, epoch: str) -> bool:
        """Whether this broker still knows the epoch: False means that it was wiped."""

    def begin_epoch(self, epoch: str) -> None:
        """Leave the mark of a new epoch."""

    def depth(self, channel: Channel) -> int:
        """How many messages wait in the channel (unacknowledged ones not counted)."""

    def publisher(self) -> Publisher:
        """A publisher with a connection of its own."""

    def consumer(self, channels: Collection[Channel], prefetch: int) -> Consumer:
        """A consumer with a connection of its own; BrokerUnavailableError if a channel does not exist."""

    def close(self) -> None:
        """Close what is left open."""
