"""The verbs of doubt: asking what became of an interaction, sending again, advising not to begin."""

from __future__ import annotations

from bus.message.reply import Effect
from bus.process.clock import STILL, decided_at, passed, running
from bus.process.decision import ResendTask, SendQuery, SendWithdrawal
from bus.process.draft import Draft
from bus.process.moves import become_ready, cancel, park
from bus.process.retry import doubling
from bus.process.state import Kind, Step, StepKey, StepState


def doubt(draft: Draft, key: StepKey) -> None:
    """It may or may not have happened: one look-up at once."""
    step = draft.step(key)
    if step.superseded is not None and step.edit_unsent:
        # What may have happened is the older edit's doing: the provider has never heard of this one.
        revert(draft, key)
        step = draft.step(key)
    clock = running(draft, step)
    decided = decided_at(draft, step, clock.get("expires_at", step.expires_at))
    clock["deadline_at"] = decided if decided is not None and decided > draft.now else None
    effect = Effect.DONE if step.effect is Effect.DONE else Effect.UNKNOWN
    draft.change(key, "step_unknown", **{**STILL, **clock}, state=StepState.UNKNOWN, effect=effect)
    ask(draft, key)


def ask(draft: Draft, key: StepKey) -> None:
    """One more look-up; in doubt, when as many were sent as there are attempts, a person must decide."""
    step = draft.step(key)
    if step.state is StepState.UNKNOWN and step.asks >= draft.backoff(key).attempts:
        park(draft, key, "unknown")
        return
    _ask(draft, key, step.asks)


def ask_anew(draft: Draft, key: StepKey) -> None:
    """A look-up that a person wants: the counting of look-ups and tries begins anew."""
    _ask(draft, key, 0, tries=0)


def _ask(draft: Draft, key: StepKey, asks: int, **changes: int) -> None:
    settings = draft.settings
    draft.change(
        key,
        "queried",
        asks=asks + 1,
        resends=0,
        ask_at=draft.now + doubling(settings.ask_again, asks, settings.ask_most),
        answer_at=draft.now + settings.answer_within,
        **changes,
    )
    draft.send(SendQuery(step=key))


def query_again(draft: Draft, key: StepKey, *, anew: bool = False) -> None:
    """The same look-up once more: its answer did not come, or, ``anew``, what was known before may be out of date."""
    resends = 0 if anew else draft.step(key).resends + 1
    draft.change(key, "queried", resends=resends, answer_at=_answer_at(draft, resends))
    draft.send(SendQuery(step=key))


def count(draft: Draft, key: StepKey) -> None:
    """A look-up was answered "unknown": what follows depends on what trying again may do."""
    step, repeat = draft.step(key), draft.repeat(key)
    draft.change(key, "look_up_answered", answered=step.answered + 1, answer_at=None)
    attempts = draft.backoff(key).attempts
    if passed(draft, step) or repeat.kind == "at_most_once":
        park(draft, key, "unknown")
    elif _may_run(draft, step):
        if step.tries + 1 >= attempts:
            park(draft, key, "unknown")
        else:
            become_ready(draft, key, attempt=step.attempt + 1, tries=step.tries + 1)
    elif step.asks >= attempts:
        park(draft, key, "unknown")


def _may_run(draft: Draft, step: Step) -> bool:
    """Whether running it once more cannot have a second effect, and is still wanted."""
    repeat = draft.repeat(step.key)
    # Its own look-up, or the provider's, must still find the key when the second call is made.
    within = repeat.kind == "idempotent" and draft.now < (step.first_sent or 0) + repeat.window
    return (repeat.kind == "safe" or within) and (draft.open or step.key.kind is Kind.COMPENSATION)


def end_look_ups(draft: Draft, key: StepKey) -> None:
    """The deadline is over: with one look-up answered, or as many sent as there are attempts, a person must decide."""
    step = draft.step(key)
    if step.answered or step.asks >= draft.backoff(key).attempts:
        park(draft, key, "unknown")
    else:
        draft.change(key, "deadline_waits_for_look_up", deadline_at=None)


def resend(draft: Draft, key: StepKey, *, at_once: bool = False, alive: bool = True) -> None:
    """The stored bytes once more, to a live host only; never so late that it could not begin any more."""
    step = draft.step(key)
    if draft.asks_only:
        query_again(draft, key)
        return
    if step.expires_at is not None and draft.now >= step.expires_at - draft.settings.late_margin:
        draft.change(key, "resend_too_late", answer_at=None)
        return
    resends = 0 if at_once else step.resends + 1
    draft.change(key, "resent" if alive else "resend_waits", resends=resends, answer_at=_answer_at(draft, resends))
    if alive:
        draft.send(ResendTask(step=key))


def withdraw(draft: Draft, key: StepKey) -> None:
    """Advise the provider not to begin, and await its answer; a desk's row is simply taken away."""
    step = draft.step(key)
    if step.desk:
        cancel(draft, key)
        return
    if draft.asks_only:
        query_again(draft, key)
        return
    draft.change(key, "withdrawal_sent", resends=step.resends + 1, answer_at=_answer_at(draft, step.resends))
    draft.send(SendWithdrawal(step=key))


def _answer_at(draft: Draft, resends: int) -> int:
    return draft.now + doubling(draft.settings.answer_within, resends, draft.settings.answer_most)


def revert(draft: Draft, key: StepKey) -> None:
    """The edit is void: the interaction that it replaced is the one that counts again."""
    old = draft.step(key).superseded
    if old is None:
        raise LookupError(f"step {key.step} has no older edit")
    draft.change(key, "edit_void", edit=old.edit, attempt=old.attempt, input_id=old.input_id, superseded=None)
