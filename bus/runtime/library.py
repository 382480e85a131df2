"""The definitions that requests are pinned to, loaded from the store by their hash."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bus.errors import NotFoundError
from bus.message.contract import Contracts
from bus.message.instant import Instant, Milliseconds
from bus.ports import Store
from bus.process.closure import from_closure
from bus.process.definition import Definition, StepDefinition

#: How long a look at the open requests counts: a host that is refused knocks often, and there may be a million of them.
_FRESH: Milliseconds = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Pinned:
    """A service as it was, with the contracts that it used."""

    definition: Definition
    contracts: Contracts


class Library:
    """Every revision is read once; revisions never change."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._read: dict[str, Pinned] = {}
        #: What open requests were pinned to when somebody looked.
        self._open: frozenset[str] = frozenset()
        self._looked_at: Instant | None = None

    def pinned(self, revision: str) -> Pinned:
        """The definition under this hash; NotFoundError if the store has lost it."""
        if revision not in self._read:
            closure = self._store.definition(revision)
            if closure is None:
                raise NotFoundError(f"The store has no definition {revision}.", mend="Restore the store's definitions.")
            definition, contracts = from_closure(closure)
            self._read[revision] = Pinned(definition=definition, contracts=contracts)
        return self._read[revision]

    def needed(self, agency: str, now: Instant) -> frozenset[str]:
        """The operations of the agency that open requests may ask for, by the definitions that they are pinned to."""
        if self._looked_at is None or not 0 <= now - self._looked_at < _FRESH:
            self._open, self._looked_at = frozenset(self._store.open_revisions()), now
        steps = [step for revision in self._open for step in self._steps(revision)]
        asked = [step for step in steps if agency in step.providers and not step.is_desk(agency)]
        return frozenset(operation for step in asked for operation in operations_of(step))

    def _steps(self, revision: str) -> Iterable[StepDefinition]:
        try:
            return self.pinned(revision).definition.steps.values()
        except NotFoundError:  # told elsewhere, as the failure of each request that is pinned to it
            return ()


def operations_of(step: StepDefinition) -> frozenset[str]:
    """What the step asks its provider for, and what takes it back."""
    return frozenset({step.operation} | ({step.compensate.operation} if step.compensate else set()))
