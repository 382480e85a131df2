"""Requests with one row in a wanted state, and what an event made of that row, in the short words of the tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bus.config import Settings
from bus.message.identity import interaction_id
from bus.message.instant import DAY, HOUR, Instant
from bus.message.reply import Completed, Effect, Failed, Need, Pending, Refused, Reply, Returned, Unknown
from bus.message.text import Text
from bus.process.decide import accept, decide
from bus.process.decision import (
    Decision,
    FailureClosed,
    FailureOpened,
    ResendTask,
    SendQuery,
    SendWithdrawal,
    TellReturned,
)
from bus.process.definition import Compensation, Definition, Path, Repeat, StepDefinition
from bus.process.event import Dispatched, Event, Replied, Submitted, TimerFired
from bus.process.evolve import replay
from bus.process.state import Kind, Request, RequestState, Step, StepKey, StepState, Superseded

NOW: Instant = 1_800_000_000_000
SETTINGS = Settings()
REQUEST_ID = "0190a0f0-5a5a-8a5a-9a5a-5a5a5a5a5a5a"
MAIN = StepKey(step="main")
OTHER = StepKey(step="other")
#: Who gives a command, and why.
BY: Mapping[str, Any] = {"actor": "operator-1", "reason": "asked by phone"}
BACK = StepKey(step="main", kind=Kind.COMPENSATION)
CLOSED = RequestState.CLOSING
WORDS = Text(en="Words.", ar="كلمات.")

#: The effect that a row in this state usually has.
_EFFECTS = {
    "dispatched": Effect.UNKNOWN,
    "pending": Effect.UNKNOWN,
    "unknown": Effect.UNKNOWN,
    "parked": Effect.UNKNOWN,
    "succeeded": Effect.DONE,
}

REPLIES: Mapping[str, Reply] = {
    "completed": Completed(data={"number": "1"}),
    "refused": Refused(reason_code="not_entitled", text=WORDS),
    "returned": Returned(needs=(Need(pointer="/lease", reason_code="missing", text=WORDS),)),
    "pending": Pending(),
    "retryable": Failed(code="unavailable", effect=Effect.NONE, retryable=True),
    "permanent": Failed(code="invalid_input", effect=Effect.NONE, retryable=False),
    "done": Failed(code="half_read", effect=Effect.DONE, retryable=False),
    "unknown": Unknown(),
    "withdrawn": Failed(code="withdrawn", effect=Effect.NONE, retryable=False),
}


def step(name: str, **changes: Any) -> StepDefinition:
    """A step that can be looked up, with a deadline of a day."""
    fields: dict[str, Any] = {
        "title": WORDS,
        "provider": f"agency_of_{name}",
        "operation": f"{name}.do.v1",
        "input": {},
        "repeat": Repeat(kind="queryable"),
        "deadline": DAY,
    }
    return StepDefinition(name=name, **fields | changes)


def back(**changes: Any) -> Compensation:
    """How to take back what a step did."""
    fields: dict[str, Any] = {"operation": "main.undo.v1", "input": {}, "repeat": Repeat(kind="queryable")}
    return Compensation(**fields | {"deadline": DAY} | changes)


def service(*steps: StepDefinition, **changes: Any) -> Definition:
    """A service of these steps."""
    fields: dict[str, Any] = {
        "service": "try.v1",
        "title": WORDS,
        "request_contract": "try/request.v1",
        "result_contract": "try/result.v1",
        "subject": Path(root="request", step="", members=("id",)),
        "consumers": {},
        "purposes": {},
        "steps": {one.name: one for one in steps},
        "output": {},
        "deadline": 10 * DAY,
    }
    return Definition(**fields | changes)


#: The row under test can be taken back; the other one only keeps the request alive.
SERVICE = service(step("other"), step("main", needs=("other",), compensate=back()))


def row(state: str, key: StepKey = MAIN, **changes: Any) -> Step:
    """A row in that state as it usually is there: second attempt of the first edit, sent, its clock running."""
    edit = 0 if key.kind is Kind.COMPENSATION else 1
    fields: dict[str, Any] = {
        "state": StepState(state),
        "effect": _EFFECTS.get(state, Effect.NONE),
        "agency": f"agency_of_{key.step}",
        "edit": edit,
        "attempt": 2,
        "sent_edit": edit,
        "superseded": Superseded(edit=0, attempt=1) if edit else None,
        "first_sent": NOW - HOUR,
        "journal_id": "journal",
        "expires_at": NOW + HOUR,
    }
    if state in {"parked", "returned"}:
        fields |= {"expires_at": None, "clock_left": HOUR}
    if state in {"succeeded", "refused"}:
        fields |= {"output_id": 1, "output_digest": "the first answer"}
    if state == "waiting":
        fields |= {"sent_edit": None, "first_sent": None, "journal_id": None, "edit": 0, "superseded": None}
    if state == "returned":
        fields |= {"asked": ("/deed",)}
    return Step(key=key, **fields | changes)


def named(name: str, key: StepKey = MAIN) -> Step:
    """The row that a table names: a state, or a state and what is special about it."""
    state, _, special = name.partition("-")
    specials: dict[str, dict[str, Any]] = {
        "": {},
        "unsent": {"sent_edit": None, "first_sent": None, "edit": 0, "superseded": None},
        "new": {"edit": 1, "sent_edit": 0},
        "doubt": {"effect": Effect.UNKNOWN},
        "done": {"effect": Effect.DONE},
        "none": {"effect": Effect.NONE},
        "poisoned": {"reason": "poison"},
    }
    return row(state, key, **specials[special])


def request(*rows: Step, state: RequestState = RequestState.OPEN, **changes: Any) -> Request:
    """A request with these rows and one more that keeps it alive."""
    steps = {one.key: one for one in (row("dispatched", OTHER), *rows)}
    intended = RequestState.CANCELLED if state is RequestState.CLOSING else None
    known: dict[str, Any] = {"accepted_at": NOW - HOUR, "intended": intended, "deadline_at": NOW + 9 * DAY}
    if state is not RequestState.OPEN:
        known["deadline_at"] = None
    return Request(id=REQUEST_ID, key=1, state=state, steps=steps, **known | changes)


def reply(to: Step, what: Reply, **changes: Any) -> Replied:
    """The provider's answer to the row's current attempt."""
    edit = changes.pop("edit", to.edit)
    fields: dict[str, Any] = {
        "interaction_id": interaction_id(REQUEST_ID, to.key.step, to.key.item, to.key.kind.value, edit),
        "provider": to.agency,
        "attempt": to.attempt,
        "reply": what,
        "message_id": "message",
        "payload_id": 77,
        "digest": "another answer",
    }
    return Replied(**fields | changes)


def decided(
    before: Request, event: Event, definition: Definition = SERVICE, now: Instant = NOW, settings: Settings = SETTINGS
) -> Decision:
    """The decision, after the promises that hold for each: contiguous facts from which the request follows."""
    decision = decide(before, event, now, definition, settings)
    assert [fact.version for fact in decision.facts] == [
        before.version + number for number in range(1, len(decision.facts) + 1)
    ]
    assert replay(before, decision.facts) == decision.request
    assert decision.conflict is None or not (decision.facts or decision.sends or decision.failures)
    return decision


def seen(before: Request, decision: Decision, key: StepKey = MAIN) -> str:
    """What became of the row, as a cell of a table.

    ``.`` nothing, ``409`` a conflict, ``=`` its state stays; ``/`` the new effect, if it changed; then one letter for
    each thing that happened: Q query, W withdrawal, R resent, T the consumer is told, C compensation wanted,
    L listed as left behind, F failure opened, X failures closed.
    """
    if decision.conflict is not None:
        return "409"
    own = [fact for fact in decision.facts if (fact.step, fact.step_kind) == (key.step, key.kind.value)]
    failures = [type(failure) for failure in decision.failures if failure.step == key]
    if not own and not failures:
        return "."
    old, new = before.steps[key], decision.request.steps[key]
    text = "=" if new.state is old.state else new.state.value
    text += "" if new.effect is old.effect else f"/{new.effect.value}"
    sends = [type(send) for send in decision.sends if getattr(send, "step", None) == key]
    wanted = key._replace(kind=Kind.COMPENSATION)
    flags = {
        "Q": SendQuery in sends,
        "W": SendWithdrawal in sends,
        "R": ResendTask in sends,
        "T": TellReturned in sends,
        "C": wanted in decision.request.steps and wanted not in before.steps,
        "L": new.left_behind and not old.left_behind,
        "F": FailureOpened in failures,
        "X": FailureClosed in failures,
    }
    letters = "".join(letter for letter, happened in flags.items() if happened)
    return f"{text}+{letters}" if letters else text


def cells(table: str) -> list[tuple[str, str, str]]:
    """(row, column, expected) of a table written as text."""
    header, *rows = (line.split() for line in table.strip().splitlines())
    return [(name, column, cell) for name, *expected in rows for column, cell in zip(header, expected, strict=True)]


def submitted(definition: Definition, conditions: Mapping[str, bool] | None = None) -> Decision:
    """A new request for a service."""
    event = Submitted(
        request_id=REQUEST_ID,
        key=1,
        consumer="portal",
        service="try.v1",
        revision="r",
        purpose="trying",
        data_id=1,
        message_id="submission",
        conditions=conditions or {},
        fields=("id",),
    )
    return accept(event, NOW, definition)


def sent(before: Request, key: StepKey = MAIN, now: Instant = NOW, definition: Definition = SERVICE) -> Request:
    """The request once a ready row was dispatched."""
    leaves = Dispatched(step=key, journal_id="journal", task_id=3, message_id="task", fields=("id",))
    return decided(before, leaves, definition, now).request


def timer(of: Step, name: Any, at: Instant, *, alive: bool = True) -> TimerFired:
    """The row's timer, due."""
    return TimerFired(step=of.key, timer=name, at=at, edit=of.edit, attempt=of.attempt, alive=alive)


def states(of: Request) -> dict[str, str]:
    """The states of all rows; compensations as ``step/compensation``."""
    return {
        key.step if key.kind is Kind.TASK else f"{key.step}/compensation": one.state.value
        for key, one in of.steps.items()
    }
