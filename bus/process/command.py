"""What people do: each command either fits the row as it is, or is a conflict that says what the row is now."""

from __future__ import annotations

from bus.message.reply import Completed, Effect
from bus.process import look_up, moves
from bus.process.clock import renewed
from bus.process.closing import begin_closing, terminate
from bus.process.decision import Conflict
from bus.process.draft import Draft
from bus.process.event import (
    AnsweredByHand,
    CancelAsked,
    Edited,
    GaveUp,
    ReplayAsked,
    SkipAsked,
    StepCommand,
    Supplemented,
    TerminateAsked,
)
from bus.process.state import ALIVE, Kind, RequestState, Step, StepKey
from bus.process.table import COMMANDS_CLOSING, COMMANDS_COMPENSATION, COMMANDS_OPEN, Table

_COLUMN: dict[type[StepCommand], str] = {
    Supplemented: "supplement",
    GaveUp: "give_up",
    ReplayAsked: "replay",
    Edited: "edit",
    AnsweredByHand: "answer",
    SkipAsked: "skip",
}


def commanded(draft: Draft, event: StepCommand) -> Conflict | None:
    """Do what a person wants of one step, or say why it does not fit."""
    key = event.step
    if key not in draft.request.steps:
        return _conflict(draft, None, "no-such-step")
    step = draft.step(key)
    if isinstance(event, SkipAsked) and (key.kind is not Kind.TASK or not draft.defined(key).optional):
        return _conflict(draft, step, "not-optional")
    table = _table(draft, key)
    verb = table[step.state, _COLUMN[type(event)]] if table else "conflict"
    if verb == "conflict" or (isinstance(event, Supplemented) and event.attempt != step.attempt):
        return _conflict(draft, step, "step-state")
    if verb.endswith("_unsent") and step.effect is not Effect.NONE:
        return _conflict(draft, step, "effect")
    if verb == "edit_parked" and _may_not_edit(step):
        return _conflict(draft, step, "effect")
    _apply(draft, key, verb.removesuffix("_unsent"), event)
    return None


def cancel_asked(draft: Draft, event: CancelAsked | TerminateAsked) -> Conflict | None:
    """Take the request back, or end it at once."""
    request = draft.request
    if isinstance(event, TerminateAsked):
        if request.state not in ALIVE:
            return _conflict(draft, None, "request-state")
        terminate(draft)
        return None
    if request.state is not RequestState.OPEN:
        return _conflict(draft, None, "request-state")
    finals = [step for step in request.steps.values() if draft.defined(step.key).final and step.ever_sent]
    if finals:
        return _conflict(draft, finals[0], "final-dispatched")
    begin_closing(draft, RequestState.CANCELLED)
    return None


def _table(draft: Draft, key: StepKey) -> Table | None:
    if key.kind is Kind.COMPENSATION:
        return COMMANDS_COMPENSATION
    if draft.request.state is RequestState.OPEN:
        return COMMANDS_OPEN
    return COMMANDS_CLOSING if draft.request.state is RequestState.CLOSING else None


def _may_not_edit(step: Step) -> bool:
    """One message can supersede one interaction: two in doubt at once, or one that is done, must be settled first."""
    two_in_doubt = step.superseded is not None and step.superseded.doubtful and not step.edit_unsent
    return step.effect is Effect.DONE or (step.effect is Effect.UNKNOWN and two_in_doubt)


def _apply(draft: Draft, key: StepKey, verb: str, event: StepCommand) -> None:
    match verb, event:
        case "supplement", Supplemented():
            attempt = draft.step(key).attempt + 1
            moves.become_ready(draft, key, renew=True, attempt=attempt, tries=0, input_id=event.input_id)
        case "give_up", GaveUp():
            moves.fail(draft, key, "given_up")
        case "edit" | "edit_parked", Edited():
            _edit(draft, key, event)
        case (("answer" | "answer_withdraw"), AnsweredByHand()):
            _answer(draft, key, verb, event)
        case "skip", SkipAsked():
            moves.skip(draft, key, "skipped_by_hand")
        case "replay_parked", ReplayAsked():
            _replay_parked(draft, key)
        case "go", ReplayAsked():
            moves.become_ready(draft, key, renew=True, tries=0)
        case "query_now", ReplayAsked():
            look_up.ask_anew(draft, key)
        case "look_up", ReplayAsked():
            _look_up(draft, key)
        case _:
            raise LookupError(f"the table names an unknown verb: {verb}")


def _replay_parked(draft: Draft, key: StepKey) -> None:
    """Unknown goes through a look-up first, always; what is done is only read again by the host."""
    step = draft.step(key)
    if step.effect is Effect.UNKNOWN:
        _look_up(draft, key)
    else:
        moves.become_ready(draft, key, renew=True, attempt=step.attempt + 1, tries=0)


def _look_up(draft: Draft, key: StepKey) -> None:
    clock = renewed(draft, draft.step(key))
    clock.pop("deadline_at")
    draft.change(key, "replay_asked", tries=0, left_behind=False, **clock)
    look_up.doubt(draft, key)


def _edit(draft: Draft, key: StepKey, event: Edited) -> None:
    """A new interaction supersedes the one whose effect is not known to be none, or else the last one."""
    step, old = draft.step(key), draft.step(key).superseded
    if old is None or not old.doubtful:
        superseded = {"edit": step.edit, "attempt": step.attempt, "input_id": step.input_id}
        doubtful = step.effect is not Effect.NONE
    else:
        superseded, doubtful = {"edit": old.edit, "attempt": old.attempt, "input_id": old.input_id}, True
    # A number that the provider has seen is never used for another interaction.
    edit = max(step.edit, step.sent_edit or 0) + 1
    new = {"edit": edit, "attempt": 1, "tries": 0, "input_id": event.input_id}
    moves.become_ready(draft, key, renew=True, **new, superseded={**superseded, "doubtful": doubtful})


def _answer(draft: Draft, key: StepKey, verb: str, event: AnsweredByHand) -> None:
    if verb == "answer_withdraw" and draft.step(key).effect is Effect.UNKNOWN and not draft.step(key).desk:
        look_up.withdraw(draft, key)
    if isinstance(event.reply, Completed):
        moves.succeed(draft, key, event)
    else:
        moves.refuse(draft, key, event)


def _conflict(draft: Draft, step: Step | None, code: str) -> Conflict:
    request = draft.request
    return Conflict(
        code=code,
        state=step.state.value if step else request.state.value,
        changed_by=step.changed_by if step else None,
        changed_at=step.changed_at if step else request.ended_at,
    )
