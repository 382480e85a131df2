"""The desk over HTTP: one clerk at a time, the contract kept, and what is missing comes from the applicant."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from bus.errors import ConflictError, InvalidMessageError, NotFoundError
from bus.message.envelope import MessageType, decode
from bus.operations.caller import Role
from bus.process.state import StepKey, StepState
from tests.support.gateway_rig import DESK, PERMIT, PORTAL, PRESS, REGISTRY, Rig, application, gateway, permit

NEED = {
    "pointer": "/lease_number",
    "reason_code": "lease_missing",
    "text": {"en": "The lease is missing.", "ar": "عقد الإيجار ناقص."},
}
_KEYS = count()


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with gateway(Path(tmp_path_factory.mktemp("gateway"))) as rig:
        yield rig


@pytest.fixture
def request_(rig: Rig) -> str:
    """A request whose one step waits on the desk."""
    with rig.client(Role.CONSUMER, PRESS) as press:
        return str(press.submit(PERMIT, application(), key=f"desk-{next(_KEYS)}")["request_id"])


@pytest.fixture
def row(rig: Rig, request_: str) -> int:
    return rig.row_of(request_)


def _step(rig: Rig, request: str) -> Any:
    read = rig.parts.store.request(request)
    assert read is not None
    return read.steps[StepKey(step="permit")]


def test_a_clerk_reads_the_task_with_titles_in_both_languages(rig: Rig, row: int) -> None:
    with rig.client(Role.CLERK, DESK) as clerk:
        view = clerk.desk_claim(row)
        assert clerk.desk_show(row) == view

    assert view["data"] == {"address": "شارع النيل 5"}
    assert view["fields"][0]["title"] == {"en": "Address", "ar": "العنوان"}
    assert [field["pointer"] for field in view["answer_fields"]] == ["/permit_number", "/valid_until"]


def test_a_clerk_reads_a_persons_data_only_of_a_task_that_he_has_claimed(rig: Rig, request_: str, row: int) -> None:
    with (
        rig.client(Role.CLERK, DESK, user="fatima") as fatima,
        rig.client(Role.CLERK, DESK, user="omar") as omar,
        rig.client(Role.OPERATOR) as operator,
    ):
        unclaimed = fatima.desk_show(row)
        fatima.desk_draft(row, {"permit_number": "P"})
        others = omar.desk_show(row)
        claims = operator.request_show(request_)["desk_claims"]

    for view in (unclaimed, others):
        assert (view["data"], view["draft"]) == (None, None)
        assert [field["value"] for field in view["fields"]] == [None, None]
    assert [(claim["step"], claim["clerk"]) for claim in claims] == [("permit", f"{DESK}/fatima")]


def test_a_consumer_does_not_learn_which_clerks_took_its_request(rig: Rig, request_: str, row: int) -> None:
    with rig.client(Role.CLERK, DESK, user="fatima") as fatima, rig.client(Role.CONSUMER, PRESS) as press:
        fatima.desk_claim(row)

        assert "fatima" not in repr(press.request_show(request_))


def test_an_answer_is_kept_as_the_message_that_the_agencys_own_system_would_send(
    rig: Rig, request_: str, row: int
) -> None:
    with rig.client(Role.CLERK, DESK, user="fatima") as clerk:
        answered = clerk.desk_answer(row, permit())

    step = _step(rig, request_)
    message = decode(rig.parts.store.payloads([step.output_id])[step.output_id])
    assert answered["step_state"] == step.state == StepState.SUCCEEDED
    assert message.data == permit()
    assert message.envelope.type is MessageType.TASK_COMPLETED
    assert (message.envelope.source, message.envelope.actor) == (f"/agency/{DESK}/desk", f"{DESK}/fatima")
    assert message.envelope.correlationid == request_
    assert decode(rig.parts.store.payloads([step.task_id])[step.task_id]).envelope.id == message.envelope.causationid


def test_an_answer_that_breaks_the_contract_is_refused_with_every_fault_and_changes_nothing(
    rig: Rig, request_: str, row: int
) -> None:
    with rig.client(Role.CLERK, DESK) as clerk, pytest.raises(InvalidMessageError) as refused:
        clerk.desk_answer(row, {"permit_number": 7, "colour": "red"})

    assert refused.value.code == "contract"
    assert len(refused.value.faults) == 3
    assert _step(rig, request_).state is StepState.DISPATCHED


def test_the_second_clerk_learns_who_was_first_and_when(rig: Rig, row: int) -> None:
    with rig.client(Role.CLERK, DESK, user="fatima") as fatima:
        fatima.desk_claim(row)
    with rig.http(rig.token(Role.CLERK, DESK, user="omar")) as omar:
        claim = omar.post(f"/desk/{row}/claim")
        answer = omar.post(f"/desk/{row}/answer", json=permit())
        release = omar.post(f"/desk/{row}/release")
        draft = omar.put(f"/desk/{row}/draft", json={})

    for refused in (claim, answer, release, draft):
        problem = refused.json()
        assert (refused.status_code, problem["code"]) == (409, "row-taken")
        assert (problem["state"], problem["changed_by"]) == ("claimed", f"{DESK}/fatima")
        assert problem["changed_at"] in problem["detail"]


def test_of_two_answers_one_counts_and_the_other_is_told(rig: Rig, row: int) -> None:
    with rig.client(Role.CLERK, DESK, user="fatima") as fatima, rig.client(Role.CLERK, DESK, user="omar") as omar:
        fatima.desk_answer(row, permit())
        with pytest.raises(ConflictError) as late:
            omar.desk_refuse(row, reason_code="too_late", text={"en": "No.", "ar": "لا."})

    assert "fatima" in str(late.value)


def test_a_released_task_may_be_taken_by_another_clerk(rig: Rig, row: int) -> None:
    with rig.client(Role.CLERK, DESK, user="fatima") as fatima, rig.client(Role.CLERK, DESK, user="omar") as omar:
        fatima.desk_claim(row)
        assert fatima.desk_release(row)["state"] == "open"
        assert omar.desk_claim(row)["clerk"] == f"{DESK}/omar"


def test_a_draft_is_kept_for_its_clerk_and_need_not_obey_the_contract(rig: Rig, row: int) -> None:
    with rig.client(Role.CLERK, DESK) as clerk:
        clerk.desk_draft(row, {"permit_number": "P"})
        view = clerk.desk_show(row)

    assert (view["state"], view["draft"]) == ("claimed", {"permit_number": "P"})


def test_a_clerk_of_another_agency_finds_nothing(rig: Rig, row: int) -> None:
    with rig.client(Role.CLERK, REGISTRY) as stranger:
        assert stranger.desk_list()["items"] == []
        with pytest.raises(NotFoundError):
            stranger.desk_show(row)
        with pytest.raises(NotFoundError):
            stranger.desk_answer(row, permit())


def test_what_is_missing_is_asked_brought_and_answered(rig: Rig, request_: str, row: int) -> None:
    with rig.client(Role.CLERK, DESK) as clerk, rig.client(Role.CONSUMER, PRESS) as press:
        clerk.desk_return(row, needs=[NEED], within="2d")
        asked = press.request_show(request_)
        press.request_supplement(request_, {"/lease_number": "L-9"}, attempt=asked["asked"][0]["attempt"])
        task = clerk.desk_show(row)
        clerk.desk_answer(row, permit())
        ended = press.request_show(request_)

    assert asked["waiting_for"] == "applicant"
    assert asked["asked"][0]["pointers"] == ["/lease_number"]
    assert asked["asked"][0]["until"] is not None
    assert asked["asked"][0]["question"]["needs"][0]["text"] == NEED["text"]
    assert (task["attempt"], task["data"]) == (2, {"address": "شارع النيل 5", "lease_number": "L-9"})
    assert ended["state"] == "completed"


def test_a_supplement_sets_only_what_was_asked_and_obeys_the_contract(rig: Rig, request_: str, row: int) -> None:
    with rig.client(Role.CLERK, DESK) as clerk, rig.client(Role.CONSUMER, PRESS) as press:
        clerk.desk_return(row, needs=[NEED])
        with pytest.raises(InvalidMessageError) as unasked:
            press.request_supplement(request_, {"/address": "elsewhere"})
        with pytest.raises(InvalidMessageError) as wrong:
            press.request_supplement(request_, {"/lease_number": 9})

    assert (unasked.value.code, wrong.value.code) == ("not-asked", "contract")
    assert _step(rig, request_).state is StepState.RETURNED


def test_a_supplement_for_an_attempt_that_is_over_is_a_conflict(rig: Rig, request_: str, row: int) -> None:
    with rig.client(Role.CLERK, DESK) as clerk, rig.client(Role.CONSUMER, PRESS) as press:
        with pytest.raises(ConflictError) as unasked:
            press.request_supplement(request_, {"/lease_number": "L-1"})
        clerk.desk_return(row, needs=[NEED])
        with pytest.raises(ConflictError) as moved:
            press.request_supplement(request_, {"/lease_number": "L-1"}, attempt=7)

    assert (unasked.value.code, moved.value.code) == ("nothing-asked", "step-state")
    assert "fatima" not in str(moved.value)


def test_a_clerk_can_only_ask_for_fields_of_the_task_in_both_languages_and_for_a_time(rig: Rig, row: int) -> None:
    no_arabic = {**NEED, "text": {"en": "The lease is missing.", "ar": ""}}
    with rig.client(Role.CLERK, DESK) as clerk:
        for needs, within in (
            ([{**NEED, "pointer": "/shoes"}], None),
            ([no_arabic], None),
            ([NEED], "soon"),
            ([NEED], "0d"),
            ([], None),
        ):
            with pytest.raises(InvalidMessageError):
                clerk.desk_return(row, needs=needs, within=within)


def test_a_refusal_with_its_reason_rejects_the_request(rig: Rig, request_: str, row: int) -> None:
    with rig.client(Role.CLERK, DESK) as clerk, rig.client(Role.CONSUMER, PRESS) as press:
        clerk.desk_refuse(row, reason_code="zone_closed", text={"en": "No shops here.", "ar": "لا محال هنا."})
        view = press.request_show(request_)

    assert view["state"] == "rejected"
    assert view["result"]["data"]["steps"][0]["reason"] == "zone_closed"


def test_a_cancelled_request_leaves_the_desk_and_its_clerk_is_told(rig: Rig, request_: str, row: int) -> None:
    with rig.client(Role.CLERK, DESK) as clerk, rig.client(Role.CONSUMER, PRESS) as press:
        clerk.desk_claim(row)
        press.request_cancel(request_, reason="no more")
        waiting = {item["row"] for item in clerk.desk_list(most=200)["items"]}
        with pytest.raises(ConflictError) as late:
            clerk.desk_answer(row, permit())

    assert str(row) not in waiting
    assert "withdrawn" in str(late.value)


def test_an_administrator_acts_for_a_desk_only_by_naming_it_and_the_facts_say_so(
    rig: Rig, request_: str, row: int
) -> None:
    with rig.http(rig.token(Role.ADMIN, user="root")) as admin:
        unnamed = admin.post(f"/desk/{row}/answer", json=permit())
        elsewhere = admin.post(f"/desk/{row}/answer", json=permit(), headers={"Bus-Agency": PORTAL})
        named = admin.post(f"/desk/{row}/answer", json=permit(), headers={"Bus-Agency": DESK})

    assert [answer.status_code for answer in (unnamed, elsewhere, named)] == [403, 404, 200]
    assert f"admin/root for {DESK}" in {fact.actor for fact in rig.parts.store.facts(request_)}
