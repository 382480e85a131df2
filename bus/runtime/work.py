"""One transaction's worth of deciding: events go in, and everything that must be written and sent comes out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from bus.config import Settings
from bus.errors import NotFoundError
from bus.logs import bind
from bus.message.identity import subject
from bus.message.instant import Instant
from bus.message.key import Keys
from bus.message.strict_json import field_pointers
from bus.ports import (
    AgencyRow,
    Alarm,
    Changes,
    Decided,
    FailureRow,
    Fate,
    HostRow,
    Incoming,
    Payload,
    Received,
    Submission,
    Transaction,
)
from bus.process.closure import input_contract
from bus.process.decide import accept, decide
from bus.process.decision import Decision
from bus.process.event import Dispatched, Event, Held, Replied, Submitted, Unbuildable
from bus.process.reading import task_data, understood
from bus.process.reply import counts_now
from bus.process.state import FINAL, Request, StepKey
from bus.process.wire import operation_of, task, task_id
from bus.runtime.case import Case
from bus.runtime.digests import Digests
from bus.runtime.library import Library
from bus.runtime.posting import Mark, Posting
from bus.runtime.reading import Reading

_log = bind(role="process-manager")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What every transaction of a process needs."""

    library: Library
    keys: Keys
    #: The installation secret.
    secret: bytes
    settings: Settings


