"""The bus and the agencies around one rehearsed request: a clock, what is to come, and all that was said so far."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count
from typing import TypeAlias

from bus.audit.fact import Fact
from bus.errors import Fault, InvalidMessageError
from bus.message.channel import results, tasks
from bus.message.envelope import Message, MessageType
from bus.message.identity import message_id, request_id, subject
from bus.message.instant import Instant, Milliseconds
from bus.message.replies import data_digest, reply_to_data, reply_type
from bus.message.reply import Data, Effect, Pending, Reply, Unknown
from bus.message.strict_json import field_pointers, parse
from bus.process import wire
from bus.process.closure import input_contract
from bus.process.decide import accept, decide
from bus.process.decision import (
    CloseDesk,
    Decision,
    FailureOpened,
    ResendTask,
    Send,
    SendQuery,
    SendWithdrawal,
    TellEnd,
    TellReturned,
)
from bus.process.event import Dispatched, Event, Replied, Submitted, Supplemented, TimerFired, Unbuildable
from bus.process.mapping import conditions_from_request, patch, resolve
from bus.process.reading import outputs, refusals, sent_data, task_data, understood
from bus.process.rows import rows_from_request
from bus.process.state import Kind, Request, RequestState, StepKey, StepState
from bus.process.timer import running_timers
from bus.receiver.failure import failed as failed_by_host
from bus.tools import rehearsal_sample as sample
from bus.tools.rehearsal_agency import ANEW, ANSWERS_AFTER, Asked, Interaction, Says, says
from bus.tools.rehearsal_answer import NEVER, answer_to, row_name
from bus.tools.rehearsal_value import Emitted, Play, Rehearsal, Shown

#: No installation's: a rehearsal speaks of nobody, and two of the same request are the same.
_SECRET = b"rehearsal"
_APPLICANT = "applicant"
#: Operations of which the agency's system can be asked what became of them.
_LOOKED_UP = frozenset({"queryable", "natural_key"})
_WITH_DATA = frozenset({RequestState.COMPLETED, RequestState.PARTIALLY_FULFILLED})

#: What happens at a time: it gives the event, or None where it does not fit any more.
_Coming: TypeAlias = Callable[[], Event | None]


class Stage:
    """One request from its submission on."""

    request: Request

    def __init__(self, play: Play, now: Instant) -> None:
        self.play, self.definition, self.begun, self.now = play, play.definition, now, now
        self._numbers = count(1)
        #: What the store would hold, by payload id: data, or the whole content of a message.
        self._payloads: dict[int, Data] = {}
        self._read = self._payloads.__getitem__
        self._coming: list[tuple[Instant, int, _Coming]] = []
        self._interactions: dict[str, Interaction] = {}
        self._received: set[str] = set()
        #: Timers that were due and moved nothing.
        self._vain: set[TimerFired] = set()
        self._timeline: list[tuple[Milliseconds, Fact]] = []
        self._messages: list[Emitted] = []
        #: The task last sent of each row, and so the rows that were asked at all.
        self._tasks: dict[StepKey, Message] = {}
        self._disclosed: dict[str, dict[str, tuple[str, ...]]] = {}
        self._failures: list[Shown] = []
        #: Why the task of a row could not be built.
        self._faults: dict[StepKey, tuple[Fault, ...]] = {}
        self._result: Data | None = None
        self._submit()

    def rehearsal(self) -> Rehearsal:
        """Everything that happened so far."""
        rows = wire.in_order(self.request, self.definition)
        return Rehearsal(
            request=self.request,
            timeline=tuple(self._timeline),
            messages=tuple(self._messages),
            disclosures=self._disclosed,
            failures=tuple(self._failures),
            result=self._result,
            parked=tuple((row_name(key), step.reason or "") for key, step in rows if step.state is StepState.PARKED),
            unused=tuple(row_name(key) for key in self.play.answers if not self._was_asked(key)),
        )

    # --- the clock ---------------------------------------------------------------------------------------------------

    def run(self, until: Instant) -> None:
        """Go from one thing that happens to the next, until nothing more does or the time is over."""
        self._dispatch()
        while (at := self._next()) is not None and at <= until:
            self.now = max(self.now, at)
            if self._coming and self._coming[0][0] <= self.now:
                event = heapq.heappop(self._coming)[2]()
                if event is not None:
                    self._decide(event)
            else:
                self._fire()
            self._dispatch()

    def _next(self) -> Instant | None:
        times = [timer.at for timer in self._timers()]
        times += [self._coming[0][0]] if self._coming else []
        return min(times, default=None)

    def _timers(self) -> list[TimerFired]:
        return [timer for timer in running_timers(self.request) if timer not in self._vain]

    def _fire(self) -> None:
        for timer in self._timers():
            if timer.at <= self.now:
                version = self.request.version
                self._decide(timer)
                if self.request.version == version:
                    self._vain.add(timer)

    def _later(self, after: Milliseconds, coming: _Coming) -> None:
        # The number keeps the order of what comes at the same moment.
        heapq.heappush(self._coming, (self.now + after, next(self._numbers), coming))

    # --- deciding ----------------------------------------------------------------------------------------------------

    def _submit(self) -> None:
        play = self.play
        id_ = request_id(_SECRET, play.consumer, "rehearsal")
        event = Submitted(
            request_id=id_,
            key=1,
            consumer=play.consumer,
            service=self.definition.service,
            revision="",
            purpose=play.purpose,
            data_id=self._keep(play.data),
            message_id=message_id(id_, 1, MessageType.REQUEST_SUBMITTED),
            conditions=conditions_from_request(self.definition, play.data),
            rows=rows_from_request(self.definition, play.data),
            fields=field_pointers(play.data),
        )
        self._absorb(accept(event, self.now, self.definition, play.settings))

    def _decide(self, event: Event) -> None:
        decision = decide(self.request, event, self.now, self.definition, self.play.settings)
        if decision.conflict is None:
            self._absorb(decision)

    def _absorb(self, decision: Decision) -> None:
        self.request = decision.request
        self._timeline += [(self._since(), fact) for fact in decision.facts]
        for change in decision.failures:
            if isinstance(change, FailureOpened):
                self._show(change.step, change.code, self._faults.get(change.step, ()) if change.step else ())
        for send in decision.sends:
            self._send(send)

    def _show(self, key: StepKey | None, code: str, faults: tuple[Fault, ...]) -> None:
        self._failures.append(Shown(at=self._since(), row=row_name(key) if key else "", code=code, faults=faults))

    def _since(self) -> Milliseconds:
        return self.now - self.begun

    def _keep(self, data: Data) -> int:
        number = next(self._numbers)
        self._payloads[number] = data
        return number

    # --- tasks -------------------------------------------------------------------------------------------------------

    def _dispatch(self) -> None:
        while ready := [key for key, step in self.request.steps.items() if step.state is StepState.READY]:
            for key in ready:
                self._dispatch_one(key)

    def _dispatch_one(self, key: StepKey) -> None:
        operation = wire.operation_of(self.definition, key)
        data = task_data(self.definition, self.request, key, self._read)
        faults = self.play.contracts.explain(input_contract(operation), data)
        if faults:
            self._faults[key] = faults
            self._decide(Unbuildable(step=key, payload_id=self._keep(data)))
            return
        fields, number = field_pointers(data), next(self._numbers)
        id_ = wire.task_id(self.request, key)
        # Which journal will hold it nobody knows before a host is admitted.
        self._decide(Dispatched(step=key, journal_id=None, task_id=number, message_id=id_, fields=fields))
        message = wire.task(self.request, key, self.definition, data, self._subject())
        self._payloads[number], self._tasks[key] = parse(message.body), message
        seen = self._disclosed.setdefault(self.request.steps[key].agency, {})
        seen[operation] = tuple(dict.fromkeys((*seen.get(operation, ()), *fields)))
        self._to_provider(key, message)

    def _subject(self) -> str | None:
        found = resolve({"subject": self.definition.subject}, request=self.play.data, steps={})
        return subject(_SECRET, str(found["subject"])) if "subject" in found else None

    def _was_asked(self, answer: StepKey) -> bool:
        return any(
            (key.step, key.kind) == (answer.step, answer.kind) and answer.item in {None, key.item}
            for key in self._tasks
        )

    # --- sending -----------------------------------------------------------------------------------------------------

    def _send(self, send: Send) -> None:
        match send:
            case SendQuery():
                self._to_provider(send.step, wire.query(self.request, send.step, self.definition))
            case SendWithdrawal():
                self._to_provider(send.step, wire.withdrawal(self.request, send.step, self.definition))
            case ResendTask():
                self._to_provider(send.step, self._tasks[send.step])
            case TellReturned():
                asked = self._payloads[send.payload_id]["data"]
                self._to_consumer(wire.returned(self.request, send.step, asked, send.until, self.now))
                self._supplement(send.step)
            case TellEnd():
                self._end()
            case CloseDesk():
                # What the clerk answers later does not fit his row any more.
                pass

    def _end(self) -> None:
        output = None
        if self.request.state in _WITH_DATA:
            found = outputs(self.request, self._read)
            output = resolve(self.definition.output, request=self.play.data, steps=found)
        message = wire.result(self.request, self.definition, output, refusals(self.request, self._read), self.now)
        self._result = message.data
        self._to_consumer(message)

    def _to_consumer(self, message: Message) -> None:
        self._emit(results(self.play.consumer), message)

    def _to_provider(self, key: StepKey, message: Message) -> None:
        step = self.request.steps[key]
        self._emit(f"desk.{step.agency}" if step.desk else tasks(step.agency), message)
        interaction = self.request.interaction(key)
        known = self._interactions.setdefault(interaction, Interaction(first_asked=self.now))
        asked = Asked(
            type=message.envelope.type,
            attempt=step.attempt,
            now=self.now,
            desk=step.desk,
            can_look_up=self._repeat(key) in _LOOKED_UP,
        )
        for after, what in says(answer_to(self.play.answers, key), asked, known):
            self._reply_later(key, after, what)
        if asked.type is MessageType.TASK_REQUESTED:
            known.attempts.add(step.attempt)

    def _emit(self, channel: str, message: Message) -> None:
        self._messages.append(Emitted(at=self._since(), channel=channel, message=message))

    def _repeat(self, key: StepKey) -> str:
        step = self.definition.steps[key.step]
        return (step.compensate if key.kind is Kind.COMPENSATION and step.compensate else step).repeat.kind

    # --- answers -----------------------------------------------------------------------------------------------------

    def _reply_later(self, key: StepKey, after: Milliseconds, what: Says) -> None:
        """Recorded words come in the same message each time, all else in one of its own."""
        reply, attempt = self._words(key, what), self.request.steps[key].attempt
        interaction = self.request.interaction(key)
        about = f"{reply_type(reply)}/{next(self._numbers)}" if what in ANEW else str(reply_type(reply))
        id_ = message_id(interaction, attempt, about)
        self._later(after, lambda: self._replied(key, interaction, attempt, reply, id_))

    def _words(self, key: StepKey, what: Says) -> Reply:
        samples, contracts = self.play.samples, self.play.contracts
        operation, agency = wire.operation_of(self.definition, key), self.request.steps[key].agency
        answer = answer_to(self.play.answers, key)
        # Which reason an agency has to return a task says nothing of how it completes it afterwards.
        choice = answer.choice if answer.conduct.value == what.value else ""
        match what:
            case Says.REFUSED:
                return sample.refused(samples, agency, operation, choice)
            case Says.RETURNED:
                given = sent_data(self.request.steps[key], self._read)
                return sample.returned(samples, contracts, agency, operation, choice.removeprefix(NEVER), given)
            case Says.FAILED:
                return sample.failed(samples, agency, operation, choice)
            case Says.PENDING:
                return Pending()
            case Says.UNKNOWN:
                return Unknown()
            case Says.UNREADABLE:
                return failed_by_host("answer_unreadable", Effect.DONE)
            case Says.UNAVAILABLE:
                return failed_by_host("unavailable")
            case Says.COMPLETED:
                return sample.completed(samples, contracts, agency, operation, choice)

    def _replied(self, key: StepKey, interaction: str, attempt: int, reply: Reply, id_: str) -> Event | None:
        step = self.request.steps[key]
        late_clerk = step.desk and (step.state is not StepState.DISPATCHED or step.attempt != attempt)
        if id_ in self._received or late_clerk:
            return None
        self._received.add(id_)
        data = reply_to_data(reply)
        event = Replied(
            interaction_id=interaction,
            provider=step.agency,
            attempt=attempt,
            reply=reply,
            message_id=id_,
            payload_id=self._keep({"type": reply_type(reply), "data": data}),
            digest=data_digest(data),
            actor=f"{step.agency}/clerk" if step.desk else None,
        )
        return understood(self.definition, self.play.contracts, self.request, event, self._read)

    def _supplement(self, key: StepKey) -> None:
        attempt = self.request.steps[key].attempt
        if answer_to(self.play.answers, key).choice != NEVER:
            self._later(ANSWERS_AFTER, lambda: self._supplemented(key, attempt))

    def _supplemented(self, key: StepKey, attempt: int) -> Event | None:
        step, operation = self.request.steps[key], wire.operation_of(self.definition, key)
        if step.state is not StepState.RETURNED or step.attempt != attempt:
            return None
        given = sent_data(step, self._read)
        brought = sample.supplement(step.asked, self.play.contracts, operation, given)
        try:
            data = patch(given, brought, step.asked)
            self.play.contracts.check(input_contract(operation), data)
        except InvalidMessageError as error:
            self._show(key, "no_supplement", error.faults)
            return None
        return Supplemented(step=key, attempt=attempt, input_id=self._keep(data), actor=_APPLICANT)
