"""Submitting over HTTP: once, by right, for a purpose, and answered at once or with the end."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bus.errors import ConflictError, ForbiddenError, InvalidMessageError, NotFoundError
from bus.message.identity import request_id
from bus.operations.caller import Caller, Role
from bus.operations.operation import Command
from bus.operations.submission import Receipt, Submit, submit
from tests.support.gateway_rig import (
    BUSINESS,
    DESK,
    NAME,
    NUMBER,
    PERMIT,
    PORTAL,
    PRESS,
    STATISTICS,
    Rig,
    application,
    business,
    gateway,
    permit,
)


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with gateway(Path(tmp_path_factory.mktemp("gateway"))) as rig:
        yield rig


def test_a_submission_gets_a_receipt_that_names_everything(rig: Rig) -> None:
    with rig.client(Role.CONSUMER, PORTAL) as portal:
        receipt = portal.submit(BUSINESS, business(), key="receipt")

    assert receipt["request_id"] == request_id(rig.parts.tools.secret, PORTAL, "receipt")
    assert receipt["revision"] == rig.parts.workspace.services[BUSINESS].revision
    assert (receipt["key"], receipt["state"], receipt["repeated"]) == ("receipt", "open", False)
    assert receipt["expected_by"] is not None
    assert rig.parts.store.find(receipt["tracking"]) == receipt["request_id"]


def test_a_new_request_is_202_and_the_same_submission_again_200_with_the_same_receipt(rig: Rig) -> None:
    with rig.http(rig.token(Role.CONSUMER, PORTAL)) as http:
        answers = [
            http.post(f"/services/{BUSINESS}/requests", json=business(), headers={"Idempotency-Key": "twice"})
            for _ in range(2)
        ]

    assert [answer.status_code for answer in answers] == [202, 200]
    first, again = (answer.json() for answer in answers)
    assert {**first, "repeated": True} == again


def test_the_same_key_for_other_data_or_another_purpose_is_a_conflict(rig: Rig) -> None:
    with rig.client(Role.CONSUMER, PORTAL) as portal:
        portal.submit(PERMIT, application(), key="reused", purpose=STATISTICS)

        with pytest.raises(ConflictError) as other_data:
            portal.submit(PERMIT, application("29801011234568"), key="reused", purpose=STATISTICS)
        with pytest.raises(ConflictError) as other_purpose:
            portal.submit(PERMIT, application(), key="reused", purpose="business-licensing")

    assert other_data.value.code == other_purpose.value.code == "key-reused"


def test_one_key_from_twenty_threads_becomes_one_request(rig: Rig) -> None:
    token = rig.token(Role.CONSUMER, PORTAL)

    def submit(_: int) -> int:
        with rig.http(token) as http:
            headers = {"Idempotency-Key": "race"}
            return http.post(f"/services/{BUSINESS}/requests", json=business(), headers=headers).status_code

    before = sum(rig.parts.store.totals().values())
    with ThreadPoolExecutor(20) as threads:
        statuses = sorted(threads.map(submit, range(20)))

    assert statuses == [200] * 19 + [202]
    assert sum(rig.parts.store.totals().values()) == before + 1
    assert rig.parts.store.recount() == ()


def test_bad_submissions_do_not_sink_good_ones_that_come_with_them(rig: Rig) -> None:
    token = rig.token(Role.CONSUMER, PORTAL)

    def submit(number: int) -> int:
        data = business() if number % 2 else {"applicant": {}}
        with rig.http(token) as http:
            headers = {"Idempotency-Key": f"mixed-{number}"}
            return http.post(f"/services/{BUSINESS}/requests", json=data, headers=headers).status_code

    with ThreadPoolExecutor(20) as threads:
        statuses = list(threads.map(submit, range(20)))

    assert statuses == [422, 202] * 10


def test_what_was_accepted_stays_accepted_though_its_contract_has_become_stricter(rig: Rig) -> None:
    # Given a submission, and then a service of the same name that asks for something else
    with rig.client(Role.CONSUMER, PORTAL) as portal:
        first = portal.submit(PERMIT, application(), key="stricter", purpose=STATISTICS)
    services = dict(rig.parts.workspace.services)
    stricter = replace(services[PERMIT].definition, request_contract=services[BUSINESS].definition.request_contract)
    services[PERMIT] = replace(services[PERMIT], definition=stricter)
    context = replace(rig.parts.context, workspace=replace(rig.parts.workspace, services=services))
    caller = Caller(user="test", role=Role.CONSUMER, agency=PORTAL)

    def submitted(key: str, data: dict[str, Any]) -> Command[Receipt]:
        given = Submit(service=PERMIT, data=data, key=key, purpose=STATISTICS)
        command = submit(context, caller, given)
        assert isinstance(command, Command)
        return command

    # Then the same submission is still the same request, and anything else must obey the new contract.
    assert submitted("stricter", application()).incoming.request_id == first["request_id"]
    for key, data in (("stricter", application() | {"name": "other"}), ("newer", application())):
        with pytest.raises(InvalidMessageError):
            submitted(key, data)


def test_the_same_reference_of_two_consumers_is_kept_as_two(rig: Rig) -> None:
    kept = []
    for agency in (PORTAL, PRESS):
        with rig.client(Role.CONSUMER, agency) as consumer:
            receipt = consumer.submit(PERMIT, application(), key="reference", purpose=STATISTICS, reference="2026/7")
        submission = rig.parts.store.submission_of(receipt["request_id"])
        assert submission is not None
        kept.append(submission.reference)

    assert None not in kept
    assert len(set(kept)) == 2


def test_the_same_letters_in_another_unicode_form_are_the_same_submission(rig: Rig) -> None:
    composed, decomposed = application(), application()
    composed["name"], decomposed["name"] = "\u0622دم", "\u0627\u0653دم"

    with rig.client(Role.CONSUMER, PORTAL) as portal:
        first = portal.submit(PERMIT, composed, key="nfc", purpose=STATISTICS)
        again = portal.submit(PERMIT, decomposed, key="nfc", purpose=STATISTICS)

    assert again["repeated"]
    assert again["digest"] == first["digest"]


def test_every_fault_of_the_data_is_named_at_once_and_no_value_is_repeated(rig: Rig) -> None:
    wrong = business()
    wrong["applicant"]["national_id"] = "12345-secret"
    del wrong["business"]["kind"]

    with rig.http(rig.token(Role.CONSUMER, PORTAL)) as http:
        answer = http.post(f"/services/{BUSINESS}/requests", json=wrong, headers={"Idempotency-Key": "faults"})

    assert (answer.status_code, answer.json()["code"]) == (422, "contract")
    assert {fault["pointer"] for fault in answer.json()["faults"]} == {"/applicant/national_id", "/business/kind"}
    assert "secret" not in answer.text


def test_a_purpose_must_be_granted_and_may_be_left_out_only_where_there_is_one(rig: Rig) -> None:
    with rig.client(Role.CONSUMER, PORTAL) as portal, rig.client(Role.CONSUMER, PRESS) as press:
        with pytest.raises(InvalidMessageError) as unnamed:
            portal.submit(PERMIT, application(), key="p1")
        with pytest.raises(ForbiddenError) as not_granted:
            press.submit(PERMIT, application(), key="p2", purpose="business-licensing")
        with pytest.raises(ForbiddenError) as no_service:
            press.submit(BUSINESS, business(), key="p3")
        accepted = press.submit(PERMIT, application(), key="p4")

    codes = (unnamed.value.code, not_granted.value.code, no_service.value.code)
    assert codes == ("purpose-needed", "purpose-not-granted", "service-not-granted")
    request = rig.parts.store.request(accepted["request_id"])
    assert request is not None
    assert request.purpose == STATISTICS


def test_a_trial_is_marked_and_the_official_is_named_in_the_facts(rig: Rig) -> None:
    with rig.client(Role.CONSUMER, PORTAL) as portal:
        receipt = portal.submit(BUSINESS, business(), key="trial", test=True, actor="staff-7", reference="F/12")

    request = rig.parts.store.request(receipt["request_id"])
    submission = rig.parts.store.submission_of(receipt["request_id"])
    assert request is not None
    assert request.test
    assert rig.parts.store.facts(request.id)[0].actor == f"{PORTAL}/staff-7"
    assert submission is not None
    assert submission.reference not in {None, "F/12"}


def test_nothing_personal_stands_in_ids_facts_or_submissions(rig: Rig) -> None:
    with rig.client(Role.CONSUMER, PORTAL) as portal:
        receipt = portal.submit(BUSINESS, business(), key="private")

    kept = repr((rig.parts.store.facts(receipt["request_id"]), rig.parts.store.submission_of(receipt["request_id"])))
    assert NUMBER not in kept
    assert NAME not in kept


def test_a_consumer_is_offered_only_the_services_granted_to_it(rig: Rig) -> None:
    with rig.client(Role.CONSUMER, PORTAL) as portal, rig.client(Role.CONSUMER, PRESS) as press:
        assert [line["service"] for line in press.service_list()["items"]] == [PERMIT]
        assert {line["service"] for line in portal.service_list()["items"]} >= {PERMIT, BUSINESS}
        assert press.service_show(PERMIT)["purposes"] == {STATISTICS: {"en": "Statistics", "ar": "الإحصاء"}}
        with pytest.raises(ForbiddenError):
            press.service_show(BUSINESS)
        with pytest.raises(NotFoundError):
            press.service_show("nothing.v1")


def test_who_prefers_to_wait_is_answered_with_the_end_or_else_with_the_receipt(rig: Rig) -> None:
    headers = {"Bus-Purpose": STATISTICS, "Idempotency-Key": "prefer"}
    path = f"/services/{PERMIT}/requests"
    with rig.http(rig.token(Role.CONSUMER, PORTAL)) as http, rig.client(Role.CLERK, DESK) as clerk:
        open_ = http.post(path, json=application(), headers={**headers, "Prefer": "wait=1"})
        with ThreadPoolExecutor(1) as thread:
            waiting = thread.submit(http.post, path, json=application(), headers={**headers, "Prefer": "wait=30"})
            clerk.desk_answer(rig.row_of(open_.json()["request_id"]), permit())
            ended = waiting.result(timeout=30)

    assert (open_.status_code, open_.headers["preference-applied"]) == (202, "wait=1")
    assert open_.headers["location"] == f"/v1/requests/{open_.json()['request_id']}"
    assert (ended.status_code, ended.headers["preference-applied"]) == (200, "wait=30")
    assert ended.json()["state"] == "completed"
    assert ended.json()["result"]["data"]["result"] == {"permit_number": permit()["permit_number"]}


@pytest.mark.parametrize(
    "preference",
    [
        "",
        "wait",
        "wait=",
        "wait=soon",
        "wait=-1",
        "wait=1.5",
        "respond-async",
        "return=minimal; wait=5",
        ";;,=",
    ],
)
def test_a_preference_that_is_malformed_or_unknown_is_as_if_it_were_not_there(rig: Rig, preference: str) -> None:
    headers = {"Bus-Purpose": STATISTICS, "Idempotency-Key": "odd-preference", "Prefer": preference}
    with rig.http(rig.token(Role.CONSUMER, PORTAL)) as http:
        answer = http.post(f"/services/{PERMIT}/requests", json=application(), headers=headers)

    assert answer.status_code in {200, 202}
    assert "preference-applied" not in answer.headers


@pytest.mark.parametrize(
    ("lines", "applied"),
    [
        (["respond-async, wait=1"], "wait=1"),
        (["respond-async", 'WAIT="1"'], "wait=1"),
        (["wait=1; strict", "wait=2"], "wait=1"),
        (["wait=100"], "wait=30"),
    ],
)
def test_a_preference_is_found_among_others_and_granted_up_to_thirty_seconds(
    rig: Rig, lines: list[str], applied: str
) -> None:
    with rig.http(rig.token(Role.CONSUMER, PORTAL)) as http, rig.client(Role.CLERK, DESK) as clerk:
        headers = [("Bus-Purpose", STATISTICS), ("Idempotency-Key", f"granted-{applied}")]
        path = f"/services/{PERMIT}/requests"
        receipt = http.post(path, json=application(), headers=headers).json()
        if receipt["state"] == "open":
            clerk.desk_answer(rig.row_of(receipt["request_id"]), permit())
        answer = http.post(path, json=application(), headers=[*headers, *(("Prefer", line) for line in lines)])

    assert (answer.status_code, answer.headers["preference-applied"]) == (200, applied)


def test_whom_it_is_asked_for_stands_in_the_payloads_and_nowhere_else(rig: Rig) -> None:
    with rig.client(Role.CONSUMER, PORTAL) as portal:
        receipt = portal.submit(PERMIT, application(), key="behalf", purpose=STATISTICS, on_behalf_of="29801019999999")
    store = rig.parts.store
    submission = store.submission_of(receipt["request_id"])

    assert submission is not None
    assert submission.said_id is not None
    assert store.payloads([submission.said_id])[submission.said_id] == b'{"onbehalfof":"29801019999999"}'
    assert "29801019999999" not in repr((submission, store.facts(receipt["request_id"]), receipt))
