"""Writes down what interactions came to: row, kept answer and reply in one transaction, and only if still theirs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from bus.adapter import Absent, Adapter, Found, LookUp
from bus.message.envelope import Envelope, decode
from bus.message.instant import Instant
from bus.message.reply import Effect, Failed, Pending, Reply, Unknown
from bus.ports import JournalChanges, JournalInvalid, JournalReply, JournalResult, JournalTransaction
from bus.receiver.failure import failed
from bus.receiver.gate import absence_counts, anchored, honest, settled
from bus.receiver.row import JournalIdentity, Row, State, is_live
from bus.runtime.host_reply import anew, recorded
from bus.runtime.host_setup import HostSetup, Look, Reread, Work
from bus.runtime.host_translate import read


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What one interaction came to: its row, what is kept, and the message."""

    row: Row
    result: JournalResult | None
    reply: JournalReply


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """The journal's number and the time of one transaction, as its replies carry them."""

    journal: JournalIdentity
    now: Instant


def tell(row: Row, to: Envelope, reply: Reply, attempt: int, at: Moment, raw: bytes | None = None) -> Told:
    """The row, the kept result and the message of a reply."""
    if isinstance(reply, Pending | Unknown) or (row.state is State.UNREADABLE and isinstance(reply, Failed)):
        message = anew(to, reply, attempt=attempt, journal=at.journal, now=at.now)
    else:
        message, reply = recorded(to, reply, attempt=attempt, journal=at.journal, now=at.now)
    keeps = raw is not None or not isinstance(reply, Pending | Unknown)
    result = JournalResult(interaction_id=row.interaction_id, raw=raw, reply=message) if keeps else None
    return Told(row=settled(row, reply, attempt=attempt, now=at.now), result=result, reply=message)


def write(
    transaction: JournalTransaction,
    told: Sequence[Told],
    rows: Iterable[Row] = (),
    invalid: Sequence[JournalInvalid] = (),
) -> None:
    """Write it all, if there is anything."""
    changed = [*rows, *(one.row for one in told)]
    if changed or invalid:
        results = [one.result for one in told if one.result is not None]
        outbox = [one.reply for one in told]
        transaction.write(JournalChanges(rows=changed, results=results, outbox=outbox, invalid=invalid))


def settle_looks(
    setup: HostSetup, operation: str, looks: Sequence[Look], answers: Sequence[LookUp], asked: Instant
) -> tuple[list[JournalReply], list[Work]]:
    """Settle what was looked up; also the tasks that may run because nothing is there.

    ``asked`` is when the look-up began: what came into the legacy system since, it may not have seen.
    """
    adapter = setup.system(test=looks[0].row.test)
    found = [answer.raw for answer in answers if isinstance(answer, Found)]
    meant = iter(read(adapter, setup.contracts, operation, found) if adapter and found else ())
    told: list[Told] = []
    absent: list[Work] = []
    with setup.journal.transaction() as transaction:
        at = Moment(journal=transaction.identity(), now=setup.clock())
        rows = transaction.load([look.row.interaction_id for look in looks])
        for look, answer in zip(looks, answers, strict=True):
            reply = next(meant) if isinstance(answer, Found) else Unknown()
            row = rows.get(look.row.interaction_id)
            if row is None or not _is_same(row, look.row):
                continue
            if not isinstance(answer, Absent):
                raw = answer.raw if isinstance(answer, Found) else None
                told.append(tell(row, look.to, _of_interaction(reply, row), look.attempt, at, raw))
            elif not absence_counts(row, setup.terms[operation], min(asked, at.now)):
                told.append(_too_early(row, look, at))
            elif look.work is not None:
                absent.append(replace(look.work, absent=True))
            else:
                told.append(tell(row, look.to, failed("absent"), look.attempt, at))
        write(transaction, told)
    return [one.reply for one in told], absent


def settle_collected(
    setup: HostSetup, adapter: Adapter, raws: Mapping[str, bytes], unmatched: Collection[str]
) -> tuple[list[JournalReply], set[str]]:
    """Settle what was pending with the answers that came since, by reference.

    An answer that belongs to nothing is kept once: ``unmatched`` are the references of those kept before, and the new
    ones are given back. An adapter may hand over the same answer any number of times.
    """
    told: list[Told] = []
    with setup.journal.transaction() as transaction:
        at = Moment(journal=transaction.identity(), now=setup.clock())
        rows = transaction.referred(raws)
        bodies = transaction.tasks([row.interaction_id for row in rows.values()])
        for reference, row in rows.items():
            waits = row.state in {State.BEGUN, State.UNKNOWN, State.PENDING} and not is_live(row, at.now)
            if not waits or row.interaction_id not in bodies:
                continue
            (reply,) = read(adapter, setup.contracts, row.operation, [raws[reference]])
            if not isinstance(reply, Pending):
                to = decode(bodies[row.interaction_id]).envelope
                told.append(tell(row, to, _of_interaction(reply, row), row.attempt, at, raws[reference]))
        new = {reference for reference in raws if reference not in rows and reference not in unmatched}
        invalid = [
            JournalInvalid(origin="collect", code="unmatched", body=raws[reference], at=at.now) for reference in new
        ]
        write(transaction, told, invalid=invalid)
    return [one.reply for one in told], new


def read_again(setup: HostSetup, rereads: Sequence[Reread]) -> list[JournalReply]:
    """Translate kept answers again; what still cannot be used is told anew for the attempt that was asked."""
    unreadable = failed("answer_unreadable", Effect.DONE)
    told: list[Told] = []
    with setup.journal.transaction() as transaction:
        at = Moment(journal=transaction.identity(), now=setup.clock())
        ids = [reread.row.interaction_id for reread in rereads]
        rows, results = transaction.load(ids), transaction.results(ids)
        for reread in rereads:
            row, result = rows.get(reread.row.interaction_id), results.get(reread.row.interaction_id)
            adapter = setup.system(test=reread.row.test)
            if row is None or result is None or not _is_same(row, reread.row):
                continue
            reply: Reply = unreadable
            if adapter is not None and result.raw is not None:
                (reply,) = read(adapter, setup.contracts, row.operation, [result.raw])
            # That it happened is known; a reading that knows less does not take that away.
            reply = unreadable if isinstance(_of_interaction(reply, row), Unknown) else reply
            told.append(tell(row, reread.to, reply, reread.attempt, at, result.raw))
            rows[row.interaction_id] = told[-1].row
        write(transaction, told)
    return [one.reply for one in told]


def _too_early(row: Row, look: Look, at: Moment) -> Told:
    """Not there, and too early to say that it never will be: told as pending, kept as unknown."""
    reply = anew(look.to, Pending(), attempt=look.attempt, journal=at.journal, now=at.now)
    unknown = settled(anchored(row, at.now), Unknown(), attempt=look.attempt, now=at.now)
    return Told(row=unknown, result=None, reply=reply)


def _of_interaction(reply: Reply, row: Row) -> Reply:
    """A reply that speaks of the interaction and not of one call: what it says of the effect is final."""
    return honest(reply, replace(row, effect=Effect.NONE), None)


def _is_same(row: Row, other: Row) -> bool:
    """Whether nothing has moved the interaction since."""
    return (row.state, row.intent, row.attempt) == (other.state, other.intent, other.attempt)
