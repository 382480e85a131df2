"""The citizen's page: state and dates of a request by its tracking code, and nothing else."""

from __future__ import annotations

import re

from tests.browser.desk_rig import submit
from tests.support.desk_visitor import HOSTILE, RETURN, Visitor, clerk, rig, visitor, words
from tests.support.gateway_rig import NUMBER, Rig

__all__ = ["clerk", "rig", "visitor"]  # fixtures


def test_a_tracking_code_shows_state_and_dates_in_both_languages_and_nothing_else(rig: Rig, visitor: Visitor) -> None:
    _, tracking, _ = submit(rig)
    answer = visitor.get(f"/track/{tracking}")
    text = words(answer)

    assert answer.status_code == 200
    assert "set-cookie" not in answer.headers
    for shown in ("قيد التنفيذ", "In progress", "تاريخ التقديم", "Submitted", "الموعد المتوقَّع", "Expected by"):
        assert shown in text
    for hidden in (NUMBER, "منى", "شارع", "Site permit", "رخصة", "Municipality", "البلدية", "Press", "permit"):
        assert hidden not in answer.text


def test_a_tracking_code_is_read_as_people_write_it(rig: Rig, visitor: Visitor) -> None:
    _, tracking, _ = submit(rig)
    arabic = tracking.translate(str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩"))
    for written in (tracking.lower(), tracking.replace("-", ""), f" {tracking} ", arabic, tracking.replace("0", "o")):
        found = visitor.http.get("/track", params={"code": written}, follow_redirects=True)
        assert (found.status_code, tracking in found.text) == (200, True), written


def test_an_unknown_code_and_one_that_cannot_be_answer_alike(visitor: Visitor) -> None:
    pages = {visitor.get(f"/track/{code}").text for code in ("7K4M9-Q2XHT-A", "7K4M9-Q2XHT-B", "x/y", "%00", HOSTILE)}

    assert len(pages) == 1
    assert "لا يوجد طلب بهذا الرمز" in pages.pop()


def test_who_is_asked_for_something_is_sent_to_the_portal_without_details(rig: Rig, clerk: Visitor) -> None:
    _, tracking, row = submit(rig)
    clerk.post(f"/desk/{row}/claim", {})
    clerk.post(f"/desk/{row}/return", RETURN | {"do": "confirm"})
    text = words(clerk.get(f"/track/{tracking}"))

    assert "Something is asked of you." in text
    assert "يُرجى الرجوع إلى البوابة" in text
    assert not [detail for detail in ("lease_", "The lease", "عقد", "Number of") if detail in text]


def test_codes_cannot_be_tried_one_after_the_other(visitor: Visitor) -> None:
    visitor.http.headers["X-Forwarded-For"] = "198.51.100.7"
    statuses = [visitor.get("/track/7K4M9-Q2XHT-A").status_code for _ in range(31)]
    late = visitor.get("/track/7K4M9-Q2XHT-A")

    assert statuses == [404] * 30 + [429]
    assert 1 <= int(late.headers["Retry-After"]) <= 61
    assert "Too many attempts" in words(late)
    assert "محاولات كثيرة" in words(late)


def test_the_style_sheet_is_kept_by_browsers_for_ever(visitor: Visitor) -> None:
    page = visitor.get("/track")
    found = re.search(r'href="(/assets/[^"]+\.css)"', page.text)
    assert found is not None
    style = visitor.get(found[1])

    assert style.headers["content-type"].startswith("text/css")
    assert "immutable" in style.headers["cache-control"]
