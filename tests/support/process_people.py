"""What people do to a simulated world: clerks who answer, operators who command, applicants who cancel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from bus.message.reply import Completed, Refused, Reply
from bus.process.event import (
    AnsweredByHand,
    CancelAsked,
    Edited,
    Event,
    GaveUp,
    ReplayAsked,
    Replied,
    SkipAsked,
    Supplemented,
    TerminateAsked,
)
from bus.process.state import Kind, Step, StepState
from tests.support.process_rows import NOW, REPLIES, WORDS
from tests.support.process_world import World

_T = TypeVar("_T")

#: The n-th of what is there, so that a schedule shrinks.
PICKS = st.integers(min_value=0, max_value=40)
COMMANDS = ("give_up", "replay", "edit", "done_by_hand", "refused_by_hand", "skip", "supplement")


class PeopleMachine(RuleBasedStateMachine):
    """The rules of people; `ProcessMachine` has all the others."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(NOW)

    # --- the desk ----------------------------------------------------------------------------------------------------

    @rule(pick=PICKS, kind=st.sampled_from(["completed", "refused", "returned"]))
    def clerk(self, pick: int, kind: str) -> None:
        rows = self._desk_rows()
        if rows:
            self._answer_desk(*nth(rows, pick), kind)

    def _desk_rows(self) -> list[tuple[str, Step]]:
        return [
            (request_id, step)
            for request_id, case in self.world.cases.items()
            for step in case.request.steps.values()
            if step.desk and step.state is StepState.DISPATCHED
        ]

    def _answer_desk(self, request_id: str, step: Step, kind: str) -> None:
        case, number = self.world.cases[request_id], self.world.number()
        digest = f"clerk/{kind}/{number}"
        self.world.note(case, step.key, REPLIES[kind], digest)
        event = Replied(
            interaction_id=case.request.interaction(step.key),
            provider=step.agency,
            attempt=step.attempt,
            reply=REPLIES[kind],
            message_id=f"clerk-{number}",
            payload_id=number,
            digest=digest,
            rows=self.world.rows_after(case, step.key) if kind == "completed" else (),
            actor="clerk-7",
        )
        self.world.decide(request_id, event)

    # --- those who have asked, and those who run the bus ---------------------------------------------------------

    @rule(pick=PICKS)
    def edit(self, pick: int) -> None:
        rows = [(one, step) for one, step in self._rows_that_wait_for_people() if step.key.kind is Kind.TASK]
        if rows:
            self._command(*nth(rows, pick), "edit")

    @rule(pick=PICKS, command=st.sampled_from(COMMANDS))
    def command(self, pick: int, command: str) -> None:
        rows = [
            (request_id, step) for request_id, case in self.world.cases.items() for step in case.request.steps.values()
        ]
        self._command(*nth(rows, pick), command)

    @rule(pick=PICKS, command=st.sampled_from(COMMANDS))
    def command_where_somebody_waits(self, pick: int, command: str) -> None:
        rows = self._rows_that_wait_for_people()
        if rows:
            self._command(*nth(rows, pick), command)

    def _rows_that_wait_for_people(self) -> list[tuple[str, Step]]:
        return [
            (request_id, step)
            for request_id, case in self.world.cases.items()
            for step in case.request.steps.values()
            if step.state in {StepState.PARKED, StepState.RETURNED, StepState.RETRYING}
        ]

    def _command(self, request_id: str, step: Step, command: str) -> bool:
        by: dict[str, Any] = {"step": step.key, "actor": "operator-1", "reason": "tried"}
        number = self.world.number()
        event: Event
        match command:
            case "give_up":
                event = GaveUp(**by)
            case "replay":
                event = ReplayAsked(**by)
            case "edit":
                event = Edited(**by, input_id=number)
            case "skip":
                event = SkipAsked(**by)
            case "supplement":
                event = Supplemented(step=step.key, attempt=step.attempt, input_id=number, actor="applicant")
            case _:
                reply: Reply = (
                    Completed(data={}) if command == "done_by_hand" else Refused(reason_code="no", text=WORDS)
                )
                digest = f"hand/{number}"
                self.world.note(self.world.cases[request_id], step.key, reply, digest)
                self.world.cases[request_id].lied.add(step.key.step)  # people may be wrong
                if step.key.kind is Kind.COMPENSATION and command == "refused_by_hand":
                    return False
                event = AnsweredByHand(**by, reply=reply, payload_id=number, digest=digest)
        return self.world.decide(request_id, event).conflict is None

    @rule(pick=PICKS, how=st.integers(min_value=0, max_value=11))
    def cancel(self, pick: int, how: int) -> None:
        if how > 3:
            return  # most requests are left in peace
        request_id = nth(list(self.world.cases), pick)
        by = {"actor": "portal", "reason": "changed my mind"}
        self.world.decide(request_id, TerminateAsked(**by) if how == 0 else CancelAsked(**by))

    def _people_act(self) -> bool:
        moved = False
        for request_id, step in self._desk_rows():
            self._answer_desk(request_id, step, "completed")
            moved = True
        for request_id, step in self._rows_that_wait_for_people():
            if step.key.kind is Kind.TASK and step.state is not StepState.RETRYING:
                command = "supplement" if step.state is StepState.RETURNED else "give_up"
                current = self.world.cases[request_id].request.steps[step.key]
                if current.state is step.state:
                    assert self._command(request_id, current, command), f"nobody can help {step}"
                    moved = True
        return moved


def nth(of: Sequence[_T], pick: int) -> _T:
    return of[pick % len(of)]
