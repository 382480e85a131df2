"""The brain: what follows from one event for one request. Pure; the shell writes and sends what it says."""

from __future__ import annotations

from bus.config import Settings
from bus.message.instant import Instant
from bus.process import moves
from bus.process.closing import begin_closing, settle
from bus.process.command import cancel_asked, commanded
from bus.process.decision import Conflict, Decision
from bus.process.definition import Definition
from bus.process.draft import Draft
from bus.process.event import (
    AskedAgain,
    CancelAsked,
    Dispatched,
    EpochBegan,
    Event,
    Held,
    Poisoned,
    Replied,
    Submitted,
    TerminateAsked,
    TimerFired,
    Unbuildable,
)
from bus.process.planning import new_rows
from bus.process.reply import replied
from bus.process.rows import NewRow, is_plain
from bus.process.state import Request, RequestState, StepState
from bus.process.timer import befell, fired

_DEFAULTS = Settings()
#: A row that leaves, or rests before it does, neither meets a need nor ends anything: nothing follows from it.
_MOVES_NO_OTHER = (Dispatched, Held)


def accept(event: Submitted, now: Instant, definition: Definition, settings: Settings = _DEFAULTS) -> Decision:
    """A new request: all its steps wait, and those that need nothing become ready."""
    draft = Draft(Request(id=event.request_id, key=event.key), event, now, definition, settings)
    deadline_at = now + definition.deadline
    draft.change_request(
        "accepted",
        consumer=event.consumer,
        service=event.service,
        revision=event.revision,
        purpose=event.purpose,
        data_id=event.data_id,
        test=event.test,
        accepted_at=now,
        deadline_at=deadline_at,
        warn_at=now + round(definition.deadline * settings.request_warn_at),
        conditions=dict(event.conditions),
        steps=new_rows([*_plain_rows(definition), *event.rows]),
    )
    settle(draft)
    return draft.decision()


def _plain_rows(definition: Definition) -> list[NewRow]:
    return [
        NewRow(step=step.name, item=None, agency=step.party, desk=step.desk)
        for step in definition.steps.values()
        if is_plain(step)
    ]


def decide(
    request: Request,
    event: Event,
    now: Instant,
    definition: Definition,
    settings: Settings = _DEFAULTS,
    *,
    asks_only: bool = False,
) -> Decision:
    """What follows from the event: facts, sends, failures; or a conflict, with which nothing is written.

    ``request.version`` grows by the number of facts. An event that does not fit any more gives no facts. With
    ``asks_only`` the store is older than what happened, and a provider is told nothing but look-ups.
    """
    draft = Draft(request, event, now, definition, settings, asks_only=asks_only)
    conflict = _happen(draft, event)
    if conflict is not None:
        return Decision(request=request, conflict=conflict)
    if draft.facts and not isinstance(event, _MOVES_NO_OTHER):
        settle(draft)
    return draft.decision()


def _happen(draft: Draft, event: Event) -> Conflict | None:
    match event:
        case Replied():
            replied(draft, event)
        case TimerFired(step=None):
            _request_timer(draft, event)
        case TimerFired():
            fired(draft, event)
        case Dispatched() if draft.step(event.step).state is StepState.READY:
            moves.dispatch(draft, event.step, journal_id=event.journal_id, task_id=event.task_id)
        case Held() if draft.step(event.step).state is StepState.READY:
            moves.hold(draft, event.step, event.reason)
        case Unbuildable() if draft.step(event.step).state is StepState.READY:
            moves.park(draft, event.step, "input_invalid")
        case EpochBegan() | AskedAgain() | Poisoned():
            befell(draft, event)
        case CancelAsked() | TerminateAsked():
            return cancel_asked(draft, event)
        case Dispatched() | Held() | Unbuildable():
            pass
        case Submitted():
            raise TypeError("a submission makes a new request: use accept")
        case _:
            return commanded(draft, event)
    return None


def _request_timer(draft: Draft, event: TimerFired) -> None:
    request = draft.request
    if request.state is not RequestState.OPEN or getattr(request, f"{event.timer}_at", None) != event.at:
        return
    if event.timer == "warn":
        draft.change_request("deadline_near", warn_at=None)
        draft.open_failure(None, "deadline_near")
    elif draft.definition.on_deadline == "expire":
        begin_closing(draft, RequestState.EXPIRED)
    else:
        draft.change_request("deadline_passed", deadline_at=None, warn_at=None)
        draft.open_failure(None, "deadline_passed")
