"""The hypothesis machine that drives a `World` through anything that may happen, and then lets it come to rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bus.message.identity import interaction_id
from bus.message.instant import DAY, HOUR, MINUTE, SECOND
from bus.message.reply import Completed, Effect, Failed, Refused, Reply
from bus.process.definition import (
    Backoff,
    Compensation,
    Condition,
    Definition,
    OneOf,
    Path,
    Repeat,
    RepeatKind,
    StepDefinition,
)
from bus.process.event import (
    AnsweredByHand,
    AskedAgain,
    CancelAsked,
    Edited,
    EpochBegan,
    Event,
    GaveUp,
    Held,
    Poisoned,
    ReplayAsked,
    Replied,
    SkipAsked,
    Supplemented,
    TerminateAsked,
    Unbuildable,
)
from bus.process.state import OUTCOMES, Kind, Step, StepState
from tests.support.process_host import CALLS, Answer
from tests.support.process_rows import NOW, REPLIES, WORDS, service
from tests.support.process_world import World, next_due, over

_T = TypeVar("_T")

#: Half of all calls leave the bus in doubt, or waiting: that is where the promises are hard to keep.
RUNS = st.sampled_from([*CALLS, "ok", "effect_no_answer", "effect_no_answer", "no_effect_no_answer", "retryable"])
PICKS = st.integers(min_value=0, max_value=40)
KINDS: tuple[RepeatKind, ...] = ("safe", "idempotent", "queryable", "natural_key", "at_most_once")
REPEATS = st.sampled_from(KINDS).map(
    lambda kind: Repeat(
        kind=kind,
        window=HOUR if kind == "idempotent" else 0,
        absence_proof_after=2 * MINUTE if kind == "queryable" else 0,
    )
)
DEADLINES = st.sampled_from([None, 20 * MINUTE, 6 * HOUR, 2 * DAY])
BACKOFFS = st.integers(min_value=1, max_value=4).map(lambda attempts: Backoff(attempts=attempts, first=5 * SECOND))
#: All kinds of provider may be chosen; the code that chooses is the path to a list only because nobody reads it here.
_CHOICE = OneOf(
    group="offices",
    by=Path(root="request", step="", members=("list",)),
    members={"1": "tax", "2": "registry", "3": "clerks"},
    desks=frozenset({"clerks"}),
)
COMMANDS = ("give_up", "replay", "edit", "done_by_hand", "refused_by_hand", "skip", "supplement")


@st.composite
def routes(draw: st.DrawFn) -> Definition:
    """Any route of one to six steps at two agencies with hosts and a desk."""
    count = draw(st.integers(min_value=1, max_value=6))
    steps: list[StepDefinition] = []
    for number in range(count):
        names = [one.name for one in steps]
        needs = tuple(draw(st.lists(st.sampled_from(names), unique=True, max_size=3))) if names else ()
        steps.append(_step(draw, f"step{number}", needs))
    if draw(st.booleans()) and count > 1:
        # A final step needs all others: what follows it could not be taken back by a cancellation.
        steps[-1] = _final(steps[-1], tuple(one.name for one in steps[:-1]))
    return service(
        *steps,
        deadline=draw(st.sampled_from([2 * HOUR, 10 * DAY])),
        on_deadline=draw(st.sampled_from(["escalate", "expire"])),
    )


def _step(draw: st.DrawFn, name: str, needs: tuple[str, ...]) -> StepDefinition:
    provider: str | OneOf = draw(st.sampled_from(["tax", "tax", "registry", "registry", "clerks"]))
    desk = provider == "clerks"
    source = Path(root="request", step="", members=("list",))
    from_step = draw(st.booleans())
    if needs and from_step:
        source = Path(root="steps", step=needs[0], members=("list",))
    if draw(st.integers(min_value=0, max_value=4)) == 0:
        provider, desk = replace(_CHOICE, by=source), False
    for_each = source if draw(st.integers(min_value=0, max_value=4)) == 0 else None
    when = None
    if draw(st.integers(min_value=0, max_value=3)) == 0:
        root = (
            Path(root="steps", step=needs[0], members=("ok",)) if needs else Path(root="request", step="", members=())
        )
        when = Condition(path=root)
    back = Compensation(
        operation=f"{name}.undo.v1", input={}, repeat=draw(REPEATS), deadline=draw(DEADLINES), backoff=draw(BACKOFFS)
    )
    return StepDefinition(
        name=name,
        title=WORDS,
        provider=provider,
        operation=f"{name}.do.v1",
        input={},
        repeat=draw(REPEATS),
        desk=desk,
        for_each=for_each,
        most=3,
        needs=needs,
        when=when,
        optional=draw(st.integers(min_value=0, max_value=2)) == 0,
        deadline=draw(DEADLINES),
        on_refused=draw(st.sampled_from(["reject", "continue"])),
        on_exhausted=draw(st.sampled_from(["park", "fail"])),
        on_deadline=draw(st.sampled_from(["park", "refuse", "continue"])),
        backoff=draw(BACKOFFS),
        compensate=back if draw(st.booleans()) else None,
    )


def _final(step: StepDefinition, needs: tuple[str, ...]) -> StepDefinition:
    return StepDefinition(
        **{name: getattr(step, name) for name in StepDefinition.__slots__} | {"needs": needs, "final": True}
    )


class ProcessMachine(RuleBasedStateMachine):
    """Rules are what the world does to the brain; picks name the n-th of what is there, so that a schedule shrinks."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(NOW)
        self.journals = 0

    # --- requests ----------------------------------------------------------------------------------------------------

    @initialize(route=routes(), holds=st.booleans())
    def first(self, route: Definition, holds: bool) -> None:  # noqa: FBT001 - hypothesis draws it
        self._submit(route, holds=holds)

    @precondition(lambda self: len(self.world.cases) < 3)
    @rule(route=routes(), holds=st.booleans())
    def submit(self, route: Definition, holds: bool) -> None:  # noqa: FBT001 - hypothesis draws it
        self._submit(route, holds=holds)

    def _submit(self, route: Definition, *, holds: bool) -> None:
        names = [step.name for step in route.steps.values() if step.when and step.when.path.root == "request"]
        self.world.submit(route, dict.fromkeys(names, holds))

    # --- the dispatcher ----------------------------------------------------------------------------------------------

    @rule(most=st.integers(min_value=1, max_value=6))
    def dispatch(self, most: int) -> None:
        for request_id, key in self.world.ready()[:most]:
            self.world.dispatch(request_id, key)

    @precondition(lambda self: self.world.ready())
    @rule(pick=PICKS, unbuildable=st.integers(min_value=0, max_value=5))
    def hold(self, pick: int, unbuildable: int) -> None:
        request_id, key = _nth(self.world.ready(), pick)
        event: Event = Held(step=key, reason="breaker")
        if unbuildable == 0:
            event = Unbuildable(step=key, payload_id=self.world.number())
        self.world.decide(request_id, event)

    # --- the network -------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.world.to_host)
    @rule(pick=PICKS, again=st.booleans(), lost=st.integers(min_value=0, max_value=4))
    def carry_to_host(self, pick: int, again: bool, lost: int) -> None:  # noqa: FBT001 - hypothesis draws it
        one = _nth(self.world.to_host, pick)
        if not again:
            self.world.to_host.remove(one)
        if lost or again:
            self.world.hosts[one[0]].hear(one[1], self.world.now)

    @precondition(lambda self: self.world.to_bus)
    @rule(pick=PICKS, again=st.booleans(), lost=st.integers(min_value=0, max_value=4))
    def carry_to_bus(self, pick: int, again: bool, lost: int) -> None:  # noqa: FBT001 - hypothesis draws it
        one = _nth(self.world.to_bus, pick)
        if not again:
            self.world.to_bus.remove(one)
        if lost or again:
            self.world.reply(*one)

    @rule(call=RUNS)
    def go_round(self, call: str) -> None:
        """Everything is carried and worked at once: the way deep into a route."""
        self._round(call)

    def _round(self, call: str) -> bool:
        moved = False
        world = self.world
        for request_id, key in world.ready():
            world.dispatch(request_id, key)
            moved = True
        while world.to_host:
            agency, asked = world.to_host.pop(0)
            world.hosts[agency].hear(asked, world.now)
            moved = True
        for host in world.hosts.values():
            for waiting in host.waiting():
                host.work(waiting, call, world.now)
                moved = True
        while world.to_bus:
            world.reply(*world.to_bus.pop(0))
            moved = True
        return moved

    # --- agencies ----------------------------------------------------------------------------------------------------

    @rule(agency=st.sampled_from(["tax", "registry"]), pick=PICKS, call=RUNS)
    def work(self, agency: str, pick: int, call: str) -> None:
        host = self.world.hosts.get(agency)
        if host is not None and host.waiting():
            host.work(_nth(host.waiting(), pick), call, self.world.now)

    @rule(agency=st.sampled_from(["tax", "registry"]), call=st.sampled_from(["ok", "refuse"]))
    def collect(self, agency: str, call: str) -> None:
        host = self.world.hosts.get(agency)
        if host is not None:
            host.collect(call, self.world.now)

    @rule(agency=st.sampled_from(["tax", "registry"]), luck=st.integers(min_value=0, max_value=3))
    def lose_journal(self, agency: str, luck: int) -> None:
        host = self.world.hosts.get(agency)
        if host is not None and luck == 0:
            self.journals += 1
            host.lose_journal(f"journal-{agency}-{self.journals}")
            self.world.journal_lost = True

    @rule(agency=st.sampled_from(["tax", "registry"]), alive=st.booleans())
    def die_or_revive(self, agency: str, alive: bool) -> None:  # noqa: FBT001 - hypothesis draws it
        self.world.alive[agency] = alive

    @rule(
        pick=PICKS,
        kind=st.sampled_from([*sorted(REPLIES), "never_seen", "superseded_too_late", "absent", "too_late"]),
        attempts_back=st.integers(min_value=-1, max_value=2),
        edits_back=st.integers(min_value=0, max_value=1),
    )
    def lie(self, pick: int, kind: str, attempts_back: int, edits_back: int) -> None:
        """A host that says what is not so: contradictions, answers to what was never asked."""
        rows = [
            (case, step)
            for case in self.world.cases.values()
            for step in case.request.steps.values()
            if step.ever_sent and not step.desk
        ]
        if not rows:
            return
        case, step = _nth(rows, pick)
        key, edit = step.key, max(0, step.edit - edits_back)
        reply = REPLIES.get(kind) or Failed(code=kind, effect=Effect.NONE, retryable=False)
        answer = Answer(
            interaction_id=interaction_id(case.request.id, key.step, key.item, key.kind, edit),
            attempt=max(1, step.attempt - attempts_back),
            reply=reply,
            digest=f"lie/{kind}",
        )
        self.world.reply(step.agency, answer, lie=True)

    @rule(pick=PICKS, kind=st.sampled_from(["completed", "refused", "returned"]))
    def clerk(self, pick: int, kind: str) -> None:
        rows = self._desk_rows()
        if rows:
            self._answer_desk(*_nth(rows, pick), kind)

    def _desk_rows(self) -> list[tuple[str, Step]]:
        return [
            (request_id, step)
            for request_id, case in self.world.cases.items()
            for step in case.request.steps.values()
            if step.desk and step.state is StepState.DISPATCHED
        ]

    def _answer_desk(self, request_id: str, step: Step, kind: str) -> None:
        case, number = self.world.cases[request_id], self.world.number()
        digest = f"clerk/{kind}/{number}"
        self.world.note(case, step.key, REPLIES[kind], digest)
        event = Replied(
            interaction_id=case.request.interaction(step.key),
            provider=step.agency,
            attempt=step.attempt,
            reply=REPLIES[kind],
            message_id=f"clerk-{number}",
            payload_id=number,
            digest=digest,
            rows=self.world.rows_after(case, step.key) if kind == "completed" else (),
            actor="clerk-7",
        )
        self.world.decide(request_id, event)

    # --- time --------------------------------------------------------------------------------------------------------

    @rule(by=st.sampled_from([SECOND, MINUTE, 11 * MINUTE, HOUR, DAY, 3 * DAY]))
    def pass_time(self, by: int) -> None:
        self.world.now += by

    @rule(more=st.sampled_from([0, SECOND, MINUTE, 3 * MINUTE]))
    def pass_time_to_next_timer(self, more: int) -> None:
        due = next_due(self.world)
        if due is not None:
            self.world.now = max(self.world.now, due + more)

    @rule(agency=st.sampled_from(["tax", "registry"]), heard=st.booleans())
    def tick(self, agency: str, heard: bool) -> None:  # noqa: FBT001 - hypothesis draws it
        if agency not in self.world.hosts:
            return
        if heard:
            self.world.tick(agency)
        else:
            self.world.heard_at[agency] = None

    @rule(pick=PICKS, most=st.integers(min_value=1, max_value=10))
    def fire(self, pick: int, most: int) -> None:
        due = self.world.due()
        if due:
            start = pick % len(due)
            for request_id, event in (due[start:] + due[:start])[:most]:
                self.world.decide(request_id, event)

    @rule()
    def lose_broker(self) -> None:
        self.world.to_host.clear()
        self.world.to_bus.clear()
        for request_id in self.world.cases:
            self.world.decide(request_id, EpochBegan())

    @rule(pick=PICKS, attempts_back=st.integers(min_value=-1, max_value=1))
    def give_up_message(self, pick: int, attempts_back: int) -> None:
        """The broker gives a message up, or says so about one that is long forgotten."""
        rows = [
            (request_id, step)
            for request_id, case in self.world.cases.items()
            for step in case.request.steps.values()
            if step.ever_sent
        ]
        if rows:
            request_id, step = _nth(rows, pick)
            attempt, number = max(1, step.attempt - attempts_back), self.world.number()
            event = Poisoned(step=step.key, edit=step.edit, attempt=attempt, payload_id=number)
            self.world.decide(request_id, event)

    @rule()
    def back_up(self) -> None:
        self.world.back_up()

    @precondition(lambda self: self.world.backup)
    @rule(luck=st.integers(min_value=0, max_value=2), broker_too=st.booleans())
    def restore_store(self, luck: int, broker_too: bool) -> None:  # noqa: FBT001 - hypothesis draws it
        if luck:
            return
        if broker_too:
            self.world.to_host.clear()
            self.world.to_bus.clear()
        self.world.restore()

    @precondition(lambda self: self.world.asks_only)
    @rule(overdue=st.booleans())
    def ask_again(self, overdue: bool) -> None:  # noqa: FBT001 - hypothesis draws it
        for request_id in self.world.cases:
            self.world.decide(request_id, AskedAgain(overdue=overdue))

    @precondition(lambda self: self.world.asks_only)
    @rule()
    def open_store(self) -> None:
        self.world.open()

    @rule()
    def restart_bus(self) -> None:
        before = [case.request for case in self.world.cases.values()]
        self.world.restart_bus()
        assert [case.request for case in self.world.cases.values()] == before

    @rule(more=st.sampled_from([0, MINUTE, 3 * MINUTE, HOUR, 3 * DAY]), backwards=st.booleans())
    def live_on(self, more: int, backwards: bool) -> None:  # noqa: FBT001 - hypothesis draws it
        """Time goes to the next timer, and all that is due and may fire does."""
        due = next_due(self.world)
        if due is None:
            return
        self.world.now = max(self.world.now, due) + more
        for agency, heard in self.world.heard_at.items():
            if heard is not None:
                self.world.tick(agency)
        due_now = self.world.due()
        for request_id, event in reversed(due_now) if backwards else due_now:
            self.world.decide(request_id, event)

    # --- people ------------------------------------------------------------------------------------------------------

    @rule(pick=PICKS)
    def edit(self, pick: int) -> None:
        rows = [(one, step) for one, step in self._rows_that_wait_for_people() if step.key.kind is Kind.TASK]
        if rows:
            self._command(*_nth(rows, pick), "edit")

    @rule(pick=PICKS, command=st.sampled_from(COMMANDS))
    def command(self, pick: int, command: str) -> None:
        rows = [
            (request_id, step) for request_id, case in self.world.cases.items() for step in case.request.steps.values()
        ]
        self._command(*_nth(rows, pick), command)

    @rule(pick=PICKS, command=st.sampled_from(COMMANDS))
    def command_where_somebody_waits(self, pick: int, command: str) -> None:
        rows = self._rows_that_wait_for_people()
        if rows:
            self._command(*_nth(rows, pick), command)

    def _rows_that_wait_for_people(self) -> list[tuple[str, Step]]:
        return [
            (request_id, step)
            for request_id, case in self.world.cases.items()
            for step in case.request.steps.values()
            if step.state in {StepState.PARKED, StepState.RETURNED, StepState.RETRYING}
        ]

    def _command(self, request_id: str, step: Step, command: str) -> bool:
        by: dict[str, Any] = {"step": step.key, "actor": "operator-1", "reason": "tried"}
        number = self.world.number()
        event: Event
        match command:
            case "give_up":
                event = GaveUp(**by)
            case "replay":
                event = ReplayAsked(**by)
            case "edit":
                event = Edited(**by, input_id=number)
            case "skip":
                event = SkipAsked(**by)
            case "supplement":
                event = Supplemented(step=step.key, attempt=step.attempt, input_id=number, actor="applicant")
            case _:
                reply: Reply = (
                    Completed(data={}) if command == "done_by_hand" else Refused(reason_code="no", text=WORDS)
                )
                digest = f"hand/{number}"
                self.world.note(self.world.cases[request_id], step.key, reply, digest)
                self.world.cases[request_id].lied.add(step.key.step)  # people may be wrong
                if step.key.kind is Kind.COMPENSATION and command == "refused_by_hand":
                    return False
                event = AnsweredByHand(**by, reply=reply, payload_id=number, digest=digest)
        return self.world.decide(request_id, event).conflict is None

    @rule(pick=PICKS, how=st.integers(min_value=0, max_value=11))
    def cancel(self, pick: int, how: int) -> None:
        if how > 3:
            return  # most requests are left in peace
        request_id = _nth(list(self.world.cases), pick)
        by = {"actor": "portal", "reason": "changed my mind"}
        self.world.decide(request_id, TerminateAsked(**by) if how == 0 else CancelAsked(**by))

    # --- promises ----------------------------------------------------------------------------------------------------

    @invariant()
    def everything_holds(self) -> None:
        self.world.check()

    def teardown(self) -> None:
        """Everything works again and people answer: every request comes to its end."""
        self.world.alive = dict.fromkeys(self.world.alive, True)
        self.world.open()
        for _ in range(600):
            if all(over(case.request) for case in self.world.cases.values()):
                break
            if not self._round("ok") and not self._people_act():
                self._let_time_pass()
            self.world.check()
        left = [case.request for case in self.world.cases.values() if not over(case.request)]
        for request in left:
            note(f"never ends: {request}")
        assert not left, "a request never ends"
        self.restart_bus()
        assert all(case.request.state in OUTCOMES for case in self.world.cases.values())

    def _people_act(self) -> bool:
        moved = False
        for request_id, step in self._desk_rows():
            self._answer_desk(request_id, step, "completed")
            moved = True
        for request_id, step in self._rows_that_wait_for_people():
            if step.key.kind is Kind.TASK and step.state is not StepState.RETRYING:
                command = "supplement" if step.state is StepState.RETURNED else "give_up"
                current = self.world.cases[request_id].request.steps[step.key]
                if current.state is step.state:
                    assert self._command(request_id, current, command), f"nobody can help {step}"
                    moved = True
        return moved

    def _let_time_pass(self) -> None:
        world = self.world
        due = next_due(world)
        assert due is not None, "nothing moves, nobody is asked, and no timer runs"
        world.now = max(world.now, due) + MINUTE
        for host in world.hosts.values():
            while host.later:
                host.collect("ok", world.now)
        for agency in world.hosts:
            world.tick(agency)
        for request_id, event in world.due():
            world.decide(request_id, event)


def _nth(of: Sequence[_T], pick: int) -> _T:
    return of[pick % len(of)]
