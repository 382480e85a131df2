"""What the brain promises of every decision, and what holds at every instant of a simulated world.

Each function says with an assertion what was broken.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping

from bus.message.instant import Instant
from bus.message.reply import Completed, Effect, Failed, Refused, Unknown
from bus.process.closing import meet_each, nothing_waits, settle
from bus.process.decision import Decision, ResendTask
from bus.process.definition import StepDefinition
from bus.process.draft import Draft
from bus.process.event import Event, Replied, TerminateAsked, TimerFired
from bus.process.evolve import replay
from bus.process.state import ALIVE, FINAL, OUTCOMES, Kind, Request, RequestState, Step, StepState
from tests.support.process_case import SETTINGS, Case, interaction_id, over
from tests.support.process_host import Host


def check_decision(
    case: Case, before: Request, event: Event, decision: Decision, now: Instant, *, asks_only: bool
) -> None:
    """One decision: facts that give the state, nothing left undone, and no row moved that may not move."""
    after = decision.request
    versions = [fact.version for fact in decision.facts]
    assert versions == list(range(before.version + 1, after.version + 1)), "facts are not contiguous"
    assert replay(before, decision.facts) == after, "the facts do not give the state"
    again = Draft(after, event, now, case.definition, SETTINGS, asks_only=asks_only)
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
            _check_row(case, after, event, old, step)
    if before.state in ALIVE and after.state in OUTCOMES and not isinstance(event, TerminateAsked):
        assert over(after), "a request ended before all was over"
    if after.state in {RequestState.COMPLETED, RequestState.PARTIALLY_FULFILLED}:
        known = {key.step for key in after.steps}
        assert known == set(case.definition.steps), "a request ended before all its steps were known"
    if before.state is not RequestState.OPEN:
        tasks = [send for send in decision.sends if isinstance(send, ResendTask) and send.step.kind is Kind.TASK]
        assert not tasks, "a task was sent again while closing"


def _check_row(case: Case, after: Request, event: Event, old: Step | None, new: Step) -> None:
    was = old.state if old is not None else StepState.WAITING
    moved = new.state is not was
    if moved and new.state is StepState.DISPATCHED:
        assert was is StepState.READY, "only what is ready leaves"
    if moved and new.key.kind is Kind.TASK and new.state in {StepState.READY, StepState.DISPATCHED}:
        assert after.state is RequestState.OPEN, "a task is wanted while closing"
    if moved and new.key.kind is Kind.TASK and (was, new.state) == (StepState.WAITING, StepState.READY):
        for need in case.definition.steps[new.key.step].needs:
            assert _met(case, after, need), f"{new.key.step} is ready before {need}"
    if moved and new.state in {StepState.SUCCEEDED, StepState.REFUSED}:
        _check_settled(case, new)
    if moved and old is not None and isinstance(event, Replied):
        _check_moved_by_reply(case, after, event, old, new)
    if new.reason == "deadline" and (old is None or old.reason != "deadline"):
        _check_ended_by_time(event, old, new)


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


def _check_ended_by_time(event: Event, old: Step | None, new: Step) -> None:
    heard = isinstance(event, Replied) or (isinstance(event, TimerFired) and event.timer == "deadline")
    assert heard, "a deadline ended a step without proof that its replies were heard"
    told = isinstance(event, Replied) and isinstance(event.reply, Failed) and event.reply.effect is Effect.NONE
    was_none = old is None or old.effect is Effect.NONE
    assert new.effect is not Effect.NONE or was_none or told, "time alone said that nothing had happened"


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


def _met(case: Case, request: Request, need: str) -> bool:
    rows = [row for key, row in request.steps.items() if key.step == need and key.kind is Kind.TASK]
    return bool(rows) and all(_is_met(row, case.definition.steps[need]) for row in rows)


def _is_met(step: Step, definition: StepDefinition) -> bool:
    if step.state in {StepState.SUCCEEDED, StepState.SKIPPED, StepState.EXPIRED}:
        return True
    if step.state is StepState.REFUSED and definition.on_refused == "continue":
        return True
    after_deadline = step.state is StepState.PARKED and step.clock_left == 0
    return definition.optional and (step.state in FINAL or after_deadline)


def check(cases: Collection[Case], hosts: Mapping[str, Host], *, sure: bool) -> None:
    """What holds at every instant; ``sure``: no journal and no store was ever lost."""
    states = Counter(case.request.state for case in cases)
    ended = sum(states[state] for state in OUTCOMES)
    assert len(cases) == states[RequestState.OPEN] + states[RequestState.CLOSING] + ended
    for case in cases:
        request = case.request
        assert request.version == len(case.facts)
        assert [fact.version for fact in case.facts] == list(range(1, len(case.facts) + 1))
        assert case.ends == ([request.state] if request.state in OUTCOMES else []), "not exactly one result"
        assert request.state not in ALIVE or is_moving_or_seen(request), "a request hangs where nobody sees it"
        _check_effects(case, hosts, sure=sure)
        _check_compensated(case)


def _check_compensated(case: Case) -> None:
    done = {
        (fact.step, fact.item)
        for fact in case.facts
        if fact.changes.get("effect") == Effect.DONE and fact.step_kind == "task"
    }
    taken_back = {(key.step, key.item) for key in case.request.steps if key.kind is Kind.COMPENSATION}
    assert taken_back <= done, "what was never done is taken back"


def _check_effects(case: Case, hosts: Mapping[str, Host], *, sure: bool) -> None:
    for key, step in case.request.steps.items():
        if step.desk or not step.agency:
            continue
        definition = case.definition.steps[key.step]
        compensation = definition.compensate
        repeat = compensation.repeat if key.kind is Kind.COMPENSATION and compensation else definition.repeat
        ledger = hosts[step.agency].ledger
        edits = [
            ledger[interaction_id(case.request.id, key.step, key.item, key.kind, edit)]
            for edit in range(max(step.edit, step.sent_edit or 0) + 1)
        ]
        if repeat.kind not in {"safe", "idempotent"}:
            assert max(edits) <= 1, f"{key} had its effect {max(edits)} times"
            assert sum(edits) <= 1 or key.step in case.lied, f"two edits of {key} had an effect"
        # Without lies, lost journals and lost stores "none" is the truth, whoever edited, withdrew or lost what.
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
