"""The timekeeper: ticks through every reply channel, and turns due timers into events, while the bus can hear."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from uuid import uuid4

from bus.config import Settings
from bus.errors import BrokerUnavailableError
from bus.killpoint import reach
from bus.logs import bind
from bus.message.channel import replies
from bus.message.envelope import Envelope, MessageType, encode
from bus.message.instant import Instant, Milliseconds
from bus.message.key import Keys
from bus.ports import AgencyRow, FailureRow, Incoming, Outgoing, Publisher, Store
from bus.process.event import Timer, TimerFired
from bus.process.state import AWAITING, Request, Step
from bus.process.timer import running_timers
from bus.runtime.hearing import Hearing
from bus.runtime.process_manager import ProcessManager

_log = bind(role="timekeeper")

#: Timers that end or doubt something because nothing was heard: they need proof that it would have been heard.
_NEED_HEARING = frozenset({"answer", "ask", "deadline"})
_MOST = 200
#: After a look that took long, rest for this many times as long.
_REST = 10


class Timekeeper:
    """One thread at a time. ``monotonic`` gives milliseconds of a clock that nobody sets."""

    def __init__(
        self,
        *,
        store: Store,
        manager: ProcessManager,
        publisher: Callable[[], Publisher],
        agencies: Sequence[str],
        keys: Keys,
        settings: Settings,
        is_shared: bool = False,
        monotonic: Callable[[], int] = lambda: time.monotonic_ns() // 1_000_000,
    ) -> None:
        """``is_shared``: process managers elsewhere may hold what came before a tick, and tell the store of it."""
        self._store = store
        self._manager = manager
        self._connect = publisher
        self._publisher: Publisher | None = None
        self._agencies = agencies
        self._keys = keys
        self._settings = settings
        self._monotonic = monotonic
        self._ticked_at: Instant | None = None
        #: What wall clock minus monotonic clock should be.
        self._offset = store.now() - monotonic()
        self._suspended_until: Instant = 0
        #: On the monotonic clock: looking behind many timers that may not fire must not take all the time there is.
        self._look_at: Milliseconds = 0
        #: Timers that fired and moved nothing (a definition is lost, the code breaks): tried again at the next tick.
        self._vain: set[tuple[str, TimerFired]] = set()
        self._hearing = Hearing(store, settings) if is_shared else None

    def step(self) -> int:
        """Tick if it is time, fire what is due; how many timers moved something."""
        now = self._store.now()
        self._compare_clocks(now)
        if self._ticked_at is None or now - self._ticked_at >= self._settings.tick_every or now < self._ticked_at:
            self.tick(now)
            self._vain.clear()
            self._agencies_heard(now)
        if self._monotonic() < self._look_at:
            return 0
        events = self.due(now)
        if not events:
            return 0
        reach("timekeeper.due")
        return self._fire(events)

    def _fire(self, events: Sequence[Incoming]) -> int:
        fates = self._manager.decide(events)
        vain = {
            (one.request_id, one.event)
            for one, decided in zip(events, fates, strict=True)
            if isinstance(one.event, TimerFired) and _still_has(decided.request, one.event)
        }
        self._vain |= vain
        return len(events) - len(vain)

    def close(self) -> None:
        """Let go of the broker."""
        if self._publisher is not None:
            self._publisher.close()
            self._publisher = None

    # --- ticks -------------------------------------------------------------------------------------------------------

    def tick(self, now: Instant) -> None:
        """One tick into every reply channel; one that does not come back stops the deadlines of that agency."""
        self._ticked_at = now
        batch = [_tick(agency, now) for agency in self._agencies]
        if not batch:
            return
        try:
            if self._publisher is None:
                self._publisher = self._connect()
            self._publisher.publish(batch)
        except BrokerUnavailableError as error:
            self.close()
            _log.warning("broker_unavailable", error=error)

    def _compare_clocks(self, now: Instant) -> None:
        drift = now - self._monotonic() - self._offset
        if abs(drift) <= self._settings.clock_drift:
            return
        _log.error("clock_drift", drift_ms=drift)
        self._offset += drift
        if self._hearing is not None:
            self._hearing.begin_anew()
        # Nothing expires on a clock that jumped: first a tick must make its way on the new time.
        self._suspended_until = now + self._settings.tick_every + self._settings.tick_margin
        failure = FailureRow.of_no_request(key=self._keys.next(), code="clock_drift", at=now)
        self._store.note_failure(failure, None)

    # --- timers ------------------------------------------------------------------------------------------------------

    def due(self, now: Instant) -> list[Incoming]:
        """The events of all timers that are due and may fire now."""
        first = self._store.next_due()
        if first is None or first > now:
            return []
        begun, agencies = self._monotonic(), self._agencies_heard(now)
        pages = 0
        events: list[Incoming] = []
        for requests in self._pages(now):
            pages += 1
            events = [
                Incoming(request_id=request.id, event=event)
                for request in requests
                for event in self._of(request, agencies, now)
                if (request.id, event) not in self._vain
            ]
            if events:
                break
        if pages > 1:
            now_then = self._monotonic()
            self._look_at = now_then + min(_REST * (now_then - begun), self._settings.tick_every)
        return events[:_MOST]

    def _pages(self, now: Instant) -> Iterator[Sequence[Request]]:
        """All requests with a due timer, some at a time, earliest first.

        Those whose timers may not fire yet stay due, and must not hide those behind them. There may be as many as wait
        for agencies that nobody hears, so they are never all held at once.
        """
        place = (0, 0)
        while requests := self._store.due(now, _MOST, place):
            yield requests
            last = requests[-1]
            if len(requests) < _MOST or (behind := (last.due or 0, last.key)) <= place:
                return
            place = behind

    def _agencies_heard(self, now: Instant) -> Mapping[str, AgencyRow]:
        return self._hearing.agencies(now) if self._hearing is not None else self._store.agencies()

    def _of(self, request: Request, agencies: Mapping[str, AgencyRow], now: Instant) -> list[TimerFired]:
        fired = []
        for event in running_timers(request):
            if event.at > now:
                continue
            if event.step is None:
                fired += [event] if self._request_may(request, event.timer, event.at, agencies, now) else []
                continue
            step = request.steps[event.step]
            row = agencies.get(step.agency) or AgencyRow(agency=step.agency)
            if self._may(step, event.timer, event.at, row, now):
                fired.append(replace(event, alive=row.is_alive(now, self._settings.dead_after)))
        return fired

    def _may(self, step: Step, timer: Timer, at: Instant, row: AgencyRow, now: Instant) -> bool:
        if timer == "next":
            return True
        if now < self._suspended_until:
            return False
        # What clerks and applicants do reaches the store through no channel.
        return step.desk or timer not in _NEED_HEARING or self._heard(row, at, now)

    def _request_may(
        self, request: Request, timer: Timer, at: Instant, agencies: Mapping[str, AgencyRow], now: Instant
    ) -> bool:
        if now < self._suspended_until or timer == "warn":
            return now >= self._suspended_until
        waited_for = {step.agency for step in request.steps.values() if step.state in AWAITING and not step.desk}
        return all(self._heard(agencies.get(name) or AgencyRow(agency=name), at, now) for name in waited_for)

    def _heard(self, row: AgencyRow, at: Instant, now: Instant) -> bool:
        """Whether a reply that was sent before ``at`` would be here by now."""
        return row.heard_at is not None and at < row.heard_at <= now and now >= at + self._settings.tick_margin


def _still_has(request: Request | None, event: TimerFired) -> bool:
    """Whether exactly this timer would fire again at once."""
    if request is None:
        return True
    if event.step is None:
        return getattr(request, f"{event.timer}_at", None) == event.at
    step = request.steps.get(event.step)
    fired = (event.edit, event.attempt, event.at)
    return step is not None and fired == (step.edit, step.attempt, getattr(step, f"{event.timer}_at"))


def _tick(agency: str, now: Instant) -> Outgoing:
    message = encode(Envelope(id=str(uuid4()), source="/bus", type=MessageType.TICK, time=now), None)
    return Outgoing(
        channel=replies(agency),
        message_id=message.envelope.id,
        type=message.envelope.type,
        correlation_id="",
        body=message.body,
    )
