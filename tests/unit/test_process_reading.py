"""What deciding reads: what a task says, what counts as the answer of a step, and what a reply decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from bus.message.contract import Contracts
from bus.message.reply import Completed, Data, Effect, Failed, Refused
from bus.process.closure import output_contract
from bus.process.definition import Compensation, Condition, Definition, Path, Repeat
from bus.process.event import Replied
from bus.process.reading import Read, outputs, refusals, task_data, understood
from bus.process.rows import NewRow
from bus.process.state import Kind, Request, Step, StepKey, StepState
from tests.support.process_rows import NOW, REQUEST_ID, WORDS, service, step

SUBMITTED = 1
TASK = 2
PLOTS = Path(root="steps", step="land", members=("plots",))


def item(*members: str) -> Path:
    return Path(root="item", step="", members=members)


def row(name: str, index: int | None = None, *, kind: Kind = Kind.TASK, **changes: Any) -> Step:
    """A row that succeeded, unless it is said otherwise."""
    fields: dict[str, Any] = {
        "state": StepState.SUCCEEDED,
        "effect": Effect.DONE,
        "agency": f"agency_of_{name}",
        "sent_edit": 0,
    }
    return Step(key=StepKey(step=name, item=index, kind=kind), **fields | changes)


def request_of(*rows: Step) -> Request:
    return Request(id=REQUEST_ID, key=7, data_id=SUBMITTED, accepted_at=NOW, steps={one.key: one for one in rows})


def completed(**data: Any) -> Data:
    return {"type": "bus.task.completed.v1", "data": data}


def stored(payloads: Mapping[int, Data]) -> Read:
    return lambda payload: payloads[payload]


def test_a_step_with_items_answers_a_list_in_the_order_of_its_items_of_those_that_were_answered() -> None:
    # Given items that were answered in another order, of which one was refused, and one could not be taken back
    rows = [row("plot", 2, output_id=12), row("plot", 1, state=StepState.REFUSED, output_id=11)]
    kept = row("plot", 0, kind=Kind.COMPENSATION, state=StepState.REFUSED, output_id=11)
    request = request_of(*rows, row("plot", 0, output_id=10), kept, row("land", output_id=13))
    refused: Data = {"type": "bus.task.refused.v1", "data": {"text": {"en": "No.", "ar": "لا."}}}
    read = stored({10: completed(no="a"), 11: refused, 12: completed(no="c"), 13: completed(plots=3)})
    # When, Then
    assert outputs(request, read) == {"plot": [{"no": "a"}, {"no": "c"}], "land": {"plots": 3}}
    assert refusals(request, read) == {StepKey(step="plot", item=1): {"en": "No.", "ar": "لا."}}


@pytest.mark.parametrize("state", [StepState.EXPIRED, StepState.FAILED, StepState.PARKED])
def test_what_was_done_after_the_bus_had_ended_the_step_is_no_output_of_it(state: StepState) -> None:
    late = request_of(row("land", state=state, output_id=10), row("plot", 0, state=state, output_id=11))
    assert outputs(late, stored({10: completed(plots=[1]), 11: completed(no="a")})) == {}


def test_no_answer_of_a_compensation_is_an_output() -> None:
    undone = request_of(row("land", kind=Kind.COMPENSATION, output_id=10))
    assert outputs(undone, stored({10: completed()})) == {}


def test_the_task_of_an_item_is_made_of_that_item() -> None:
    definition = service(step("land"), step("plot", needs=("land",), for_each=PLOTS, input={"no": item("no")}))
    rows = [row("plot", index, state=StepState.READY) for index in (0, 1)]
    request = request_of(row("land", output_id=10), *rows)
    read = stored({SUBMITTED: {}, 10: completed(plots=[{"no": "a"}, {"no": "b"}])})
    assert [task_data(definition, request, one.key, read) for one in rows] == [{"no": "a"}, {"no": "b"}]


def test_what_a_person_set_counts_before_what_was_sent_and_that_before_what_the_route_makes() -> None:
    definition = service(step("land", input={"no": Path(root="request", step="", members=("no",))}))
    read = stored({SUBMITTED: {"no": "route"}, 20: {"no": "person"}, 21: {"data": {"no": "sent"}}})
    found = [
        task_data(definition, request_of(one), one.key, read)["no"]
        for one in (row("land"), row("land", task_id=21), row("land", task_id=21, input_id=20))
    ]
    assert found == ["route", "sent", "person"]


def undoing(**changes: Any) -> Definition:
    """A step that is taken back with what it was given, what it answered, and its item."""
    values = {
        "given": Path(root="input", step="", members=("no",)),
        "answered": Path(root="steps", step="plot", members=("deed",)),
        "item": item("no"),
    }
    undo = Compensation(operation="plot.undo.v1", input=values, repeat=Repeat(kind="queryable"))
    return service(step("plot", input={"no": item("no")}, compensate=undo, **changes))


def test_taking_back_an_item_reads_its_own_answer_its_own_input_and_the_item() -> None:
    definition = undoing(for_each=Path(root="request", step="", members=("plots",)))
    back = row("plot", 1, kind=Kind.COMPENSATION, state=StepState.READY)
    request = request_of(row("plot", 0, output_id=10), row("plot", 1, output_id=11, task_id=TASK), back)
    submitted = {"plots": [{"no": "a"}, {"no": "b"}]}
    payloads = {10: completed(deed="A"), 11: completed(deed="B"), TASK: {"data": {"no": "sent"}}, SUBMITTED: submitted}
    found = task_data(definition, request, back.key, stored(payloads))
    assert found == {"given": "sent", "answered": "B", "item": "b"}


def test_what_a_step_is_asked_has_nothing_of_how_it_is_taken_back() -> None:
    definition = undoing(for_each=Path(root="request", step="", members=("plots",)))
    ready = row("plot", 0, state=StepState.READY)
    assert task_data(definition, request_of(ready), ready.key, stored({SUBMITTED: {"plots": [{"no": "a"}]}})) == {
        "no": "a"
    }


def test_taking_back_what_came_after_the_end_reads_that_very_answer() -> None:
    back = row("plot", kind=Kind.COMPENSATION, state=StepState.READY)
    request = request_of(row("plot", state=StepState.EXPIRED, output_id=10), back)
    found = task_data(undoing(), request, back.key, stored({SUBMITTED: {}, 10: completed(deed="late")}))
    assert found == {"answered": "late"}


# --- What a reply decides -------------------------------------------------------------------------------------------

CONTRACTS = Contracts(
    {
        output_contract("land.do.v1"): {"type": "object", "properties": {"plots": {"type": "array", "maxItems": 2}}},
        output_contract("land.undo.v1"): {"type": "object"},
    }
)
DECIDING = service(
    step("land", compensate=Compensation(operation="land.undo.v1", input={}, repeat=Repeat(kind="queryable"))),
    step("plot", needs=("land",), for_each=PLOTS, most=2),
    step("map", needs=("land",), when=Condition(path=PLOTS)),
)


def reply_to(request: Request, key: StepKey, **changes: Any) -> Replied:
    fields: dict[str, Any] = {"reply": Completed(data={"plots": [{}, {}]}), "attempt": 1, "digest": "d"}
    return Replied(
        interaction_id=request.interaction(key),
        provider="agency_of_land",
        message_id="r",
        payload_id=9,
        **fields | changes,
    )


def test_a_reply_decides_the_conditions_and_the_rows_that_read_it() -> None:
    request = request_of(row("land", state=StepState.DISPATCHED))
    event = reply_to(request, StepKey(step="land"))
    known = understood(DECIDING, CONTRACTS, request, event, stored({SUBMITTED: {}}))
    rows = tuple(NewRow(step="plot", item=index, agency="agency_of_plot", desk=False) for index in (0, 1))
    assert (known.conditions, known.rows) == ({"map": True}, rows)
    assert known.fields == ("/plots",)


def test_a_longer_list_than_the_contract_allows_is_an_answer_that_cannot_be_read_and_plans_nothing() -> None:
    request = request_of(row("land", state=StepState.DISPATCHED))
    event = reply_to(request, StepKey(step="land"), reply=Completed(data={"plots": [{}, {}, {}]}))
    known = understood(DECIDING, CONTRACTS, request, event, stored({SUBMITTED: {}}))
    assert known.reply == Failed(code="answer_unreadable", effect=Effect.DONE, retryable=False)
    assert (known.rows, known.conditions) == ((), {})


def test_what_a_compensation_answers_decides_nothing() -> None:
    back = row("land", kind=Kind.COMPENSATION, state=StepState.DISPATCHED)
    request = request_of(row("land", output_id=10), back)
    known = understood(DECIDING, CONTRACTS, request, reply_to(request, back.key), stored({}))
    assert (known.rows, known.conditions, known.fields) == ((), {}, ("/plots",))


def test_a_reply_that_completes_nothing_or_answers_nothing_is_left_as_it_is() -> None:
    request = request_of(row("land", state=StepState.DISPATCHED))
    refused = reply_to(request, StepKey(step="land"), reply=Refused(reason_code="no", text=WORDS))
    stranger = replace(reply_to(request, StepKey(step="land")), provider="agency_of_plot")
    for event in (refused, stranger):
        assert understood(DECIDING, CONTRACTS, request, event, stored({})) is event
