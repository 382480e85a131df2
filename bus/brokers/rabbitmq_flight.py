"""What of a publisher's batches waits, what is on the wire, and what the broker's words mean for each message.

No socket and no lock: one thread changes it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from bus.brokers.rabbitmq_reading import Verdict
from bus.message.channel import Channel
from bus.ports import Confirmation, Told

#: Messages on the wire that are not confirmed yet: more bring no more throughput.
WINDOW: Final = 500


@dataclass(slots=True, eq=False)
class Batch:
    """One batch on its way."""

    channels: list[Channel]
    message_ids: list[str]
    frames: list[bytes]
    said: list[Confirmation | None]
    left: int
    told: Told


#: One message: its batch, and its place there.
Entry = tuple[Batch, int]


class Settled(NamedTuple):
    """So many messages, and the batches of which they were the last."""

    number: int
    ended: list[Batch]


class Flight:
    """Messages in the order in which they go out; a new channel of AMQP begins with tag 1."""

    def __init__(self) -> None:
        self._waiting: deque[Entry] = deque()
        #: Delivery tag -> what went out under it; in order.
        self._sent: dict[int, Entry] = {}
        #: The last tag that was given, and the first that may be unconfirmed.
        self._tag, self._low = 0, 1
        #: (last tag of a burst, when it went out): oldest first.
        self._bursts: deque[tuple[int, float]] = deque()
        #: Among so many of the next ones is one that the broker refuses, without saying which.
        self._suspects = 0

    def __len__(self) -> int:
        """How many are on the wire."""
        return len(self._sent)

    @property
    def waits(self) -> bool:
        """Whether something is to go out."""
        return bool(self._waiting)

    def add(self, batch: Batch) -> None:
        """These go out after all others."""
        self._waiting.extend((batch, index) for index in range(batch.left))

    def send(self, now: float) -> bytes:
        """The frames of all that may go out now."""
        window = 1 if self._suspects else WINDOW
        frames: list[bytes] = []
        for _ in range(min(window - len(self._sent), len(self._waiting))):
            batch, index = entry = self._waiting.popleft()
            self._tag += 1
            self._sent[self._tag] = entry
            frames.append(batch.frames[index])
        if frames:
            self._bursts.append((self._tag, now))
        return b"".join(frames)

    def oldest(self) -> float | None:
        """When the oldest burst went out of which something is on the wire."""
        while self._low <= self._tag and self._low not in self._sent:
            self._low += 1
        while self._bursts and self._bursts[0][0] < self._low:
            self._bursts.popleft()
        return self._bursts[0][1] if self._bursts else None

    def returned(self, message_id: str, channel: Channel) -> None:
        """The broker brings one back for which nothing is bound."""
        # A return has no tag. It comes before its ack, so that the message is still on the wire.
        for batch, index in self._sent.values():
            is_it = batch.message_ids[index] == message_id and batch.channels[index] == channel
            if is_it and batch.said[index] is None:
                batch.said[index] = Confirmation.UNROUTABLE
                return

    def judge(self, verdicts: Iterable[Verdict]) -> Settled:
        """The broker has taken or refused these."""
        count, ended = 0, list[Batch]()
        for tag, multiple, is_taken in verdicts:
            tags: Iterable[int] = (tag,)
            if multiple:
                tags, self._low = range(self._low, tag + 1), max(self._low, tag + 1)
            entries = [entry for each in tags if (entry := self._sent.pop(each, None)) is not None]
            count += len(entries)
            ended += self._settle(entries, Confirmation.CONFIRMED if is_taken else Confirmation.REFUSED)
        return Settled(count, ended)

    def has(self, channel: str) -> bool:
        """Whether something of that channel waits or is on the wire."""
        return any(batch.channels[index] == channel for batch, index in (*self._sent.values(), *self._waiting))

    def set_aside(self, channel: str, says: Confirmation) -> Settled:
        """Settle all of one channel; everything else goes out again, on a new channel of AMQP."""
        return self._begin_anew(lambda entry: entry[0].channels[entry[1]] == channel, says)

    def single_out(self) -> tuple[Entry | None, Settled]:
        """The broker refuses one of those on the wire: it is settled where it is clear which one it is.

        Otherwise they go out one by one until it is. Everything else goes out again, on a new channel of AMQP.
        """
        suspects = [(batch, index) for batch, index in self._sent.values() if batch.said[index] is None]
        refused = suspects[0] if len(suspects) == 1 else None
        settled = self._begin_anew(lambda entry: entry == refused, Confirmation.UNACCEPTABLE)
        self._suspects = 0 if refused else len(suspects)
        return refused, settled

    def lost(self) -> list[Batch]:
        """The connection is gone: the batches of which nothing more will be known."""
        unsettled = {id(batch): batch for batch, _ in (*self._sent.values(), *self._waiting)}
        self._sent, self._waiting = {}, deque()
        self._bursts.clear()
        return [*unsettled.values()]

    def _begin_anew(self, is_out: Callable[[Entry], bool], says: Confirmation) -> Settled:
        out, others = list[Entry](), list[Entry]()
        for entry in (*self._sent.values(), *self._waiting):
            (out if is_out(entry) else others).append(entry)
        # Those that were returned before the channel closed: their acks will not come any more.
        returned = [(batch, index) for batch, index in others if batch.said[index] is not None]
        self._waiting = deque((batch, index) for batch, index in others if batch.said[index] is None)
        self._sent, self._tag, self._low = {}, 0, 1
        self._bursts.clear()
        ended = self._settle(out, says) + self._settle(returned, says)
        return Settled(len(out) + len(returned), ended)

    def _settle(self, entries: list[Entry], says: Confirmation) -> list[Batch]:
        ended: list[Batch] = []
        self._suspects = max(0, self._suspects - len(entries))
        for batch, index in entries:
            if batch.said[index] is None:
                batch.said[index] = says
            batch.left -= 1
            if not batch.left:
                ended.append(batch)
        return ended
