"""The verbs of replies: what a cell of the table does with one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict
from typing import Any, TypeAlias

from bus.message.reply import Effect, Failed, Reply, Returned, Unknown
from bus.process import clock, look_up, moves
from bus.process.draft import Draft
from bus.process.event import Replied
from bus.process.state import FINAL, Step, StepKey, StepState
from bus.process.taking_back import can_leave_something, take_back

Verb: TypeAlias = Callable[[Draft, StepKey, Replied], None]


def note_superseded(draft: Draft, step: Step, reply: Reply, never_looked: Collection[str]) -> None:
    """A provider that did anything with an edit has first given up the interaction which the edit supersedes."""
    old = step.superseded
    if old is None or not old.doubtful or step.state in FINAL or isinstance(reply, Unknown):
        return
    if isinstance(reply, Failed) and (
        reply.effect is Effect.UNKNOWN or reply.code in never_looked or reply.code == "superseded_too_late"
    ):
        return
    settled = {"edit": old.edit, "attempt": old.attempt, "input_id": old.input_id, "doubtful": False}
    draft.change(step.key, "superseded", superseded=settled)


# --- shown, kept ----------------------------------------------------------------------------------------------------


def _nothing(_draft: Draft, _key: StepKey, _event: Replied) -> None:
    pass


def _note(kind: str) -> Verb:
    def verb(draft: Draft, key: StepKey, _event: Replied) -> None:
        draft.note(key, kind)

    return verb


def _show(kind: str) -> Verb:
    def verb(draft: Draft, key: StepKey, _event: Replied) -> None:
        draft.note(key, kind)
        draft.open_failure(key, kind)

    return verb


def _compare(draft: Draft, key: StepKey, event: Replied) -> None:
    """The same answer again is a duplicate; another one contradicts it."""
    if event.digest != draft.step(key).output_digest:
        _show("contradiction")(draft, key, event)


def _take_back(draft: Draft, key: StepKey, _event: Replied) -> None:
    draft.note(key, "late")
    take_back(draft, key)


def _two_effects_back(draft: Draft, key: StepKey, event: Replied) -> None:
    _show("two_effects_possible")(draft, key, event)
    take_back(draft, key)


def _set_effect(draft: Draft, key: StepKey, event: Replied) -> None:
    draft.change(key, "late", effect=moves.effect_of(event.reply))


def _late_effect(draft: Draft, key: StepKey, event: Replied) -> None:
    """The bus has ended the row: what the agency says of its effect decides whether the row is listed."""
    step, effect = draft.step(key), moves.effect_of(event.reply)
    if step.effect is Effect.DONE:
        draft.note(key, "late")
    else:
        behind = effect is not Effect.NONE and can_leave_something(draft, key)
        draft.change(key, "late", effect=effect, left_behind=behind)


def _late_unknown(draft: Draft, key: StepKey, event: Replied) -> None:
    step, changes = draft.step(key), dict[str, Any]()
    if moves.effect_of(event.reply) is Effect.UNKNOWN and step.effect is Effect.NONE:
        changes["effect"] = Effect.UNKNOWN
        if step.superseded is not None and step.edit_unsent:
            # The older interaction is in doubt after all, and no edit has told its provider to give it up.
            changes["superseded"] = asdict(step.superseded) | {"doubtful": True}
    draft.change(key, "late", **changes)


# --- settled --------------------------------------------------------------------------------------------------------


def _older_edit_settles(draft: Draft, key: StepKey, event: Replied) -> None:
    """The older edit did it and the newer one never left: the older one is the answer."""
    step = draft.step(key)
    if not step.edit_unsent or step.superseded is None:
        _park_two_effects(draft, key, event)
        return
    old = step.superseded
    moves.succeed(draft, key, event, edit=old.edit, attempt=old.attempt, input_id=old.input_id, superseded=None)


def _park_two_effects(draft: Draft, key: StepKey, event: Replied) -> None:
    """One effect is certain and a second one possible: a person must look; to take it back, its answer is kept."""
    if draft.step(key).state is StepState.PARKED:
        draft.change(key, "two_effects_possible", effect=Effect.DONE, output_id=event.payload_id)
        draft.open_failure(key, "two_effects_possible")
    else:
        moves.park(draft, key, "two_effects_possible", Effect.DONE, output_id=event.payload_id)


def _return(draft: Draft, key: StepKey, event: Replied) -> None:
    moves.give_back(draft, key, event, _returned(event))


def _reask(draft: Draft, key: StepKey, event: Replied) -> None:
    reply = _returned(event)
    if tuple(need.pointer for need in reply.needs) == draft.step(key).asked:
        draft.note(key, "evidence")
    else:
        moves.give_back(draft, key, event, reply)


def _returned(event: Replied) -> Returned:
    if not isinstance(event.reply, Returned):
        raise TypeError(f"not a returned: {type(event.reply).__name__}")
    return event.reply


def _void_edit(draft: Draft, key: StepKey, event: Replied) -> None:
    """The older interaction could not be superseded: it is the one that counts again, and is asked."""
    parked = draft.step(key).state is StepState.PARKED
    look_up.revert(draft, key)
    if parked and draft.open:
        draft.change(key, "late", effect=moves.effect_of(event.reply))
    else:
        look_up.doubt(draft, key)


# --- failed ---------------------------------------------------------------------------------------------------------


def _retry(draft: Draft, key: StepKey, event: Replied) -> None:
    moves.retry(draft, key, _failed(event))


def _busy(draft: Draft, key: StepKey, event: Replied) -> None:
    moves.retry(draft, key, _failed(event), counts=False)


def _exhaust(draft: Draft, key: StepKey, event: Replied) -> None:
    moves.exhausted(draft, key, _code(event))


def _park(effect: Effect | None, code: str = "") -> Verb:
    """A person must look; effect None is what the reply states, and "" the code that it gives."""

    def verb(draft: Draft, key: StepKey, event: Replied) -> None:
        stated = moves.effect_of(event.reply) if effect is None else effect
        moves.park(draft, key, code or _code(event), stated)

    return verb


def _plain(move: Callable[[Draft, StepKey], None]) -> Verb:
    def verb(draft: Draft, key: StepKey, _event: Replied) -> None:
        move(draft, key)

    return verb


def _or_end(verb: Verb) -> Verb:
    """The verb while the deadline is not over; after it, what the deadline does."""

    def either(draft: Draft, key: StepKey, event: Replied) -> None:
        if clock.passed(draft, draft.step(key)):
            moves.end(draft, key)
        else:
            verb(draft, key, event)

    return either


def _failed(event: Replied) -> Failed:
    if not isinstance(event.reply, Failed):
        raise TypeError(f"not a failure: {type(event.reply).__name__}")
    return event.reply


def _code(event: Replied) -> str:
    return event.reply.code if isinstance(event.reply, Failed) else "unknown"


#: Every verb that a table of replies may name.
VERBS: Mapping[str, Verb] = {
    "-": _nothing,
    "early": _show("early"),
    "late": _note("late"),
    "evidence": _note("evidence"),
    "contradict": _show("contradiction"),
    "compare": _compare,
    "two_effects": _show("two_effects_possible"),
    "two_effects_back": _two_effects_back,
    "take_back": _take_back,
    "effect_none": _set_effect,
    "effect_done": _set_effect,
    "late_effect": _late_effect,
    "late_unknown": _late_unknown,
    "succeed": moves.succeed,
    "refuse": moves.refuse,
    "older_edit_settles": _older_edit_settles,
    "park_two_effects": _park_two_effects,
    "return": _return,
    "reask": _reask,
    "void_edit": _void_edit,
    "pend": _plain(moves.pend),
    "doubt": _plain(look_up.doubt),
    "count": _plain(look_up.count),
    "cancel": _plain(moves.cancel),
    "end": _plain(moves.end),
    "again_or_end": _or_end(_plain(moves.again)),
    "retry": _retry,
    "retry_or_end": _or_end(_retry),
    "busy": _busy,
    "exhaust": _exhaust,
    "exhaust_or_end": _or_end(_exhaust),
    "park_done": _park(Effect.DONE),
    "park_stated": _park(None),
    "park_withdrawn": _park(Effect.NONE, "withdrawn"),
    "park_refused": _park(Effect.NONE, "compensation_refused"),
}
