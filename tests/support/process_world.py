"""A whole installation in one thread with a simulated clock: the brain, the agencies, and a network that is no help.

The shell of this world is as small as it can be: it writes facts, turns due timers into events while replies can be
heard, dispatches, and builds what is sent. What the brain promises is checked after each event: `process_promises`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from functools import partial

from bus.audit.fact import Fact, chain
from bus.message.instant import Instant
from bus.message.reply import Completed, Reply
from bus.process.decide import accept, decide
from bus.process.decision import Decision, ResendTask, SendQuery, SendWithdrawal, TellEnd
from bus.process.definition import Definition, StepDefinition
from bus.process.event import AskedAgain, Dispatched, Event, Replied, Submitted, Timer, TimerFired
from bus.process.evolve import replay
from bus.process.rows import NewRow, is_plain, sources
from bus.process.state import OUTCOMES, Kind, Request, Step, StepKey, StepState
from bus.receiver.ask import Ask, Asked
from bus.receiver.row import JournalIdentity
from tests.support import process_promises
from tests.support.process_case import SETTINGS, Case
from tests.support.process_host import Answer, Host

#: Timers that end or doubt something because nothing was heard.
NEED_HEARING = frozenset({"answer", "ask", "deadline"})
REQUEST_TIMERS: tuple[Timer, ...] = ("warn", "deadline")
STEP_TIMERS: tuple[Timer, ...] = ("answer", "ask", "next", "deadline", "until")


class World:
    """The rules of the machine are its methods; each checks what it did."""

    def __init__(self, now: Instant) -> None:
        self.now = now
        self.cases: dict[str, Case] = {}
        self.hosts: dict[str, Host] = {}
        #: On their way to an agency, and from one.
        self.to_host: list[tuple[str, Asked]] = []
        self.to_bus: list[tuple[str, Answer]] = []
        #: When a tick that came through was published; None while an agency's replies cannot be heard.
        self.heard_at: dict[str, Instant | None] = {}
        self.alive: dict[str, bool] = {}
        self.journal_lost = False
        #: The store was restored and nobody has opened it yet: nothing but look-ups may leave.
        self.asks_only = False
        #: Whether it ever was restored: what the bus did after the backup is known to the agencies alone.
        self.restored = False
        #: The facts of each request when the backup was taken.
        self.backup: dict[str, tuple[Fact, ...]] = {}
        self._number = 0

    def number(self) -> int:
        """A new number for keys, payloads and messages."""
        self._number += 1
        return self._number

    # --- set-up ------------------------------------------------------------------------------------------------------

    def submit(self, definition: Definition, conditions: dict[str, bool]) -> str:
        """A new request; its agencies come into being with it."""
        key = self.number()
        request_id = f"0190a0f0-5a5a-8a5a-9a5a-{key:012x}"
        event = Submitted(
            request_id=request_id,
            key=key,
            consumer="portal",
            service=definition.service,
            revision=definition.service,
            purpose="trying",
            data_id=self.number(),
            message_id=f"submission-{key}",
            conditions=conditions,
            rows=self._rows(step for step in definition.steps.values() if not is_plain(step) and not sources(step)),
            fields=("id",),
        )
        self._know_agencies(definition)
        decision = accept(event, self.now, definition, SETTINGS)
        case = Case(definition=definition, request=Request(id=request_id, key=key))
        self.cases[request_id] = case
        self._write(case, event, decision)
        return request_id

    def _know_agencies(self, definition: Definition) -> None:
        for step in definition.steps.values():
            for name in step.providers:
                if not step.is_desk(name):
                    self._know_agency(name, step)

    def _know_agency(self, name: str, step: StepDefinition) -> None:
        if name not in self.hosts:
            journal = JournalIdentity(journal_id=f"journal-{name}-0", seq=0)
            self.hosts[name] = Host(name, partial(self._answered, name), {}, journal)
            self.heard_at[name], self.alive[name] = self.now, True
        repeats = self.hosts[name].repeats
        repeats[step.operation] = step.repeat
        if step.compensate is not None:
            repeats[step.compensate.operation] = step.compensate.repeat

    def _rows(self, steps: Iterable[StepDefinition]) -> tuple[NewRow, ...]:
        """The rows that some data would give: none to three items, each with a provider; now and then with nobody."""
        return tuple(row for step in steps for row in self._rows_of(step))

    def _rows_of(self, step: StepDefinition) -> list[NewRow]:
        count = 1 if step.for_each is None else self.number() % 4
        if not count:
            return [NewRow(step=step.name, item=None, agency="", desk=False)]
        found = []
        for index in range(count):
            agency = [*step.providers, "", *step.providers][self.number() % (2 * len(step.providers) + 1)]
            if isinstance(step.provider, str):
                agency = step.provider
            item = None if step.for_each is None else index
            found.append(NewRow(step=step.name, item=item, agency=agency, desk=bool(agency) and step.is_desk(agency)))
        return found

    def _answered(self, agency: str, answer: Answer) -> None:
        self.to_bus.append((agency, answer))

    # --- deciding ----------------------------------------------------------------------------------------------------

    def decide(self, request_id: str, event: Event) -> Decision:
        """One event for one request: decided, written, sent, and checked."""
        case = self.cases[request_id]
        decision = decide(case.request, event, self.now, case.definition, SETTINGS, asks_only=self.asks_only)
        if decision.conflict is None:
            self._write(case, event, decision)
        else:
            assert (decision.facts, decision.sends, decision.failures) == ((), (), ())
            assert decision.request == case.request
        return decision

    def _write(self, case: Case, event: Event, decision: Decision) -> None:
        before = case.request
        if self.asks_only:
            told = [send for send in decision.sends if isinstance(send, ResendTask | SendWithdrawal)]
            assert not told, "a restored store sent more than look-ups"
        process_promises.check_decision(case, before, event, decision, self.now, asks_only=self.asks_only)
        head = case.facts[-1].hash if case.facts else before.head
        facts = chain(decision.facts, head)
        case.facts += facts
        case.request = replace(decision.request, head=facts[-1].hash) if facts else decision.request
        if isinstance(event, Dispatched):
            self._dispatched(case, event)
        for send in decision.sends:
            match send:
                case SendQuery():
                    self._post(case, send.step, Ask.QUERY)
                case SendWithdrawal():
                    self._post(case, send.step, Ask.WITHDRAWAL)
                case ResendTask():
                    step = case.request.steps[send.step]
                    assert step.task_id is not None
                    assert case.tasks[step.task_id].attempt == step.attempt, "other bytes than the current attempt's"
                    self.to_host.append((step.agency, case.tasks[step.task_id]))
                case TellEnd():
                    case.ends.append(send.outcome)

    def _dispatched(self, case: Case, event: Dispatched) -> None:
        step = case.request.steps[event.step]
        if step.state is StepState.DISPATCHED and step.task_id == event.task_id and not step.desk:
            case.tasks[event.task_id] = self._asked(case, event.step, Ask.TASK)
            self.to_host.append((step.agency, case.tasks[event.task_id]))

    def _post(self, case: Case, key: StepKey, ask: Ask) -> None:
        assert not case.request.steps[key].desk, "nothing is ever sent to a desk"
        self.to_host.append((case.request.steps[key].agency, self._asked(case, key, ask)))

    def _asked(self, case: Case, key: StepKey, ask: Ask) -> Asked:
        asked = case.asked(key, ask)
        self.hosts[case.request.steps[key].agency].operations[asked.interaction_id] = asked.operation
        return asked

    # --- the shell ---------------------------------------------------------------------------------------------------

    def ready(self) -> list[tuple[str, StepKey]]:
        """Rows that the dispatcher may take, in a stable order."""
        if self.asks_only:
            return []
        return [
            (request_id, key)
            for request_id, case in self.cases.items()
            for key, step in case.request.steps.items()
            if step.state is StepState.READY
        ]

    def dispatch(self, request_id: str, key: StepKey) -> None:
        """Hand a ready row to its provider."""
        step = self.cases[request_id].request.steps[key]
        journal_id = None if step.desk else self.hosts[step.agency].journal.journal_id
        number = self.number()
        event = Dispatched(step=key, journal_id=journal_id, task_id=number, message_id=f"task-{number}", fields=("id",))
        self.decide(request_id, event)

    def due(self) -> list[tuple[str, TimerFired]]:
        """Timers that may fire now: those that need proof of hearing only where a later tick came through."""
        events: list[tuple[str, TimerFired]] = []
        if self.asks_only:
            return events  # clocks rest
        for request_id, case in self.cases.items():
            request = case.request
            for timer in REQUEST_TIMERS:
                at = request.warn_at if timer == "warn" else request.deadline_at
                if at is not None and at <= self.now:
                    events.append((request_id, TimerFired(step=None, timer=timer, at=at)))
            for step in request.steps.values():
                for timer in STEP_TIMERS:
                    at = getattr(step, f"{timer}_at")
                    if at is not None and self._may_fire(step, timer, at):
                        events.append((request_id, self._timer(step, timer, at)))
        return events

    def _timer(self, step: Step, timer: Timer, at: Instant) -> TimerFired:
        alive = self.alive.get(step.agency, True)
        return TimerFired(step=step.key, timer=timer, at=at, edit=step.edit, attempt=step.attempt, alive=alive)

    def _may_fire(self, step: Step, timer: str, at: Instant) -> bool:
        if at > self.now:
            return False
        if step.desk or timer not in NEED_HEARING:
            return True
        heard = self.heard_at[step.agency]
        return heard is not None and heard > at and self.now >= at + SETTINGS.tick_margin

    def tick(self, agency: str) -> None:
        """A tick published now comes through: what was sent before it is here."""
        for one in [one for one in self.to_bus if one[0] == agency]:
            self.to_bus.remove(one)
            self.reply(*one)
        self.heard_at[agency] = self.now

    def reply(self, agency: str, answer: Answer, *, lie: bool = False) -> None:
        """One reply comes to the bus."""
        for request_id, case in self.cases.items():
            key = case.key_of(agency, answer.interaction_id)
            if key is not None:
                number = self.number()
                event = Replied(
                    interaction_id=answer.interaction_id,
                    provider=agency,
                    attempt=answer.attempt,
                    reply=answer.reply,
                    message_id=f"reply-{number}",
                    payload_id=number,
                    digest=answer.digest,
                    conditions=dict.fromkeys(case.conditions(key), True) if isinstance(answer.reply, Completed) else {},
                    rows=self.rows_after(case, key) if isinstance(answer.reply, Completed) else (),
                )
                self.note(case, key, answer.reply, answer.digest)
                if lie:
                    case.lied.add(key.step)
                self.decide(request_id, event)
                return

    def rows_after(self, case: Case, key: StepKey) -> tuple[NewRow, ...]:
        """The rows that the output of a step decides."""
        if key.kind is Kind.COMPENSATION:
            return ()
        return self._rows(step for step in case.definition.steps.values() if key.step in sources(step))

    @staticmethod
    def note(case: Case, key: StepKey, reply: Reply, digest: str) -> None:
        """Remember what was said: only that can settle a row."""
        case.said.add((key, type(reply).__name__, digest))

    def restart_bus(self) -> None:
        """The process is gone: each request is what its facts, read back from the store, say."""
        for case in self.cases.values():
            stored = [replace(fact, changes=json.loads(json.dumps(dict(fact.changes)))) for fact in case.facts]
            case.request = replay(Request(id=case.request.id, key=case.request.key), stored)

    def back_up(self) -> None:
        """A backup of the store as it is now."""
        self.backup = {request_id: tuple(case.facts) for request_id, case in self.cases.items()}

    def restore(self) -> None:
        """The store is what the backup says; agencies, and what is on its way, know nothing of it."""
        self.cases = {request_id: case for request_id, case in self.cases.items() if request_id in self.backup}
        for request_id, case in self.cases.items():
            case.facts = list(self.backup[request_id])
            case.request = replay(Request(id=case.request.id, key=case.request.key), case.facts)
            case.ends = [case.request.state] if case.request.state in OUTCOMES else []
        self.asks_only = self.restored = True
        for request_id in self.cases:
            self.decide(request_id, AskedAgain())

    def open(self) -> None:
        """A person looked and lets the bus go on."""
        self.asks_only = False

    def check(self) -> None:
        """What holds at every instant."""
        sure = not (self.journal_lost or self.restored)
        process_promises.check(self.cases.values(), self.hosts, sure=sure)


def next_due(world: World) -> Instant | None:
    """The earliest timer of all."""
    return min((case.request.due for case in world.cases.values() if case.request.due is not None), default=None)
