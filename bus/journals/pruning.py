"""What a journal may forget, and how: part by part, so that its hosts go on in between."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Final

from bus.message.instant import Instant

#: Nothing that still waits for an answer, and no answer that may have to be read again.
ANSWERED: Final = "state IN ('completed', 'refused', 'returned', 'failed', 'tombstone')"
#: How many in one transaction.
AT_ONCE: Final = 1_000


class Pruning(ABC):
    """A journal that forgets."""

    @abstractmethod
    def _prune_some(self, before: Instant) -> int:
        """Forget up to `AT_ONCE` of what is `ANSWERED`; in the same transaction the journal's ``oldest`` is raised.

        So nobody takes a row that is gone for one that never was. Admissions go as well: a host that still waits for
        its own asks for it again.
        """

    def prune(self, before: Instant, most: int = 1_000_000) -> int:
        """Forget answered interactions first sent before ``before``, about ``most`` of them; how many."""
        pruned = 0
        while pruned < most:
            count = self._prune_some(before)
            pruned += count
            if count < AT_ONCE:
                break
        return pruned
