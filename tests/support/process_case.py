"""One request of a simulated world, with all that was ever written and told about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from bus.audit.fact import Fact
from bus.config import Settings
from bus.message import identity
from bus.process.definition import Definition
from bus.process.state import FINAL, OUTCOMES, Kind, Request, RequestState, StepKey, StepState
from bus.process.wire import operation_of
from bus.receiver.ask import Ask, Asked

SETTINGS = Settings()
interaction_id = lru_cache(maxsize=4096)(identity.interaction_id)


@dataclass(slots=True)
class Case:
    """One request, with all that was ever written and told about it."""

    definition: Definition
    request: Request
    facts: list[Fact] = field(default_factory=list)
    ends: list[RequestState] = field(default_factory=list)
    #: Digests of the lasting answers that were ever put before the brain, by row and kind.
    said: set[tuple[StepKey, str, str]] = field(default_factory=set)
    #: Rows about which somebody lied: the ground truth need not agree with them.
    lied: set[str] = field(default_factory=set)
    tasks: dict[int, Asked] = field(default_factory=dict)

    def asked(self, key: StepKey, ask: Ask) -> Asked:
        """What is asked of the provider of this row."""
        request, step = self.request, self.request.steps[key]
        assert step.journal_id is not None, "a provider cannot judge this without the journal of the first dispatch"
        assert step.first_sent is not None
        old = step.superseded
        return Asked(
            ask=ask,
            interaction_id=request.interaction(key),
            attempt=step.attempt,
            operation=operation_of(self.definition, key),
            journal_id=step.journal_id,
            first_sent=step.first_sent,
            expires_at=step.expires_at if ask is Ask.TASK else None,
            supersedes=None
            if old is None or ask is not Ask.TASK
            else interaction_id(request.id, key.step, key.item, key.kind, old.edit),
            data_hash=f"{key}/{step.input_id}".encode() if ask is Ask.TASK else None,
        )

    def conditions(self, key: StepKey) -> list[str]:
        """The steps that have their condition on the answer of this row."""
        return [
            step.name
            for step in self.definition.steps.values()
            if step.when is not None and step.when.path.root == "steps" and step.when.path.step == key.step
        ]

    def key_of(self, agency: str, wanted: str) -> StepKey | None:
        """The row whose interaction this is, or was before an edit; None: none of this agency."""
        for key, step in self.request.steps.items():
            if step.agency == agency:
                for edit in range(max(step.edit, step.sent_edit or 0) + 1):
                    if interaction_id(self.request.id, key.step, key.item, key.kind, edit) == wanted:
                        return key
        return None


def over(request: Request) -> bool:
    """Whether nothing of it is left to do."""
    return request.state in OUTCOMES and all(
        step.state in FINAL or (key.kind is Kind.COMPENSATION and step.state is StepState.PARKED)
        for key, step in request.steps.items()
    )