class Work:
    """Loads the requests of a batch, decides event after event, and gathers the changes of all of them."""

    def __init__(self, transaction: Transaction, tools: Tools, *, asks_only: bool = False) -> None:
        """``asks_only``: the store was restored, and providers are told nothing but look-ups."""
        self._asks_only = asks_only
        self.transaction = transaction
        self.tools = tools
        self.now: Instant = transaction.now()
        self.cases: dict[str, Case] = {}
        self.agencies: dict[str, AgencyRow] = {}
        self._agencies_read: dict[str, AgencyRow] = {}
        self._submissions: list[Submission] = []
        self._digests = Digests(tools.secret)
        self._subjects: dict[str, str | None] = {}
        #: Requests whose definition the store has lost: nothing can be decided about them.
        self._undefined: dict[str, Request] = {}
        #: By cause.
        self.alarms: dict[str, Alarm] = {}
        #: Starts of hosts that were heard of, by agency and start.
        self.hosts: dict[tuple[str, str], HostRow] = {}
        #: To be done once all of this is true.
        self.after_commit: list[Callable[[], None]] = []
        self.reading = Reading(transaction)
        self.posting = Posting(self.reading, tools.keys, self.now, self._digests)

    # --- reading -----------------------------------------------------------------------------------------------------

    def load(self, request_ids: Iterable[str]) -> None:
        """Lock and read these requests, those that are not read yet."""
        wanted = {request_id for request_id in request_ids if request_id not in self.cases}
        for request_id, request in self.transaction.load(wanted).items():
            try:
                pinned = self.tools.library.pinned(request.revision)
            except NotFoundError as error:
                _log.error("unexpected_error", error=error, request_id=request_id)
                self._undefined[request_id] = request
            else:
                self.cases[request_id] = Case(before=request, request=request, pinned=pinned)

    def load_agencies(self, names: Iterable[str]) -> None:
        """Read the rows of these agencies, those that are not read yet."""
        wanted = {name for name in names if name not in self.agencies}
        rows = self.transaction.agencies(wanted) if wanted else {}
        self._agencies_read |= rows
        self.agencies |= rows

    # --- deciding ----------------------------------------------------------------------------------------------------

    def apply(self, batch: Sequence[Incoming]) -> tuple[Decided, ...]:
        """Decide every event, in order; one that cannot be decided never sinks its neighbours."""
        self.load(incoming.request_id for incoming in batch)
        self._prefetch_results(batch)
        fresh = self._fresh(batch)
        return tuple(self._apply(incoming, is_fresh=new) for incoming, new in zip(batch, fresh, strict=True))

    def _prefetch_results(self, batch: Sequence[Incoming]) -> None:
        """What the results of those are made of that this batch may end, in one statement."""
        replies = Counter(incoming.request_id for incoming in batch if isinstance(incoming.event, Replied))
        ending = (
            case
            for request_id, count in replies.items()
            if (case := self.cases.get(request_id))
            and sum(step.state not in FINAL for step in case.request.steps.values()) <= count
        )
        self.reading.prefetch({payload for case in ending for payload in self.reading.needed(case)})

    def _fresh(self, batch: Sequence[Incoming]) -> list[bool]:
        received = [self._identity(incoming) for incoming in batch]
        answers = iter(self.transaction.fresh([one for one in received if one is not None]))
        return [next(answers) if one is not None else True for one in received]

    def _identity(self, incoming: Incoming) -> Received | None:
        case = self.cases.get(incoming.request_id)
        if incoming.received is None or case is None:
            return incoming.received
        return replace(incoming.received, request_key=case.request.key)

    def _apply(self, incoming: Incoming, *, is_fresh: bool) -> Decided:
        case = self.cases.get(incoming.request_id)
        if not is_fresh and not _counts_now(case, incoming):
            return Decided(fate=Fate.DUPLICATE, request=case.request if case else None)
        if incoming.request_id in self._undefined:
            return self._broken(self._undefined[incoming.request_id], "definition_missing", incoming)
        mark = (self.posting.mark(), self.reading.mark(), case.mark() if case else None)
        try:
            if isinstance(incoming.event, Submitted):
                return self._accept(incoming, incoming.event)
            return self._decide(case, incoming) if case else self._orphan(incoming)
        except Exception as error:
            if self.reading.is_fault_of_store(error):
                raise
            # Whatever else it is, it must not sink the batch, and half of a decision is none.
            self._forget(incoming, case, *mark)
            _log.error("unexpected_error", error=error, request_id=incoming.request_id)
            return self._broken(case.request if case else None, "undecidable", incoming)

    def _forget(
        self, incoming: Incoming, case: Case | None, posted: Mark, read: int, before: tuple[Request, int] | None
    ) -> None:
        self.posting.forget(posted)
        self.reading.forget(read)
        if case is not None and before is not None:
            case.forget(before)
        elif self.cases.pop(incoming.request_id, None) is not None:
            self._submissions.pop()

    def _accept(self, incoming: Incoming, event: Submitted) -> Decided:
        if incoming.submission is None:
            raise TypeError("a submission without its identity")
        known = self.cases.get(event.request_id)
        if known is not None:
            return self._same_submission(known, incoming.submission)
        pinned = self.tools.library.pinned(event.revision)
        decision = accept(event, self.now, pinned.definition, self.tools.settings)
        case = Case(before=None, request=decision.request, pinned=pinned)
        self.cases[event.request_id] = case
        self._submissions.append(incoming.submission)
        self._keep(incoming.payloads, event.message_id)
        self._absorb(case, decision)
        return Decided(fate=Fate.APPLIED, request=case.request)

    def _same_submission(self, known: Case, submission: Submission) -> Decided:
        mine = [one for one in self._submissions if one.request_id == submission.request_id]
        first = mine[0] if mine else self._stored_submission(submission)
        same = first is not None and first.digest == submission.digest
        return Decided(fate=Fate.DUPLICATE if same else Fate.CONFLICT, request=known.request)

    def _stored_submission(self, like: Submission) -> Submission | None:
        return self.reading.ask(lambda transaction: transaction.submission(like.consumer, like.submission_key))

    def _decide(self, case: Case, incoming: Incoming) -> Decided:
        if incoming.desk is not None and incoming.step is not None:
            conflict = self.posting.desk_conflict(case.request, incoming.step, incoming.desk)
            if conflict is not None:
                return Decided(fate=Fate.CONFLICT, request=case.request, conflict=conflict)
        event = self._understood(case, incoming)
        decision = self._decision(case, event)
        if decision.conflict is not None:
            return Decided(fate=Fate.CONFLICT, request=case.request, conflict=decision.conflict)
        if decision.facts:
            self._keep(_belonging(incoming.payloads, case.request.key), getattr(event, "message_id", None))
        self._absorb(case, decision)
        if incoming.desk is not None and incoming.step is not None:
            self.posting.answer_desk(case.request, incoming.step, incoming.desk)
        return Decided(fate=Fate.APPLIED, request=case.request)

    def _understood(self, case: Case, incoming: Incoming) -> Event:
        """A reply with what its data decides; anything else as it is."""
        if not isinstance(incoming.event, Replied):
            return incoming.event
        pinned = case.pinned
        return understood(pinned.definition, pinned.contracts, case.request, incoming.event, self.reading.data)

    def _absorb(self, case: Case, decision: Decision) -> None:
        case.absorb(decision)
        for send in decision.sends:
            self.posting.send(case, send)
        for change in decision.failures:
            self.posting.failure(case, change)

    def _keep(self, payloads: Sequence[Payload], message: str | None) -> None:
        self.reading.keep(payloads)
        if message is not None and payloads:
            self._digests.note(message, payloads[0].bytes)

    def _orphan(self, incoming: Incoming) -> Decided:
        if incoming.received is not None:
            self._show(None, "orphan", incoming)
        return Decided(fate=Fate.ORPHAN)

    def _broken(self, request: Request | None, code: str, incoming: Incoming) -> Decided:
        # What came once is shown once. A timer comes again and again, and who gave a command is told.
        if incoming.received is not None:
            self._show(request, code, incoming)
        return Decided(fate=Fate.BROKEN, request=request)

    def _show(self, request: Request | None, code: str, incoming: Incoming) -> None:
        """A failure that no fact speaks of, with the bytes that caused it."""
        agency = getattr(incoming.event, "provider", None)
        payloads = _belonging(incoming.payloads, request.key if request else None)
        self.reading.keep(payloads)
        self.posting.failures.append(
            FailureRow(
                key=self.tools.keys.next(),
                request_key=request.key if request else None,
                request_id=incoming.request_id or None,
                step=incoming.step,
                agency=agency,
                code=code,
                cause=f"{agency or '-'}/-/{code}",
                payload_id=payloads[0].id if payloads else None,
                opened_at=self.now,
            )
        )

    def alarm(self, code: str, agency: str, *, operation: str = "-", body: bytes | None = None) -> None:
        """Something that an operator must see and that belongs to no request: the store counts it by its cause.

        Messages count one by one; without one, the same twice in a transaction is one.
        """
        messages = () if body is None else (Payload(id=self.tools.keys.next(), request_key=None, bytes=body),)
        failure = FailureRow.of_no_request(
            key=self.tools.keys.next(), code=code, at=self.now, agency=agency, operation=operation
        )
        known = self.alarms.get(failure.cause)
        if known is None:
            self.alarms[failure.cause] = Alarm(failure=failure, messages=messages)
        elif messages:
            self.alarms[failure.cause] = known.with_another(messages)

    # --- dispatching -------------------------------------------------------------------------------------------------

    def dispatch(self, case: Case, key: StepKey) -> bool:
        """Build the task of a ready row and let it leave; False if that cannot be: then the row waits for a person."""
        posted, read, before = self.posting.mark(), self.reading.mark(), case.mark()
        try:
            return self._dispatch(case, key)
        except Exception as error:
            if self.reading.is_fault_of_store(error):
                raise
            self.posting.forget(posted)
            self.reading.forget(read)
            case.forget(before)
            _log.error("unexpected_error", error=error, request_id=case.request.id, step=key.step)
            self.decide(case, Unbuildable(step=key, payload_id=case.request.data_id))
            return False

    def _dispatch(self, case: Case, key: StepKey) -> bool:
        pinned, step = case.pinned, case.request.steps[key]
        data = task_data(pinned.definition, case.request, key, self.reading.data)
        payload_id = self.tools.keys.next()
        if not pinned.contracts.accepts(input_contract(operation_of(pinned.definition, key)), data):
            self.reading.keep([Payload(id=payload_id, request_key=case.request.key, bytes=orjson.dumps(data))])
            self.decide(case, Unbuildable(step=key, payload_id=payload_id))
            return False
        journal_id = None if step.desk else self.agencies[step.agency].journal_id
        message_id = task_id(case.request, key)
        event = Dispatched(
            step=key, journal_id=journal_id, task_id=payload_id, message_id=message_id, fields=field_pointers(data)
        )
        self.decide(case, event)
        message = task(case.request, key, pinned.definition, data, self._subject(case))
        self._digests.note(message_id, message.body)
        self.reading.keep([Payload(id=payload_id, request_key=case.request.key, bytes=message.body)])
        if step.desk:
            self.posting.open_desk(case.request, key, operation_of(pinned.definition, key), payload_id)
        else:
            self.posting.post(case, key, message, payload_id)
        return True

    def hold(self, case: Case, key: StepKey, reason: str) -> None:
        """Let the clock of a ready row rest."""
        if case.request.steps[key].expires_at is not None:
            self.decide(case, Held(step=key, reason=reason))

    def decide(self, case: Case, event: Event) -> None:
        """Decide one more event of a request that is already here."""
        self._absorb(case, self._decision(case, event))

    def _decision(self, case: Case, event: Event) -> Decision:
        definition, settings = case.pinned.definition, self.tools.settings
        return decide(case.request, event, self.now, definition, settings, asks_only=self._asks_only)

    def _subject(self, case: Case) -> str | None:
        if case.request.id not in self._subjects:
            self._subjects[case.request.id] = self._subject_of(case)
        return self._subjects[case.request.id]

    def _subject_of(self, case: Case) -> str | None:
        value: Any = self.reading.data(case.request.data_id)
        for member in case.pinned.definition.subject.members:
            value = value.get(member) if isinstance(value, dict) else None
        return subject(self.tools.secret, value) if isinstance(value, str) else None

    # --- writing -----------------------------------------------------------------------------------------------------

    def changes(self, confirmed: Sequence[int]) -> Changes:
        """Everything that this transaction must write."""
        sealed = [(case, *case.sealed(self._digests.known)) for case in self.cases.values() if case.facts]
        posting = self.posting
        return Changes(
            submissions=self._submissions,
            requests=[request for case, request, _ in sealed if case.before is None],
            updates=[(request, case.before.version) for case, request, _ in sealed if case.before is not None],
            steps=[(case.request.key, step) for case, _, _ in sealed for step in case.touched()],
            facts=[(case.request.key, fact) for case, _, facts in sealed for fact in facts],
            payloads=self.reading.payloads,
            outbox=[row for row, _ in posting.outbox],
            confirmed=confirmed,
            results=posting.results,
            failures=posting.failures,
            alarms=list(self.alarms.values()),
            hosts=list(self.hosts.values()),
            failures_closed=posting.failures_closed,
            desk=list(posting.desk.values()),
            agencies=[
                (self._agencies_read[name], row)
                for name, row in self.agencies.items()
                if row != self._agencies_read[name]
            ],
        )


def _counts_now(case: Case | None, incoming: Incoming) -> bool:
    return case is not None and isinstance(incoming.event, Replied) and counts_now(case.request, incoming.event)


def _belonging(payloads: Sequence[Payload], request_key: int | None) -> list[Payload]:
    """Bytes live and go with the request that they belong to."""
    return [Payload(id=payload.id, request_key=request_key, bytes=payload.bytes) for payload in payloads]
