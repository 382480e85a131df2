"""What a fact makes of a request. No decision is taken here: the fact carries the new values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from bus.audit.fact import Fact
from bus.message.quick import changed
from bus.message.reply import Effect
from bus.process.state import Kind, Request, RequestState, Step, StepKey, StepState, Superseded

# Looked up, for the call of an enumeration is slow and every fact has two or three.
_KINDS = {str(kind): kind for kind in Kind}
_STATES = {str(state): state for state in StepState}
_EFFECTS = {str(effect): effect for effect in Effect}


def evolve(request: Request, fact: Fact) -> Request:
    """The request after the fact: the same facts, in order, give the same state."""
    changes = dict(fact.changes)
    conditions = changes.pop("conditions", None)
    steps: Mapping[StepKey, Step] = request.steps
    if "steps" in changes:
        steps = {**steps, **{row.key: row for row in map(_new_step, changes.pop("steps"))}}
    if fact.step is not None:
        key = StepKey(step=fact.step, item=fact.item, kind=_KINDS[fact.step_kind or Kind.TASK])
        steps = {**steps, key: _evolve_step(steps.get(key) or Step(key=key), fact, changes)}
        changes = {}
    if "state" in changes:
        changes["state"] = RequestState(changes["state"])
    if "intended" in changes:
        changes["intended"] = RequestState(changes["intended"])
    if conditions is not None:
        changes["conditions"] = {**request.conditions, **conditions}
    changes |= {"version": fact.version, "head": fact.hash or request.head, "steps": steps}
    return changed(request, changes)


def with_head(request: Request, head: str) -> Request:
    """The request with the hash of its last fact, which is known only once its facts are sealed."""
    return changed(request, {"head": head})


def replay(request: Request, facts: Iterable[Fact]) -> Request:
    """The request after all of these facts."""
    for fact in facts:
        request = evolve(request, fact)
    return request


def _evolve_step(step: Step, fact: Fact, changes: dict[str, Any]) -> Step:
    if "state" in changes:
        changes["state"] = _STATES[changes["state"]]
        changes["changed_at"] = fact.at
        changes["changed_by"] = fact.actor
    if "effect" in changes:
        changes["effect"] = _EFFECTS[changes["effect"]]
    if "asked" in changes:
        changes["asked"] = tuple(changes["asked"])
    if changes.get("superseded") is not None:
        changes["superseded"] = Superseded(**changes["superseded"])
    return changed(step, changes)


def _new_step(row: Mapping[str, Any]) -> Step:
    return Step(key=StepKey(step=row["step"], item=row.get("item")), agency=row["agency"], desk=row.get("desk", False))
