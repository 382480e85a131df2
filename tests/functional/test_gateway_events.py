"""Submitting by a CloudEvent: the same request as by plain JSON, kept as the bytes that were sent, and strict."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from bus.audit.fact import salted_digest
from bus.message.instant import HOUR, to_rfc3339
from bus.operations.caller import Role
from tests.support.gateway_rig import DESK, PERMIT, PORTAL, Rig, application, gateway, permit

STRUCTURED = "application/cloudevents+json"


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with gateway(Path(tmp_path_factory.mktemp("gateway"))) as rig:
        yield rig


@pytest.fixture(scope="module")
def portal(rig: Rig) -> Iterator[httpx.Client]:
    with rig.http(rig.token(Role.CONSUMER, PORTAL)) as http:
        yield http


def _event(id_: str, **changes: Any) -> dict[str, Any]:
    """A sound event; a change to None takes the attribute away."""
    event = {
        "specversion": "1.0",
        "id": id_,
        "source": f"/agency/{PORTAL}",
        "type": "bus.request.submitted.v1",
        "service": PERMIT,
        "purposeid": "business-licensing",
        "datacontenttype": "application/json",
        "data": application(),
        **changes,
    }
    return {name: value for name, value in event.items() if value is not None}


def _send(portal: httpx.Client, event: dict[str, Any] | bytes, **headers: str) -> httpx.Response:
    body = event if isinstance(event, bytes) else orjson.dumps(event)
    return portal.post("/events", content=body, headers={"Content-Type": STRUCTURED, **headers})


def test_an_event_gets_a_receipt_and_again_the_same_one(portal: httpx.Client) -> None:
    first, again = _send(portal, _event("e-1")), _send(portal, _event("e-1"))

    assert (first.status_code, again.status_code) == (202, 200)
    assert first.headers["location"] == f"/v1/requests/{first.json()['request_id']}"
    assert first.json()["key"] == "e-1"
    assert {**first.json(), "repeated": True} == again.json()


def test_an_event_and_plain_json_with_the_same_key_and_content_are_one_request(portal: httpx.Client) -> None:
    headers = {"Idempotency-Key": "e-2", "Bus-Purpose": "business-licensing"}

    by_event = _send(portal, _event("e-2"))
    by_json = portal.post(f"/services/{PERMIT}/requests", json=application(), headers=headers)
    other = _send(portal, _event("e-2", data=application("29801011234568")))

    assert by_json.json()["request_id"] == by_event.json()["request_id"]
    assert by_json.json()["repeated"]
    assert (other.status_code, other.json()["code"]) == (409, "key-reused")


def test_the_exact_bytes_of_an_event_are_kept_and_the_first_fact_has_their_digest(
    rig: Rig, portal: httpx.Client
) -> None:
    raw = orjson.dumps(_event("e-3"), option=orjson.OPT_INDENT_2)

    request = _send(portal, raw).json()["request_id"]

    submission = rig.parts.store.submission_of(request)
    assert submission is not None
    assert submission.said_id is not None
    assert rig.parts.store.payloads([submission.said_id]) == {submission.said_id: raw}
    fact = rig.parts.store.facts(request)[0]
    assert fact.message_id is not None
    assert fact.digest == salted_digest(rig.parts.tools.secret, fact.message_id, raw)


def test_what_an_event_says_of_people_and_trials_counts(rig: Rig, portal: httpx.Client) -> None:
    event = _event("e-4", actor="staff-7", onbehalfof="29801011234567", test=True)

    request = _send(portal, event).json()["request_id"]

    read, submission = rig.parts.store.request(request), rig.parts.store.submission_of(request)
    assert read is not None
    assert read.test
    assert rig.parts.store.facts(request)[0].actor == f"{PORTAL}/staff-7"
    assert submission is not None
    assert submission.on_behalf_of is not None
    assert "29801011234567" not in repr((submission, rig.parts.store.facts(request)))


_FUTURE, _PAST = "2099-01-01T00:00:00Z", "2020-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("changes", "pointers"),
    [
        ({"source": "/agency/press_office"}, {"/source"}),
        ({"source": f"/agency/{PORTAL}x"}, {"/source"}),
        ({"consumer": "press_office"}, {"/consumer"}),
        ({"type": "bus.request.cancelled.v1", "id": "7b1cf39a-3a85-4e54-8f0a-6a4f4f5f1f10"}, {"/type"}),
        ({"interactionid": "7b1cf39a-3a85-4e54-8f0a-6a4f4f5f1f10", "attempt": 1}, {"/interactionid", "/attempt"}),
        ({"subject": "29801011234567"}, {"/subject"}),
        ({"colour": "red"}, {"/colour"}),
        ({"service": None, "data": None}, {"/service", "/data"}),
        ({"data": []}, {"/data"}),
        ({"dataschema": "urn:bus:service:other.v1.request"}, {"/dataschema"}),
        ({"id": "with blanks"}, {"/id"}),
        ({"id": "x" * 129, "actor": "staff 7"}, {"/id", "/actor"}),
        ({"expirytime": _PAST}, {"/expirytime"}),
        ({"expirytime": "tomorrow"}, {"/expirytime"}),
        ({"purposeid": None}, {"/purposeid"}),
        ({"data": {"national_id": "1"}}, {"/data/national_id", "/data/name", "/data/address"}),
        ({"data": {**application(), "name": "a\u0000b"}}, {"/data/name"}),
    ],
    ids=lambda value: "+".join(sorted(value)) if isinstance(value, dict) else "",
)
def test_what_an_event_may_not_say_is_named_by_its_place_and_nothing_is_accepted(
    rig: Rig, portal: httpx.Client, changes: dict[str, Any], pointers: set[str]
) -> None:
    before = rig.parts.store.accepted()

    answer = _send(portal, _event(**{"id_": "e-odd", **changes}))

    problem = answer.json()
    assert answer.status_code in {400, 422}
    assert {fault["pointer"] for fault in problem["faults"]} == pointers
    assert problem["i18n"]["ar"]["mend"]
    assert rig.parts.store.accepted() == before


def test_an_event_whose_time_is_over_is_still_the_request_that_it_became_in_time(portal: httpx.Client) -> None:
    first = _send(portal, _event("e-5", expirytime=_FUTURE))

    again = _send(portal, _event("e-5", expirytime=_PAST))

    assert (first.status_code, again.status_code) == (202, 200)
    assert again.json()["request_id"] == first.json()["request_id"]


def test_an_event_whose_time_is_not_over_yet_is_accepted_however_soon_it_will_be(
    rig: Rig, portal: httpx.Client
) -> None:
    soon = to_rfc3339(rig.parts.store.now() + HOUR)

    assert _send(portal, _event("e-soon", expirytime=soon)).status_code == 202


@pytest.mark.parametrize("media_type", ["application/json", "application/cloudevents-batch+json", "text/plain"])
def test_an_event_in_another_mode_is_refused_with_the_mend(portal: httpx.Client, media_type: str) -> None:
    binary = {f"ce-{name}": str(value) for name, value in _event("e-6").items() if name != "data"}

    answer = _send(portal, orjson.dumps(application()), **binary, **{"Content-Type": media_type})

    assert (answer.status_code, answer.json()["code"]) == (415, "event-mode")
    assert STRUCTURED in answer.json()["mend"]
    assert STRUCTURED in answer.json()["i18n"]["ar"]["mend"]


def test_an_event_that_ends_in_time_is_answered_with_its_end(rig: Rig, portal: httpx.Client) -> None:
    request = _send(portal, _event("e-7")).json()["request_id"]
    with rig.client(Role.CLERK, DESK) as clerk:
        clerk.desk_answer(rig.row_of(request), permit())

    ended = _send(portal, _event("e-7"), Prefer="wait=5")

    assert (ended.status_code, ended.json()["state"]) == (200, "completed")
    assert ended.json()["result"]["data"]["result"] == {"permit_number": permit()["permit_number"]}


def test_the_client_sends_events_too(rig: Rig) -> None:
    with rig.client(Role.CONSUMER, PORTAL) as client:
        receipt = client.event_submit(_event("e-8"))

    assert receipt["key"] == "e-8"
