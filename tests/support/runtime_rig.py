"""The bus without hosts: a test submits, answers for the agencies, moves the clock, and looks into the store."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from bus.bench import fanout
from bus.bootstrap import Parts, assemble
from bus.config import Settings
from bus.message.channel import control, replies, tasks
from bus.message.envelope import Envelope, Message, decode, encode
from bus.message.identity import message_id, request_id, tracking
from bus.message.instant import MINUTE, SECOND, Milliseconds
from bus.message.replies import data_digest, reply_to_data, reply_type
from bus.message.reply import Completed, Data, Reply
from bus.message.strict_json import dump
from bus.ports import AgencyRow, Consumer, Decided, FailureRow, Incoming, Outgoing, Payload, Submission
from bus.process.event import Submitted
from bus.process.state import Request, Step, StepKey
from bus.receiver.announcement import Started, started_message
from bus.receiver.row import JournalIdentity
from bus.runtime.hosts import Hosts
from bus.runtime.relay import Relay
from bus.runtime.replies import ReplyConsumer
from bus.runtime.timekeeper import Timekeeper
from bus.stores.sqlite import SqliteStore

AGENCIES = fanout.AGENCIES
A, B, *_ = AGENCIES
OPERATION = fanout.OPERATION
#: Small numbers, so that a test reaches a limit with few messages.
SETTINGS = Settings(batch_most=4, window_batches=1, tick_every=10 * SECOND, tick_margin=30 * SECOND)


class RuntimeRig:
    """Over a real store and a real broker. Nothing moves unless the test moves it."""

    def __init__(self, parts: Parts) -> None:
        assert isinstance(parts.store, SqliteStore)
        self.parts = parts
        self.store = parts.store
        self.broker = parts.broker
        self.manager = parts.manager
        self.settings = parts.tools.settings
        self.journals = {agency: str(uuid4()) for agency in AGENCIES}
        self.monotonic: Milliseconds = 0
        self.broker.apply([channel(name) for name in AGENCIES for channel in (tasks, control, replies)])
        self._publisher = self.broker.publisher()
        self._listening: dict[str, Consumer] = {}
        self._replies: Consumer | None = None
        self.consumer = ReplyConsumer(
            self.broker_consumer, self.manager, Hosts(parts.tools.keys), parts.tools.keys, self.settings
        )
        self.relay = Relay(self.store, self.broker, self.manager, parts.tools.keys, self.settings)
        self.relay.connect()
        self.timekeeper = Timekeeper(
            store=self.store,
            manager=self.manager,
            publisher=self.broker.publisher,
            agencies=AGENCIES,
            keys=parts.tools.keys,
            settings=self.settings,
            monotonic=lambda: self.monotonic + self.store.now() - self.store.offset,
        )

    def broker_consumer(self) -> Consumer:
        return self.broker.consumer([replies(name) for name in AGENCIES], 1000)

    # --- time -------------------------------------------------------------------------------------------------------

    def pass_time(self, length: Milliseconds) -> None:
        """Both clocks go on."""
        self.store.offset += length
        self.monotonic += length

    def set_clock(self, by: Milliseconds) -> None:
        """Somebody sets the wall clock."""
        self.store.offset += by

    # --- consumers --------------------------------------------------------------------------------------------------

    def incoming(self, key: str, data: Data | None = None) -> Incoming:
        """A submission, as the gateway hands it over."""
        data = fanout.submission(1) if data is None else data
        tools, service = self.parts.tools, self.parts.workspace.services[fanout.SERVICE]
        identity = request_id(tools.secret, fanout.CONSUMER, key)
        request_key, payload = tools.keys.take(2)
        submitted = Submitted(
            request_id=identity,
            key=request_key,
            consumer=fanout.CONSUMER,
            service=fanout.SERVICE,
            revision=service.revision,
            purpose=fanout.PURPOSE,
            data_id=payload,
            message_id=str(uuid4()),
        )
        submission = Submission(
            request_key=request_key,
            request_id=identity,
            consumer=fanout.CONSUMER,
            submission_key=key,
            digest=data_digest(data).encode()[:32],
            tracking=tracking(tools.secret, identity),
            subject="",
        )
        payloads = (Payload(id=payload, request_key=request_key, bytes=dump(data)),)
        return Incoming(request_id=identity, event=submitted, payloads=payloads, submission=submission)

    def submit(self, *keys: str) -> list[str]:
        """Accept these; the ids of the requests."""
        incoming = [self.incoming(key) for key in keys]
        self.manager.decide(incoming)
        return [one.request_id for one in incoming]

    def decide(self, *incoming: Incoming) -> tuple[Decided, ...]:
        return self.manager.decide(incoming)

    # --- agencies ---------------------------------------------------------------------------------------------------

    def admit(self, *names: str, operations: Mapping[str, str] | None = None, journal: str | None = None) -> None:
        """Hosts of these agencies announce themselves, and the bus hears it."""
        offered = {OPERATION: "0" * 64} if operations is None else operations
        for name in names:
            identity = JournalIdentity(journal_id=journal or self.journals[name], seq=9)
            started = Started(agency=name, start_id=str(uuid4()), journal=identity, operations=offered, versions={})
            self.say(name, started_message(started, id=str(uuid4()), now=self.store.now()))
        self.settle()

    def tasks(self, name: str) -> list[Message]:
        """What came for the agency since the last time, taken."""
        if name not in self._listening:
            self._listening[name] = self.broker.consumer([tasks(name)], 1000)
        taken = self._listening[name].collect(1000, 0)
        self._listening[name].acknowledge(taken)
        return [decode(delivery.body) for delivery in taken]

    def reply(self, task: Message, reply: Reply | None = None, **changes: Any) -> Message:
        """An answer to the task: completed with what was sent, unless the test has another."""
        reply = Completed(data=task.data or {}) if reply is None else reply
        asked, kind = task.envelope, reply_type(reply)
        envelope = Envelope(
            id=message_id(asked.interactionid or "", asked.attempt or 0, f"{kind}/{uuid4()}"),
            source=f"/agency/{asked.provider}",
            type=kind,
            correlationid=asked.correlationid,
            interactionid=asked.interactionid,
            edit=asked.edit,
            attempt=asked.attempt,
            step=asked.step,
            kind=asked.kind,
            provider=asked.provider,
            journalid=self.journals[asked.provider or ""],
            journalseq=2,
        )
        return encode(replace(envelope, **changes), reply_to_data(reply))

    def answer(self, *answers: Message) -> None:
        """Send these and settle them."""
        for message in answers:
            self.say(message.envelope.provider or "", message)
        self.settle()

    def say(self, name: str, message: Message) -> None:
        self.say_bytes(name, message.body, message.envelope.type, message.envelope.id)

    def say_bytes(self, name: str, body: bytes, kind: str = "bus.task.completed.v1", id: str = "m") -> None:
        """Put any bytes into the reply channel of an agency."""
        said = Outgoing(channel=replies(name), message_id=id, type=kind, correlation_id="", body=body)
        self._publisher.publish([said])

    def settle(self) -> None:
        """Consume everything that is in the reply channels."""
        if self._replies is None:
            self._replies = self.broker_consumer()
        while self.consumer.step(self._replies):
            pass

    def tick(self) -> None:
        """A tick goes all the way."""
        self.timekeeper.tick(self.store.now())
        self.settle()

    # --- looking ----------------------------------------------------------------------------------------------------

    def request(self, id: str) -> Request:
        found = self.store.request(id)
        assert found is not None
        return found

    def step(self, id: str, name: str = A) -> Step:
        return self.request(id).steps[StepKey(step=name)]

    def agency(self, name: str = A) -> AgencyRow:
        return self.store.agencies()[name]

    def failures(self) -> list[FailureRow]:
        return list(self.store.failures(is_open=True, after=0, most=500))

    def codes(self) -> list[str]:
        return [failure.code for failure in self.failures()]

    def evidence(self, failure: FailureRow) -> bytes:
        assert failure.payload_id is not None
        return self.store.payloads([failure.payload_id])[failure.payload_id]

    def sql(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """What an accident in the machine room does to the file."""
        with closing(sqlite3.connect(self.parts.data / "store.db")) as driver, driver:
            return driver.execute(statement, values).fetchall()


@contextmanager
def runtime(folder: Path, settings: Settings = SETTINGS) -> Iterator[RuntimeRig]:
    """A bus over an empty store; every agency has a host that offers what the service needs."""
    parts = assemble(fanout.workspace(settings), folder)
    try:
        yield RuntimeRig(parts)
    finally:
        parts.manager.close()
        parts.broker.close()
        parts.store.close()


__all__ = ["AGENCIES", "MINUTE", "OPERATION", "SECOND", "A", "B", "RuntimeRig", "runtime"]
