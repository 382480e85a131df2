"""The agency host: it runs one agency's adapter beside its legacy system and reaches the broker and nothing else."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from uuid import uuid4

from bus import logs
from bus.adapter import Adapter
from bus.catalog import OperationManifest
from bus.config import Settings
from bus.errors import BrokerBusyError, BrokerUnavailableError, StoreUnavailableError
from bus.killpoint import reach
from bus.logs import LogEvent
from bus.message.channel import Channel, control, replies, tasks
from bus.message.contract import Contracts
from bus.message.envelope import Message, decode
from bus.message.instant import Instant, Milliseconds
from bus.ports import Broker, Confirmation, Consumer, Delivery, Journal, JournalReply, Outgoing, Publisher
from bus.process.closure import input_contract, output_contract
from bus.receiver.announcement import Admitted, Alive, Started, alive_message, started_message
from bus.receiver.row import JournalIdentity
from bus.runtime.host_call import Calls
from bus.runtime.host_intake import Sorted, Taken, sort, take
from bus.runtime.host_setup import HostSetup, Work

#: How long an idle host waits for messages before it looks at the clock and at its orders again.
_IDLE: Milliseconds = 50
#: Milliseconds between two tries while the broker or the journal is away.
_FIRST_RETRY, _LONGEST_RETRY = 100, 5_000
#: Replies that are handed to the broker together.
_MOST_AT_ONCE = 1_000
#: Later than any clock will ever be.
_END_OF_TIME: Instant = 2**62


def _monotonic() -> Milliseconds:
    return time.monotonic_ns() // 1_000_000


class AgencyHost:
    """Takes tasks into its journal, carries them out once each, and answers; survives being killed at any moment.

    It announces itself and takes no task before the bus has admitted that very start: only then does it know that its
    journal is not an old copy. `run` is the whole life; `open`, `step` and `close` are its parts, for one thread.
    """

    def __init__(  # noqa: PLR0913  (the composition root hands over the parts by name)
        self,
        *,
        agency: str,
        adapter: Adapter | None,
        simulator: Adapter | None = None,
        operations: Mapping[str, OperationManifest],
        contracts: Contracts,
        journal: Journal,
        broker: Broker,
        settings: Settings,
        clock: Callable[[], Instant],
        monotonic: Callable[[], Milliseconds] = _monotonic,
        versions: Mapping[str, str] | None = None,
    ) -> None:
        """``adapter`` serves real tasks with whatever the environment uses, ``simulator`` those that are tests."""
        self._setup = HostSetup(
            agency=agency,
            adapter=adapter,
            simulator=simulator,
            operations=operations,
            contracts=contracts,
            journal=journal,
            settings=settings,
            clock=clock,
            monotonic=monotonic,
            process=str(uuid4()),
        )
        self._broker = broker
        self._versions = dict(versions or {})
        self._log = logs.bind(agency=agency, role="host")
        self._calls = Calls(self._setup, self._log)
        self._publisher: Publisher | None = None
        self._consumer: Consumer | None = None
        self._start_id = ""
        #: The journal that this start was announced with.
        self._announced = ""
        self._is_admitted = False
        #: Deliveries that wait, unacknowledged, for the admission.
        self._held: list[Delivery] = []
        self._unsent: deque[JournalReply] = deque()
        self._confirmed: list[str] = []
        #: Handed to the broker and not heard of yet, and what it said since, from whatever thread.
        self._posted = 0
        self._said: SimpleQueue[tuple[list[JournalReply], tuple[Confirmation, ...] | None]] = SimpleQueue()
        #: On the monotonic clock.
        self._speak_at: Milliseconds = 0
        self._sweep_at: Milliseconds = 0
        self._publish_at: Milliseconds = 0
        self._has_swept = False

    @property
    def is_admitted(self) -> bool:
        """Whether the bus has taken in this start of the host."""
        return self._is_admitted

    @property
    def is_idle(self) -> bool:
        """Whether nothing is to be called, looked up or sent."""
        return self._calls.is_idle and not self._unsent and not self._posted

    def run(self, stop: threading.Event) -> None:
        """Serve until told to stop; then finish the call under way, within `Settings.drain_within`, and send."""
        retry = _FIRST_RETRY
        while not stop.is_set():
            try:
                if self._consumer is None:
                    self.open()
                self.step(_IDLE)
                retry = _FIRST_RETRY
            except (BrokerUnavailableError, StoreUnavailableError) as error:
                away: LogEvent = (
                    "broker_unavailable" if isinstance(error, BrokerUnavailableError) else "store_unavailable"
                )
                self._log.warning(away, error=error, wait_ms=retry)
                if isinstance(error, StoreUnavailableError):
                    # What comes back may be an older copy of the journal: the bus is asked what it has heard.
                    self._is_admitted = False
                    self._renew_if_rolled_back(error)
                self._disconnect()
                stop.wait(retry / 1000)
                retry = min(2 * retry, _LONGEST_RETRY)
        self._drain()
        self.close()

    def _renew_if_rolled_back(self, error: StoreUnavailableError) -> None:
        if error.code != "journal-rolled-back":
            return
        with suppress(StoreUnavailableError):
            renewed = self._setup.journal.renew(self._setup.clock())
            self._log.error("host_alarm", alarm="journal_rolled_back", journal_id=renewed.journal_id)

    def open(self) -> None:
        """Connect and announce; what an earlier life left in the outbox is sent first."""
        agency = self._setup.agency
        self._broker.apply([tasks(agency), control(agency), replies(agency)])
        self._publisher = self._broker.publisher()
        self._unsent = deque(self._setup.journal.outbox(1_000_000))
        if self._is_admitted:
            self._listen()
        else:
            self.announce()

    def announce(self) -> None:
        """Begin anew: tell the bus of this start and of the journal, and wait for the admission."""
        self._start_id = str(uuid4())
        self._is_admitted = False
        self._calls.clear()
        self._listen()
        self._speak()

    def step(self, patience: Milliseconds = 0) -> bool:
        """One cycle: answers from the legacy system, a batch from the broker, the next call, replies out.

        Waits up to ``patience`` for something to do. Whether anything was done.
        """
        busy = self._calls.is_busy
        answers = self._calls.finish(min(patience, self._setup.settings.batch_wait) if busy else 0)
        hurries = busy or self._calls.can_begin or (self._unsent and self._setup.monotonic() >= self._publish_at)
        deliveries = self._collect(0 if hurries else patience)
        taken = self._take(deliveries)
        self._calls.add(taken)
        replies_ = [*answers, *taken.replies]
        if self._is_admitted:
            self._sweep()
            replies_ += self._calls.begin()
        self._unsent.extend(replies_)
        published = self._publish()
        if self._setup.monotonic() >= self._speak_at:
            self._speak()
        return bool(busy or deliveries or replies_ or published)

    def close(self) -> None:
        """Let go of the broker and of the lane; the journal and the adapters belong to whoever made them."""
        self._disconnect()
        self._calls.close()

    # --- the bus ----------------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        """Listen to the control channel, and to the tasks once admitted; what was held comes again."""
        if self._consumer is not None:
            self._consumer.close()
        self._held.clear()
        agency = self._setup.agency
        channels = [control(agency), tasks(agency)] if self._is_admitted else [control(agency)]
        self._consumer = self._broker.consumer(channels, prefetch=self._prefetch)

    @property
    def _prefetch(self) -> int:
        return 4 * self._setup.settings.batch_most

    def _speak(self) -> None:
        """Alive, or while nobody answered, the announcement again."""
        setup, now, journal = self._setup, self._setup.clock(), self._setup.journal.identity()
        self._speak_at = setup.monotonic() + setup.settings.alive_every
        if self._is_admitted and journal.journal_id != self._announced:
            # A sister has declared the journal restored.
            self.announce()
            return
        if self._is_admitted:
            alive = Alive(agency=setup.agency, start_id=self._start_id, journal_id=journal.journal_id, seq=journal.seq)
            self._send(alive_message(alive, id=str(uuid4()), now=now))
            return
        started = Started(
            agency=setup.agency,
            start_id=self._start_id,
            journal=journal,
            operations=_offered(setup.operations, setup.contracts),
            versions=self._versions,
        )
        self._announced = journal.journal_id
        self._log.info("host_started", start_id=self._start_id, journal_id=journal.journal_id, journal_seq=journal.seq)
        self._send(started_message(started, id=str(uuid4()), now=now))

    def _send(self, message: Message) -> None:
        """Said once and never kept: the next one says the same."""
        envelope = message.envelope
        outgoing = Outgoing(
            channel=replies(self._setup.agency),
            message_id=envelope.id,
            type=str(envelope.type),
            correlation_id="",
            body=message.body,
        )
        if self._publisher is not None:
            self._publisher.publish([outgoing])

    def _collect(self, patience: Milliseconds) -> tuple[Delivery, ...]:
        if self._consumer is None:
            raise BrokerUnavailableError
        return self._consumer.collect(self._setup.settings.batch_most, patience)

    def _take(self, deliveries: Sequence[Delivery]) -> Taken:
        """Judge, commit, acknowledge. Before the admission nothing but the admission itself is taken."""
        if not self._is_admitted:
            self._await_admission(deliveries)
            return Taken()
        batch = sort(deliveries, self._setup.agency, self._setup.clock(), self._log)
        if not all(self._admit(admitted) for admitted in batch.admissions):
            # The journal is an older copy. The deliveries come again once its successor is admitted.
            return Taken()
        idle = not self._unsent and not self._posted and not self._calls.is_busy
        confirmed = tuple(self._confirmed) if batch.asks or idle else ()
        taken = take(self._setup, batch, confirmed)
        if confirmed:
            self._confirmed.clear()
            reach("host.confirmed")
        if deliveries:
            reach("host.received")
            self._acknowledge(deliveries)
            reach("host.acknowledged")
        return taken

    def _await_admission(self, deliveries: Sequence[Delivery]) -> None:
        now, agency = self._setup.clock(), self._setup.agency
        heard = [(delivery, sort([delivery], agency, now, self._log)) for delivery in deliveries]
        take(self._setup, Sorted(invalid=[one for _, batch in heard for one in batch.invalid]), ())
        self._acknowledge([delivery for delivery, batch in heard if not batch.asks])
        self._held += [delivery for delivery, batch in heard if batch.asks]
        if len(self._held) >= self._prefetch:
            # They would shut the admission out. The bus asks again.
            self._acknowledge(self._held)
            self._held.clear()
        for _, batch in heard:
            for admitted in batch.admissions:
                self._admit(admitted)
        # Another host of this agency shares the channel, and may have been handed our admission.
        told = self._setup.journal.admission(self._start_id)
        if told is not None:
            self._admitted(told)

    def _acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        if self._consumer is not None and deliveries:
            self._consumer.acknowledge(deliveries)

    def _admit(self, admitted: Admitted) -> bool:
        """Take in an admission; False if it shows that this journal is an older copy of itself."""
        told = JournalIdentity(journal_id=admitted.journal_id, seq=admitted.heard)
        if admitted.start_id == self._start_id:
            return self._admitted(told)
        self._setup.journal.admit(admitted.start_id, told)
        return True

    def _admitted(self, told: JournalIdentity) -> bool:
        journal = self._setup.journal.identity()
        if told.journal_id != journal.journal_id:
            return True
        if journal.seq < told.seq:
            # The bus has heard more than this journal knows.
            renewed = self._setup.journal.renew(self._setup.clock())
            self._log.error("host_alarm", alarm="journal_rolled_back", journal_id=renewed.journal_id, limit=told.seq)
            self.announce()
            return False
        if not self._is_admitted:
            self._is_admitted = True
            self._log.info("host_admitted", start_id=self._start_id, journal_id=journal.journal_id)
            self._listen()
            self._speak_at = self._sweep_at = self._setup.monotonic()
            self._has_swept = False
        return True

    # --- work -------------------------------------------------------------------------------------------------------

    def _sweep(self) -> None:
        """Now and then: what was received by a process that is gone, and answers that came for what was pending."""
        setup = self._setup
        if setup.monotonic() < self._sweep_at:
            return
        self._sweep_at = setup.monotonic() + min(setup.settings.lease, setup.settings.alive_every)
        # At first everything, whatever the clock was then: whoever received it before is most likely gone. Later only
        # what nobody hurries for.
        until = setup.clock() - setup.settings.lease if self._has_swept else _END_OF_TIME
        self._has_swept = True
        known = self._calls.waiting()
        works = [
            Work(row=row, message=decode(body))
            for row, body in setup.journal.waiting(until, 100 * setup.settings.batch_most)
            if row.interaction_id not in known
        ]
        self._calls.add(Taken(works=works))
        self._calls.collect()

    def _publish(self) -> bool:
        """Hand over what waits, and take in what the broker said of what was handed over before.

        What it did not take stays, in the journal and here.
        """
        heard = self._hear()
        if self._publisher is None or not self._unsent or self._setup.monotonic() < self._publish_at:
            return heard
        # After a month without a broker there are many: they leave part by part.
        batch = [self._unsent.popleft() for _ in range(min(_MOST_AT_ONCE, len(self._unsent)))]
        channel = replies(self._setup.agency)
        self._posted += len(batch)
        said = self._said
        try:
            self._publisher.post([_outgoing(reply, channel) for reply in batch], lambda told: said.put((batch, told)))
        except BrokerUnavailableError as error:
            self._posted -= len(batch)
            self._unsent.extendleft(reversed(batch))
            if not isinstance(error, BrokerBusyError):
                raise
            self._publish_at = self._setup.monotonic() + _FIRST_RETRY
        return True

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
            self._unsent.extendleft(reversed(batch))
            raise BrokerUnavailableError("The connection was lost before the broker had confirmed.")
        told = list(zip(batch, said, strict=True))
        self._confirmed += [reply.message_id for reply, one in told if one is Confirmation.CONFIRMED]
        kept = [reply for reply, one in told if one is not Confirmation.CONFIRMED]
        self._unsent.extendleft(reversed(kept))
        if kept:
            channel = replies(self._setup.agency)
            self._log.warning("publish_unroutable", channel=channel, count=len(kept))
            self._broker.apply([channel])
            self._publish_at = self._setup.monotonic() + _LONGEST_RETRY

    def _drain(self) -> None:
        """No more tasks; the call under way may end, and its replies leave."""
        until = self._setup.monotonic() + self._setup.settings.drain_within
        self._log.info("drain_began")
        try:
            while self._calls.is_busy and (left := until - self._setup.monotonic()) > 0:
                self._unsent.extend(self._calls.finish(left))
            while (self._publish() or self._posted) and self._setup.monotonic() < until:
                time.sleep(0.005)
            take(self._setup, Sorted(), self._confirmed)
        except (BrokerUnavailableError, StoreUnavailableError) as error:
            # Nothing is lost: the journal has it, and the next start sends it.
            self._log.warning("batch_repeated", error=error)
        self._log.info("drain_ended", count=len(self._unsent))

    def _disconnect(self) -> None:
        for connection in (self._consumer, self._publisher):
            if connection is None:
                continue
            try:
                connection.close()
            except BrokerUnavailableError as error:
                self._log.debug("broker_unavailable", error=error)
        self._consumer = self._publisher = None
        self._held.clear()
        # Whatever it still says of these, they are read anew from the journal.
        self._said, self._posted = SimpleQueue(), 0


def _outgoing(reply: JournalReply, channel: Channel) -> Outgoing:
    return Outgoing(
        channel=channel,
        message_id=reply.message_id,
        type=reply.type,
        correlation_id=reply.correlation_id,
        body=reply.body,
    )


def _offered(operations: Iterable[str], contracts: Contracts) -> dict[str, str]:
    """Each operation with the hash of its two contracts."""
    return {
        operation: hashlib.sha256(
            f"{contracts.hash(input_contract(operation))} {contracts.hash(output_contract(operation))}".encode()
        ).hexdigest()
        for operation in operations
    }
