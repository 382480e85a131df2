"""A clerk's answer over HTTP: faults stand at their fields, nothing typed is lost, and one clerk has the task."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from bus.console.session import IDLE
from bus.operations.caller import Role
from tests.support.desk_visitor import ANSWER, HOSTILE, Visitor, claimed, clerk, rig, row, value, visitor, words
from tests.support.gateway_rig import DESK, PRESS, Rig

__all__ = ["claimed", "clerk", "rig", "row", "visitor"]  # fixtures


def test_an_answer_is_sent_and_the_request_goes_on(rig: Rig, clerk: Visitor, claimed: int) -> None:
    answer = clerk.post(f"/desk/{claimed}/answer", ANSWER | {"do": "answer", "/area": "١٢٫٥"})
    done = clerk.get(answer.headers["location"])

    assert "The answer is sent." in words(done)
    found = rig.parts.store.desk_row(claimed)
    assert found is not None
    assert found.state == "answered"
    assert "fatima answered it on" in words(clerk.get(f"/desk/{claimed}"))


def test_every_fault_stands_at_its_field_and_in_the_summary_and_what_was_typed_stays(
    clerk: Visitor, claimed: int
) -> None:
    typed = {"/permit_number": HOSTILE, "/valid_until": "soon", "/floors": "many", "/inspector/visited_on": "1/2/2026"}
    answer = clerk.post(f"/desk/{claimed}/answer", typed | {"do": "answer"})

    assert answer.status_code == 422
    links = re.findall(r'<li><a href="#([^"]+)">', answer.text)
    assert links == [
        "answer/valid_until",
        "answer/kind",
        "answer/conditional",
        "answer/floors",
        "answer/inspector/badge",
    ]
    for link in links:
        assert f'id="{link}"' in answer.text
        assert f'id="{link}-error"' in answer.text
    for name, text in typed.items():
        assert value(answer, name) == text
    assert "<script>" not in answer.text


def test_a_pattern_of_digits_takes_the_digits_that_the_clerk_has_on_his_keyboard(clerk: Visitor, claimed: int) -> None:
    answer = clerk.post(f"/desk/{claimed}/answer", ANSWER | {"do": "answer", "/inspector/badge": "٠٠٤٢"})

    assert answer.headers["location"] == "/desk?note=answered"


def test_signs_that_nobody_sees_are_refused_at_their_field(clerk: Visitor, claimed: int) -> None:
    answer = clerk.post(f"/desk/{claimed}/answer", ANSWER | {"do": "answer", "/permit_number": "P\u202e7"})

    assert answer.status_code == 422
    assert "signs that nobody can see" in words(answer)


def test_a_draft_keeps_even_what_is_wrong_and_another_day_it_is_there(clerk: Visitor, claimed: int) -> None:
    typed = {"/permit_number": "P", "/valid_until": "soon", "/conditions/1/text": "second", "rows:/conditions": "2"}
    saved = clerk.post(f"/desk/{claimed}/answer", typed | {"do": "draft"})
    shown = clerk.get(saved.headers["location"])

    assert "The draft is saved." in words(shown)
    assert (value(shown, "/permit_number"), value(shown, "/valid_until")) == ("P", "soon")
    assert value(shown, "/conditions/0/text") == "second"


def test_rows_come_and_go_by_buttons_and_nothing_else_changes(clerk: Visitor, claimed: int) -> None:
    typed = {"/permit_number": "P", "/conditions/0/text": "first", "rows:/conditions": "1"}
    longer = clerk.post(f"/desk/{claimed}/answer", typed | {"do": "add:/conditions"})
    more = typed | {"/conditions/1/text": "second", "rows:/conditions": "2"}
    shorter = clerk.post(f"/desk/{claimed}/answer", more | {"do": "remove:/conditions/0"})

    assert (value(longer, "/conditions/0/text"), value(longer, "/conditions/1/text")) == ("first", "")
    assert (value(shorter, "/conditions/0/text"), value(shorter, "rows:/conditions")) == ("second", "1")
    assert value(shorter, "/permit_number") == "P"


@pytest.mark.parametrize(
    "do",
    [
        "",
        "add:",
        "add:/nothing",
        "add:/permit_number",
        "remove:/conditions/9",
        "remove:/conditions/x",
        "language:de",
        "x",
    ],
)
def test_a_made_up_button_only_shows_the_form_again(clerk: Visitor, claimed: int, do: str) -> None:
    answer = clerk.post(f"/desk/{claimed}/answer", ANSWER | {"do": do})

    assert answer.status_code == 200
    assert value(answer, "/permit_number") == "P-7"


def test_the_language_changes_in_the_middle_of_an_answer_and_stays_changed(clerk: Visitor, claimed: int) -> None:
    answer = clerk.post(f"/desk/{claimed}/answer", ANSWER | {"do": "language:ar"})

    assert '<html lang="ar" dir="rtl">' in answer.text
    assert value(answer, "/permit_number") == "P-7"
    assert '<html lang="ar" dir="rtl">' in clerk.get("/desk").text
    assert '<html lang="en" dir="ltr">' in clerk.get("/desk?lang=en").text
    assert '<html lang="en" dir="ltr">' in clerk.get("/desk").text


def test_the_second_clerk_learns_who_and_when_and_keeps_what_he_typed(rig: Rig, clerk: Visitor, row: int) -> None:
    with rig.client(Role.CLERK, DESK, user="omar") as omar:
        omar.desk_claim(row)
    claim = clerk.post(f"/desk/{row}/claim", {})
    answer = clerk.post(f"/desk/{row}/answer", ANSWER | {"do": "answer", "/permit_number": "P-TYPED"})
    sent_back = clerk.post(
        f"/desk/{row}/refuse", {"reason_code": "x", "text_en": "Not in this street.", "text_ar": "لا", "do": "confirm"}
    )

    for page in (claim, answer, sent_back):
        assert page.status_code == 409
        assert re.search(r"omar took it on \d{1,2} \w+ \d{4}, \d\d:\d\d\.", words(page))
    assert "P-TYPED" in words(answer)
    assert "Not in this street." in words(sent_back)


def test_of_two_clerks_in_the_same_moment_one_has_the_task(rig: Rig, row: int) -> None:
    def take(user: str) -> int:
        with httpx.Client(base_url=rig.url, headers={"Origin": rig.url}, timeout=30) as http:
            visitor = Visitor(http=http)
            visitor.sign_in(rig.token(Role.CLERK, DESK, user))
            return visitor.post(f"/desk/{row}/claim", {}).status_code

    with ThreadPoolExecutor(2) as both:
        assert sorted(both.map(take, ["nour", "sami"])) == [303, 409]


def test_an_answer_to_a_request_that_was_withdrawn_meanwhile_is_told_so(rig: Rig, clerk: Visitor, claimed: int) -> None:
    found = rig.parts.store.desk_row(claimed)
    assert found is not None
    with rig.client(Role.CONSUMER, PRESS) as press:
        press.request_cancel(found.request_id, reason="applicant withdrew")
    answer = clerk.post(f"/desk/{claimed}/answer", ANSWER | {"do": "answer"})

    assert answer.status_code == 409
    assert "The task was withdrawn meanwhile" in words(answer)
    assert "P-7" in words(answer)
    assert "The task was withdrawn" in words(clerk.get(f"/desk/{claimed}"))


def test_who_sends_twice_is_told_that_it_was_he(clerk: Visitor, claimed: int) -> None:
    clerk.post(f"/desk/{claimed}/answer", ANSWER | {"do": "answer"})
    again = clerk.post(f"/desk/{claimed}/answer", ANSWER | {"do": "answer"})

    assert again.status_code == 409
    assert "You have answered this task already" in words(again)


def test_what_was_typed_survives_the_end_of_the_session(rig: Rig, clerk: Visitor, claimed: int) -> None:
    offset = rig.parts.store.offset  # type: ignore[attr-defined]
    rig.parts.store.offset = offset + IDLE  # type: ignore[attr-defined]
    try:
        stopped = clerk.post(f"/desk/{claimed}/answer", ANSWER | {"do": "answer", "/permit_number": HOSTILE})
        carried = {"carried": value(stopped, "carried"), "next": value(stopped, "next")}
        resumed = clerk.post("/desk/sign-in", carried | {"token": rig.token(Role.CLERK, DESK, "fatima")})
        sent = clerk.post(f"/desk/{claimed}/answer", ANSWER | {"do": "answer"})
    finally:
        rig.parts.store.offset = offset  # type: ignore[attr-defined]

    assert stopped.status_code == 401
    assert "What you typed is kept." in words(stopped)
    assert (resumed.status_code, value(resumed, "/permit_number")) == (200, HOSTILE)
    assert "Nothing has been sent yet" in words(resumed)
    assert sent.headers["location"] == "/desk?note=answered"
