"""What the broker gave up, because too many of its consumers died of it: decided once, and never put back."""

from __future__ import annotations

from collections.abc import Callable

from tenacity import Retrying, retry_if_exception_type, wait_exponential

from bus.errors import InvalidMessageError, TransientError
from bus.logs import bind
from bus.message.channel import BUS_USER, agency_of, is_from
from bus.message.envelope import Envelope, MessageType, decode
from bus.message.instant import Milliseconds
from bus.message.key import Keys
from bus.ports import Consumer, Delivery, Fate, Incoming, Payload
from bus.process.event import Poisoned
from bus.process.state import Kind, StepKey
from bus.process.timer import POISON
from bus.runtime.process_manager import ProcessManager
from bus.runtime.work import Work

_log = bind(role="process-manager")

#: What the bus tells a provider about one attempt.
_OF_AN_ATTEMPT = frozenset({MessageType.TASK_REQUESTED, MessageType.TASK_QUERIED, MessageType.TASK_WITHDRAWN})
#: How many are taken at once; each is decided alone.
_MOST = 20
_IDLE: Milliseconds = 500


class PoisonConsumer:
    """Collects, decides and only then acknowledges, one by one: what follows from one leaves beside nothing else.

    A process that dies between the two is told the same again, and takes it for the second time: nothing tells them
    apart, for brokers call every message redelivered that they gave up. Then a person looks once too often.
    """

    def __init__(self, connect: Callable[[], Consumer], manager: ProcessManager, keys: Keys) -> None:
        """``connect`` gives a consumer of the channel `POISON`."""
        self._connect = connect
        self._manager = manager
        self._keys = keys
        self._stop: Callable[[], bool] = lambda: False

    def run(self, stop: Callable[[], bool]) -> None:
        """Consume until told to stop; what cannot be decided then stays in the channel.

        BrokerUnavailableError and StoreUnavailableError end it early: run it again.
        """
        self._stop = stop
        consumer = self._connect()
        try:
            while not stop():
                self.step(consumer, _IDLE)
        finally:
            consumer.close()

    def step(self, consumer: Consumer, patience: Milliseconds = 0) -> int:
        """A few; how many deliveries it settled."""
        deliveries = consumer.collect(_MOST, patience)
        for delivery in deliveries:
            self._settle(delivery)
            consumer.acknowledge([delivery])
        return len(deliveries)

    def _settle(self, delivery: Delivery) -> None:
        try:
            envelope = decode(delivery.body).envelope
        except InvalidMessageError:
            envelope = None
        incoming = None if envelope is None else self._incoming(delivery, envelope)
        # Not whom the message names, for whoever wrote it may name anybody: nobody else can write to its channel.
        agency = (agency_of(delivery.died_in) if delivery.died_in else None) or ""
        if incoming is None or not self._decide(incoming, agency, delivery.body):
            self._transact([], lambda work: work.alarm(POISON, agency, body=delivery.body))

    def _decide(self, incoming: Incoming, agency: str, body: bytes) -> bool:
        """Decide what follows for the attempt; whether that could be decided."""

        def show_stranger(work: Work) -> None:
            work.load([incoming.request_id])
            if incoming.request_id not in work.cases:
                work.alarm(POISON, agency, body=body)

        return self._transact([incoming], show_stranger) is not Fate.BROKEN

    def _transact(self, batch: list[Incoming], before: Callable[[Work], None]) -> Fate | None:
        # A store that cannot be reached is nobody's fault: the delivery waits, unacknowledged, and is tried again.
        for attempt in Retrying(
            retry=retry_if_exception_type(TransientError),
            wait=wait_exponential(multiplier=0.05, max=5),
            stop=lambda _: self._stop(),
            reraise=True,
        ):
            with attempt:
                fates = self._manager.settle(batch, before)
                return fates[0].fate if fates else None
        raise AssertionError("tenacity either returns or raises")

    def _incoming(self, delivery: Delivery, envelope: Envelope) -> Incoming | None:
        """What the bus itself had sent about an attempt; None for anything else, which a person is shown."""
        if envelope.type not in _OF_AN_ATTEMPT or not is_from(delivery.sender, BUS_USER):
            return None
        if envelope.step is None or envelope.correlationid is None:
            return None
        payload = Payload(id=self._keys.next(), request_key=None, bytes=delivery.body)
        poisoned = Poisoned(
            step=StepKey(step=envelope.step, item=envelope.item, kind=Kind(envelope.kind or Kind.TASK)),
            edit=envelope.edit or 0,
            attempt=envelope.attempt or 0,
            payload_id=payload.id,
        )
        return Incoming(request_id=envelope.correlationid, event=poisoned, payloads=(payload,))
