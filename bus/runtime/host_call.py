"""Carries out received tasks: look-up or intent, one call, the result. The journal is written around each call."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, TypeAlias

from bus.adapter import Absent, Adapter, Found, LookUp, Task, Unsure
from bus.killpoint import reach
from bus.logs import Log
from bus.message.instant import Instant, Milliseconds
from bus.message.quick import changed
from bus.message.reply import Effect, Reply, Unknown
from bus.ports import JournalReply
from bus.process.closure import input_contract
from bus.receiver.failure import failed
from bus.receiver.gate import Gate, begin, honest
from bus.receiver.row import Row, State
from bus.runtime.host_answers import NotBegunError, answers_of, error_of, without_answers
from bus.runtime.host_intake import Taken
from bus.runtime.host_lane import Bounded
from bus.runtime.host_settle import Moment, Told, read_again, settle_collected, settle_looks, tell, write
from bus.runtime.host_setup import HostSetup, Look, Reread, Work
from bus.runtime.host_translate import prepare, read

#: (operation, test): what goes into one call.
_Group: TypeAlias = tuple[str, bool]


class Calls:
    """The work of one host, one call or look-up at a time, on a lane of its own."""

    def __init__(self, setup: HostSetup, log: Log) -> None:
        self._setup = setup
        self._log = log
        self._works: dict[_Group, deque[Work]] = {}
        self._looks: deque[Look] = deque()
        self._rereads: deque[Reread] = deque()
        self._lane = Bounded(setup.agency, setup.monotonic, log)
        #: References of collected answers that belong to nothing and were kept for a person.
        self._unmatched: set[str] = set()

    @property
    def is_busy(self) -> bool:
        """Whether something is on the lane."""
        return self._lane.is_busy

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits and nothing is on the lane."""
        return not (self._lane.is_busy or self._looks or self._rereads or any(self._works.values()))

    @property
    def can_begin(self) -> bool:
        """Whether `begin` would find something to do."""
        return self._lane.is_free and not self.is_idle

    def waiting(self) -> set[str]:
        """Interactions that this process has in its queue."""
        works = {work.row.interaction_id for works in self._works.values() for work in works}
        return works | {look.row.interaction_id for look in self._looks}

    def add(self, taken: Taken) -> None:
        """More to do."""
        for work in taken.works:
            self._works.setdefault((work.row.operation, work.row.test), deque()).append(work)
        self._looks.extend(taken.looks)
        self._rereads.extend(taken.rereads)

    def clear(self) -> None:
        """Forget what waits: the journal has it."""
        self._works.clear()
        self._looks.clear()
        self._rereads.clear()

    def begin(self) -> list[JournalReply]:
        """Start the next call or look-up if the lane is free; the replies to what may not begin."""
        if not self._lane.is_free:
            return []
        if self._rereads:
            replies = read_again(self._setup, self._rereads)
            self._rereads.clear()
            return replies
        if self._looks:
            self._start_look_up()
            return []
        group = next((group for group, works in self._works.items() if works), None)
        return self._begin_group(group) if group else []

    def collect(self) -> None:
        """Ask the adapters for answers to what was pending, if the lane is free."""
        adapters = [one for one in (self._setup.adapter, self._setup.simulator) if one is not None]
        able = [one for one in dict.fromkeys(adapters) if type(one).collect is not Adapter.collect]
        if not able or not self._lane.is_free:
            return

        def work() -> list[tuple[Adapter, dict[str, bytes] | Exception]]:
            return [(adapter, _collect(adapter)) for adapter in able]

        longest = max((manifest.timeout for manifest in self._setup.operations.values()), default=0)
        self._lane.start(work, longest, self._collected)

    def finish(self, patience: Milliseconds) -> list[JournalReply]:
        """The replies to what has ended on the lane, after waiting for it up to ``patience``."""
        return self._lane.finish(patience)

    def close(self) -> None:
        """Let the lane end."""
        self._lane.close()

    # --- calls ------------------------------------------------------------------------------------------------------

    def _begin_group(self, group: _Group) -> list[JournalReply]:
        operation, test = group
        manifest = self._setup.operations.get(operation)
        queue = self._works[group]
        works = [queue.popleft() for _ in range(min(len(queue), manifest.batch if manifest else 100))]
        # The groups take turns.
        self._works[group] = self._works.pop(group)
        try:
            return self._begin_works(works, self._setup.system(test=test), operation)
        except BaseException:
            queue.extendleft(reversed(works))
            raise

    def _begin_works(self, works: Sequence[Work], adapter: Adapter | None, operation: str) -> list[JournalReply]:
        now, started = self._setup.clock(), self._setup.monotonic()
        declined: list[tuple[Work, Reply]] = []
        able: list[Work] = []
        looks: list[Look] = []
        for work in works:
            match self._verdict(work, now, connected=adapter is not None):
                case Gate.RUN:
                    able.append(work)
                case Gate.LOOK_UP:
                    looks.append(_look_of(work))
                case Gate.UNKNOWN:
                    declined.append((work, Unknown()))
                case reply:
                    declined.append((work, reply))
        natives: list[bytes] = []
        prepared: list[Work] = []
        if adapter is not None:
            tasks = [Task(reference=work.row.reference, data=work.message.data or {}) for work in able]
            for work, native in zip(able, prepare(adapter, operation, tasks), strict=True):
                if isinstance(native, bytes):
                    prepared.append(work)
                    natives.append(native)
                else:
                    declined.append((work, honest(native, _before(work), self._setup.terms.get(operation))))
        begun, sent, intent, replies = self._commit_intents(prepared, natives, declined, now)
        self._looks.extend(looks)
        if begun and adapter is not None:
            reach("host.intended")
            self._start_call(adapter, operation, begun, sent, intent, started, now)
        return replies

    def _verdict(self, work: Work, now: Instant, *, connected: bool) -> Gate | Reply:
        terms = self._setup.terms.get(work.row.operation)
        margin = self._setup.settings.late_margin
        verdict = begin(work.row, terms, now, late_margin=margin, connected=connected, absent=work.absent)
        contract = input_contract(work.row.operation)
        if verdict is Gate.RUN and not self._setup.contracts.accepts(contract, work.message.data):
            return honest(failed("invalid_input"), _before(work), terms)
        return verdict

    def _commit_intents(
        self,
        works: Sequence[Work],
        natives: Sequence[bytes],
        declined: Sequence[tuple[Work, Reply]],
        now: Instant,
    ) -> tuple[list[Work], list[bytes], int, list[JournalReply]]:
        """One transaction: intents of what begins, replies to what may not; what somebody else took is left out."""
        begun, sent, told = [], [], []
        rows: list[Row] = []
        with self._setup.journal.transaction() as transaction:
            at = Moment(journal=transaction.identity(), now=now)
            current = transaction.load(
                [work.row.interaction_id for work in works] + [work.row.interaction_id for work, _ in declined]
            )
            for work, native in zip(works, natives, strict=True):
                row = current.get(work.row.interaction_id)
                if row is not None and _still_waits(row, work):
                    begun.append(work)
                    sent.append(native)
                    rows.append(self._intent(row, native, at))
            for work, reply in declined:
                row = current.get(work.row.interaction_id)
                if row is not None and _still_waits(row, work):
                    told.append(tell(row, work.message.envelope, reply, row.attempt, at))
            write(transaction, told, rows)
        return begun, sent, at.journal.seq, [one.reply for one in told]

    def _intent(self, row: Row, native: bytes, at: Moment) -> Row:
        terms, now = self._setup.terms[row.operation], at.now
        changes = {
            "state": State.BEGUN,
            "effect": Effect.UNKNOWN,
            "intent": at.journal.seq,
            "request_hash": hashlib.sha256(native).digest(),
            "process": self._setup.process,
            "lease_until": now + terms.timeout + terms.lease,
            "begun_at": now if row.begun_at is None else row.begun_at,
            "called_at": now,
            "changed_at": now,
        }
        return changed(row, changes)

    def _start_call(
        self,
        adapter: Adapter,
        operation: str,
        works: Sequence[Work],
        natives: Sequence[bytes],
        intent: int,
        started: Milliseconds,
        now: Instant,
    ) -> None:
        terms, margin = self._setup.terms[operation], self._setup.settings.late_margin
        # Past this the lease could end before the call, or the bus may have stopped waiting.
        spare = min([terms.lease, *(w.row.expires_at - margin - now for w in works if w.row.expires_at is not None)])
        monotonic = self._setup.monotonic

        def call() -> tuple[bytes, ...]:
            if monotonic() > started + spare:
                raise NotBegunError
            return adapter.call(operation, natives)

        def finish(future: Future[Any] | None) -> list[JournalReply]:
            return self._called(adapter, operation, works, intent, future)

        def late(future: Future[Any]) -> list[JournalReply]:
            return (
                self._called(adapter, operation, works, intent, future)
                if answers_of(future, len(works), (bytes,))
                else []
            )

        self._lane.start(call, terms.timeout, finish, late)

    def _called(
        self, adapter: Adapter, operation: str, works: Sequence[Work], intent: int, future: Future[Any] | None
    ) -> list[JournalReply]:
        terms = self._setup.terms[operation]
        raws = answers_of(future, len(works), (bytes,))
        replies: list[Reply]
        if raws:
            reach("host.called")
            replies = read(adapter, self._setup.contracts, operation, raws)
            reach("host.read")
        else:
            replies = [without_answers(future, safe=terms.repeat == "safe")] * len(works)
            self._log.warning("adapter_call_failed", operation=operation, count=len(works), error=error_of(future))
        true = [honest(reply, _before(work), terms) for work, reply in zip(works, replies, strict=True)]
        told: list[Told] = []
        with self._setup.journal.transaction() as transaction:
            at = Moment(journal=transaction.identity(), now=self._setup.clock())
            rows = transaction.load([work.row.interaction_id for work in works])
            for place, work in enumerate(works):
                row = rows.get(work.row.interaction_id)
                if row is not None and row.intent == intent and row.state in {State.BEGUN, State.UNKNOWN}:
                    raw = raws[place] if raws else None
                    told.append(tell(row, work.message.envelope, true[place], work.row.attempt, at, raw))
            write(transaction, told)
        reach("host.recorded")
        self._log.debug("legacy_call_done", operation=operation, count=len(works))
        return [one.reply for one in told]

    # --- look-ups, collected answers, answers read again ------------------------------------------------------------

    def _start_look_up(self) -> None:
        first = self._looks[0].row
        adapter = self._setup.system(test=first.test)
        manifest = self._setup.operations.get(first.operation)
        group = [look for look in self._looks if _group(look.row) == _group(first)]
        looks = group[: manifest.batch if manifest else 100]
        taken = {id(look) for look in looks}
        self._looks = deque(look for look in self._looks if id(look) not in taken)
        references = [look.row.reference for look in looks]
        asked = self._setup.clock()

        def work() -> tuple[LookUp, ...]:
            return () if adapter is None else adapter.look_up(first.operation, references)

        def finish(future: Future[Any] | None) -> list[JournalReply]:
            return self._looked(first.operation, looks, asked, future)

        self._lane.start(work, manifest.timeout if manifest else 0, finish)

    def _looked(
        self, operation: str, looks: Sequence[Look], asked: Instant, future: Future[Any] | None
    ) -> list[JournalReply]:
        answers: Sequence[LookUp] = answers_of(future, len(looks), (Found, Absent, Unsure)) or [Unsure()] * len(looks)
        replies, absent = settle_looks(self._setup, operation, looks, answers, asked)
        for work in reversed(absent):
            self._works.setdefault(_group(work.row), deque()).appendleft(work)
        return replies

    def _collected(self, future: Future[Any] | None) -> list[JournalReply]:
        if future is None or future.exception() is not None:
            self._log.warning("adapter_call_failed", error=error_of(future))
            return []
        replies: list[JournalReply] = []
        for adapter, answers in future.result():
            if isinstance(answers, Exception):
                self._log.warning("adapter_call_failed", error=answers)
                continue
            told, unmatched = settle_collected(self._setup, adapter, answers, self._unmatched)
            self._unmatched |= unmatched
            replies += told
        return replies


def _collect(adapter: Adapter) -> dict[str, bytes] | Exception:
    """Its answers by reference, or why there are none: that of one adapter holds up no other."""
    try:
        answers: dict[Any, Any] = dict(adapter.collect())
    except Exception as error:  # noqa: BLE001  (whatever an adapter raises is its answer)
        return error
    if all(isinstance(reference, str) and isinstance(raw, bytes) for reference, raw in answers.items()):
        return answers
    return TypeError("collect gave something else than references with their raw answers")


def _group(row: Row) -> _Group:
    return row.operation, row.test


def _look_of(work: Work) -> Look:
    return Look(row=work.row, attempt=work.row.attempt, to=work.message.envelope, work=work)


def _before(work: Work) -> Row:
    """What was known before this call: a proved absence wipes out the doubt of an earlier one."""
    return replace(work.row, effect=Effect.NONE) if work.absent else work.row


def _still_waits(row: Row, work: Work) -> bool:
    return row.state is State.RECEIVED and row.attempt == work.row.attempt
