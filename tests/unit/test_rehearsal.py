"""A rehearsal shows what the bus would decide: each way of answering leads where the real bus would go."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bus.errors import InvalidMessageError
from bus.message.envelope import MessageType, decode
from bus.message.instant import DAY, HOUR, MINUTE, SECOND
from bus.process.definition import Definition, OneOf, RepeatKind
from bus.process.mapping import parse_path
from bus.process.state import RequestState
from bus.tools.rehearsal_sample import Sample, Samples
from tests.support.rehearsal_play import DATA, at, definition, reasons, sent, step, told, try_

# --- fulfilment ------------------------------------------------------------------------------------------------------


def test_where_everybody_does_what_is_asked_the_consumer_gets_what_it_is_granted() -> None:
    # When
    rehearsal = try_()
    # Then the request is completed, with the answers of samples and of examples
    assert rehearsal.is_over
    assert rehearsal.parked == ()
    assert rehearsal.result is not None
    assert rehearsal.result["outcome"] == "completed"
    assert rehearsal.result["result"] == {"shop": "example of shop"}
    assert rehearsal.result["withheld"] == ["/permit"]
    # And each took a second of the simulated clock, those that need one another one after the other
    assert rehearsal.timeline[-1][0] == 3 * SECOND


def test_every_field_that_an_agency_would_see_is_named_with_its_operation() -> None:
    assert try_().disclosures == {
        "registry": {
            "name.reserve.v1": ("/name",),
            "person.verify.v1": ("/number",),
            "shop.register.v1": ("/reservation",),
        },
        "office": {"site.permit.v1": ("/address",)},
    }


def test_every_message_is_the_one_that_the_bus_would_send() -> None:
    # When
    rehearsal = try_()
    # Then each is whole, and says where it belongs
    requested, completed = str(MessageType.TASK_REQUESTED), str(MessageType.REQUEST_COMPLETED)
    assert sent(rehearsal) == {
        ("tasks.registry", requested): 4,
        ("desk.office", requested): 1,
        ("results.portal", completed): 1,
    }
    assert all(decode(one.message.body).envelope == one.message.envelope for one in rehearsal.messages)
    last = next(one.message for one in rehearsal.messages if one.message.envelope.step == "register")
    assert last.data == {"reservation": "R-7"}
    assert last.envelope.legalbasis == "Law 1"


def test_the_same_play_gives_the_same_rehearsal() -> None:
    assert try_("register=down:30s") == try_("register=down:30s")


def test_a_step_that_is_not_needed_is_skipped_and_an_answer_for_it_is_called_unused() -> None:
    rehearsal = try_("partners=refused", data={**DATA, "partners": []})
    assert rehearsal.unused == ("partners",)
    assert reasons(rehearsal) == {"partners": "empty"}


# --- refusals --------------------------------------------------------------------------------------------------------


def test_a_refusal_takes_back_what_was_done_and_the_consumer_reads_why() -> None:
    # When one partner of two is refused
    rehearsal = try_("partners/1=refused:deceased")
    # Then what the others had was taken back, each with what it had answered, the name last
    assert rehearsal.request.state is RequestState.REJECTED
    undone = [one.message for one in rehearsal.messages if one.message.envelope.kind == "compensation"]
    assert [(one.envelope.step, one.envelope.item, one.data) for one in undone] == [
        ("partners", 0, {"number": "1", "status": "example of status"}),
        ("name", None, {"reservation": "R-7"}),
    ]
    assert reasons(rehearsal)["partners"] == "deceased"
    assert rehearsal.disclosures["registry"]["name.release.v1"] == ("/reservation",)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [("refused", "name_taken"), ("refused:banned", "name_banned"), ("refused:name_banned", "name_banned")],
)
def test_a_refusal_is_one_of_the_samples(answer: str, reason: str) -> None:
    rehearsal = try_(f"name={answer}")
    assert reasons(rehearsal)["name"] == reason
    assert rehearsal.parked == ()


def test_a_compensation_that_its_agency_refuses_is_parked_and_left_behind() -> None:
    rehearsal = try_("permit=refused", "undo:name=refused")
    assert rehearsal.parked == (("undo:name", "compensation_refused"),)
    assert rehearsal.result is not None
    assert rehearsal.result["left_behind"] == ["name"]


# --- something is missing --------------------------------------------------------------------------------------------


def test_what_is_returned_is_brought_from_the_example_of_the_contract_and_then_done() -> None:
    # When the registry wants another name, and the clerk a field that he did not get
    rehearsal = try_("name=returned", "permit=returned")
    # Then the applicant brings the example of each, and nothing else of the task changes
    attempts = [(one.message.envelope.step, one.message.data) for one in rehearsal.messages]
    assert ("name", {"name": "A longer name"}) in attempts
    assert ("permit", {"address": "A street", "lease": "example of lease"}) in attempts
    assert sent(rehearsal)["results.portal", str(MessageType.REQUEST_RETURNED)] == 2
    assert rehearsal.request.state is RequestState.COMPLETED


def test_the_reason_for_which_a_task_is_returned_says_nothing_of_how_it_is_done_afterwards() -> None:
    rehearsal = try_("name=returned:too_short")
    register = next(one.message for one in rehearsal.messages if one.message.envelope.step == "register")
    assert register.data == {"reservation": "R-7"}


def test_what_the_applicant_never_brings_ends_as_refused_when_his_time_is_over() -> None:
    rehearsal = try_("permit=returned:never")
    assert reasons(rehearsal)["permit"] == "not_supplemented"
    assert rehearsal.request.state is RequestState.REJECTED
    assert rehearsal.timeline[-1][0] > 30 * DAY


def test_an_example_that_its_contract_does_not_take_is_shown_and_brings_nothing() -> None:
    # Given an agency that asks for a member which the contract does not have
    needs = [{"pointer": "/colour", "reason_code": "colour_missing"}]
    samples = Samples(found={("office", "site.permit.v1"): (Sample(name="c", kind="returned", data={"needs": needs}),)})
    # When
    rehearsal = try_("permit=returned", samples=samples)
    # Then
    shown = next(one for one in rehearsal.failures if one.code == "no_supplement")
    assert [fault.pointer for fault in shown.faults] == ["/colour"]
    assert reasons(rehearsal)["permit"] == "not_supplemented"


# --- trouble ---------------------------------------------------------------------------------------------------------


def test_a_late_agency_says_pending_is_asked_again_and_answers_after_its_time() -> None:
    rehearsal = try_("register=late:2d")
    assert told(rehearsal, "register")[:5] == [
        "step_ready",
        "step_dispatched",
        "step_pending",
        "queried",
        "step_pending",
    ]
    assert at(rehearsal, "register", "step_succeeded") == at(rehearsal, "register", "step_dispatched") + 2 * DAY
    assert rehearsal.request.state is RequestState.COMPLETED


def test_a_late_clerk_says_nothing_until_he_answers() -> None:
    rehearsal = try_("permit=late:2d")
    assert told(rehearsal, "permit") == ["step_ready", "step_dispatched", "step_succeeded"]
    assert rehearsal.timeline[-1][0] > 2 * DAY


def test_a_clerk_who_answers_after_the_deadline_finds_his_row_gone() -> None:
    rehearsal = try_("permit=late:6d")
    assert told(rehearsal, "permit") == ["step_ready", "step_dispatched", "step_parked"]
    assert rehearsal.parked == (("permit", "deadline"),)


def test_an_agency_that_is_down_is_tried_again_until_it_is_back() -> None:
    rehearsal = try_("register=down:3s")
    assert told(rehearsal, "register").count("step_retrying") == 2
    assert rehearsal.request.state is RequestState.COMPLETED


def test_an_agency_that_is_down_for_too_long_is_parked_when_its_tries_are_used() -> None:
    rehearsal = try_("register=down:1h")
    assert rehearsal.parked == (("register", "exhausted"),)
    assert not rehearsal.is_over


def test_a_lost_answer_is_fetched_by_sending_the_same_message_again() -> None:
    # When
    rehearsal = try_("register=lost")
    # Then the bytes are the same, and there is no second attempt
    bodies = [one.message.body for one in rehearsal.messages if one.message.envelope.step == "register"]
    assert len(bodies) == 2
    assert len(set(bodies)) == 1
    assert rehearsal.timeline[-1][0] == pytest.approx(10 * MINUTE, abs=10 * SECOND)
    assert rehearsal.request.state is RequestState.COMPLETED


@pytest.mark.parametrize(
    ("kind", "after_doubt", "end"),
    [
        ("queryable", ["queried", "step_succeeded"], "completed"),
        ("safe", ["queried", "look_up_answered", "step_ready", "step_dispatched", "step_succeeded"], "completed"),
        ("at_most_once", ["queried", "look_up_answered", "step_parked"], "open"),
    ],
)
def test_after_unknown_follows_what_trying_again_may_do(kind: RepeatKind, after_doubt: list[str], end: str) -> None:
    # Given an operation that can be looked up, may be run again, or neither
    register = step(
        "register", "shop.register.v1", {"reservation": "steps.name.reservation"}, kind, needs=("name", "permit")
    )
    # When its host cannot tell whether it happened
    rehearsal = try_("register=unknown", of=definition(register=register))
    # Then
    assert told(rehearsal, "register") == ["step_ready", "step_dispatched", "step_unknown", *after_doubt]
    assert rehearsal.request.state.value == end


def test_an_answer_that_cannot_be_read_is_parked_and_the_rest_goes_as_far_as_timers_take_it() -> None:
    # When
    rehearsal = try_("register=malformed")
    # Then a person must look, and the deadline of the request passes all the same
    assert rehearsal.parked == (("register", "answer_unreadable"),)
    assert not rehearsal.is_over
    assert [one.code for one in rehearsal.failures] == ["answer_unreadable", "deadline_near", "deadline_passed"]
    assert rehearsal.result is None


def test_a_sample_that_breaks_the_contract_counts_as_unreadable() -> None:
    samples = Samples(found={("registry", "shop.register.v1"): (Sample(name="odd", kind="completed", data={"n": 1}),)})
    assert try_(samples=samples).parked == (("register", "answer_unreadable"),)


@pytest.mark.parametrize(
    ("answer", "row", "retries", "reason"),
    [
        ("register=failed", "register", 0, "example"),
        ("register=failed:broken", "register", 0, "broken"),
        # Of several samples that which trying again cannot help, unless another is named.
        ("name=failed", "name", 0, "full"),
        ("name=failed:shut", "name", 2, "exhausted"),
    ],
)
def test_a_failure_is_parked_at_once_or_when_the_tries_are_used(
    answer: str, row: str, retries: int, reason: str
) -> None:
    rehearsal = try_(answer)
    assert told(rehearsal, row).count("step_retrying") == retries
    assert rehearsal.parked == ((row, reason),)


def test_an_agency_that_never_answers_is_asked_until_its_time_is_over_and_then_parked() -> None:
    rehearsal = try_("name=silent")
    kinds = told(rehearsal, "name")
    assert kinds[-1] == "step_parked"
    assert {"resent", "step_unknown", "queried"} <= set(kinds)
    assert rehearsal.parked == (("name", "unknown"),)


def test_a_task_that_breaks_the_contract_of_its_operation_is_shown_with_every_fault_and_never_sent() -> None:
    # Given a name that the service takes and the operation does not
    rehearsal = try_(data={**DATA, "name": "A name of more than twenty letters"})
    # Then
    shown = next(one for one in rehearsal.failures if one.row == "name")
    assert shown.code == "input_invalid"
    assert [fault.pointer for fault in shown.faults] == ["/name"]
    assert rehearsal.parked == (("name", "input_invalid"),)
    assert rehearsal.messages == ()


# --- a request that closes while others are under way ----------------------------------------------------------------


def test_what_is_under_way_while_the_request_closes_is_awaited_and_taken_back() -> None:
    # When a partner is pending while the clerk refuses
    rehearsal = try_("permit=refused", "partners/0=late:2h")
    # Then it is advised not to begin, does it all the same, and is taken back before the name
    assert sent(rehearsal)["tasks.registry", str(MessageType.TASK_WITHDRAWN)] >= 1
    undone = [one.message.envelope for one in rehearsal.messages if one.message.envelope.kind == "compensation"]
    assert [(one.step, one.item) for one in undone] == [("partners", 1), ("partners", 0), ("name", None)]
    assert rehearsal.timeline[-1][0] > 2 * HOUR
    assert rehearsal.request.state is RequestState.REJECTED


# --- a provider chosen for each --------------------------------------------------------------------------------------


def by_town() -> Definition:
    """Each partner is verified by the office of his town."""
    towns = OneOf(
        group="towns",
        by=parse_path("item.town"),
        members={"01": "north", "02": "south"},
        desks=frozenset({"south"}),
    )
    partners = step(
        "partners", "person.verify.v1", {"number": "item.number"},
        provider=towns, for_each=parse_path("request.partners"), most=3, needs=("name",),
    )  # fmt: skip
    return definition(partners=partners)


def test_each_item_goes_to_the_member_of_the_group_that_its_code_names() -> None:
    people = [{"number": "1", "town": "01"}, {"number": "2", "town": "02"}]
    rehearsal = try_(data={**DATA, "partners": people}, of=by_town())
    assert {"north", "south"} <= rehearsal.disclosures.keys()
    channels = [one.channel for one in rehearsal.messages if one.message.envelope.step == "partners"]
    assert channels == ["tasks.north", "desk.south"]


def test_the_items_of_a_list_that_an_agency_answers_are_known_once_it_has_answered() -> None:
    # Given partners that the registry names
    partners = step(
        "partners", "person.verify.v1", {"number": "item.number"},
        for_each=parse_path("steps.named.people"), most=3, needs=("named",),
    )  # fmt: skip
    named = step("named", "person.partners.v1", {"owner": "request.owner"})
    steps = {"named": named, **definition().steps, "partners": partners}
    # When
    rehearsal = try_("partners/1=refused", of=replace(definition(), steps=steps))
    # Then each of them is asked about
    asked = [one.message.data for one in rehearsal.messages if one.message.envelope.step == "partners"]
    assert asked == [{"number": "8"}, {"number": "9"}]
    assert reasons(rehearsal)["partners"] == "example"


def test_a_code_that_no_member_of_the_group_has_is_a_fault_of_the_request() -> None:
    people = [{"number": "1", "town": "01"}, {"number": "2", "town": "99"}]
    with pytest.raises(InvalidMessageError) as caught:
        try_(data={**DATA, "partners": people}, of=by_town())
    assert [(fault.code, fault.pointer) for fault in caught.value.faults] == [("provider-unknown", "/partners/1/town")]


# --- what cannot be rehearsed ----------------------------------------------------------------------------------------


def test_data_that_break_the_contract_of_the_service_are_refused_with_every_fault() -> None:
    with pytest.raises(InvalidMessageError) as caught:
        try_(data={"owner": 7, "site": {}})
    assert {fault.pointer for fault in caught.value.faults} == {"/name", "/owner", "/site/address"}


def test_an_answer_to_an_item_that_the_request_does_not_have_is_a_fault() -> None:
    with pytest.raises(InvalidMessageError) as caught:
        try_("partners/2=refused")
    assert [(fault.code, fault.file) for fault in caught.value.faults] == [("unknown-item", "--answer")]


def test_an_answer_to_a_step_is_for_all_its_items_that_have_none_of_their_own() -> None:
    rehearsal = try_("partners=down:3s,partners/1=completed")
    retried = [fact.item for _, fact in rehearsal.timeline if fact.kind == "step_retrying"]
    assert set(retried) == {0}
