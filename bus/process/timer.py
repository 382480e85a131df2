"""The bus's own events on one row: its timers, and a new epoch of the broker."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from bus.message.reply import Effect
from bus.process import look_up, moves
from bus.process.draft import Draft
from bus.process.event import Timer, TimerFired
from bus.process.state import Kind, Request, StepKey
from bus.process.table import TIMERS_CLOSING, TIMERS_COMPENSATION, TIMERS_OPEN, Table

#: None: a new epoch began.
Verb: TypeAlias = Callable[[Draft, StepKey, TimerFired | None], None]

_STEP_TIMERS: Sequence[Timer] = ("answer", "ask", "next", "deadline", "until")
_REQUEST_TIMERS: Sequence[Timer] = ("warn", "deadline")
#: Nothing is ever sent about a desk's row.
_SENDING = frozenset({"resend", "query_again", "ask", "withdraw"})


def fired(draft: Draft, event: TimerFired) -> None:
    """A step's timer was due: one that the row does not have any more changes nothing."""
    key = event.step
    if key is None or key not in draft.request.steps:
        return
    step = draft.step(key)
    if (step.edit, step.attempt, getattr(step, f"{event.timer}_at", None)) == (event.edit, event.attempt, event.at):
        _apply(draft, key, _table(draft, key)[step.state, event.timer], event)


def epoch_began(draft: Draft) -> None:
    """Everything that was on its way in the broker is gone: send it again."""
    for key in draft.request.steps:
        _apply(draft, key, _table(draft, key)[draft.step(key).state, "epoch"], None)


def _table(draft: Draft, key: StepKey) -> Table:
    if key.kind is Kind.COMPENSATION:
        return TIMERS_COMPENSATION
    return TIMERS_OPEN if draft.open else TIMERS_CLOSING


def _apply(draft: Draft, key: StepKey, verb: str, event: TimerFired | None) -> None:
    if verb not in VERBS:
        raise LookupError(f"the table names an unknown verb: {verb}")
    if not (draft.step(key).desk and verb in _SENDING):
        VERBS[verb](draft, key, event)


def _nothing(_draft: Draft, _key: StepKey, _event: TimerFired | None) -> None:
    pass


def _plain(move: Callable[[Draft, StepKey], None]) -> Verb:
    def verb(draft: Draft, key: StepKey, _event: TimerFired | None) -> None:
        move(draft, key)

    return verb


def _resend(draft: Draft, key: StepKey, event: TimerFired | None) -> None:
    # A new epoch makes the old bytes new: it waits for nobody and counts as no repetition.
    look_up.resend(draft, key, at_once=event is None, alive=event is None or event.alive)


def _end_or_doubt(draft: Draft, key: StepKey, _event: TimerFired | None) -> None:
    if draft.step(key).effect is Effect.NONE:
        moves.end(draft, key)
    else:
        look_up.doubt(draft, key)


def _unsupplied(draft: Draft, key: StepKey, _event: TimerFired | None) -> None:
    moves.refuse_by_bus(draft, key, "not_supplemented")


def _park_unknown(draft: Draft, key: StepKey, _event: TimerFired | None) -> None:
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
    "query_again": _plain(look_up.query_again),
    "ask": _plain(look_up.ask),
    "withdraw": _plain(look_up.withdraw),
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
