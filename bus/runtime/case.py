"""One request inside one transaction: as it was read, as it is so far, and the facts between the two."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bus.audit.fact import Fact, chain
from bus.message.quick import changed
from bus.process.decision import Decision
from bus.process.evolve import with_head
from bus.process.state import Request, Step, StepKey, StepState
from bus.runtime.library import Pinned


@dataclass(slots=True)
class Case:
    """``before`` is None for a request that this transaction creates."""

    before: Request | None
    request: Request
    pinned: Pinned
    facts: list[Fact] = field(default_factory=list)

    def absorb(self, decision: Decision) -> None:
        """The request moves to where the decision left it."""
        self.facts += decision.facts
        self.request = decision.request

    def told(self, kind: str, message_id: str, fields: tuple[str, ...]) -> None:
        """The last fact of this kind was told by a message that only now exists, which names these fields."""
        index = max(index for index, fact in enumerate(self.facts) if fact.kind == kind)
        self.facts[index] = changed(self.facts[index], {"message_id": message_id, "fields": fields})

    def mark(self) -> tuple[Request, int]:
        """Where it stands; for `forget`."""
        return self.request, len(self.facts)

    def forget(self, mark: tuple[Request, int]) -> None:
        """What was decided since the mark did not happen."""
        self.request, length = mark
        del self.facts[length:]

    def touched(self) -> tuple[Step, ...]:
        """The rows that are not as they were read."""
        old: Mapping[StepKey, Step] = self.before.steps if self.before else {}
        return tuple(step for key, step in self.request.steps.items() if old.get(key) is not step)

    def ready(self) -> tuple[StepKey, ...]:
        """The rows that wait for the dispatcher."""
        return tuple(key for key, step in self.request.steps.items() if step.state is StepState.READY)

    def sealed(self, digests: Mapping[str, str]) -> tuple[Request, tuple[Fact, ...]]:
        """The facts with the digests of their messages, bound to each other; the request with the new head."""
        head = self.before.head if self.before else self.request.head
        facts = chain(self.facts, head, digests)
        return (with_head(self.request, facts[-1].hash) if facts else self.request), facts

    def moved(self, state: StepState) -> dict[str, int]:
        """By how many rows of each agency this transaction changed the count of that state (desks left out)."""
        old: Mapping[StepKey, Step] = self.before.steps if self.before else {}
        moves: dict[str, int] = {}
        for key, step in self.request.steps.items():
            before = old.get(key)
            if step is before or step.desk:
                continue
            change = (step.state is state) - (before is not None and before.state is state)
            if change:
                moves[step.agency] = moves.get(step.agency, 0) + change
        return moves
