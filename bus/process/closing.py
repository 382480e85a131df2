"""How a request closes, and how it ends: the outcome, the order of compensations, what is left behind."""

from __future__ import annotations

from bus.message.reply import Effect
from bus.process import look_up, moves
from bus.process.decision import SendQuery, TellEnd
from bus.process.definition import Definition, StepDefinition
from bus.process.draft import Draft
from bus.process.planning import plan_without
from bus.process.state import FINAL, Kind, Request, RequestState, Step, StepKey, StepState
from bus.process.table import CLOSING
from bus.process.taking_back import list_behind, take_back

#: A compensation that no longer holds up the others, nor the end.
_COMPENSATION_OVER = FINAL | {StepState.PARKED}


def begin_closing(draft: Draft, intended: RequestState) -> None:
    """No new progress: what waits is cancelled, what was sent is awaited, what succeeded is taken back."""
    draft.change_request("closing", state=RequestState.CLOSING, intended=intended, deadline_at=None, warn_at=None)
    for key in list(draft.request.steps):
        if key.kind is Kind.TASK:
            _close(draft, key, CLOSING[draft.step(key).state, "begin"])


def terminate(draft: Draft) -> None:
    """End at once as cancelled; every row that was not final is listed where an effect may exist."""
    for key in list(draft.request.steps):
        verb = CLOSING[draft.step(key).state, "terminate"]
        # A compensation that does not run leaves behind what it was to take back, whatever its own effect.
        _close(draft, key, "cancel_behind" if verb == "cancel" and key.kind is Kind.COMPENSATION else verb)
    _end(draft, RequestState.CANCELLED)


def _close(draft: Draft, key: StepKey, verb: str) -> None:
    match verb:
        case "-":
            pass
        case "cancel":
            moves.cancel(draft, key)
        case "cancel_or_doubt":
            look_up.doubt(draft, key) if draft.step(key).effect is not Effect.NONE else moves.cancel(draft, key)
        case "cancel_behind":
            moves.cancel_behind(draft, key)
        case "withdraw":
            look_up.withdraw(draft, key)
        case "withdraw_query":
            look_up.withdraw(draft, key)
            if not draft.asks_only:
                draft.send(SendQuery(step=key))
        case "closing_parked":
            _close_parked(draft, key)
        case "take_back":
            take_back(draft, key)
        case "behind":
            _close_failed(draft, key)
        case _:
            raise LookupError(f"the table names an unknown verb: {verb}")


def _close_parked(draft: Draft, key: StepKey) -> None:
    match draft.step(key).effect:
        case Effect.NONE:
            moves.cancel(draft, key)
        case Effect.UNKNOWN:
            if draft.step(key).superseded is not None and draft.step(key).edit_unsent:
                # Its provider has never heard of the edit: what is in doubt is the interaction before it.
                look_up.revert(draft, key)
            draft.note(key, "queried")
            draft.send(SendQuery(step=key))
        case Effect.DONE:
            pass


def _close_failed(draft: Draft, key: StepKey) -> None:
    match draft.step(key).effect:
        case Effect.NONE:
            pass
        case Effect.UNKNOWN:
            list_behind(draft, key)
        case Effect.DONE:
            take_back(draft, key)


# --- after every event ----------------------------------------------------------------------------------------------


def settle(draft: Draft) -> None:
    """Let follow what follows: closing, steps whose needs are met, the next compensation, the end."""
    if draft.open:
        intended = _cause_of_closing(draft)
        if intended is not None:
            begin_closing(draft, intended)
    if draft.open:
        _meet_needs(draft)
    _next_compensations(draft)
    if draft.alive and _over(draft.request):
        _end(draft, draft.request.intended or _outcome(draft))


def _cause_of_closing(draft: Draft) -> RequestState | None:
    """Whether a required step became refused (and rejects), or failed."""
    failed = None
    for key, step in draft.request.steps.items():
        if step.state is StepState.REFUSED or step.state is StepState.FAILED:
            definition = draft.defined(key)
            if key.kind is Kind.COMPENSATION or definition.optional:
                continue
            if step.state is StepState.FAILED:
                failed = RequestState.FAILED
            elif definition.on_refused == "reject":
                return RequestState.REJECTED
    return failed


