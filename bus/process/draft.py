"""A decision in the making: collects facts, sends and failures, and shows the request as it is so far."""

from __future__ import annotations

from typing import Any

from bus.audit.fact import Fact
from bus.config import Settings
from bus.message.instant import Instant, Milliseconds
from bus.process.decision import CloseDesk, Decision, FailureClosed, FailureOpened, Send
from bus.process.definition import DESK_REPEAT, Backoff, Compensation, Definition, Repeat, StepDefinition
from bus.process.event import Event, Replied
from bus.process.evolve import evolve
from bus.process.state import ALIVE, Kind, Request, RequestState, Step, StepKey, StepState


class Draft:
    """Every change is a fact first: `change` records it, and only `evolve` moves the request."""

    def __init__(
        self,
        request: Request,
        event: Event,
        now: Instant,
        definition: Definition,
        settings: Settings,
        *,
        asks_only: bool = False,
    ) -> None:
        self.request = request
        self.event = event
        self.now = now
        self.definition = definition
        self.settings = settings
        #: The store was restored: what it would send may have been overtaken, so look-ups take the place of it.
        self.asks_only = asks_only
        self.facts: list[Fact] = []
        self.sends: list[Send] = []
        self.failures: list[FailureOpened | FailureClosed] = []

    # --- reading -----------------------------------------------------------------------------------------------------

    @property
    def open(self) -> bool:
        """Whether the request may still make progress."""
        return self.request.state is RequestState.OPEN

    @property
    def alive(self) -> bool:
        """Whether the request has no outcome yet."""
        return self.request.state in ALIVE

    def step(self, key: StepKey) -> Step:
        """The row as it is so far."""
        return self.request.steps[key]

    def rows(self, step: str) -> tuple[Step, ...]:
        """The task rows of a step: one, one for each item, or none as long as nobody knows how many."""
        row = self.request.steps.get(StepKey(step=step))
        if row is not None:
            return (row,)
        return tuple(row for key, row in self.request.steps.items() if key.step == step and key.kind is Kind.TASK)

    def defined(self, key: StepKey) -> StepDefinition:
        """The definition of the row's step."""
        return self.definition.steps[key.step]

    def compensation(self, key: StepKey) -> Compensation:
        """The definition of a compensation row."""
        compensation = self.defined(key).compensate
        if compensation is None:
            raise LookupError(f"step {key.step} has no compensation")
        return compensation

    def repeat(self, key: StepKey) -> Repeat:
        """What trying the row's operation again may do."""
        if self.step(key).desk:
            return DESK_REPEAT
        return self.compensation(key).repeat if key.kind is Kind.COMPENSATION else self.defined(key).repeat

    def backoff(self, key: StepKey) -> Backoff:
        """The row's delayed retries."""
        return self.compensation(key).backoff if key.kind is Kind.COMPENSATION else self.defined(key).backoff

    def own_deadline(self, key: StepKey) -> Milliseconds | None:
        """The row's own deadline, if its definition states one."""
        return self.compensation(key).deadline if key.kind is Kind.COMPENSATION else self.defined(key).deadline

    # --- writing -----------------------------------------------------------------------------------------------------

    def change(self, key: StepKey, fact_kind: str, **changes: Any) -> None:
        """Record what became of a row; leaving a state also ends what belonged to it (failures, the desk's row)."""
        before = self.request.steps.get(key)
        if before is None:
            self._record(fact_kind, changes, key)
            return
        old = vars(before)
        # Most of what a move says of a row is so already.
        effective = {name: value for name, value in changes.items() if name not in old or _differs(old[name], value)}
        self._record(fact_kind, effective, key)
        if "state" in effective:
            self._left(before, self.step(key), fact_kind)

    def change_request(self, fact_kind: str, **changes: Any) -> None:
        """Record what became of the request itself."""
        self._record(fact_kind, changes, None)

    def note(self, key: StepKey | None, fact_kind: str) -> None:
        """Record that something happened which changes nothing."""
        self._record(fact_kind, {}, key)

    def send(self, send: Send) -> None:
        """Have something sent with this decision."""
        self.sends.append(send)

    def open_failure(self, key: StepKey | None, code: str) -> None:
        """Show a person one thing; the event's payload is its evidence."""
        self.failures.append(FailureOpened(step=key, code=code, payload_id=getattr(self.event, "payload_id", None)))

    def close_failures(self, key: StepKey | None, how: str) -> None:
        """What was shown of this row is over."""
        self.failures.append(FailureClosed(step=key, how=how))

    def decision(self) -> Decision:
        """Everything so far, as a value."""
        return Decision(
            request=self.request, facts=tuple(self.facts), sends=tuple(self.sends), failures=tuple(self.failures)
        )

    def _left(self, before: Step, after: Step, fact_kind: str) -> None:
        if before.state is StepState.PARKED and after.state is not StepState.PARKED:
            answered = isinstance(self.event, Replied)
            self.close_failures(before.key, "answered late" if answered else fact_kind)
        answered_by_clerk = isinstance(self.event, Replied) and after.desk
        if before.desk and before.state is StepState.DISPATCHED and not answered_by_clerk:
            self.send(CloseDesk(step=before.key, reason=fact_kind))

    def _record(self, fact_kind: str, changes: dict[str, Any], key: StepKey | None) -> None:
        event, step = self.event, self.request.steps.get(key) if key else None
        fact = Fact(
            request_id=self.request.id,
            version=self.request.version + 1,
            kind=fact_kind,
            at=self.now,
            changes=changes,
            step=key.step if key else None,
            item=key.item if key else None,
            step_kind=key.kind.value if key else None,
            consumer=changes.get("consumer", self.request.consumer) or None,
            provider=step.agency if step else None,
            purpose=changes.get("purpose", self.request.purpose) or None,
            # Only the first fact speaks of the message itself: what follows from it discloses nothing to anybody.
            fields=() if self.facts else getattr(event, "fields", ()),
            message_id=None if self.facts else getattr(event, "message_id", None),
            actor=getattr(event, "actor", None),
            reason=getattr(event, "reason", None) if getattr(event, "actor", None) else None,
        )
        self.facts.append(fact)
        self.request = evolve(self.request, fact)


def _differs(old: Any, value: Any) -> bool:
    return old is not value and old != (tuple(value) if isinstance(value, list) else value)
