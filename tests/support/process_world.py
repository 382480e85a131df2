"""A whole installation in one thread with a simulated clock: the brain, the agencies, and a network that is no help.

The shell of this world is as small as it can be: it writes facts, turns due timers into events while replies can be
heard, dispatches, and builds what is sent. Everything that the brain promises is checked after each event.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial

from bus.audit.fact import Fact, chain
from bus.config import Settings
from bus.message import identity
from bus.message.instant import Instant
from bus.message.reply import Completed, Effect, Failed, Refused, Reply, Unknown
from bus.process.closing import meet_each, nothing_waits, settle
from bus.process.decide import accept, decide
from bus.process.decision import Decision, ResendTask, SendQuery, SendWithdrawal, TellEnd
from bus.process.definition import Definition, StepDefinition
from bus.process.draft import Draft
from bus.process.event import AskedAgain, Dispatched, Event, Replied, Submitted, TerminateAsked, Timer, TimerFired
from bus.process.evolve import replay
from bus.process.rows import NewRow, is_plain, sources
from bus.process.state import ALIVE, FINAL, OUTCOMES, Kind, Request, RequestState, Step, StepKey, StepState
from bus.process.wire import operation_of
from bus.receiver.ask import Ask, Asked
from bus.receiver.row import JournalIdentity
from tests.support.process_host import Answer, Host

SETTINGS = Settings()
interaction_id = lru_cache(maxsize=4096)(identity.interaction_id)
#: Timers that end or doubt something because nothing was heard.
NEED_HEARING = frozenset({"answer", "ask", "deadline"})
REQUEST_TIMERS: tuple[Timer, ...] = ("warn", "deadline")
STEP_TIMERS: tuple[Timer, ...] = ("answer", "ask", "next", "deadline", "until")


@dataclass(slots=True)
class Case:
    """One request, with all that was ever written and told about it."""

    definition: Definition
    request: Request
    facts: list[Fact] = field(default_factory=list)
    ends: list[RequestState] = field(default_factory=list)
    #: Digests of the lasting answers that were ever put before the brain, by row and kind.
    said: set[tuple[StepKey, str, str]] = field(default_factory=set)
    #: Rows about which somebody lied: the ground truth need not agree with them.
    lied: set[str] = field(default_factory=set)
    tasks: dict[int, Asked] = field(default_factory=dict)


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
        self._check_decision(case, before, event, decision)
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
        request, step = case.request, case.request.steps[key]
        assert step.journal_id is not None, "a provider cannot judge this without the journal of the first dispatch"
        assert step.first_sent is not None
        operation = operation_of(case.definition, key)
        self.hosts[step.agency].operations[request.interaction(key)] = operation
        old = step.superseded
        return Asked(
            ask=ask,
            interaction_id=request.interaction(key),
            attempt=step.attempt,
            operation=operation,
            journal_id=step.journal_id,
            first_sent=step.first_sent,
            expires_at=step.expires_at if ask is Ask.TASK else None,
            supersedes=None
            if old is None or ask is not Ask.TASK
            else interaction_id(request.id, key.step, key.item, key.kind, old.edit),
            data_hash=f"{key}/{step.input_id}".encode() if ask is Ask.TASK else None,
        )

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
            key = self._key_of(case, agency, answer.interaction_id)
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
                    conditions=dict.fromkeys(self._conditions(case, key), True)
                    if isinstance(answer.reply, Completed)
                    else {},
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

    @staticmethod
    def _conditions(case: Case, key: StepKey) -> list[str]:
        return [
            step.name
            for step in case.definition.steps.values()
            if step.when is not None and step.when.path.root == "steps" and step.when.path.step == key.step
        ]

    @staticmethod
    def _key_of(case: Case, agency: str, wanted: str) -> StepKey | None:
        for key, step in case.request.steps.items():
            if step.agency == agency:
                for edit in range(max(step.edit, step.sent_edit or 0) + 1):
                    if interaction_id(case.request.id, key.step, key.item, key.kind, edit) == wanted:
                        return key
        return None

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

    # --- promises ----------------------------------------------------------------------------------------------------

    def _check_decision(self, case: Case, before: Request, event: Event, decision: Decision) -> None:
        after = decision.request
        versions = [fact.version for fact in decision.facts]
        assert versions == list(range(before.version + 1, after.version + 1)), "facts are not contiguous"
        assert replay(before, decision.facts) == after, "the facts do not give the state"
        again = Draft(after, event, self.now, case.definition, SETTINGS, asks_only=self.asks_only)
        settle(again)
        assert not again.facts, "something that follows was left undone"
        if again.open and nothing_waits(again):
            meet_each(again)
            assert not again.facts, "something waited where nothing was thought to wait"
        if before.state in OUTCOMES:
            assert (after.state, after.ended_at) == (before.state, before.ended_at), "an outcome changed"
        for key, step in after.steps.items():
            old = before.steps.get(key)
            if old is not step:
                self._check_row(case, after, event, old, step)
        if before.state in ALIVE and after.state in OUTCOMES and not isinstance(event, TerminateAsked):
            assert over(after), "a request ended before all was over"
        if after.state in {RequestState.COMPLETED, RequestState.PARTIALLY_FULFILLED}:
            known = {key.step for key in after.steps}
            assert known == set(case.definition.steps), "a request ended before all its steps were known"
        if before.state is not RequestState.OPEN:
            tasks = [send for send in decision.sends if isinstance(send, ResendTask) and send.step.kind is Kind.TASK]
            assert not tasks, "a task was sent again while closing"

    def _check_row(self, case: Case, after: Request, event: Event, old: Step | None, new: Step) -> None:
        was = old.state if old is not None else StepState.WAITING
        moved = new.state is not was
        if moved and new.state is StepState.DISPATCHED:
            assert was is StepState.READY, "only what is ready leaves"
        if moved and new.key.kind is Kind.TASK and new.state in {StepState.READY, StepState.DISPATCHED}:
            assert after.state is RequestState.OPEN, "a task is wanted while closing"
        if moved and new.key.kind is Kind.TASK and (was, new.state) == (StepState.WAITING, StepState.READY):
            for need in case.definition.steps[new.key.step].needs:
                assert self._met(case, after, need), f"{new.key.step} is ready before {need}"
        if moved and new.state in {StepState.SUCCEEDED, StepState.REFUSED}:
            self._check_settled(case, new)
        if moved and old is not None and isinstance(event, Replied):
            self._check_moved_by_reply(case, after, event, old, new)
        if new.reason == "deadline" and (old is None or old.reason != "deadline"):
            self._check_ended_by_time(event, old, new)

    @staticmethod
    def _check_moved_by_reply(case: Case, after: Request, event: Replied, old: Step, new: Step) -> None:
        key, reply = new.key, event.reply
        mine = event.interaction_id == interaction_id(after.id, key.step, key.item, key.kind, old.edit)
        if mine and event.attempt < old.attempt:
            assert isinstance(reply, Completed | Refused), "what an older attempt did not settle moved its step"
        unsure = isinstance(reply, Unknown) or (isinstance(reply, Failed) and reply.effect is Effect.UNKNOWN)
        if mine and unsure and old.state is StepState.UNKNOWN and new.state is StepState.READY:
            definition = case.definition.steps[key.step]
            back = definition.compensate if key.kind is Kind.COMPENSATION else None
            kind = (back or definition).repeat.kind
            assert kind in {"safe", "idempotent"}, f"{kind} was run again in doubt"

    @staticmethod
    def _check_ended_by_time(event: Event, old: Step | None, new: Step) -> None:
        heard = isinstance(event, Replied) or (isinstance(event, TimerFired) and event.timer == "deadline")
        assert heard, "a deadline ended a step without proof that its replies were heard"
        told = isinstance(event, Replied) and isinstance(event.reply, Failed) and event.reply.effect is Effect.NONE
        was_none = old is None or old.effect is Effect.NONE
        assert new.effect is not Effect.NONE or was_none or told, "time alone said that nothing had happened"

    @staticmethod
    def _check_settled(case: Case, step: Step) -> None:
        if step.output_id is None:
            assert step.state is StepState.REFUSED
            assert step.reason in {"not_supplemented", "deadline"}
            return
        kinds = {"Refused"} if step.state is StepState.REFUSED else {"Completed"}
        if step.key.kind is Kind.COMPENSATION:
            kinds = {"Completed", "Failed"}  # that it is done is enough: nobody reads its answer
        said = {kind for key, kind, digest in case.said if key == step.key and digest == step.output_digest}
        assert said & kinds, f"{step.key.step} is {step.state} and nobody said so"

    @staticmethod
    def _met(case: Case, request: Request, need: str) -> bool:
        rows = [row for key, row in request.steps.items() if key.step == need and key.kind is Kind.TASK]
        return bool(rows) and all(World._is_met(row, case.definition.steps[need]) for row in rows)

    @staticmethod
    def _is_met(step: Step, definition: StepDefinition) -> bool:
        if step.state in {StepState.SUCCEEDED, StepState.SKIPPED, StepState.EXPIRED}:
            return True
        if step.state is StepState.REFUSED and definition.on_refused == "continue":
            return True
        after_deadline = step.state is StepState.PARKED and step.clock_left == 0
        return definition.optional and (step.state in FINAL or after_deadline)

    def check(self) -> None:
        """What holds at every instant."""
        states = Counter(case.request.state for case in self.cases.values())
        ended = sum(states[state] for state in OUTCOMES)
        assert len(self.cases) == states[RequestState.OPEN] + states[RequestState.CLOSING] + ended
        for case in self.cases.values():
            request = case.request
            assert request.version == len(case.facts)
            assert [fact.version for fact in case.facts] == list(range(1, len(case.facts) + 1))
            assert case.ends == ([request.state] if request.state in OUTCOMES else []), "not exactly one result"
            assert request.state not in ALIVE or is_moving_or_seen(request), "a request hangs where nobody sees it"
            self._check_effects(case)
            self._check_compensated(case)

    @staticmethod
    def _check_compensated(case: Case) -> None:
        done = {
            (fact.step, fact.item)
            for fact in case.facts
            if fact.changes.get("effect") == Effect.DONE and fact.step_kind == "task"
        }
        taken_back = {(key.step, key.item) for key in case.request.steps if key.kind is Kind.COMPENSATION}
        assert taken_back <= done, "what was never done is taken back"

    def _check_effects(self, case: Case) -> None:
        for key, step in case.request.steps.items():
            if step.desk or not step.agency:
                continue
            definition = case.definition.steps[key.step]
            compensation = definition.compensate
            repeat = compensation.repeat if key.kind is Kind.COMPENSATION and compensation else definition.repeat
            ledger = self.hosts[step.agency].ledger
            edits = [
                ledger[interaction_id(case.request.id, key.step, key.item, key.kind, edit)]
                for edit in range(max(step.edit, step.sent_edit or 0) + 1)
            ]
            if repeat.kind not in {"safe", "idempotent"}:
                assert max(edits) <= 1, f"{key} had its effect {max(edits)} times"
                assert sum(edits) <= 1 or key.step in case.lied, f"two edits of {key} had an effect"
            # Without lies, lost journals and lost stores "none" is the truth, whoever edited, withdrew or lost what.
            sure = not (self.journal_lost or self.restored)
            if step.effect is Effect.NONE and sure and key.step not in case.lied:
                assert not sum(edits), f"{key} is {step.state} as if nothing had happened"


def is_moving_or_seen(request: Request) -> bool:
    """Whether a timer will move it, the dispatcher has it, or somebody sees that it waits for them."""
    if request.due is not None:
        return True
    visible = {StepState.PARKED, StepState.RETURNED, StepState.READY}
    return any(
        step.state in visible or (step.desk and step.state is StepState.DISPATCHED) for step in request.steps.values()
    )


def over(request: Request) -> bool:
    """Whether nothing of it is left to do."""
    return request.state in OUTCOMES and all(
        step.state in FINAL or (key.kind is Kind.COMPENSATION and step.state is StepState.PARKED)
        for key, step in request.steps.items()
    )


def next_due(world: World) -> Instant | None:
    """The earliest timer of all."""
    return min((case.request.due for case in world.cases.values() if case.request.due is not None), default=None)
