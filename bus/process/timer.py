"""The bus's own events on one row: its timers, and what befell the broker or the store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

from bus.message.reply import Effect
from bus.process import look_up, moves
from bus.process.draft import Draft
from bus.process.event import AskedAgain, EpochBegan, Poisoned, Timer, TimerFired
from bus.process.state import Kind, Request, Step, StepKey
from bus.process.table import TIMERS_CLOSING, TIMERS_COMPENSATION, TIMERS_OPEN, Table

#: None: a new epoch began, or the store was restored.
_Cause: TypeAlias = TimerFired | Poisoned | None
Verb: TypeAlias = Callable[[Draft, StepKey, _Cause], None]

#: The reason of a row whose attempt the broker gave up once, and of one that is parked because it did so again.
POISON = "poison"

_STEP_TIMERS: Sequence[Timer] = ("answer", "ask", "next", "deadline", "until")
_REQUEST_TIMERS: Sequence[Timer] = ("warn", "deadline")
#: Nothing is ever sent about a desk's row.
_SENDING = frozenset(
    {"resend", "resend_once", "query_again", "query_anew", "query_once", "ask", "withdraw", "withdraw_once"}
)


def fired(draft: Draft, event: TimerFired) -> None:
    """A step's timer was due: one that the row does not have any more changes nothing."""
    key = event.step
    if key is None or key not in draft.request.steps:
        return
    step = draft.step(key)
    if (step.edit, step.attempt, getattr(step, f"{event.timer}_at", None)) == (event.edit, event.attempt, event.at):
        _apply(draft, key, _table(draft, key)[step.state, event.timer], event)


def befell(draft: Draft, event: EpochBegan | AskedAgain | Poisoned) -> None:
    """What happened to the broker or to the store concerns every row, or the one that a message was about."""
    match event:
        case EpochBegan():
            # Everything that was on its way is gone: it is sent again.
            _apply_all(draft, "epoch", draft.request.steps)
        case AskedAgain():
            # What the store says is older than what happened: the providers are asked, whose journals know.
            rows = draft.request.steps
            wanted = [key for key, step in rows.items() if not event.overdue or _is_overdue(draft, step)]
            _apply_all(draft, "restored", wanted)
        case Poisoned():
            step = draft.request.steps.get(event.step)
            if step is not None and (step.edit, step.attempt) == (event.edit, event.attempt):
                _apply(draft, event.step, _table(draft, event.step)[step.state, "poison"], event)


def _is_overdue(draft: Draft, step: Step) -> bool:
    return step.answer_at is not None and step.answer_at <= draft.now


def _apply_all(draft: Draft, column: str, keys: Iterable[StepKey]) -> None:
    for key in keys:
        _apply(draft, key, _table(draft, key)[draft.step(key).state, column], None)


def _table(draft: Draft, key: StepKey) -> Table:
    if key.kind is Kind.COMPENSATION:
        return TIMERS_COMPENSATION
    return TIMERS_OPEN if draft.open else TIMERS_CLOSING


def _apply(draft: Draft, key: StepKey, verb: str, event: _Cause) -> None:
    if verb not in VERBS:
        raise LookupError(f"the table names an unknown verb: {verb}")
    if not (draft.step(key).desk and verb in _SENDING):
        VERBS[verb](draft, key, event)


def _nothing(_draft: Draft, _key: StepKey, _event: _Cause) -> None:
    pass


def _plain(move: Callable[[Draft, StepKey], None]) -> Verb:
    def verb(draft: Draft, key: StepKey, _event: _Cause) -> None:
        move(draft, key)

    return verb


def _resend(draft: Draft, key: StepKey, event: _Cause) -> None:
    # A new epoch makes the old bytes new: it waits for nobody and counts as no repetition.
    timed = event if isinstance(event, TimerFired) else None
    look_up.resend(draft, key, at_once=timed is None, alive=timed is None or timed.alive)


def _once(move: Verb) -> Verb:
    """The move for the first time; a second time that would only let more hosts die."""

    def verb(draft: Draft, key: StepKey, event: _Cause) -> None:
        if draft.step(key).reason != POISON:
            draft.change(key, "poisoned", reason=POISON)
            move(draft, key, event)
        else:
            moves.park(draft, key, POISON)

    return verb


def _query_anew(draft: Draft, key: StepKey, _event: _Cause) -> None:
    look_up.query_again(draft, key, anew=True)


def _end_or_doubt(draft: Draft, key: StepKey, _event: _Cause) -> None:
    if draft.step(key).effect is Effect.NONE:
        moves.end(draft, key)
    else:
        look_up.doubt(draft, key)


def _unsupplied(draft: Draft, key: StepKey, _event: _Cause) -> None:
    moves.refuse_by_bus(draft, key, "not_supplemented")


def _park_unknown(draft: Draft, key: StepKey, _event: _Cause) -> None:
    moves.park(draft, key, "unknown")


#: Every verb that a table of timers may name.
VERBS: Mapping[str, Verb] = {
    "-": _nothing,
    "go": _plain(moves.go),
    "end": _plain(moves.end),
    "end_or_doubt": _end_or_doubt,
    "doubt": _plain(look_up.doubt),
    "end_look_ups": _plain(look_up.end_look_ups),
    "park_unknown": _park_unknown,
    "resend": _resend,
    "resend_once": _once(_resend),
    "query_again": _plain(look_up.query_again),
    "query_anew": _query_anew,
    "query_once": _once(_query_anew),
    "ask": _plain(look_up.ask),
    "withdraw": _plain(look_up.withdraw),
    "withdraw_once": _once(_plain(look_up.withdraw)),
    "unsupplied": _unsupplied,
}


def running_timers(request: Request) -> list[TimerFired]:
    """Every timer of the request and its rows, as the event that it will be."""
    found = [
        TimerFired(step=None, timer=timer, at=at)
        for timer in _REQUEST_TIMERS
        if (at := getattr(request, f"{timer}_at")) is not None
    ]
    for step in request.steps.values():
        found += [
            TimerFired(step=step.key, timer=timer, at=at, edit=step.edit, attempt=step.attempt)
            for timer in _STEP_TIMERS
            if (at := getattr(step, f"{timer}_at")) is not None
        ]
    return found
