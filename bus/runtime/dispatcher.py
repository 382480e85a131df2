"""The only one that turns ready into dispatched: pause, window, breaker and hard stop all act here."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence

from bus.config import Settings
from bus.message.instant import Instant
from bus.ports import AgencyRow, Mode, StepRef, Store
from bus.process.state import StepKey, StepState
from bus.process.wire import operation_of
from bus.runtime import agency
from bus.runtime.agency import Gate
from bus.runtime.case import Case
from bus.runtime.reconcile import MAY_LEAVE
from bus.runtime.work import Work

#: In flight is counted by this process; other processes' counts are read in this often.
_RECOUNT_EVERY = 250
_NOT_OFFERED = "not_offered"
#: How far it looks for steps behind those that cannot leave.
_MOST_WAITING = 10_000
_PAGE = 500


class Dispatcher:
    """Knows how much is in flight and which agencies have steps that could not leave."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self._lock = threading.Lock()
        #: Only a store that nobody uses is restored, so that once it is open it stays so.
        self._asks_only = store.mode() is not Mode.OPEN
        self._in_flight: dict[str, int] = {}
        self._counted_at: Instant | None = None
        #: Agencies with ready steps behind a gate; all of them until a look showed otherwise.
        self._backlog: set[str] = set(store.counts(StepState.READY))
        #: (agency, operation) that steps wait for and that no host offers: each is told once.
        self._missed = set(_told_before(store))

    @property
    def asks_only(self) -> bool:
        """Whether the store was restored and nobody has opened it yet: then nothing leaves but look-ups."""
        return self._asks_only

    def backlog(self) -> tuple[str, ...]:
        """Agencies that may have ready steps waiting."""
        return tuple(self._backlog)

    def look(self, now: Instant) -> None:
        """Count again what is in flight and what waits, by whomever it was sent; see whether the store was opened."""
        self._asks_only = self._asks_only and self._store.mode() is not Mode.OPEN
        # Also on a clock that was set back.
        if self._counted_at is None or not 0 <= now - self._counted_at < _RECOUNT_EVERY:
            flying, waiting = self._store.counts(StepState.DISPATCHED), self._store.counts(StepState.READY)
            with self._lock:
                self._in_flight = dict(flying)
                self._backlog |= set(waiting)
                self._counted_at = now

    def run(self, work: Work, agencies: Collection[str] = ()) -> None:
        """Let leave what may: the ready rows of this transaction, earliest deadline first, then those that wait."""
        flights = _Flights(self._in_flight, work)
        offered: set[tuple[str, StepKey]] = set()
        # A row that cannot leave is parked, which may make others ready.
        while rows := [row for row in _ready(work) if (row[0].request.id, row[1]) not in offered]:
            work.load_agencies(case.request.steps[key].agency for case, key in rows)
            work.reading.prefetch({payload for case, _ in rows for payload in work.reading.needed(case)})
            for case, key in sorted(rows, key=lambda row: _urgency(*row)):
                offered.add((case.request.id, key))
                self._offer(work, case, key, flights)
        waiting = set(agencies) & self._backlog
        work.load_agencies(waiting)
        for name in sorted(waiting):
            self._take_waiting(work, name, flights)
        if self._asks_only:
            # Whatever was decided: a store that knows less than happened must cause nothing.
            outbox = work.posting.outbox
            outbox[:] = [(row, body) for row, body in outbox if row.type in MAY_LEAVE]

    def committed(self, work: Work) -> None:
        """The transaction's changes are true: count them."""
        moves = [case.moved(StepState.DISPATCHED) for case in work.cases.values()]
        with self._lock:
            for move in moves:
                for name, change in move.items():
                    self._in_flight[name] = max(0, self._in_flight.get(name, 0) + change)

    def _offer(self, work: Work, case: Case, key: StepKey, flights: _Flights) -> Gate:
        step = case.request.steps[key]
        if step.desk:
            work.dispatch(case, key)
            return Gate.OPEN
        row = work.agencies[step.agency]
        operation = operation_of(case.pinned.definition, key)
        gate = self._gate(row, operation, flights.of(step.agency), work.now)
        if gate is Gate.OPEN:
            if work.dispatch(case, key):
                flights.add(step.agency)
                work.agencies[step.agency] = agency.sent(row, work.now, self._settings)
                self._missed.discard((step.agency, operation))
            return gate
        self._backlog.add(step.agency)
        if gate.rests:
            work.hold(case, key, gate.value)
        if gate is Gate.NOT_OFFERED:
            self._tell_missed(work, step.agency, operation)
        return gate

    def _gate(self, row: AgencyRow, operation: str, in_flight: int, now: Instant) -> Gate:
        return Gate.RECONCILING if self._asks_only else agency.gate(row, operation, in_flight, now, self._settings)

    def _shut(self, row: AgencyRow, now: Instant) -> Gate | None:
        return Gate.RECONCILING if self._asks_only else agency.shut_to_all(row, now, self._settings)

    def _tell_missed(self, work: Work, name: str, operation: str) -> None:
        missed = (name, operation)
        if missed not in self._missed:
            work.alarm(_NOT_OFFERED, name, operation=operation)
            work.after_commit.append(lambda: self._missed.add(missed))

    def _take_waiting(self, work: Work, name: str, flights: _Flights) -> None:
        shut = self._shut(work.agencies[name], work.now)
        if shut is not None:
            self._rest(work, name, shut)
            return
        most = min(self._settings.batch_most, agency.window(self._settings) - flights.of(name))
        while 0 < most <= _MOST_WAITING:
            refs = work.transaction.ready(name, most)
            gates = [self._offer(work, case, ref.step, flights) for case, ref in _still_ready(work, refs)]
            if len(refs) < most:
                if not any(gate is not Gate.OPEN for gate in gates):
                    self._backlog.discard(name)
                return
            if not all(gate is Gate.NOT_OFFERED for gate in gates):
                return
            # An operation that nobody offers must not hide the others.
            most *= 4

    def _rest(self, work: Work, name: str, shut: Gate) -> None:
        """Stop the clocks of those that wait where the gate says so; those that run on are left alone."""
        if shut.rests:
            refs = work.transaction.ready(name, self._settings.batch_most)
            for case, ref in _still_ready(work, [ref for ref in refs if ref.expires_at is not None]):
                work.hold(case, ref.step, shut.value)


