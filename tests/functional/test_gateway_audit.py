"""Who was told what, for which purpose, is answered for an auditor; and so is what was done to agencies and tokens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from bus.audit.fact import salted_digest
from bus.client import Client
from bus.errors import ForbiddenError, InvalidMessageError, NotFoundError
from bus.operations.caller import Role, mint_token, take_tokens
from tests.support.gateway_rig import (
    DESK,
    JOURNAL,
    NAME,
    NUMBER,
    PERMIT,
    PORTAL,
    PRESS,
    REGISTRY,
    Rig,
    application,
    gateway,
    permit,
)

LICENSING = "business-licensing"
NEED = {
    "pointer": "/lease_number",
    "reason_code": "lease_missing",
    "text": {"en": "The lease is missing.", "ar": "عقد الإيجار ناقص."},
}


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with gateway(Path(tmp_path_factory.mktemp("gateway"))) as rig:
        rig.admit_host()
        yield rig


@pytest.fixture
def auditor(rig: Rig) -> Iterator[Client]:
    with rig.client(Role.AUDITOR, user="huda") as client:
        yield client


def _completed(rig: Rig, key: str, agency: str = PORTAL, purpose: str = LICENSING) -> str:
    with rig.client(Role.CONSUMER, agency) as consumer, rig.client(Role.CLERK, DESK, user="fatima") as clerk:
        request: str = consumer.submit(PERMIT, application(), key=key, purpose=purpose)["request_id"]
        clerk.desk_answer(rig.row_of(request), permit())
    return request


def _all(auditor: Client, **wanted: Any) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = auditor.audit_list(most=200, **wanted)["items"]
    return items


def test_every_disclosure_of_a_request_is_told_with_parties_purpose_law_and_fields(rig: Rig, auditor: Client) -> None:
    request = _completed(rig, "told")

    items = _all(auditor, request=request)

    assert [(item["told_by"], item["told"]) for item in items] == [
        (PORTAL, "bus"),
        ("bus", DESK),
        (DESK, "bus"),
        ("bus", PORTAL),
    ]
    assert {(item["purpose"], item["request_id"], item["service"]) for item in items} == {(LICENSING, request, PERMIT)}
    assert {item["legal_basis"] for item in items} == {
        rig.parts.workspace.services[PERMIT].definition.purposes[LICENSING].legal_basis
    }
    assert all(item["hash"] and item["digest"] for item in items)
    assert {"/national_id", "/name", "/address"} == set(items[0]["fields"])
    assert items[-1]["fields"] == ["/permit_number"]
    assert items[2]["actor"] == f"{DESK}/fatima"
    assert [item["hash"] for item in items] == [fact.hash for fact in rig.parts.store.facts(request) if fact.fields]


def test_the_fact_of_the_end_names_the_message_that_the_consumer_got_and_its_bytes(rig: Rig, auditor: Client) -> None:
    request = _completed(rig, "evidence")

    end = _all(auditor, request=request)[-1]

    (body,) = rig.parts.store.told(request)
    assert (end["kind"], end["message_id"]) == ("ended", orjson.loads(body)["id"])
    assert end["digest"] == salted_digest(rig.parts.context.secret, end["message_id"], body)


def test_an_end_without_data_discloses_nothing(rig: Rig, auditor: Client) -> None:
    with rig.client(Role.CONSUMER, PORTAL) as consumer:
        request: str = consumer.submit(PERMIT, application(), key="cancelled", purpose=LICENSING)["request_id"]
        consumer.request_cancel(request, reason="no longer wanted")

    assert [item["kind"] for item in _all(auditor, request=request)] == ["accepted", "step_dispatched"]


def test_what_is_asked_back_and_what_is_brought_are_disclosures_with_their_fields(rig: Rig, auditor: Client) -> None:
    with rig.client(Role.CONSUMER, PORTAL) as consumer, rig.client(Role.CLERK, DESK, user="fatima") as clerk:
        request: str = consumer.submit(PERMIT, application(), key="asked", purpose=LICENSING)["request_id"]
        clerk.desk_return(rig.row_of(request), needs=[NEED])
        consumer.request_supplement(request, {"/lease_number": "L-9"})
        clerk.desk_answer(rig.row_of(request), permit())

    items = _all(auditor, request=request)

    assert [(item["told_by"], item["told"], set(item["fields"])) for item in items[2:5]] == [
        (DESK, PORTAL, {"/lease_number"}),
        (PORTAL, "bus", {"/lease_number"}),
        ("bus", DESK, {"/address", "/lease_number"}),
    ]
    assert not any("L-9" in repr(item) for item in items)


def test_the_audit_names_fields_and_never_their_values(rig: Rig, auditor: Client) -> None:
    _completed(rig, "private")

    told = repr(_all(auditor))

    assert not any(value in told for value in (NUMBER, NAME, application()["address"], permit()["permit_number"]))


def test_the_audit_is_searched_by_request_agency_purpose_and_time(rig: Rig, auditor: Client) -> None:
    first = _completed(rig, "search-1")
    second = _completed(rig, "search-2", PRESS, "statistics")
    with rig.client(Role.CONSUMER, PORTAL) as portal:
        tracking = portal.request_show(first)["tracking"]

    assert {item["request_id"] for item in _all(auditor, request=tracking)} == {first}
    assert second in {item["request_id"] for item in _all(auditor, agency=PRESS)}
    assert first not in {item["request_id"] for item in _all(auditor, agency=PRESS)}
    assert {first, second} <= {item["request_id"] for item in _all(auditor, agency=DESK)}
    assert {item["purpose"] for item in _all(auditor, purpose="statistics")} == {"statistics"}
    assert _all(auditor, from_="2099-01-01") == []
    assert _all(auditor, to="2020-01-01T00:00:00Z") == []
    everything = _all(auditor)
    middle = everything[len(everything) // 2]["at"]
    assert [*_all(auditor, to=middle), *_all(auditor, from_=middle)] == everything
    assert _all(auditor, from_=middle, after=everything[0]["cursor"]) == _all(auditor, from_=middle)
    assert _all(auditor, from_="2020-01-01", after=everything[-2]["cursor"]) == everything[-1:]


def test_pages_of_the_audit_follow_each_other_oldest_first_without_gap_or_repetition(rig: Rig, auditor: Client) -> None:
    for number in range(3):
        _completed(rig, f"page-{number}")
    everything = _all(auditor)
    paged: list[dict[str, Any]] = []
    cursor: str | None = ""
    while cursor is not None:
        page = auditor.audit_list(after=cursor, most=2)
        paged += page["items"]
        cursor = page["next"]

    assert paged == everything
    assert [item["at"] for item in everything] == sorted(item["at"] for item in everything)


def test_what_cannot_be_searched_for_is_refused(auditor: Client) -> None:
    with pytest.raises(NotFoundError):
        auditor.audit_list(request="00000000-0000-8000-8000-000000000000")
    wrongs: tuple[dict[str, Any], ...] = (
        {"from_": "yesterday"},
        {"to": "2026-02-30"},
        {"after": "7"},
        {"after": "1-99999999999999999999-1"},
    )
    for wrong in wrongs:
        with pytest.raises(InvalidMessageError):
            auditor.audit_list(**wrong)


def test_only_auditors_and_administrators_read_the_audit_and_auditors_read_no_request(
    rig: Rig, auditor: Client
) -> None:
    request = _completed(rig, "roles")

    for role, agency in ((Role.CONSUMER, PORTAL), (Role.CLERK, DESK), (Role.OPERATOR, None)):
        with rig.client(role, agency) as client:
            for read in (client.audit_list, client.audit_acts):
                with pytest.raises(ForbiddenError):
                    read()
    with rig.client(Role.ADMIN) as admin:
        assert admin.audit_list()["items"]
    for forbidden in (auditor.request_show, auditor.request_facts):
        with pytest.raises(ForbiddenError):
            forbidden(request)


def test_what_is_done_to_agencies_is_kept_with_who_and_why(rig: Rig, auditor: Client) -> None:
    with rig.client(Role.OPERATOR, user="samir") as operator:
        before = len(auditor.audit_acts(most=200)["items"])
        operator.agency_pause(REGISTRY, reason="their system is moved")
        operator.agency_resume(REGISTRY)
        operator.agency_retire(REGISTRY, journal=JOURNAL, reason="disk lost")

    acts = auditor.audit_acts(most=200)["items"][before:]

    assert [(act["actor"], act["what"], act["target"], act["reason"]) for act in acts] == [
        ("samir", "agency_paused", REGISTRY, "their system is moved"),
        ("samir", "agency_resumed", REGISTRY, None),
        ("samir", "journal_retired", f"{REGISTRY}/{JOURNAL}", "disk lost"),
    ]
    assert all(act["title"]["ar"] for act in acts)


def test_an_act_that_was_refused_is_not_kept_as_done(rig: Rig, auditor: Client) -> None:
    before = auditor.audit_acts(most=200)["items"]
    with rig.client(Role.ADMIN) as admin, pytest.raises(NotFoundError):
        admin.agency_pause("moon")
    with rig.client(Role.ADMIN) as admin, pytest.raises(InvalidMessageError):
        admin.agency_pause(REGISTRY, reason=f"asked by {NUMBER}")

    acts = auditor.audit_acts(most=200)["items"][len(before) :]
    assert {act["what"] for act in acts} == {"token_added"}


def test_tokens_given_and_taken_are_kept_without_the_token(rig: Rig, auditor: Client) -> None:
    token = mint_token(rig.parts.store, "mona", Role.CLERK, DESK)
    assert take_tokens(rig.parts.store, "mona") == 1
    assert take_tokens(rig.parts.store, "mona") == 0

    acts = auditor.audit_acts(most=200)["items"][-2:]

    assert [(act["actor"], act["what"], act["target"], act["reason"]) for act in acts] == [
        ("machine", "token_added", "mona", f"clerk {DESK}"),
        ("machine", "tokens_removed", "mona", None),
    ]
    assert token not in repr(acts)
