"""A host's replies on their way out: from its journal to the broker, and what the broker said of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Final

from bus.errors import BrokerBusyError, BrokerUnavailableError
from bus.killpoint import reach
from bus.logs import Log
from bus.message.channel import Channel, replies
from bus.message.instant import Milliseconds
from bus.ports import Broker, Confirmation, JournalReply, Outgoing, Publisher
from bus.runtime.host_setup import HostSetup

#: Replies that are read from the journal, and handed to the broker, together.
MOST_AT_ONCE: Final = 1_000
#: How long the broker is left alone where it takes nothing at present, and where the channel is gone or full.
_BUSY: Milliseconds = 100
_REFUSED: Milliseconds = 5_000


class Outbox:
    """Hands over what waits. Whatever happens here, the journal has each reply until it is told that it may forget it.

    After a month without a broker more waits in the journal than a process has room for: it is read part by part, and
    what is added meanwhile is read when its turn comes.
    """

    def __init__(self, setup: HostSetup, broker: Broker, log: Log) -> None:
        self._setup = setup
        self._broker = broker
        self._log = log
        self._channel: Channel = replies(setup.agency)
        self._publisher: Publisher | None = None
        self._waiting: deque[JournalReply] = deque()
        #: How far the journal was read; None once there is nothing in it that is not here.
        self._read_to: int | None = None
        #: Ids of what the broker has and the journal need not keep, in their order.
        self._confirmed: dict[str, None] = {}
        #: Handed to the broker and not heard of yet, and what it said since, from whatever thread.
        self._posted = 0
        self._said: SimpleQueue[tuple[list[JournalReply], tuple[Confirmation, ...] | None]] = SimpleQueue()
        #: On the monotonic clock.
        self._publish_at: Milliseconds = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits and the broker has told of all that it was handed."""
        return not (self._posted or self._waits)

    @property
    def is_posted(self) -> bool:
        """Whether the broker has not told yet of something that it was handed."""
        return self._posted > 0

    @property
    def is_due(self) -> bool:
        """Whether `publish` would hand something over."""
        return self._waits and self._setup.monotonic() >= self._publish_at

    @property
    def is_overdue(self) -> bool:
        """Whether so much was confirmed that the journal should forget it now, whatever else there is to do."""
        return len(self._confirmed) >= MOST_AT_ONCE

    @property
    def confirmed(self) -> tuple[str, ...]:
        """What the journal may forget."""
        return tuple(self._confirmed)

    def __len__(self) -> int:
        """How many replies wait here; the journal may have more."""
        return len(self._waiting)

    def open(self) -> None:
        """Connect; what an earlier life left in the journal is sent first."""
        self._publisher = self._broker.publisher()
        self._waiting.clear()
        self._read_to = 0
        self._read_on()

    def close(self) -> None:
        """Let go of the connection. Whatever the broker still says of what it was handed, it is read anew."""
        publisher, self._publisher = self._publisher, None
        self._said, self._posted = SimpleQueue(), 0
        if publisher is not None:
            try:
                publisher.close()
            except BrokerUnavailableError as error:
                self._log.debug("broker_unavailable", error=error)

    def add(self, answers: Sequence[JournalReply]) -> None:
        """More to send, in the journal already: as long as that is not read to its end, it will be found there."""
        if self._read_to is None:
            self._waiting.extend(answers)

    def say(self, message: Outgoing) -> None:
        """Send what is kept nowhere: the next one says the same."""
        if self._publisher is not None:
            self._publisher.publish([message])

    def forget(self) -> None:
        """The journal has forgotten what was `confirmed`."""
        self._confirmed.clear()

    def publish(self) -> bool:
        """Hand over what waits, and take in what the broker said of what was handed over before.

        What it did not take stays, in the journal and here. Whether anything was done.
        """
        heard = self._hear()
        if self._publisher is None or not self.is_due:
            return heard
        self._read_on()
        batch = [self._waiting.popleft() for _ in range(min(MOST_AT_ONCE, len(self._waiting)))]
        if batch:
            self._post(self._publisher, batch)
        return True

    @property
    def _waits(self) -> bool:
        return bool(self._waiting) or self._read_to is not None

    def _read_on(self) -> None:
        """The next part, once less than a batch is here. What was confirmed and not forgotten yet is passed over."""
        if self._read_to is None or len(self._waiting) >= MOST_AT_ONCE:
            return
        part = self._setup.journal.outbox(MOST_AT_ONCE, self._read_to)
        self._waiting.extend(reply for _, reply in part if reply.message_id not in self._confirmed)
        self._read_to = part[-1][0] if len(part) == MOST_AT_ONCE else None

    def _post(self, publisher: Publisher, batch: list[JournalReply]) -> None:
        said = self._said
        self._posted += len(batch)
        try:
            publisher.post([_outgoing(reply, self._channel) for reply in batch], lambda told: said.put((batch, told)))
        except BrokerUnavailableError as error:
            self._posted -= len(batch)
            self._waiting.extendleft(reversed(batch))
            if not isinstance(error, BrokerBusyError):
                raise
            self._publish_at = self._setup.monotonic() + _BUSY

    def _hear(self) -> bool:
        """What the broker has said since; a connection that is gone is an error like any other of the broker."""
        heard = False
        with suppress(Empty):
            while True:
                batch, said = self._said.get_nowait()
                heard = True
                reach("host.published")
                self._posted -= len(batch)
                self._take_in(batch, said)
        return heard

    def _take_in(self, batch: Sequence[JournalReply], said: tuple[Confirmation, ...] | None) -> None:
        if said is None:
            self._waiting.extendleft(reversed(batch))
            raise BrokerUnavailableError("The connection was lost before the broker had confirmed.")
        told = list(zip(batch, said, strict=True))
        self._confirmed |= dict.fromkeys(reply.message_id for reply, one in told if one is Confirmation.CONFIRMED)
        for reply in (reply for reply, one in told if one is Confirmation.UNACCEPTABLE):
            # It would hold up all others: it stays in the journal alone, until that is read anew or the bus asks again.
            self._log.error(
                "publish_refused", channel=self._channel, message_id=reply.message_id, request_id=reply.correlation_id,
                type=reply.type, size=len(reply.body),
            )  # fmt: skip
        kept = [reply for reply, one in told if one.is_of_the_channel]
        self._waiting.extendleft(reversed(kept))
        if kept:
            self._log.warning("publish_unroutable", channel=self._channel, count=len(kept))
            self._broker.apply([self._channel])
            self._publish_at = self._setup.monotonic() + _REFUSED


def _outgoing(reply: JournalReply, channel: Channel) -> Outgoing:
    return Outgoing(
        channel=channel,
        message_id=reply.message_id,
        type=reply.type,
        correlation_id=reply.correlation_id,
        body=reply.body,
    )
