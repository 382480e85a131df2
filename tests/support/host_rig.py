"""A host with a small legacy system, and the bus's side of its channels, for tests of the host."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4, uuid5

from bus.adapter import (
    Absent,
    Adapter,
    AgencyUnavailableError,
    Completed,
    Declined,
    Effect,
    Failed,
    Found,
    LookUp,
    Need,
    Pending,
    Refused,
    Reply,
    Returned,
    Task,
    Text,
)
from bus.brokers.kombu import KombuBroker
from bus.catalog import OperationManifest
from bus.config import Settings
from bus.journals.sqlite import SqliteJournal
from bus.message import channel
from bus.message.contract import Contracts
from bus.message.envelope import Envelope, Message, MessageType, decode, encode
from bus.message.identity import interaction_id, message_id, reference
from bus.message.replies import REPLY_TYPES, reply_from_message
from bus.ports import Broker, Outgoing
from bus.process.definition import Repeat, RepeatKind
from bus.receiver.announcement import Admitted, Started, admitted_message, read_alive, read_started
from bus.receiver.row import JournalIdentity
from bus.runtime.host import AgencyHost

AGENCY = "land_office"
NOW = 1_800_000_000_000
_TEXT = Text(en="No such plot.", ar="لا توجد قطعة بهذا الرقم.")
#: One operation for each kind of repeat.
KINDS: tuple[RepeatKind, ...] = ("safe", "idempotent", "queryable", "natural_key", "at_most_once")
OPERATIONS = {
    f"deed.{kind}.v1": OperationManifest(
        repeat=Repeat(kind=kind, window=86_400_000, absence_proof_after=2_000), timeout=500, batch=100
    )
    for kind in KINDS
}
CONTRACTS = Contracts(
    {
        f"operation/{operation}.{side}": {"type": "object", "required": [member]}
        for operation in OPERATIONS
        for side, member in (("input", "do"), ("output", "number"))
    }
)
SETTINGS = Settings(alive_every=1_000, lease=500, late_margin=1_000, drain_within=2_000)

#: What `LandOffice` says of a task that its system could never take.
UNWRITABLE = Returned(
    needs=(Need(pointer="/do", reason_code="cannot_be_stored", text=Text(en="Write it anew.", ar="اكتبوه من جديد.")),)
)


@dataclass
class Legacy:
    """The legacy system: its ledger is the truth about effects."""

    ledger: list[str] = field(default_factory=list)
    #: How often a call reached it, by reference.
    calls: list[str] = field(default_factory=list)
    #: Answers that came since for what was pending.
    later: list[tuple[str, bytes]] = field(default_factory=list)
    #: Holds a call with ``hang`` until set.
    released: threading.Event = field(default_factory=threading.Event)
    is_down: bool = False

    def effects(self, interaction: str) -> int:
        return self.ledger.count(reference(interaction))


class LandOffice(Adapter):
    """Does what each task says in ``do``."""

    def __init__(self, legacy: Legacy) -> None:
        super().__init__({})
        self.legacy = legacy

    def prepare(self, operation: str, tasks: Sequence[Task]) -> tuple[bytes | Declined, ...]:
        if any(task.data["do"] == "unpreparable" for task in tasks):
            raise ValueError("cannot be prepared")
        return tuple(
            UNWRITABLE if task.data["do"] == "unwritable" else json.dumps([task.reference, task.data["do"]]).encode()
            for task in tasks
        )

    def call(self, operation: str, native: Sequence[bytes]) -> tuple[bytes, ...]:
        if self.legacy.is_down:
            raise AgencyUnavailableError
        asked = [json.loads(one) for one in native]
        self.legacy.calls += [reference for reference, _ in asked]
        wishes = {do for _, do in asked}
        if "down" in wishes:
            raise AgencyUnavailableError
        harmless = {"refuse", "return", "busy", "raise_before"}
        self.legacy.ledger.extend(reference for reference, do in asked if do not in harmless)
        if wishes & {"raise", "raise_before"}:
            raise ConnectionResetError
        if "hang" in wishes and not self.legacy.released.wait(30):
            raise TimeoutError
        return tuple(json.dumps([reference, do]).encode() for reference, do in asked)[
            : -1 if "short" in wishes else None
        ]

    def read(self, operation: str, raw: Sequence[bytes]) -> tuple[Reply, ...]:
        return tuple(meaning(one) for one in raw)

    def look_up(self, operation: str, references: Sequence[str]) -> tuple[LookUp, ...]:
        if self.legacy.is_down:
            raise AgencyUnavailableError
        return tuple(
            Found(raw=json.dumps([reference, "succeed"]).encode()) if reference in self.legacy.ledger else Absent()
            for reference in references
        )

    def collect(self) -> tuple[tuple[str, bytes], ...]:
        return tuple(self.legacy.later)


def meaning(raw: bytes) -> Reply:
    reference, do = json.loads(raw)
    match do:
        case "refuse":
            return Refused(reason_code="no_plot", text=_TEXT)
        case "return":
            return Returned(needs=(Need(pointer="/do", reason_code="missing", text=_TEXT),))
        case "later":
            return Pending()
        case "busy":
            return Failed(code="busy", effect=Effect.NONE, retryable=True)
        case "garbage":
            raise ValueError("not to be read")
        case "bad_output":
            return Completed(data={"other": 1})
        case "too_large":
            return Completed(data={"number": "x" * 300_000})
    return Completed(data={"number": reference})


class Messages:
    """Builds what the bus asks of the host, for one request."""

    def __init__(self) -> None:
        self.request_id = str(uuid4())
        #: What new tasks carry unless the test says otherwise.
        self.journal_id = ""

    def task(
        self, step: str = "plot", *, kind: RepeatKind = "at_most_once", do: str = "succeed", **more: Any
    ) -> Message:
        return self.message(MessageType.TASK_REQUESTED, step, kind=kind, data={"do": do}, **more)

    def query(self, step: str = "plot", *, kind: RepeatKind = "at_most_once", **more: Any) -> Message:
        return self.message(MessageType.TASK_QUERIED, step, kind=kind, data=None, **more)

    def withdrawal(self, step: str = "plot", *, kind: RepeatKind = "at_most_once", **more: Any) -> Message:
        return self.message(MessageType.TASK_WITHDRAWN, step, kind=kind, data=None, **more)

    def interaction(self, step: str = "plot", edit: int = 0) -> str:
        return interaction_id(self.request_id, step, None, "task", edit)

    def message(
        self,
        type_: MessageType,
        step: str,
        *,
        kind: RepeatKind,
        data: Mapping[str, Any] | None,
        attempt: int = 1,
        edit: int = 0,
        **more: Any,
    ) -> Message:
        interaction = self.interaction(step, edit)
        values: dict[str, Any] = {
            "id": message_id(interaction, attempt, str(type_)),
            "source": "/bus",
            "type": type_,
            "time": NOW,
            "correlationid": self.request_id,
            "interactionid": interaction,
            "edit": edit,
            "attempt": attempt,
            "service": "own-land.v1",
            "step": step,
            "kind": "task",
            "provider": AGENCY,
            "operation": f"deed.{kind}.v1",
            "expirytime": NOW + 3_600_000,
            "journalid": self.journal_id,
            "firstsent": NOW,
        }
        return encode(Envelope(**{**values, **more}), data)


class Rig(Messages):
    """One host with its journal file, a broker, and the bus's side in the hands of the test."""

    def __init__(self, folder: Path, *, broker: Broker | None = None, legacy: Legacy | None = None) -> None:
        super().__init__()
        self.path = folder / "journal.db"
        self.broker = broker or KombuBroker()
        self.legacy = legacy or Legacy()
        #: What the wall clock and the monotonic clock show.
        self.now = NOW
        self.simulator: Adapter | None = None
        self.broker.apply([channel.tasks(AGENCY), channel.control(AGENCY), channel.replies(AGENCY)])
        self._publisher = self.broker.publisher()
        self._consumer = self.broker.consumer([channel.replies(AGENCY)], prefetch=10_000)
        self.heard: list[Message] = []
        self.journal = SqliteJournal(self.path)
        self.journal_id = self.journal.identity().journal_id
        self.host = self.new_host()
        #: What the bus heard at most, by journal.
        self.numbers: dict[str, int] = {}

    def new_host(self, journal: SqliteJournal | None = None) -> AgencyHost:
        return AgencyHost(
            agency=AGENCY,
            adapter=LandOffice(self.legacy),
            simulator=self.simulator,
            operations=OPERATIONS,
            contracts=CONTRACTS,
            journal=journal or self.journal,
            broker=self.broker,
            settings=SETTINGS,
            clock=lambda: self.now,
            monotonic=lambda: self.now,
        )

    def start(self) -> None:
        """Open the host and admit it as often as it announces itself."""
        self.host.open()
        self.settle()

    def restart(self) -> None:
        """The host dies without a word and comes again, over the same file."""
        self.host.close()
        self.journal.close()
        self.journal = SqliteJournal(self.path)
        self.host = self.new_host()
        self.start()

    def settle(self) -> None:
        """Let host and bus run until neither has anything to do."""
        quiet = 0
        while quiet < 3:
            did = self.host.step()
            quiet = 0 if self.hear() or did or not self.host.is_idle else quiet + 1

    def hear(self) -> bool:
        """The bus takes what the host said, and admits it."""
        deliveries = self._consumer.collect(1_000, 0)
        self._consumer.acknowledge(deliveries)
        for delivery in deliveries:
            message = decode(delivery.body)
            seq = message.envelope.journalseq or 0
            journal_id = message.envelope.journalid or ""
            if message.envelope.type == MessageType.HOST_STARTED:
                self.admit(read_started(message))
            elif message.envelope.type == MessageType.HOST_ALIVE:
                read_alive(message)
            self.numbers[journal_id] = max(seq, self.numbers.get(journal_id, 0))
            self.heard.append(message)
        return bool(deliveries)

    def admit(self, started: Started) -> None:
        admitted = Admitted(
            agency=AGENCY,
            start_id=started.start_id,
            journal_id=started.journal.journal_id,
            heard=self.numbers.get(started.journal.journal_id, 0),
        )
        self.send(admitted_message(admitted, id=str(uuid4()), now=self.now), on=channel.control(AGENCY))

    def send(self, *messages: Message, on: channel.Channel | None = None) -> None:
        self._publisher.publish(
            [
                Outgoing(
                    channel=on or channel.tasks(AGENCY),
                    message_id=message.envelope.id,
                    type=str(message.envelope.type),
                    correlation_id=message.envelope.correlationid or "",
                    body=message.body,
                )
                for message in messages
            ]
        )

    def ask(self, *messages: Message) -> list[Message]:
        """Send, let everything settle, and give the replies that came."""
        before = len(self.heard)
        self.send(*messages)
        self.settle()
        return [message for message in self.heard[before:] if message.envelope.type in REPLY_TYPES]

    def answers(self, *messages: Message) -> list[Reply]:
        return [reply_from_message(message) for message in self.ask(*messages)]

    def identity(self) -> JournalIdentity:
        return self.journal.identity()


def other_uuid(name: str) -> str:
    return str(uuid5(UUID(int=0), name))


@contextmanager
def started(folder: Path) -> Iterator[Rig]:
    """A rig whose host is admitted, for the life of the ``with``."""
    rig = Rig(folder)
    rig.start()
    yield rig
    rig.legacy.released.set()
    rig.host.close()
    rig.journal.close()


def code_of(reply: object) -> tuple[str, Effect]:
    """What a failure says: its code, and its effect."""
    assert isinstance(reply, Failed), reply
    return reply.code, reply.effect
