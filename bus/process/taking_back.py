"""Taking back: the compensation of an effect that nobody wants any more, or its place in the list of what is left."""

from __future__ import annotations

from bus.message.reply import Completed, Effect
from bus.process.draft import Draft
from bus.process.event import Replied
from bus.process.state import Kind, StepKey, StepState


def take_back(draft: Draft, key: StepKey) -> None:
    """Want the compensation if one is declared, else list what is left behind unless the operation has no effect."""
    step, definition = draft.step(key), draft.defined(key)
    wanted = StepKey(step=key.step, item=key.item, kind=Kind.COMPENSATION)
    if wanted in draft.request.steps or step.left_behind:
        return
    event = draft.event
    if step.state is not StepState.SUCCEEDED and isinstance(event, Replied) and isinstance(event.reply, Completed):
        # The row's state does not move for this answer, but the compensation reads it.
        draft.change(key, "effect_known", effect=Effect.DONE, output_id=event.payload_id)
    if definition.compensate is None:
        list_behind(draft, key)
        return
    deadline = definition.compensate.deadline
    draft.change(
        wanted,
        "compensation_wanted",
        agency=step.agency,
        desk=step.desk,
        state=StepState.WAITING,
        expires_at=draft.now + deadline if deadline is not None else None,
    )


def list_behind(draft: Draft, key: StepKey) -> None:
    """The result lists the row: what it did, or may have done, stays."""
    if can_leave_something(draft, key) and not draft.step(key).left_behind:
        draft.change(key, "left_behind", left_behind=True)


def can_leave_something(draft: Draft, key: StepKey) -> bool:
    """Whether the operation has an effect at all: a read-only one leaves nothing behind."""
    return draft.repeat(key).kind != "safe"
