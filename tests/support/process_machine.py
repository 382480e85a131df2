"""The hypothesis machine that drives a `World` through anything that may happen, and then lets it come to rest."""

from __future__ import annotations

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from bus.message.instant import DAY, HOUR, MINUTE, SECOND
from bus.message.reply import Effect, Failed
from bus.process.definition import Definition
from bus.process.event import AskedAgain, EpochBegan, Event, Held, Poisoned, Unbuildable
from bus.process.state import OUTCOMES
from tests.support.process_case import interaction_id, over
from tests.support.process_host import CALLS, Answer
from tests.support.process_people import PICKS, PeopleMachine, nth
from tests.support.process_routes import routes
from tests.support.process_rows import REPLIES
from tests.support.process_world import next_due

#: Half of all calls leave the bus in doubt, or waiting: that is where the promises are hard to keep.
RUNS = st.sampled_from([*CALLS, "ok", "effect_no_answer", "effect_no_answer", "no_effect_no_answer", "retryable"])


class ProcessMachine(PeopleMachine):
    """Rules are what the world does to the brain; picks name the n-th of what is there, so that a schedule shrinks."""

    def __init__(self) -> None:
        super().__init__()
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
        request_id, key = nth(self.world.ready(), pick)
        event: Event = Held(step=key, reason="breaker")
        if unbuildable == 0:
            event = Unbuildable(step=key, payload_id=self.world.number())
        self.world.decide(request_id, event)

    # --- the network -------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.world.to_host)
    @rule(pick=PICKS, again=st.booleans(), lost=st.integers(min_value=0, max_value=4))
    def carry_to_host(self, pick: int, again: bool, lost: int) -> None:  # noqa: FBT001 - hypothesis draws it
        one = nth(self.world.to_host, pick)
        if not again:
            self.world.to_host.remove(one)
        if lost or again:
            self.world.hosts[one[0]].hear(one[1], self.world.now)

    @precondition(lambda self: self.world.to_bus)
    @rule(pick=PICKS, again=st.booleans(), lost=st.integers(min_value=0, max_value=4))
    def carry_to_bus(self, pick: int, again: bool, lost: int) -> None:  # noqa: FBT001 - hypothesis draws it
        one = nth(self.world.to_bus, pick)
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
            host.work(nth(host.waiting(), pick), call, self.world.now)

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
        case, step = nth(rows, pick)
        key, edit = step.key, max(0, step.edit - edits_back)
        reply = REPLIES.get(kind) or Failed(code=kind, effect=Effect.NONE, retryable=False)
        answer = Answer(
            interaction_id=interaction_id(case.request.id, key.step, key.item, key.kind, edit),
            attempt=max(1, step.attempt - attempts_back),
            reply=reply,
            digest=f"lie/{kind}",
        )
        self.world.reply(step.agency, answer, lie=True)

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
            request_id, step = nth(rows, pick)
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
