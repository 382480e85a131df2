"""Whether something new may be accepted now: only admissions are throttled, never what settles what is there."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass

from bus.config import Settings
from bus.errors import TransientError
from bus.message.channel import agency_of
from bus.message.instant import Milliseconds
from bus.message.reply import Data
from bus.ports import Store
from bus.process.definition import Definition
from bus.process.mapping import conditions_from_request
from bus.process.rows import rows_from_request
from bus.process.state import StepState

#: How long a look at the outbox counts.
_FRESH: Milliseconds = 1_000
_MEND = "Submit it again later with the same key."


def _monotonic() -> Milliseconds:
    return time.monotonic_ns() // 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Waiting:
    """What waited for the broker when somebody looked."""

    #: All of it, of no agency more than `Settings.channel_most`.
    total: int = 0
    #: Agencies for which more than that waits.
    full: frozenset[str] = frozenset()


class Admission:
    """Looks now and then at how much waits for the broker, and for whom. Any thread may ask."""

    def __init__(self, store: Store, settings: Settings, monotonic: Callable[[], Milliseconds] = _monotonic) -> None:
        self._store = store
        self._most = settings.outbox_most
        self._most_of_one = settings.channel_most
        self._every = settings.tick_every
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._seen = _Waiting()
        self._looked_at: Milliseconds | None = None

    def check(self, consumer: str, submission_key: str, asked: Callable[[], Collection[str]]) -> None:
        """TransientError while too much waits: for the broker, or for one of the agencies that it would ask.

        An agency whose channel is full shuts out those that may ask it, and nobody else. A submission that was accepted
        before is answered all the same: it adds nothing.
        """
        waiting = self._waiting()
        is_full = waiting.total > self._most
        full = waiting.full.intersection(asked()) if waiting.full and not is_full else frozenset()
        if not (is_full or full) or self._store.submission_under(consumer, submission_key) is not None:
            return
        if is_full:
            told = "Too much waits for the broker: nothing new is accepted until some of it has left. Nothing is lost."
            raise TransientError(told, code="outbox-full", mend=_MEND)
        told = f"Too much waits for {', '.join(sorted(full))}: nothing that may ask it is accepted until some has left."
        raise TransientError(told, code="channel-full", mend=_MEND)

    def _waiting(self) -> _Waiting:
        now = self._monotonic()
        with self._lock:
            if self._looked_at is not None and now - self._looked_at < _FRESH:
                return self._seen
            self._looked_at = now
        self._seen = self._look()
        return self._seen

    def _look(self) -> _Waiting:
        counts: Counter[str] = Counter()
        for channel, count in self._store.outbox_depths().items():
            counts[agency_of(channel) or channel] += count
        if self._is_deaf():
            counts.update(self._store.counts(StepState.READY))
        return _Waiting(
            total=sum(min(count, self._most_of_one) for count in counts.values()),
            full=frozenset(name for name, count in counts.items() if count > self._most_of_one),
        )

    def _is_deaf(self) -> bool:
        """Whether no tick has come through the broker for several times as long as one should take.

        While nothing comes through, no host is known to be alive: what would be sent is held back in the store. So it
        is where none ever came, as on a first start beside a broker that is away.
        """
        heard = (row.heard_at for row in self._store.agencies().values() if row.heard_at is not None)
        return self._store.now() - max(heard, default=0) > 3 * self._every


def may_ask(definition: Definition, data: Data) -> frozenset[str]:
    """The agencies with hosts that a request asks, for all that its data tells.

    Who is only chosen by what another agency answers is not known yet.
    """
    conditions = conditions_from_request(definition, data)
    told = rows_from_request(definition, data)
    asked = {(row.step, row.agency) for row in told if row.agency and not row.desk}
    by_data = {row.step for row in told}
    asked |= {
        (step.name, step.provider)
        for step in definition.steps.values()
        if isinstance(step.provider, str) and not step.desk and step.name not in by_data
    }
    return frozenset(agency for step, agency in asked if conditions.get(step, True))
