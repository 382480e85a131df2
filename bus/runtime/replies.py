"""What comes through the reply channels: replies, ticks, hosts that start or say that they are alive."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_exponential

from bus.config import Settings
from bus.errors import Fault, InvalidMessageError, TransientError
from bus.killpoint import reach
from bus.logs import bind
from bus.message.channel import BUS_USER, Channel, agency_of, host_user, is_from
from bus.message.envelope import Envelope, Message, MessageType, decode
from bus.message.instant import SECOND, Milliseconds
from bus.message.key import Keys
from bus.message.replies import REPLY_TYPES, data_digest, reply_from_message, reply_to_data
from bus.ports import Consumer, Delivery, Incoming, Payload, Received
from bus.process.event import Replied
from bus.process.state import Kind, StepKey
from bus.receiver.announcement import Alive, Started, read_alive, read_started
from bus.runtime.agency import heard
from bus.runtime.hosts import Hosts
from bus.runtime.presence import Presence
from bus.runtime.process_manager import ProcessManager
from bus.runtime.work import Work

_log = bind(role="process-manager")

_IS_TRANSIENT = retry_if_exception_type(TransientError)
#: How long it waits for messages before it looks whether it is to stop.
_IDLE: Milliseconds = 100


@dataclass(slots=True)
class _Understood:
    """A batch of deliveries, sorted by what is to be done with them."""

    replies: list[Incoming] = field(default_factory=list)
    #: (agency, journal id) -> greatest journal number: whoever sent this is alive.
    signs: dict[tuple[str, str | None], int] = field(default_factory=dict)
    #: (agency, publishing instant).
    ticks: list[tuple[str, int]] = field(default_factory=list)
    #: What hosts say of themselves, in the order in which it came: the one before may be on its way out.
    announced: list[Started | Alive] = field(default_factory=list)
    #: (delivery, code): what nobody can settle is kept for a person.
    invalid: list[tuple[Delivery, str]] = field(default_factory=list)

    def heard(self, agency: str, journal_id: str | None, journal_seq: int | None) -> None:
        """A sign of life, with the number that the journal had come to."""
        known = self.signs.get((agency, journal_id), 0)
        self.signs[agency, journal_id] = max(known, journal_seq or 0)


class ReplyConsumer:
    """Collects, decides and only then acknowledges. Replies are always consumed: settling one needs the store alone."""

    def __init__(
        self,
        connect: Callable[[], Consumer],
        manager: ProcessManager,
        hosts: Hosts,
        keys: Keys,
        settings: Settings,
        presence: Presence | None = None,
    ) -> None:
        """``presence`` is told where other process managers share the store."""
        self._connect = connect
        self._manager = manager
        self._hosts = hosts
        self._keys = keys
        self._settings = settings
        self._presence = presence
        self._stop: Callable[[], bool] = lambda: False

    def run(self, stop: Callable[[], bool], rest: Callable[[float], object] = time.sleep) -> None:
        """Consume until told to stop, and then what is there already; what cannot be settled goes back.

        ``rest`` waits so many seconds, or less where it is told to stop meanwhile.
        BrokerUnavailableError and StoreUnavailableError end it early: run it again.
        """
        self._stop = stop
        self._tell_presence(None)
        consumer = self._connect()
        try:
            while not stop():
                settled = self.step(consumer, _IDLE)
                self._tell_presence(consumer)
                if 0 < settled < self._settings.batch_most:
                    # A transaction costs much the same however little it settles: the next one has a while to fill.
                    rest(min(self._settings.batch_wait, _IDLE) / SECOND)
            while self.step(consumer, 0):
                pass
        finally:
            consumer.close()
            if self._presence is not None:
                with suppress(TransientError):
                    self._presence.leave()

    def _tell_presence(self, consumer: Consumer | None) -> None:
        if self._presence is not None:
            self._presence.tell(consumer)

    def step(self, consumer: Consumer, patience: Milliseconds = 0) -> int:
        """One batch; how many deliveries it settled."""
        deliveries = consumer.collect(self._settings.batch_most, patience)
        if not deliveries:
            return 0
        understood = self._understand(deliveries)
        if understood.replies:
            reach("consumer.collected")
        self._settle(deliveries, understood)
        consumer.acknowledge(deliveries)
        if understood.replies:
            reach("process.acknowledged")
        return len(deliveries)

    def _settle(self, deliveries: Sequence[Delivery], understood: _Understood) -> None:
        try:
            self._decide(understood)
        except TransientError:
            raise
        except Exception as error:
            if understood.invalid and len(deliveries) == 1:
                raise
            # One of them breaks the code: halved until it is alone, and kept for a person.
            _log.error("unexpected_error", error=error, count=len(deliveries))
            if len(deliveries) == 1:
                self._decide(_Understood(invalid=[(deliveries[0], "undecidable")]))
                return
            middle = len(deliveries) // 2
            for half in (deliveries[:middle], deliveries[middle:]):
                self._settle(half, self._understand(half))

    def _decide(self, understood: _Understood) -> None:
        # A store that cannot be reached is nobody's fault: the whole batch waits, unacknowledged, and is repeated.
        # One that others reach is not waited for until they take this process for dead: they shall have the batch.
        for attempt in Retrying(
            retry=_IS_TRANSIENT,
            wait=wait_exponential(multiplier=0.05, max=5),
            stop=self._is_enough,
            reraise=True,
            before_sleep=_tell_repeated,
        ):
            with attempt:
                self._manager.settle(understood.replies, lambda work: self._note(work, understood))

    def _is_enough(self, state: RetryCallState) -> bool:
        tried = (state.seconds_since_start or 0) * SECOND
        return self._stop() or (self._presence is not None and tried > self._settings.dead_after / 2)

    def _understand(self, deliveries: Sequence[Delivery]) -> _Understood:
        understood = _Understood()
        for delivery in deliveries:
            try:
                self._sort(delivery, decode(delivery.body), understood)
            except InvalidMessageError as error:
                understood.invalid.append((delivery, f"invalid:{error.code}"))
                _log.warning("message_invalid", channel=delivery.channel, code=error.code, size=len(delivery.body))
        return understood

    def _sort(self, delivery: Delivery, message: Message, understood: _Understood) -> None:
        envelope, agency = message.envelope, _agency(delivery.channel)
        # A tick that an agency could make would let it choose when its own deadlines pass.
        user = BUS_USER if envelope.type is MessageType.TICK else host_user(agency)
        if not is_from(delivery.sender, user):
            what = "The broker does not vouch that it comes from whom this channel is for."
            raise _refused("", "unvouched-sender", what, message)
        if envelope.type in REPLY_TYPES:
            understood.replies.append(self._incoming(delivery, message, agency))
            understood.heard(agency, envelope.journalid, envelope.journalseq)
        elif envelope.type is MessageType.TICK:
            understood.ticks.append((agency, envelope.time or 0))
        elif envelope.type is MessageType.HOST_STARTED:
            started = read_started(message)
            _check_sender(started.agency, agency, message)
            understood.announced.append(started)
        elif envelope.type is MessageType.HOST_ALIVE:
            alive = read_alive(message)
            _check_sender(alive.agency, agency, message)
            understood.heard(agency, alive.journal_id, alive.seq)
            understood.announced.append(alive)
        else:
            raise _refused("/type", "unexpected-type", "A reply channel takes replies and announcements.", message)

    def _incoming(self, delivery: Delivery, message: Message, agency: str) -> Incoming:
        envelope = message.envelope
        _check_sender(envelope.provider or "", agency, message)
        reply = reply_from_message(message)
        payload = Payload(id=self._keys.next(), request_key=None, bytes=delivery.body)
        return Incoming(
            request_id=envelope.correlationid or "",
            event=Replied(
                interaction_id=envelope.interactionid or "",
                provider=agency,
                attempt=envelope.attempt or 0,
                reply=reply,
                message_id=envelope.id,
                payload_id=payload.id,
                digest=data_digest(reply_to_data(reply)),
            ),
            payloads=(payload,),
            received=Received(
                request_key=0,
                source=envelope.source,
                message_id=envelope.id,
                digest=hashlib.sha256(delivery.body).digest(),
            ),
            step=_step(envelope),
        )

    def _note(self, work: Work, understood: _Understood) -> None:
        signs, ticks, announced = understood.signs, understood.ticks, understood.announced
        names = {name for name, *_ in signs} | {name for name, _ in ticks} | {one.agency for one in announced}
        work.load_agencies(names)
        for (agency, journal_id), journal_seq in signs.items():
            work.agencies[agency] = heard(work.agencies[agency], journal_id, journal_seq, work.now)
        for agency, at in understood.ticks:
            work.agencies[agency] = self._hosts.ticked(work.agencies[agency], at, work.now)
        for one in announced:
            if isinstance(one, Started):
                self._hosts.started(work, one)
            else:
                self._hosts.alive(work, one)
        for delivery, code in understood.invalid:
            work.alarm(code, _agency(delivery.channel), body=delivery.body)


def _agency(channel: Channel) -> str:
    return agency_of(channel) or ""


def _check_sender(named: str, agency: str, message: Message) -> None:
    """Whoever may write into this channel speaks for this agency, and for no other."""
    if named != agency:
        raise _refused("/provider", "wrong-provider", "It names another agency than that of its channel.", message)


def _refused(pointer: str, code: str, what: str, message: Message) -> InvalidMessageError:
    return InvalidMessageError((Fault(code=code, message=what, pointer=pointer),), raw=message.body)


def _step(envelope: Envelope) -> StepKey | None:
    if envelope.step is None:
        return None
    return StepKey(step=envelope.step, item=envelope.item, kind=Kind(envelope.kind or Kind.TASK))


def _tell_repeated(state: RetryCallState) -> None:
    _log.warning("batch_repeated", error=state.outcome.exception() if state.outcome else None)
