"""The process manager: decides batches in one transaction each, then hands what it sends to the broker."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TypeVar

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from bus.errors import BrokerBusyError, BrokerUnavailableError, StaleVersionError
from bus.killpoint import reach
from bus.logs import bind
from bus.message.channel import Channel
from bus.message.instant import Milliseconds
from bus.message.reply import Unknown
from bus.ports import AgencyRow, Confirmation, Decided, Fate, Incoming, OutboxRow, Outgoing, Publisher, Store, Told
from bus.process.event import Replied, TimerFired
from bus.process.state import AWAITING, OUTCOMES, StepState
from bus.runtime import agency
from bus.runtime.dispatcher import Dispatcher
from bus.runtime.work import Tools, Work

_log = bind(role="process-manager")
T = TypeVar("T")
_IS_STALE = retry_if_exception_type(StaleVersionError)
#: A broker that could not be reached, or took nothing, is tried again after so long: until then the relay has it all.
_REST: Milliseconds = 1_000
#: Confirmed rows that no transaction took along are deleted after so long, before the relay takes them for left over.
_FLUSH_AFTER: Milliseconds = 1_000
#: Seconds after which a publisher that has not told is given up; its own patience is shorter.
_MOST_SILENT = 60.0


class ProcessManager:
    """Any thread may decide; the store puts transactions in order, and one lock the publisher."""

    def __init__(
        self,
        *,
        store: Store,
        publisher: Callable[[], Publisher],
        tools: Tools,
        dispatcher: Dispatcher,
        monotonic: Callable[[], Milliseconds] = lambda: time.monotonic_ns() // 1_000_000,
    ) -> None:
        self._store = store
        self._connect = publisher
        self._publisher: Publisher | None = None
        #: One at a time hands over to the publisher, and one at a time makes it; who does the first never waits long.
        self._publishing = threading.Lock()
        self._connecting = threading.Lock()
        #: Whether one was lost, or could not be made; and until when nothing is tried.
        self._was_lost = False
        self._rest_until: Milliseconds = 0
        self._tools = tools
        self._dispatcher = dispatcher
        self._monotonic = monotonic
        #: Keys of rows that the broker has: deleted with the next transaction; and since when there are any.
        self._confirmed: list[int] = []
        self._confirmed_at: Milliseconds = 0
        self._counting = threading.Lock()
        #: Channels that did not take what was published last.
        self._refusing: set[Channel] = set()
        #: Channels with a message that the broker takes in no way, as long as nobody has asked for them.
        self._of_refused: set[Channel] = set()

    # --- deciding ----------------------------------------------------------------------------------------------------

    def decide(self, batch: Sequence[Incoming]) -> tuple[Decided, ...]:
        """One fate for each event, same order; see `bus.ports.Decider`."""
        return self.settle(batch, lambda _: None)

    def settle(self, batch: Sequence[Incoming], before: Callable[[Work], None]) -> tuple[Decided, ...]:
        """Decide a batch beside whatever else ``before`` notes in the same transaction (ticks, hosts)."""

        def decided(work: Work) -> tuple[Decided, ...]:
            before(work)
            fates = work.apply(batch)
            self._count_breakers(work, batch, fates)
            self._dispatcher.run(work, _answered(batch))
            return fates

        return self._transact(decided)

    def dispatch_waiting(self, agencies: Collection[str]) -> None:
        """Let leave what waits behind gates that may have opened."""
        self._transact(lambda work: self._dispatcher.run(work, agencies))

    def _transact(self, body: Callable[[Work], T]) -> T:
        # A version that moved is nobody's fault: the whole batch is decided again on what is true now.
        for attempt in Retrying(
            retry=_IS_STALE,
            stop=stop_after_attempt(10),
            wait=wait_random_exponential(multiplier=0.01, max=0.5),
            reraise=True,
        ):
            with attempt:
                return self._once(body)
        raise AssertionError("tenacity either returns or raises")

    def _once(self, body: Callable[[Work], T]) -> T:
        confirmed = self._take_confirmed()
        try:
            with self._store.transaction() as transaction:
                work = Work(transaction, self._tools, asks_only=self._dispatcher.asks_only)
                result = body(work)
                transaction.write(work.changes(confirmed))
        except BaseException:
            self._give_back(confirmed)
            raise
        if work.cases:
            reach("process.committed")
        self._dispatcher.committed(work)
        for done in work.after_commit:
            done()
        _tell(work)
        self._post(work.posting.outbox)
        return result

    def _count_breakers(self, work: Work, batch: Sequence[Incoming], fates: Sequence[Decided]) -> None:
        settings, now = self._tools.settings, work.now
        applied = [one for one, fate in zip(batch, fates, strict=True) if fate.fate is Fate.APPLIED]
        replies = [
            one.event
            for one in applied
            if isinstance(one.event, Replied) and one.event.actor is None and not _is_look_up(work, one)
        ]
        silent = [name for one in applied if (name := _silent(work, one))]
        work.load_agencies({*silent, *(reply.provider for reply in replies)})
        for reply in replies:
            row = work.agencies[reply.provider]
            work.agencies[reply.provider] = _told(row, agency.answered(row, reply.reply, now, settings))
        for name in silent:
            row = work.agencies[name]
            work.agencies[name] = _told(row, agency.troubled(row, now, settings))

    # --- publishing --------------------------------------------------------------------------------------------------

    def _post(self, batch: Sequence[tuple[OutboxRow, bytes]]) -> None:
        """Hand what was just committed to the broker and do not wait; what is not confirmed is left to the relay.

        Settling a reply needs the store alone: a broker that is away must not hold up those who decide. So a
        connection that was lost is made anew by `tend`, and not here.
        """
        if not batch or self._monotonic() < self._rest_until:
            return
        if self._publisher is None and not self._was_lost:
            self._make_publisher()
        publisher = self._publisher
        if publisher is not None:
            self._hand_over(publisher, batch, lambda told: self._told(publisher, batch, told))

    def _hand_over(self, publisher: Publisher, batch: Sequence[tuple[OutboxRow, bytes]], told: Told) -> bool:
        """Whether the publisher took the batch, and so will tell."""
        try:
            with self._publishing:
                publisher.post(_messages(batch), told)
        except BrokerUnavailableError as error:
            _log.warning("broker_unavailable", error=error, count=len(batch))
            if isinstance(error, BrokerBusyError):
                self._rest_until = self._monotonic() + _REST
            else:
                self._let_go(publisher)
            return False
        return True

    def _told(
        self, publisher: Publisher, batch: Sequence[tuple[OutboxRow, bytes]], told: tuple[Confirmation, ...] | None
    ) -> None:
        if told is not None:
            self._note(batch, told)
            return
        _log.warning("broker_unavailable", count=len(batch))
        self._let_go(publisher)

    def publish(self, rows: Iterable[tuple[OutboxRow, bytes]]) -> int:
        """Publish committed rows; what is not confirmed stays in the store for the relay. How many were confirmed.

        Others may hand over theirs while this waits for the confirmations.
        """
        batch = list(rows)
        if not batch:
            return 0
        self._make_publisher()
        publisher, said = self._publisher, SimpleQueue[tuple[Confirmation, ...] | None]()
        if publisher is None or not self._hand_over(publisher, batch, said.put):
            return 0
        confirmations: tuple[Confirmation, ...] | None = None
        with suppress(Empty):
            confirmations = said.get(timeout=_MOST_SILENT)
        self._told(publisher, batch, confirmations)
        return sum(one is Confirmation.CONFIRMED for one in confirmations or ())

    def tend(self) -> None:
        """Connect anew where the connection was lost, and delete what was confirmed while nobody decided anything."""
        if self._was_lost and self._publisher is None and self._monotonic() >= self._rest_until:
            self._make_publisher()
        if self._confirmed and self._monotonic() - self._confirmed_at >= _FLUSH_AFTER:
            self.flush()

    def _make_publisher(self) -> None:
        """Connect, unless that is done; of several at once one does it."""
        with self._connecting:
            if self._publisher is not None:
                return
            try:
                self._publisher = self._connect()
            except BrokerUnavailableError as error:
                self._was_lost, self._rest_until = True, self._monotonic() + _REST
                _log.warning("broker_unavailable", error=error)

    def _let_go(self, publisher: Publisher) -> None:
        """Of this one alone: by now there may be another."""
        with self._counting:
            if self._publisher is publisher:
                self._publisher, self._was_lost = None, True
        publisher.close()

    def _note(self, batch: Sequence[tuple[OutboxRow, bytes]], confirmations: Sequence[Confirmation]) -> None:
        reach("process.published")
        done = [row.key for (row, _), said in zip(batch, confirmations, strict=True) if said is Confirmation.CONFIRMED]
        self._note_refusing(batch, confirmations)
        self._note_unacceptable(batch, confirmations)
        self._give_back(done)
        reach("process.confirmed")

    def flush(self) -> None:
        """Delete what is confirmed though no transaction came along to do it."""
        confirmed = self._take_confirmed()
        try:
            if confirmed:
                self._store.confirm(confirmed)
        except BaseException:
            self._give_back(confirmed)
            raise

    @property
    def refusing(self) -> frozenset[Channel]:
        """Channels that did not take what was published last: their rows wait in the store for the relay."""
        return frozenset(self._refusing)

    def take_channels_of_refused(self) -> frozenset[Channel]:
        """Channels in which the broker took a message in no way since this was last asked; the others in them went on.

        Their rows, too, wait in the store for the relay.
        """
        with self._counting:
            taken, self._of_refused = frozenset(self._of_refused), set()
        return taken

    def close(self) -> None:
        """Let go of the broker; call it when nobody decides any more."""
        publisher, self._publisher = self._publisher, None
        if publisher is not None:
            # It waits a little for confirmations; the rows of these are deleted, too.
            publisher.close()
        self.flush()

    def _take_confirmed(self) -> list[int]:
        with self._counting:
            taken, self._confirmed = self._confirmed, []
        return taken

    def _give_back(self, confirmed: Sequence[int]) -> None:
        with self._counting:
            if not self._confirmed:
                self._confirmed_at = self._monotonic()
            self._confirmed += confirmed

    def _note_refusing(self, batch: Sequence[tuple[OutboxRow, bytes]], confirmations: Sequence[Confirmation]) -> None:
        said = {(row.channel, one) for (row, _), one in zip(batch, confirmations, strict=True)}
        taking = {channel for channel, one in said if one is Confirmation.CONFIRMED}
        for channel, one in sorted(said):
            if one is Confirmation.UNROUTABLE:
                _log.error("publish_unroutable", channel=channel)
            elif one is Confirmation.REFUSED:
                _log.warning("publish_refused", channel=channel)
        with self._counting:
            refusing = {channel for channel, one in said if one.is_of_the_channel and channel not in taking}
            self._refusing = (self._refusing - taking) | refusing

    def _note_unacceptable(
        self, batch: Sequence[tuple[OutboxRow, bytes]], confirmations: Sequence[Confirmation]
    ) -> None:
        for (row, body), said in zip(batch, confirmations, strict=True):
            if said is Confirmation.UNACCEPTABLE:
                _log.error(
                    "publish_refused", channel=row.channel, message_id=row.message_id, request_id=row.correlation_id,
                    type=row.type, size=len(body),
                )  # fmt: skip
                with self._counting:
                    self._of_refused.add(row.channel)


def _messages(batch: Sequence[tuple[OutboxRow, bytes]]) -> list[Outgoing]:
    return [_outgoing(row, body) for row, body in batch]


def _outgoing(row: OutboxRow, body: bytes) -> Outgoing:
    return Outgoing(
        channel=row.channel, message_id=row.message_id, type=row.type, correlation_id=row.correlation_id, body=body
    )


def _answered(batch: Sequence[Incoming]) -> set[str]:
    """Agencies whose answers may have made room for more."""
    return {one.event.provider for one in batch if isinstance(one.event, Replied)}


def _is_look_up(work: Work, incoming: Incoming) -> bool:
    """Whether the reply only says that a look-up found nothing out, which is the word of the host alone."""
    event = incoming.event
    if not isinstance(event, Replied) or not isinstance(event.reply, Unknown) or incoming.step is None:
        return False
    step = work.cases[incoming.request_id].request.steps.get(incoming.step)
    # The first "unknown" makes a row doubtful, and those after it are counted.
    return step is None or step.state is not StepState.UNKNOWN or step.answered > 0


def _silent(work: Work, incoming: Incoming) -> str | None:
    """The agency whose host is alive and did not answer in time."""
    event = incoming.event
    if not (isinstance(event, TimerFired) and event.timer == "answer" and event.alive and event.step):
        return None
    step = work.cases[incoming.request_id].request.steps[event.step]
    # Not if its answer came in the same moment.
    return step.agency if step.state in AWAITING and not step.desk else None


def _told(before: AgencyRow, after: AgencyRow) -> AgencyRow:
    if before.breaker != "open" and after.breaker == "open":
        _log.warning("breaker_opened", agency=after.agency, count=after.troubles)
    elif before.breaker != "closed" and after.breaker == "closed":
        _log.info("breaker_closed", agency=after.agency)
    return after


def _tell(work: Work) -> None:
    for case in work.cases.values():
        if case.before is None:
            _log.info("request_accepted", request_id=case.request.id, service=case.request.service)
        ended = case.request.state in OUTCOMES and (case.before is None or case.before.state not in OUTCOMES)
        if ended:
            _log.info("request_ended", request_id=case.request.id, outcome=case.request.state.value)
    for failure in work.posting.failures:
        _log.warning(
            "failure_opened", key=failure.key, request_id=failure.request_id or "", agency=failure.agency or "",
            step=failure.step.step if failure.step else "", code=failure.code,
        )  # fmt: skip
    for alarm in work.alarms.values():
        failure = alarm.failure
        _log.warning("alarm_raised", agency=failure.agency or "", code=failure.code, count=failure.times or 0)
