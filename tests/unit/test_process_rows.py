"""What the brain promises about steps with items, and about providers that are chosen for each request."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bus.message.reply import Completed, Refused
from bus.process.decide import accept, decide
from bus.process.decision import FailureOpened
from bus.process.definition import Compensation, Condition, Definition, OneOf, Path, Repeat, StepDefinition
from bus.process.event import CancelAsked, Dispatched, ReplayAsked, Replied, Submitted
from bus.process.evolve import replay
from bus.process.mapping import resolve
from bus.process.rows import NewRow, rows_after, rows_from_request, unknown_members
from bus.process.state import Kind, Request, RequestState, StepKey, StepState
from bus.process.wire import left_behind, result
from tests.support.process_rows import NOW, REQUEST_ID, SETTINGS, WORDS, service, states, step

PARTNERS = Path(root="request", step="", members=("partners",))
OFFICES = OneOf(
    group="offices",
    by=Path(root="request", step="", members=("town",)),
    members={"01": "office_north", "02": "office_south"},
    desks=frozenset({"office_south"}),
)
OWNED = Path(root="steps", step="land", members=("plots",))


def each(name: str = "partner", **changes: Any) -> StepDefinition:
    """A step that asks the same agency about each partner."""
    return step(name, for_each=PARTNERS, most=20, **changes)


def submission(definition: Definition, data: dict[str, Any]) -> Submitted:
    return Submitted(
        request_id=REQUEST_ID,
        key=7,
        consumer="portal",
        service=definition.service,
        revision="r",
        purpose="trying",
        data_id=1,
        message_id="m",
        rows=rows_from_request(definition, data),
    )


def submit(definition: Definition, data: dict[str, Any]) -> Request:
    """The request as it is once it is accepted."""
    return accept(submission(definition, data), NOW, definition, SETTINGS).request


def answer(
    request: Request,
    definition: Definition,
    key: StepKey,
    data: dict[str, Any] | None = None,
    rows: tuple[NewRow, ...] = (),
) -> Request:
    """The request once the row was sent and its provider has completed it, or refused it where there is no data."""
    sent = decide(
        request, Dispatched(step=key, journal_id="j", task_id=2, message_id="t"), NOW, definition, SETTINGS
    ).request
    reply = Completed(data=data) if data is not None else Refused(reason_code="no", text=WORDS)
    event = Replied(
        interaction_id=sent.interaction(key),
        provider=sent.steps[key].agency,
        attempt=1,
        reply=reply,
        message_id=f"reply-{key}",
        payload_id=3,
        digest=f"digest-{key}",
        rows=rows if rows or data is None else rows_after(definition, key.step, {}, {key.step: data}),
    )
    return decide(sent, event, NOW, definition, SETTINGS).request


def test_each_item_of_a_list_is_a_row_of_its_own_and_they_run_at_once() -> None:
    request = submit(service(each()), {"partners": [{"id": "1"}, {"id": "2"}, {"id": "3"}]})
    assert [(key.item, row.state) for key, row in request.steps.items()] == [(n, StepState.READY) for n in range(3)]
    assert len({request.interaction(key) for key in request.steps}) == 3


@pytest.mark.parametrize("data", [{"partners": []}, {}])
def test_an_empty_list_is_one_skipped_row_and_holds_up_nothing(data: dict[str, Any]) -> None:
    definition = service(each(), step("after", needs=("partner",)))
    request = submit(definition, data)
    row = request.steps[StepKey(step="partner")]
    assert (row.state, row.reason, states(request)["after"]) == (StepState.SKIPPED, "empty", "ready")
    ended = answer(request, definition, StepKey(step="after"), {})
    assert ended.state is RequestState.COMPLETED


def test_what_needs_a_step_with_items_waits_for_the_last_of_them() -> None:
    definition = service(each(), step("after", needs=("partner",)))
    request = submit(definition, {"partners": [{}, {}]})
    once = answer(request, definition, StepKey(step="partner", item=1), {})
    assert states(once)["after"] == "waiting"
    twice = answer(once, definition, StepKey(step="partner", item=0), {})
    assert states(twice)["after"] == "ready"


def test_one_refused_item_of_a_required_step_rejects_the_request_and_takes_back_the_others() -> None:
    undo = Compensation(operation="partner.undo.v1", input={}, repeat=Repeat(kind="queryable"))
    definition = service(each(compensate=undo))
    request = answer(submit(definition, {"partners": [{}, {}]}), definition, StepKey(step="partner", item=0), {})
    closing = answer(request, definition, StepKey(step="partner", item=1))
    back = StepKey(step="partner", item=0, kind=Kind.COMPENSATION)
    assert (closing.state, closing.intended) == (RequestState.CLOSING, RequestState.REJECTED)
    assert closing.steps[back].state is StepState.READY
    assert StepKey(step="partner", item=1, kind=Kind.COMPENSATION) not in closing.steps


def test_the_result_names_each_item_and_what_it_left_behind() -> None:
    definition = service(each())
    request = answer(submit(definition, {"partners": [{}, {}]}), definition, StepKey(step="partner", item=1), {})
    ended = decide(request, CancelAsked(actor="portal", reason="no"), NOW, definition, SETTINGS).request
    data = result(ended, definition, None, {}, NOW).data or {}
    assert [(one["step"], one["item"], one["state"]) for one in data["steps"]] == [
        ("partner", 0, "cancelled"),
        ("partner", 1, "succeeded"),
    ]
    assert left_behind(ended) == data["left_behind"] == ["partner/1"]


def test_the_provider_is_the_member_of_the_group_that_the_request_names() -> None:
    definition = service(step("permit", provider=OFFICES))
    north, south = (submit(definition, {"town": code}).steps[StepKey(step="permit")] for code in ("01", "02"))
    assert (north.agency, north.desk, south.agency, south.desk) == ("office_north", False, "office_south", True)


def test_each_item_may_have_a_provider_of_its_own() -> None:
    chosen = replace(OFFICES, by=Path(root="item", step="", members=("town",)))
    definition = service(each(provider=chosen))
    request = submit(definition, {"partners": [{"town": "02"}, {"town": "01"}]})
    assert [row.agency for row in request.steps.values()] == ["office_south", "office_north"]


def test_a_code_that_no_member_has_waits_for_a_person_who_can_only_end_it() -> None:
    definition = service(step("permit", provider=OFFICES))
    accepted = accept(submission(definition, {"town": "99"}), NOW, definition, SETTINGS)
    key, request = StepKey(step="permit"), accepted.request
    assert (request.steps[key].state, request.steps[key].reason) == (StepState.PARKED, "provider_unknown")
    assert accepted.failures == (FailureOpened(step=key, code="provider_unknown"),)
    # When it is tried again, that is kept, and the one failure stays open
    again = decide(request, ReplayAsked(step=key, actor="op", reason="hoping"), NOW, definition, SETTINGS)
    assert again.request.steps[key].state is StepState.PARKED
    assert ([fact.actor for fact in again.facts], again.failures) == (["op"], ())


def test_the_gateway_can_tell_beforehand_which_code_no_member_has() -> None:
    by_item = replace(OFFICES, by=Path(root="item", step="", members=("home", "town")))
    definition = service(step("permit", provider=OFFICES), each(provider=by_item))
    data = {"town": "99", "partners": [{"home": {"town": "01"}}, {"home": {"town": "98"}}, {}]}
    assert unknown_members(definition, data) == (("permit", "/town"), ("partner", "/partners/1/home/town"))


def test_one_unknown_code_for_all_items_is_told_once_and_for_no_item_never() -> None:
    definition = service(each(provider=OFFICES))
    assert unknown_members(definition, {"town": "99", "partners": [{}, {}]}) == (("partner", "/town"),)
    assert unknown_members(definition, {"town": "99", "partners": []}) == ()


def test_an_earlier_answer_may_decide_how_many_rows_there_are_and_whom_they_ask() -> None:
    chosen = replace(OFFICES, by=Path(root="item", step="", members=("town",)))
    definition = service(step("land"), step("permit", needs=("land",), for_each=OWNED, most=9, provider=chosen))
    request = submit(definition, {})
    assert list(states(request)) == ["land"]
    planned = answer(request, definition, StepKey(step="land"), {"plots": [{"town": "01"}, {"town": "02"}]})
    rows = [(key.item, row.agency, row.state) for key, row in planned.steps.items() if key.step == "permit"]
    assert rows == [(0, "office_north", StepState.READY), (1, "office_south", StepState.READY)]


def test_rows_that_two_answers_decide_are_planned_with_the_later_of_them() -> None:
    # Given a list in one answer, and the code of the provider in another
    office = replace(OFFICES, by=Path(root="steps", step="seat", members=("town",)))
    several = ("land", "seat")
    definition = service(*map(step, several), step("permit", needs=several, for_each=OWNED, most=9, provider=office))
    plots: dict[str, Any] = {"plots": [{}, {}]}
    town = {"town": "02"}
    # When, Then
    assert rows_after(definition, "land", {}, {"land": plots}) == ()
    rows = rows_after(definition, "seat", {}, {"land": plots, "seat": town})
    assert [(row.item, row.agency, row.desk) for row in rows] == [(n, "office_south", True) for n in range(2)]


def test_nothing_is_known_of_a_step_before_the_answer_that_decides_its_rows_and_so_down_the_route() -> None:
    # Given a list in the answer of a provider whose code stands in another answer
    office = replace(OFFICES, by=Path(root="steps", step="land", members=("town",)))
    sheets = Path(root="steps", step="permit", members=("sheets",))
    definition = service(
        step("land"),
        step("permit", needs=("land",), provider=office),
        step("sheet", needs=("permit",), for_each=sheets, most=9),
        step("after", needs=("sheet",)),
    )
    # When, Then
    request = submit(definition, {})
    assert states(request) == {"land": "ready", "after": "waiting"}
    chosen = answer(request, definition, StepKey(step="land"), {"town": "01"})
    assert states(chosen) == {"land": "succeeded", "permit": "ready", "after": "waiting"}
    planned = answer(chosen, definition, StepKey(step="permit"), {"sheets": [{}]})
    assert planned.steps[StepKey(step="sheet", item=0)].state is StepState.READY


@pytest.mark.parametrize("found", [[], None, "a text", {"a": 1}])
def test_what_is_no_list_is_an_empty_one_and_gives_one_row_that_asks_nobody(found: object) -> None:
    rows = rows_from_request(service(each()), {"partners": found})
    assert rows == (NewRow(step="partner", item=None, agency="", desk=False),)


def test_a_list_that_never_came_is_an_empty_one() -> None:
    definition = service(step("land", on_refused="continue"), step("permit", needs=("land",), for_each=OWNED, most=9))
    ended = answer(submit(definition, {}), definition, StepKey(step="land"))
    assert ended.steps[StepKey(step="permit")].reason == "empty"
    assert ended.state is RequestState.PARTIALLY_FULFILLED


def test_a_list_of_a_step_that_is_skipped_is_empty_at_once_and_so_on_down_the_route() -> None:
    # Given a list that a list decides, and that a step decides which is not needed: nothing else will ever happen
    skipped = step("land", when=Condition(path=Path(root="request", step="", members=("premises",))))
    permit = step("permit", needs=("land",), for_each=OWNED, most=9)
    lists = Path(root="steps", step="plan", members=("sheets",))
    sheet = step("sheet", needs=("plan",), for_each=lists, most=9)
    plan = step("plan", needs=("permit",), when=Condition(path=OWNED))
    # When
    request = submit(service(skipped, permit, plan, sheet, step("after", needs=("sheet",))), {})
    # Then
    skips = dict.fromkeys(("land", "permit", "plan", "sheet"), "skipped")
    assert states(request) == {**skips, "after": "ready"}
    assert request.steps[StepKey(step="sheet")].reason == "empty"
    whole = submit(service(skipped, permit), {})
    assert (states(whole), whole.state) == ({"land": "skipped", "permit": "skipped"}, RequestState.COMPLETED)


def test_rows_that_are_known_already_are_never_planned_twice() -> None:
    # Given rows that one answer has decided, and another answer that claims to decide them, too
    definition = service(step("land"), step("seat"), step("permit", needs=("land",), for_each=OWNED, most=9))
    planned = answer(submit(definition, {}), definition, StepKey(step="land"), {"plots": [{}]})
    claimed = tuple(NewRow(step="permit", item=index, agency="another", desk=False) for index in range(2))
    # When
    again = answer(planned, definition, StepKey(step="seat"), {}, claimed)
    # Then
    assert {key: row for key, row in again.steps.items() if key.step == "permit"} == {
        key: row for key, row in planned.steps.items() if key.step == "permit"
    }


def test_a_request_that_closes_plans_nothing_new() -> None:
    definition = service(step("land"), step("permit", needs=("land",), for_each=OWNED, most=9))
    request = submit(definition, {})
    key = StepKey(step="land")
    sent = decide(
        request, Dispatched(step=key, journal_id="j", task_id=2, message_id="t"), NOW, definition, SETTINGS
    ).request
    closing = decide(sent, CancelAsked(actor="portal", reason="no"), NOW, definition, SETTINGS).request
    event = Replied(
        interaction_id=sent.interaction(key),
        provider="agency_of_land",
        attempt=1,
        reply=Completed(data={"plots": [{}]}),
        message_id="late",
        payload_id=3,
        digest="d",
        rows=(NewRow(step="permit", item=0, agency="agency_of_permit", desk=False),),
    )
    decision = decide(closing, event, NOW, definition, SETTINGS)
    assert list(states(decision.request)) == ["land"]
    assert replay(closing, decision.facts) == decision.request


def test_a_later_step_reads_one_member_of_all_items_as_a_list_in_their_order() -> None:
    values = {"numbers": Path(root="steps", step="partner", members=("number",))}
    found = resolve(values, request={}, steps={"partner": [{"number": "a"}, {}, {"number": "b"}]})
    assert found == {"numbers": ["a", "b"]}


def test_an_item_may_be_a_single_value() -> None:
    values = {"id": Path(root="item", step="", members=())}
    assert resolve(values, request={}, steps={}, item="9001") == {"id": "9001"}