class _Flights:
    """In flight as of this transaction: what was counted, and what it has changed so far."""

    def __init__(self, counted: Mapping[str, int], work: Work) -> None:
        self._now = dict(counted)
        for case in work.cases.values():
            for name, change in case.moved(StepState.DISPATCHED).items():
                self._now[name] = self._now.get(name, 0) + change

    def of(self, name: str) -> int:
        return self._now.get(name, 0)

    def add(self, name: str) -> None:
        self._now[name] = self.of(name) + 1


def _ready(work: Work) -> list[tuple[Case, StepKey]]:
    return [(case, key) for case in list(work.cases.values()) for key in case.ready()]


def _still_ready(work: Work, refs: Sequence[StepRef]) -> list[tuple[Case, StepRef]]:
    """Those that this transaction has not moved, with their requests; without those whose definition is lost."""
    work.load(ref.request_id for ref in refs)
    found = [(work.cases[ref.request_id], ref) for ref in refs if ref.request_id in work.cases]
    work.reading.prefetch({payload for case, _ in found for payload in work.reading.needed(case)})
    return [(case, ref) for case, ref in found if case.request.steps[ref.step].state is StepState.READY]


def _told_before(store: Store) -> Iterator[tuple[str, str]]:
    """Operations that operators know to be missing since before this process began."""
    after = 0
    while page := store.failures(is_open=True, after=after, most=_PAGE):
        for failure in page:
            if failure.code == _NOT_OFFERED:
                name, operation, _ = failure.cause.split("/")
                yield name, operation
        after = page[-1].key


def _urgency(case: Case, key: StepKey) -> tuple[bool, Instant, int]:
    expires_at = case.request.steps[key].expires_at
    return expires_at is None, expires_at or 0, case.request.key
