"""The definitions that requests are pinned to, loaded from the store by their hash."""

from __future__ import annotations

from dataclasses import dataclass

from bus.errors import NotFoundError
from bus.message.contract import Contracts
from bus.ports import Store
from bus.process.closure import from_closure
from bus.process.definition import Definition


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

    def pinned(self, revision: str) -> Pinned:
        """The definition under this hash; NotFoundError if the store has lost it."""
        if revision not in self._read:
            closure = self._store.definition(revision)
            if closure is None:
                raise NotFoundError(f"The store has no definition {revision}.", mend="Restore the store's definitions.")
            definition, contracts = from_closure(closure)
            self._read[revision] = Pinned(definition=definition, contracts=contracts)
        return self._read[revision]
