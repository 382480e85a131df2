"""The agency host: it runs one agency's adapter beside its legacy system and reaches the broker and nothing else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from uuid import uuid4

from bus import logs
from bus.adapter import Adapter
from bus.catalog import OperationManifest
from bus.config import Settings
from bus.errors import BrokerUnavailableError, StoreUnavailableError
from bus.killpoint import reach
from bus.logs import LogEvent
from bus.message.channel import control, replies, tasks
from bus.message.contract import Contracts
from bus.message.instant import Instant, Milliseconds
from bus.ports import Broker, Consumer, Delivery, Journal, Outgoing
from bus.receiver.announcement import Admitted
from bus.runtime.host_call import Calls
from bus.runtime.host_intake import Sorted, Taken, sort, take
from bus.runtime.host_introduction import Heard, Introduction
from bus.runtime.host_outbox import Outbox
from bus.runtime.host_setup import HostSetup
from bus.runtime.host_sweep import Sweep

#: How long an idle host waits for messages before it looks at the clock and at its orders again, and lets the journal
#: forget what the broker has: with the next batch, where one comes sooner, that costs no transaction of its own.
_IDLE: Milliseconds = 200
#: Milliseconds between two tries while the broker or the journal is away.
_FIRST_RETRY, _LONGEST_RETRY = 100, 5_000


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
        self._log = logs.bind(agency=agency, role="host")
        self._introduction = Introduction(self._setup, dict(versions or {}), self._log)
        self._calls = Calls(self._setup, self._log)
        self._outbox = Outbox(self._setup, broker, self._log)
        self._sweep = Sweep(self._setup, self._log)
        self._consumer: Consumer | None = None
        #: Deliveries that wait, unacknowledged, for the admission.
        self._held: list[Delivery] = []

    @property
    def is_admitted(self) -> bool:
        """Whether the bus has taken in this start of the host."""
        return self._introduction.is_admitted

    @property
    def is_idle(self) -> bool:
        """Whether nothing is to be called, looked up or sent."""
        return self._calls.is_idle and self._outbox.is_empty

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
                    self._introduction.doubt()
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
        self._outbox.open()
        if self.is_admitted:
            self._listen()
        else:
            self.announce()

    def announce(self) -> None:
        """Begin anew: tell the bus of this start and of the journal, and wait for the admission."""
        self._introduction.begin()
        self._calls.clear()
        self._listen()
        self._speak()

    def step(self, patience: Milliseconds = 0) -> bool:
        """One cycle: answers from the legacy system, a batch from the broker, the next call, replies out.

        Waits up to ``patience`` for something to do. Whether anything was done.
        """
        busy = self._calls.is_busy
        answers = self._calls.finish(min(patience, self._setup.settings.batch_wait) if busy else 0)
        hurries = busy or self._calls.can_begin or self._outbox.is_due
        deliveries = self._collect(0 if hurries else patience)
        taken = self._take(deliveries)
        self._calls.add(taken)
        answers = [*answers, *taken.replies]
        if self.is_admitted:
            self._sweep.step(self._calls)
            answers += self._calls.begin()
        self._outbox.add(answers)
        published = self._outbox.publish()
        if self._introduction.is_due:
            self._speak()
        return bool(busy or deliveries or answers or published)

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
        channels = [control(agency), tasks(agency)] if self.is_admitted else [control(agency)]
        self._consumer = self._broker.consumer(channels, prefetch=self._prefetch)

    @property
    def _prefetch(self) -> int:
        return 4 * self._setup.settings.batch_most

    def _speak(self) -> None:
        """Said once and never kept: the next one says the same."""
        message = self._introduction.word()
        if message is None:
            self.announce()
            return
        envelope = message.envelope
        channel = replies(self._setup.agency)
        self._outbox.say(
            Outgoing(
                channel=channel, message_id=envelope.id, type=str(envelope.type), correlation_id="", body=message.body
            )
        )

    def _collect(self, patience: Milliseconds) -> tuple[Delivery, ...]:
        if self._consumer is None:
            raise BrokerUnavailableError
        return self._consumer.collect(self._setup.settings.batch_most, patience)

    def _take(self, deliveries: Sequence[Delivery]) -> Taken:
        """Judge, commit, acknowledge. Before the admission nothing but the admission itself is taken."""
        if not self.is_admitted:
            self._await_admission(deliveries)
            if self._outbox.is_overdue:
                self._take_in(Sorted())
            return Taken()
        batch = sort(deliveries, self._setup.agency, self._setup.clock(), self._log)
        if not all(self._admit(admitted) for admitted in batch.admissions):
            # The journal is an older copy. The deliveries come again once its successor is admitted.
            return Taken()
        taken = self._take_in(batch)
        if deliveries:
            reach("host.received")
            self._acknowledge(deliveries)
            reach("host.acknowledged")
        return taken

    def _take_in(self, batch: Sorted) -> Taken:
        """Commit; what the broker confirmed is forgotten along with something else, or when there is time or much."""
        idle = self._outbox.is_empty and not self._calls.is_busy
        confirmed = self._outbox.confirmed if batch.asks or idle or self._outbox.is_overdue else ()
        taken = take(self._setup, batch, confirmed)
        self._sweep.heard(ask.first_sent for ask, _ in batch.asks)
        if confirmed:
            self._outbox.forget()
            reach("host.confirmed")
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
        self._heard(self._introduction.look())

    def _acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        if self._consumer is not None and deliveries:
            self._consumer.acknowledge(deliveries)

    def _admit(self, admitted: Admitted) -> bool:
        """Take in an admission; False if it shows that this journal is an older copy of itself."""
        return self._heard(self._introduction.hear(admitted))

    def _heard(self, heard: Heard) -> bool:
        if heard is Heard.ROLLED_BACK:
            self.announce()
        elif heard is Heard.ADMITTED:
            self._listen()
            self._sweep.begin()
        return heard is not Heard.ROLLED_BACK

    def _drain(self) -> None:
        """No more tasks; the call under way may end, and its replies leave."""
        until = self._setup.monotonic() + self._setup.settings.drain_within
        self._log.info("drain_began")
        try:
            while self._calls.is_busy and (left := until - self._setup.monotonic()) > 0:
                self._outbox.add(self._calls.finish(left))
            while (self._outbox.publish() or self._outbox.is_posted) and self._setup.monotonic() < until:
                time.sleep(0.005)
            take(self._setup, Sorted(), self._outbox.confirmed)
            self._outbox.forget()
        except (BrokerUnavailableError, StoreUnavailableError) as error:
            # Nothing is lost: the journal has it, and the next start sends it.
            self._log.warning("batch_repeated", error=error)
        self._log.info("drain_ended", count=len(self._outbox))

    def _disconnect(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            try:
                consumer.close()
            except BrokerUnavailableError as error:
                self._log.debug("broker_unavailable", error=error)
        self._outbox.close()
        self._held.clear()
