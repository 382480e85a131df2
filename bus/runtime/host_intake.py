"""Takes a batch from the broker into the journal: every message is judged, and its row committed before it is acked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from bus.errors import Fault, InvalidMessageError
from bus.logs import Log
from bus.message.channel import BUS_USER, is_from
from bus.message.envelope import Envelope, Message, MessageType, decode
from bus.message.instant import Instant
from bus.message.replies import reply_from_message
from bus.ports import Delivery, JournalChanges, JournalInvalid, JournalReply, JournalTransaction
from bus.receiver.announcement import Admitted, read_admitted
from bus.receiver.ask import Ask, Asked, asked
from bus.receiver.inquire import answer_query, answer_withdrawal
from bus.receiver.judge import judge
from bus.receiver.row import Chain, Row, chain
from bus.receiver.verdict import (
    Action,
    AnswerAnew,
    BuildAgain,
    LookUpFirst,
    ReadAgain,
    Run,
    SendRecorded,
    Verdict,
)
from bus.runtime.host_reply import anew
from bus.runtime.host_setup import HostSetup, Look, Reread, Work


@dataclass(frozen=True, slots=True, kw_only=True)
class Sorted:
    """A batch of deliveries by what they are."""

    admissions: list[Admitted] = field(default_factory=list)
    asks: list[tuple[Asked, Message]] = field(default_factory=list)
    invalid: list[JournalInvalid] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What is to be done after a batch was committed."""

    replies: list[JournalReply] = field(default_factory=list)
    works: list[Work] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    rereads: list[Reread] = field(default_factory=list)


def sort(deliveries: Iterable[Delivery], agency: str, now: Instant, log: Log) -> Sorted:
    """Decode a batch; what cannot be understood keeps its bytes and is nobody else's fault."""
    batch = Sorted()
    for delivery in deliveries:
        try:
            message = decode(delivery.body)
            if not is_from(delivery.sender, BUS_USER):
                what = "The broker does not vouch that it comes from the bus."
                raise InvalidMessageError((Fault(code="unvouched-sender", message=what),), raw=delivery.body)
            if message.envelope.type == MessageType.HOST_ADMITTED:
                batch.admissions.append(read_admitted(message))
            else:
                batch.asks.append((asked(message, agency), message))
        except InvalidMessageError as error:
            code = error.faults[0].code
            log.warning("message_invalid", channel=delivery.channel, code=code, size=len(delivery.body))
            batch.invalid.append(JournalInvalid(origin=delivery.channel, code=code, body=delivery.body, at=now))
    return batch


def take(setup: HostSetup, batch: Sorted, confirmed: Sequence[str]) -> Taken:
    """Judge the batch and commit it, with its replies in the outbox, in one transaction."""
    taken = Taken()
    if not (batch.asks or batch.invalid or confirmed):
        return taken
    with setup.journal.transaction() as transaction:
        judged = _Judging(setup, transaction, taken, batch.asks)
        for ask, message in batch.asks:
            judged.judge(ask, message)
        transaction.write(
            JournalChanges(
                rows=list(judged.changed.values()),
                tasks=list(judged.tasks.items()),
                outbox=taken.replies,
                confirmed=confirmed,
                invalid=batch.invalid,
            )
        )
    return taken


class _Judging:
    """One batch under judgement: each message sees the rows as those before it left them."""

    def __init__(
        self,
        setup: HostSetup,
        transaction: JournalTransaction,
        taken: Taken,
        asks: Sequence[tuple[Asked, Message]],
    ) -> None:
        self._setup = setup
        self._transaction = transaction
        self._taken = taken
        self._now = setup.clock()
        self._journal = transaction.identity()
        ids = {ask.interaction_id for ask, _ in asks} | {ask.supersedes for ask, _ in asks if ask.supersedes}
        self._rows = transaction.load(ids)
        #: Of several buildings in one transaction with the same id the first is sent.
        self._built: set[str] = set()
        self.changed: dict[str, Row] = {}
        self.tasks: dict[str, bytes] = {}

    def judge(self, ask: Asked, message: Message) -> None:
        row = self._rows.get(ask.interaction_id)
        terms = self._setup.terms.get(ask.operation)
        verdict: Verdict
        match ask.ask:
            case Ask.TASK:
                verdict = judge(ask, row, self._older(ask.supersedes), self._journal, self._now, terms)
            case Ask.QUERY:
                verdict = answer_query(ask, row, self._journal, self._now, terms)
            case Ask.WITHDRAWAL:
                verdict = answer_withdrawal(ask, row, self._journal, self._now, terms)
        for changed in verdict.rows:
            self._rows[changed.interaction_id] = self.changed[changed.interaction_id] = changed
        for action in verdict.actions:
            self._do(action, message)

    def _older(self, interaction_id: str | None) -> Chain:
        """What a task supersedes, with every link that the journal has."""
        older = chain(interaction_id, self._rows)
        while older.missing is not None and (found := self._transaction.load([older.missing])):
            self._rows.update(found)
            older = chain(interaction_id, self._rows)
        return older

    def _do(self, action: Action, message: Message) -> None:
        to = message.envelope
        match action:
            case Run(row=row):
                self.tasks[row.interaction_id] = message.body
                self._taken.works.append(Work(row=row, message=message))
            case SendRecorded(interaction_id=id_):
                for result in self._transaction.results([id_]).values():
                    self._send(result.reply)
            case AnswerAnew(interaction_id=id_, attempt=attempt, reply=reply):
                about = self._envelope_of(id_, to)
                if about is not None:
                    self._send(anew(about, reply, attempt=attempt, journal=self._journal, now=self._now))
            case BuildAgain(interaction_id=id_, attempt=attempt):
                about = self._envelope_of(id_, to)
                for result in self._transaction.results([id_]).values():
                    reply = reply_from_message(decode(result.reply.body))
                    if about is not None:
                        self._send(anew(about, reply, attempt=attempt, journal=self._journal, now=self._now))
            case LookUpFirst(row=row, attempt=attempt):
                self._taken.looks.append(Look(row=row, attempt=attempt, to=to))
            case ReadAgain(row=row, attempt=attempt):
                self._taken.rereads.append(Reread(row=row, attempt=attempt, to=to))

    def _envelope_of(self, interaction_id: str, asked_by: Envelope) -> Envelope | None:
        """The envelope that a reply about this interaction answers; a superseded one is told by its own task."""
        if interaction_id == asked_by.interactionid:
            return asked_by
        body = self._transaction.tasks([interaction_id]).get(interaction_id)
        return None if body is None else decode(body).envelope

    def _send(self, reply: JournalReply) -> None:
        if reply.message_id not in self._built:
            self._built.add(reply.message_id)
            self._taken.replies.append(reply)
