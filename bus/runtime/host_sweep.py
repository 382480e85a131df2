"""What a host does now and then: takes over what a process that is gone had received, and forgets what is old."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from bus.logs import Log
from bus.message.envelope import decode
from bus.message.instant import DAY, Instant, Milliseconds
from bus.runtime.host_call import Calls
from bus.runtime.host_intake import Taken
from bus.runtime.host_setup import HostSetup, Work

#: Interactions that are forgotten in one go; the rest follows at the next sweep, so that work goes on in between.
FORGET_AT_ONCE: Final = 5_000
#: Later than any clock will ever be.
_END_OF_TIME: Instant = 2**62


class Sweep:
    """The seldom work of one host, on its own thread."""

    def __init__(self, setup: HostSetup, log: Log) -> None:
        self._setup = setup
        self._log = log
        #: On the monotonic clock.
        self._sweep_at: Milliseconds = 0
        self._forget_at: Milliseconds = 0
        self._has_swept = False
        #: The bus's clock, as far as this process has heard of it.
        self._heard_to: Instant = 0

    def begin(self) -> None:
        """Once the host was admitted: everything, at once."""
        self._sweep_at = self._setup.monotonic()
        self._has_swept = False

    def heard(self, sent: Iterable[Instant]) -> None:
        """The bus first sent these then, by its own clock."""
        self._heard_to = max((self._heard_to, *sent))

    def step(self, calls: Calls) -> None:
        """Hand over to ``calls`` what waits in the journal, and ask for answers that came for what was pending."""
        setup, now = self._setup, self._setup.monotonic()
        if now < self._sweep_at:
            return
        self._sweep_at = now + min(setup.settings.lease, setup.settings.alive_every)
        calls.add(Taken(works=self._received(calls.waiting())))
        calls.collect()
        if now >= self._forget_at and self._heard_to:
            self._forget()

    def _received(self, known: set[str]) -> list[Work]:
        # At first everything, whatever the clock was then: whoever received it before is most likely gone. Later only
        # what nobody hurries for. What is still to come was received on a clock that was set back since.
        setup, now = self._setup, self._setup.clock()
        is_first, self._has_swept = not self._has_swept, True
        return [
            Work(row=row, message=decode(body))
            for row, body in setup.journal.waiting(_END_OF_TIME, 100 * setup.settings.batch_most)
            if row.interaction_id not in known and (is_first or abs(now - row.changed_at) >= setup.settings.lease)
        ]

    def _forget(self) -> None:
        """Once a day, what was answered for good and is older than anybody asks for.

        By the earlier of two clocks, for either may be wrong by years, and what is forgotten never comes back.
        """
        now = min(self._setup.clock(), self._heard_to)
        count = self._setup.journal.prune(now - self._setup.settings.keep_journal, FORGET_AT_ONCE)
        if count < FORGET_AT_ONCE:
            self._forget_at = self._setup.monotonic() + DAY
        if count:
            self._log.info("journal_pruned", count=count)
