"""A clerk who asks for more or refuses: looked at twice, told in words, and each fault at its field."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from bus.operations.caller import Role
from tests.support.desk_visitor import RETURN, Visitor, claimed, clerk, rig, row, value, visitor, words
from tests.support.gateway_rig import PRESS, Rig

__all__ = ["claimed", "clerk", "rig", "row", "visitor"]  # fixtures


def test_what_is_missing_is_asked_after_a_second_look(rig: Rig, clerk: Visitor, claimed: int) -> None:
    empty = clerk.get(f"/desk/{claimed}/return")
    review = clerk.post(f"/desk/{claimed}/return", RETURN | {"do": "review"})
    edit = clerk.post(f"/desk/{claimed}/return", RETURN | {"do": "edit"})
    found = rig.parts.store.desk_row(claimed)
    sent = clerk.post(f"/desk/{claimed}/return", RETURN | {"do": "confirm"})

    assert "Number of the lease" in words(empty)
    assert "Send the task back to the applicant?" in words(review)
    assert (value(review, "reason_code"), value(review, "days")) == ("lease_missing", "14")
    assert value(edit, "reason_code") == "lease_missing"
    assert found is not None
    assert found.state == "claimed"
    assert sent.headers["location"] == "/desk?note=returned"
    with rig.client(Role.CONSUMER, PRESS) as press:
        asked = press.request_show(found.request_id)["asked"][0]
    assert asked["pointers"] == ["/lease_number"]
    assert asked["question"]["needs"][0]["text"] == {"en": RETURN["text_en"], "ar": RETURN["text_ar"]}


def test_a_clerk_reads_choices_and_days_in_words_also_where_he_asks_for_more(rig: Rig, visitor: Visitor) -> None:
    birth = json.loads(Path("docs/samples/register-newborn.json").read_text(encoding="utf-8"))
    with rig.client(Role.CONSUMER, "one_stop_shop") as portal:
        portal.submit("register-newborn.v1", birth | {"children": birth["children"][:1]}, key="newborn")
    row = rig.parts.store.desk("civil_office_coast", states={"open"}, after=0, most=1)[0].key
    visitor.sign_in(rig.token(Role.CLERK, "civil_office_coast"))
    visitor.post(f"/desk/{row}/claim", {})

    for path in (f"/desk/{row}", f"/desk/{row}/return"):
        read = words(visitor.get(path))
        assert "Female" in read
        assert "1 November 2026" in read
        assert "2026-11-01" not in read


def test_a_refusal_is_confirmed_and_carries_its_reason(rig: Rig, clerk: Visitor, claimed: int) -> None:
    reason = {"reason_code": "zoning", "text_en": "Not in this street.", "text_ar": "ليس في هذا الشارع."}
    review = clerk.post(f"/desk/{claimed}/refuse", reason | {"do": "review"})
    sent = clerk.post(f"/desk/{claimed}/refuse", reason | {"do": "confirm"})
    found = rig.parts.store.desk_row(claimed)

    assert "Refuse this task?" in words(review)
    assert sent.headers["location"] == "/desk?note=refused"
    assert found is not None
    with rig.client(Role.CONSUMER, PRESS) as press:
        assert press.request_show(found.request_id)["state"] == "rejected"


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"pointer": "/nothing"}, "pointer"),
        ({"pointer": ""}, "pointer"),
        ({"reason_code": "عقد"}, "reason_code"),
        ({"reason_code": ""}, "reason_code"),
        ({"text_en": "  "}, "text_en"),
        ({"text_ar": "x" * 2001}, "text_ar"),
        ({"text_ar": "ا\u202eب"}, "text_ar"),
        ({"days": "0"}, "days"),
        ({"days": "366"}, "days"),
        ({"days": "soon"}, "days"),
    ],
)
def test_a_question_that_cannot_be_put_is_told_at_its_field(
    rig: Rig, clerk: Visitor, claimed: int, change: dict[str, str], place: str
) -> None:
    for do in ("review", "confirm"):
        answer = clerk.post(f"/desk/{claimed}/return", RETURN | change | {"do": do})

        assert answer.status_code == 422
        assert re.findall(r'<li><a href="#([^"]+)">', answer.text) == [place]
        assert f'id="{place}"' in answer.text
    found = rig.parts.store.desk_row(claimed)
    assert found is not None
    assert found.state == "claimed"
