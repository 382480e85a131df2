"""What a portal is told of a service before it asks, and who could grant it one that it may not ask for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bus.errors import ForbiddenError
from bus.operations.caller import Role
from bus.operations.offer import BEHAVIOURS, duration
from bus.simulator.persons import Behaviour
from tests.support.gateway_rig import BUSINESS, DESK, PERMIT, PORTAL, PRESS, Rig, application, gateway, permit


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with gateway(Path(tmp_path_factory.mktemp("gateway"))) as rig:
        yield rig


def test_a_service_is_shown_with_all_that_a_portal_needs(rig: Rig) -> None:
    with rig.client(Role.CONSUMER, PORTAL) as portal:
        shown = portal.service_show(PERMIT)

    assert (shown["deadline"], shown["fields"]) == ("10d", ["/permit_number"])
    assert set(shown["purposes"]) == {"business-licensing", "statistics"}
    assert shown["request"]["properties"]["name"]["x-title-ar"]
    assert [(step["step"], step["agency"], step["agency_name"]["ar"]) for step in shown["steps"]] == [
        ("permit", DESK, rig.parts.context.agency_name(DESK).ar)
    ]
    assert shown["owner"]


def test_the_sample_of_every_service_can_be_submitted_as_it_is(rig: Rig) -> None:
    with rig.client(Role.CONSUMER, PORTAL) as portal:
        for service in (BUSINESS, PERMIT):
            sample = portal.service_show(service)["sample"]
            assert portal.submit(service, sample, key=f"sample-{service}", purpose="business-licensing")["tracking"]


def test_the_test_persons_of_a_service_are_those_of_its_own_agencies(rig: Rig) -> None:
    with rig.client(Role.CONSUMER, PORTAL) as portal:
        shown = portal.service_show(PERMIT)["test_persons"]

    assert {person["agency"] for person in shown} <= {DESK}
    listed = [one for one in rig.parts.workspace.test_persons["persons"] if one["agency"] == DESK]
    assert [(person["national_id"], person["behaviour"]) for person in shown] == [
        (one["national_id"], one["behaviour"]) for one in listed
    ]
    assert all(person["name"]["ar"] and person["behaviour_title"]["ar"] for person in shown)


def test_every_behaviour_of_a_test_person_has_a_title() -> None:
    assert set(BEHAVIOURS) == {behaviour.value for behaviour in Behaviour}


def test_those_who_ask_for_nobody_see_every_service_and_no_grant(rig: Rig) -> None:
    with rig.client(Role.AUDITOR) as auditor:
        assert {line["service"] for line in auditor.service_list()["items"]} >= {PERMIT, BUSINESS}
        assert auditor.service_show(PERMIT)["fields"] is None


@pytest.mark.parametrize(("time", "told"), [(864_000_000, "10d"), (129_600_000, "36h"), (90_000, "90s"), (15, "15ms")])
def test_a_length_of_time_is_told_in_the_greatest_unit_that_leaves_no_rest(time: int, told: str) -> None:
    assert duration(time) == told


def test_whoever_may_not_ask_is_told_who_could_grant_it_in_both_languages(rig: Rig) -> None:
    with rig.http(rig.token(Role.CONSUMER, PRESS)) as press:
        headers = {"Idempotency-Key": "no", "Bus-Purpose": "business-licensing"}
        service = press.post(f"/services/{BUSINESS}/requests", json={}, headers=headers)
        purpose = press.post(f"/services/{PERMIT}/requests", json=application(), headers=headers)
        shown = press.get(f"/services/{BUSINESS}")

    codes = ["service-not-granted", "purpose-not-granted", "service-not-granted"]
    assert [answer.json()["code"] for answer in (service, purpose, shown)] == codes
    for answer in (service, purpose, shown):
        problem = answer.json()
        assert answer.status_code == 403
        assert problem["granted_by"] in problem["mend"]
        assert "granted_by" in problem["i18n"]["ar"]["mend"]
    with rig.client(Role.CONSUMER, PRESS) as client, pytest.raises(ForbiddenError):
        client.service_show(BUSINESS)


def test_a_result_holds_only_the_granted_fields_and_names_what_was_withheld(rig: Rig) -> None:
    with rig.client(Role.CLERK, DESK) as clerk:
        ends = {}
        for agency in (PORTAL, PRESS):
            with rig.client(Role.CONSUMER, agency) as consumer:
                request = consumer.submit(PERMIT, application(), key="cut", purpose="statistics")["request_id"]
                clerk.desk_answer(rig.row_of(request), permit())
                ends[agency] = consumer.request_show(request)["result"]["data"]
                message = consumer.result_list(most=200)["items"][-1]["message"]["data"]
                assert message == ends[agency]

    assert ends[PORTAL]["result"] == {"permit_number": permit()["permit_number"]}
    assert ends[PORTAL]["withheld"] == ["/valid_until"]
    assert ends[PRESS]["result"] == {}
    assert set(ends[PRESS]["withheld"]) == {"/permit_number", "/valid_until"}
    assert permit()["valid_until"] not in repr(ends)