def _meet_needs(draft: Draft) -> None:
    # Most events move one step of many, and let nothing follow.
    if not nothing_waits(draft):
        meet_each(draft)


def meet_each(draft: Draft) -> None:
    """Give every step the rows that are known by now, and begin those whose needs are met."""
    # The definition is in topological order, so one pass carries a skip through to those that need it, and to those
    # whose rows it was to decide.
    for name, definition in draft.definition.steps.items():
        plan_without(draft, definition)
        waiting = [row for row in draft.rows(name) if row.state is StepState.WAITING]
        if waiting and all(_met(draft, need) for need in definition.needs):
            for row in waiting:
                _begin(draft, row.key, definition)


def nothing_waits(draft: Draft) -> bool:
    """Whether every step has its rows and none of them waits: then `meet_each` does nothing."""
    rows = draft.request.steps
    if any(row.state is StepState.WAITING for row in rows.values()):
        return False
    return len({key.step for key in rows}) == len(draft.definition.steps)


def _begin(draft: Draft, key: StepKey, definition: StepDefinition) -> None:
    if definition.when is not None and not draft.request.conditions.get(key.step, False):
        moves.skip(draft, key, "when")
    elif definition.for_each is not None and key.item is None:
        moves.skip(draft, key, "empty")
    else:
        moves.become_ready(draft, key)


def _met(draft: Draft, need: str) -> bool:
    rows, definition = draft.rows(need), draft.definition.steps[need]
    return bool(rows) and all(_is_met(row, definition) for row in rows)


def _is_met(step: Step, definition: StepDefinition) -> bool:
    match step.state:
        case StepState.SUCCEEDED | StepState.SKIPPED | StepState.EXPIRED:
            return True
        case StepState.REFUSED:
            return definition.optional or definition.on_refused == "continue"
        case StepState.PARKED:
            return definition.optional and step.clock_left == 0
        case _:
            return definition.optional and step.state in FINAL


def _next_compensations(draft: Draft) -> None:
    """Each compensation starts when later ones are over and nothing that builds on its step is under way."""
    wanted = [key for key in draft.request.steps if key.kind is Kind.COMPENSATION]
    if not wanted:
        return
    order = list(draft.definition.steps)
    # The last first: one for which there is no provider parks at once, and holds up those before it no more.
    for key in sorted(wanted, key=lambda key: order.index(key.step), reverse=True):
        if draft.step(key).state is StepState.WAITING:
            later = [draft.step(other) for other in wanted if order.index(other.step) > order.index(key.step)]
            if all(other.state in _COMPENSATION_OVER for other in later) and _nothing_builds_on(draft, key.step):
                moves.become_ready(draft, key)


def _nothing_builds_on(draft: Draft, name: str) -> bool:
    if draft.open:
        return True
    dependents = _dependents(draft.definition, name)
    rows = [step for key, step in draft.request.steps.items() if key.kind is Kind.TASK and key.step in dependents]
    # A parked one may have had its effect: what it stands on is not taken away before somebody has looked.
    return all(step.state in FINAL for step in rows)


def _dependents(definition: Definition, name: str) -> set[str]:
    found = {name}
    for step in definition.steps.values():
        if found & set(step.needs):
            found.add(step.name)
    return found - {name}


def _over(request: Request) -> bool:
    return all(
        step.state in (_COMPENSATION_OVER if key.kind is Kind.COMPENSATION else FINAL)
        for key, step in request.steps.items()
    )


def _outcome(draft: Draft) -> RequestState:
    tasks = [step for key, step in draft.request.steps.items() if key.kind is Kind.TASK]
    whole = all(_fulfilled(step) for step in tasks)
    return RequestState.COMPLETED if whole else RequestState.PARTIALLY_FULFILLED


def _fulfilled(step: Step) -> bool:
    by_rule = step.state is StepState.SKIPPED and step.reason in {"when", "empty"}
    return step.state is StepState.SUCCEEDED or by_rule


def _end(draft: Draft, outcome: RequestState) -> None:
    timers = {"deadline_at": None, "warn_at": None}
    draft.change_request("ended", state=outcome, intended=outcome, ended_at=draft.now, **timers)
    draft.close_failures(None, "ended")
    draft.send(TellEnd(outcome=outcome))
