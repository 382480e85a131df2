"""Following over HTTP: finding, waiting, reading, cancelling, and nothing of anybody else's."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from bus.errors import ConflictError, ForbiddenError, InvalidMessageError
from bus.operations.caller import Role
from tests.support.gateway_rig import (
    BUSINESS,
    DESK,
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


def test_a_request_is_found_by_its_tracking_code_however_it_is_written(rig: Rig) -> None:
    with rig.client(Role.CONSUMER, PORTAL) as portal:
        receipt = portal.submit(BUSINESS, business(), key="spoken")
        spoken = receipt["tracking"].lower().replace("-", " ")

        assert portal.request_show(spoken)["request_id"] == receipt["request_id"]


def test_a_consumer_sees_titles_and_an_operator_sees_attempts_but_no_data(rig: Rig) -> None:
    with rig.client(Role.CONSUMER, PORTAL) as portal, rig.client(Role.OPERATOR) as operator:
        request = portal.submit(PERMIT, application(), key="views", purpose=STATISTICS)["request_id"]
        with rig.client(Role.CLERK, DESK) as clerk:
            clerk.desk_answer(rig.row_of(request), permit())
        seen, inside = portal.request_show(request), operator.request_show(request)

    assert seen["steps"][0]["title"] == {"en": "Site permit", "ar": "رخصة الموقع"}
    assert seen["state_title"] == {"en": "Completed", "ar": "مكتمل"}
    assert (seen["steps"][0]["state"], seen["steps"][0]["inside"]) == ("done", None)
    assert inside["steps"][0]["inside"]["attempt"] == 1
    assert inside["result"] is None
    assert "P-7" in repr(seen)
    assert "P-7" not in repr(inside)


def test_a_result_is_cut_to_the_granted_fields_and_names_what_is_withheld(rig: Rig) -> None:
    with rig.client(Role.CONSUMER, PORTAL) as portal, rig.client(Role.CLERK, DESK) as clerk:
        request = portal.submit(PERMIT, application(), key="cut", purpose=STATISTICS)["request_id"]
        clerk.desk_answer(rig.row_of(request), permit())
        result = portal.request_show(request)["result"]

    assert result["data"]["result"] == {"permit_number": "P-7"}
    assert result["data"]["withheld"] == ["/valid_until"]


def test_the_feed_gives_the_exact_bytes_and_remembers_what_was_acknowledged(rig: Rig) -> None:
    with rig.client(Role.CONSUMER, PRESS) as press, rig.client(Role.CLERK, DESK) as clerk:
        cursor = press.result_list(most=200)["next"]
        request = press.submit(PERMIT, application(), key="feed")["request_id"]
        clerk.desk_answer(rig.row_of(request), permit())
        page = press.result_list(after=cursor)
        counts = [press.result_ack([page["next"]])["collected"] for _ in range(2)]
        (item,) = press.result_list(after=cursor)["items"]
        after = press.result_list(after=page["next"])["items"]
    with rig.http(rig.token(Role.CONSUMER, PRESS)) as http:
        raw = http.get("/results", params={"after": cursor}).content

    stored = rig.parts.store.results(PRESS, after=int(cursor), most=1)[0][1]
    assert stored in raw
    assert (item["request_id"], item["type"], item["collected"]) == (request, "bus.request.completed.v1", True)
    assert counts == [1, 0]
    assert after == []


def test_one_consumer_cannot_acknowledge_the_results_of_another(rig: Rig) -> None:
    with rig.client(Role.CONSUMER, PORTAL) as portal, rig.client(Role.CONSUMER, PRESS) as press:
        request = press.submit(PERMIT, application(), key="steal")["request_id"]
        with rig.client(Role.CLERK, DESK) as clerk:
            clerk.desk_answer(rig.row_of(request), permit())
        cursor = press.result_list(most=200)["next"]

        assert portal.result_ack([int(cursor)]) == {"collected": 0}


def test_waiting_ends_as_soon_as_the_request_has_ended(rig: Rig) -> None:
    with rig.client(Role.CONSUMER, PORTAL) as portal, rig.client(Role.CLERK, DESK) as clerk:
        request = portal.submit(PERMIT, application(), key="wait", purpose=STATISTICS)["request_id"]
        with ThreadPoolExecutor(1) as thread:
            waiting = thread.submit(portal.request_show, request, wait=30)
            clerk.desk_answer(rig.row_of(request), permit())

            assert waiting.result(timeout=20)["state"] == "completed"


def test_waiting_that_brings_nothing_ends_with_how_it_is(rig: Rig) -> None:
    with rig.client(Role.CONSUMER, PORTAL) as portal:
        request = portal.submit(PERMIT, application(), key="wait-2", purpose=STATISTICS)["request_id"]

        assert portal.request_show(request, wait=1)["state"] == "open"
        with pytest.raises(InvalidMessageError):
            portal.request_show(request, wait=31)


def test_a_cancelled_request_cannot_be_cancelled_again(rig: Rig) -> None:
    with rig.client(Role.CONSUMER, PORTAL) as portal:
        request = portal.submit(PERMIT, application(), key="cancel", purpose=STATISTICS)["request_id"]
        assert portal.request_cancel(request, reason="moved away")["state"] == "cancelled"

        with pytest.raises(ConflictError) as again:
            portal.request_cancel(request, reason="moved away")

    assert again.value.code == "request-state"
    assert "cancelled" in str(again.value)


def test_the_timeline_tells_a_consumer_what_happened_and_not_which_official_of_another_agency(rig: Rig) -> None:
    with rig.client(Role.CONSUMER, PORTAL) as portal, rig.client(Role.OPERATOR) as operator:
        request = portal.submit(PERMIT, application(), key="facts", purpose=STATISTICS)["request_id"]
        with rig.client(Role.CLERK, DESK, user="fatima") as clerk:
            clerk.desk_answer(rig.row_of(request), permit())
        seen, all_ = portal.request_facts(request)["items"], operator.request_facts(request)["items"]

    assert [fact["version"] for fact in seen] == list(range(1, len(seen) + 1))
    assert [fact["hash"] for fact in seen] == [fact["hash"] for fact in all_]
    assert seen[0]["actor"] == f"{PORTAL}/test"
    assert "fatima" not in repr(seen)
    assert f"{DESK}/fatima" in {fact["actor"] for fact in all_}


def test_pages_of_requests_follow_each_other_without_gap_or_repetition(rig: Rig) -> None:
    with rig.client(Role.OPERATOR) as operator:
        everything = [line["request_id"] for line in operator.request_list(most=200)["items"]]
        paged: list[str] = []
        cursor: str | None = "0"
        while cursor is not None:
            page = operator.request_list(after=int(cursor), most=3)
            paged += [line["request_id"] for line in page["items"]]
            cursor = page["next"]

    assert paged == everything


def test_a_request_is_found_by_the_consumers_own_reference_and_by_nobody_elses(rig: Rig) -> None:
    with rig.client(Role.CONSUMER, PORTAL) as portal, rig.client(Role.CONSUMER, PRESS) as press:
        said: dict[str, Any] = {"reference": "F/77", "on_behalf_of": NUMBER, "purpose": STATISTICS}
        mine = portal.submit(PERMIT, application(), key="ref-1", **said)["request_id"]
        foreign = press.submit(PERMIT, application(), key="ref-1", **said)["request_id"]

        by_reference = portal.request_list(reference="F/77")["items"]
        by_principal = portal.request_list(on_behalf_of=NUMBER)["items"]
        assert [line["request_id"] for line in by_reference] == [mine]
        assert [line["request_id"] for line in by_principal] == [mine]
        assert [line["request_id"] for line in press.request_list(reference="F/77")["items"]] == [foreign]
        assert portal.request_list(reference="F/78")["items"] == []
        assert portal.request_list(reference="F/77", state=["completed", "failed"])["items"] == []
    with rig.client(Role.OPERATOR) as operator, pytest.raises(ForbiddenError) as for_whom:
        operator.request_list(reference="F/77")
    assert for_whom.value.code == "agency-needed"


def test_another_consumers_request_looks_exactly_like_one_that_does_not_exist(rig: Rig) -> None:
    with rig.client(Role.CONSUMER, PORTAL) as portal, rig.http(rig.token(Role.CONSUMER, PRESS)) as press:
        receipt = portal.submit(BUSINESS, business(), key="mine")
        answers = [
            press.get(f"/requests/{name}").json()
            for name in (receipt["request_id"], receipt["tracking"], "00000000-0000-8000-8000-000000000000")
        ]
        cancelled = press.post(f"/requests/{receipt['request_id']}/cancel", json={"reason": "not mine"})
        listed = press.get("/requests").json()["items"]

    plain = [{name: value for name, value in answer.items() if name != "instance"} for answer in answers]
    assert plain[0] == plain[1] == plain[2]
    assert plain[0]["code"] == "request-unknown"
    assert cancelled.status_code == 404
    assert all(line["consumer"] == PRESS for line in listed)


def test_requests_in_any_of_several_states_are_listed(rig: Rig) -> None:
    with rig.client(Role.OPERATOR) as operator:
        both = {line["state"] for line in operator.request_list(state=["open", "cancelled"], most=200)["items"]}
        one = {line["state"] for line in operator.request_list(state="cancelled", most=200)["items"]}
        with pytest.raises(InvalidMessageError):
            operator.request_list(state=["open", "ill"])

    assert both <= {"open", "cancelled"}
    assert one <= {"cancelled"}


def test_whoever_prefers_arabic_reads_a_problem_in_arabic_first(rig: Rig) -> None:
    with rig.http(rig.token(Role.CONSUMER, PORTAL)) as http:
        arabic, english = (
            http.get("/requests/none", headers={"Accept-Language": wanted}) for wanted in ("ar-EG, en;q=0.5", "fr, en")
        )

    assert (arabic.headers["content-language"], english.headers["content-language"]) == ("ar", "en")
    for member in ("title", "mend"):
        assert arabic.json()[member] == arabic.json()["i18n"]["ar"][member] == english.json()["i18n"]["ar"][member]
        assert english.json()["i18n"]["en"][member] == arabic.json()["i18n"]["en"][member]
    assert english.json()["title"] == english.json()["i18n"]["en"]["title"]
