"""The pages over HTTP: who may come in, what forms must prove, and what the list and a task show."""

from __future__ import annotations

import re

import httpx
import pytest

from bus.console.session import Seal, Session
from bus.operations.caller import Role
from tests.browser.desk_rig import submit
from tests.support.desk_visitor import ANSWER, Visitor, claimed, clerk, rig, row, visitor, words
from tests.support.gateway_rig import DESK, PRESS, REGISTRY, Rig

__all__ = ["claimed", "clerk", "rig", "row", "visitor"]  # fixtures


# --- who may come in


@pytest.mark.parametrize("path", ["/desk", "/desk/1", "/desk/1/return", "/desk/1/refuse", "/desk/agency", "/desk/x/y"])
def test_who_is_not_signed_in_is_sent_to_sign_in_and_comes_back(visitor: Visitor, path: str) -> None:
    answer = visitor.get(path)

    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/desk/sign-in")


def test_whoever_types_the_address_alone_is_led_to_the_desk(visitor: Visitor) -> None:
    answer = visitor.get("/")
    assert (answer.status_code, answer.headers["location"]) == (303, "/desk")


def test_a_clerk_signs_in_and_lands_where_he_wanted_to_go(rig: Rig, visitor: Visitor, row: int) -> None:
    visitor.get(f"/desk/sign-in?next=/desk/{row}")
    answer = visitor.post("/desk/sign-in", {"token": rig.token(Role.CLERK, DESK), "next": f"/desk/{row}"})

    assert (answer.status_code, answer.headers["location"]) == (303, f"/desk/{row}")


@pytest.mark.parametrize("wanted", ["https://evil.example/", "//evil.example", "/desk/../../x", "/desk\r\nX: y", "/v1"])
def test_a_sign_in_leads_nowhere_else(rig: Rig, visitor: Visitor, wanted: str) -> None:
    visitor.get("/desk/sign-in")
    answer = visitor.post("/desk/sign-in", {"token": rig.token(Role.CLERK, DESK), "next": wanted})

    assert answer.headers["location"] == "/desk"


def test_a_cookie_holds_no_token_and_no_script_can_read_it(rig: Rig, visitor: Visitor) -> None:
    token = rig.token(Role.CLERK, DESK)
    cookie = visitor.sign_in(token).headers["set-cookie"]

    assert token not in cookie
    assert {"HttpOnly", "SameSite=strict", "Path=/desk"} <= {part.strip() for part in cookie.split(";")}
    assert "Secure" not in cookie


def test_behind_a_proxy_that_speaks_tls_the_cookie_travels_over_tls_only(rig: Rig, visitor: Visitor) -> None:
    visitor.http.headers["X-Forwarded-Proto"] = "https"
    visitor.get("/desk/sign-in")
    entry = visitor.http.cookies["bus_entry"]
    visitor.http.headers["Cookie"] = f"bus_entry={entry}"
    answer = visitor.post("/desk/sign-in", {"token": rig.token(Role.CLERK, DESK)})

    assert "Secure" in answer.headers["set-cookie"]


def test_a_sign_in_that_another_site_sends_is_not_taken(rig: Rig, visitor: Visitor) -> None:
    visitor.get("/desk/sign-in")
    answer = visitor.post("/desk/sign-in", {"token": rig.token(Role.CLERK, DESK)}, Origin="https://evil.example")

    assert answer.status_code == 403
    assert "bus_desk" not in answer.headers.get("set-cookie", "")


@pytest.mark.parametrize("role", [Role.OPERATOR, Role.CONSUMER])
def test_other_roles_are_told_that_this_desk_is_for_clerks(rig: Rig, visitor: Visitor, role: Role) -> None:
    answer = visitor.sign_in(rig.token(role, PRESS if role is Role.CONSUMER else None))

    assert answer.status_code == 403
    assert "This desk is for clerks." in words(answer)
    assert "هذا المكتب مخصّص للموظفين" in words(answer)
    assert visitor.get("/desk").status_code == 303


def test_tokens_cannot_be_tried_until_one_fits_and_others_may_still_come_in(rig: Rig, visitor: Visitor) -> None:
    visitor.http.headers["X-Forwarded-For"] = "192.0.2.66"
    tried = [visitor.sign_in(f"bus_{number}").status_code for number in range(11)]
    late = visitor.sign_in(rig.token(Role.CLERK, DESK))
    visitor.http.headers["X-Forwarded-For"] = "192.0.2.66, 192.0.2.67"

    assert tried == [401] * 10 + [429]
    assert late.status_code == 429
    assert 1 <= int(late.headers["Retry-After"]) <= 300
    assert "محاولات كثيرة" in words(late)
    assert visitor.sign_in(rig.token(Role.CLERK, DESK)).status_code == 303


def test_the_session_of_a_token_that_nobody_has_any_more_leads_to_the_sign_in(rig: Rig, visitor: Visitor) -> None:
    now = rig.parts.store.now()
    session = Session(token_hash="0" * 64, agency=None, nonce="n", started=now, seen=now)
    visitor.http.headers["Cookie"] = f"bus_desk={Seal(rig.parts.context.secret).cookie(session)}"

    assert visitor.get("/desk").headers["location"] == "/desk/sign-in"


def test_an_administrator_says_for_whom_he_works_and_the_facts_name_both(rig: Rig, visitor: Visitor, row: int) -> None:
    visitor.sign_in(rig.token(Role.ADMIN, user="root"))
    asked = visitor.get(f"/desk/{row}")
    choice = visitor.get(asked.headers["location"])
    refused = visitor.post("/desk/agency", {"agency": PRESS})
    chosen = visitor.post("/desk/agency", {"agency": DESK, "next": f"/desk/{row}"})
    visitor.post(f"/desk/{row}/claim", {})
    answer = visitor.post(f"/desk/{row}/answer", ANSWER | {"do": "answer"})

    assert asked.headers["location"] == f"/desk/agency?next=/desk/{row}"
    assert "Municipality" in words(choice)
    assert "One-stop shop" not in words(choice)
    assert refused.status_code == 422
    assert chosen.headers["location"] == f"/desk/{row}"
    assert answer.headers["location"] == "/desk?note=answered"
    request = rig.parts.store.desk_row(row)
    assert request is not None
    assert f"admin/root for {DESK}" in {fact.actor for fact in rig.parts.store.facts(request.request_id)}


def test_a_clerk_cannot_work_for_another_agency(clerk: Visitor) -> None:
    assert clerk.post("/desk/agency", {"agency": REGISTRY}).status_code == 403


def test_who_signs_out_is_out_also_with_a_copy_of_the_cookie(clerk: Visitor) -> None:
    copy = clerk.http.cookies["bus_desk"]
    assert clerk.post("/desk/sign-out", {}).headers["location"] == "/desk/sign-in?note=out"
    clerk.http.cookies.clear()
    clerk.http.headers["Cookie"] = f"bus_desk={copy}"

    assert clerk.get("/desk").status_code == 303


# --- what forms must prove


def test_a_form_without_its_token_or_from_elsewhere_changes_nothing(rig: Rig, clerk: Visitor, row: int) -> None:
    right = clerk.token
    clerk.token = ""
    without = clerk.post(f"/desk/{row}/claim", {})
    clerk.token = "0" * 64
    wrong = clerk.post(f"/desk/{row}/claim", {})
    clerk.token = right
    elsewhere = clerk.post(f"/desk/{row}/claim", {}, Origin="https://evil.example")
    nowhere = clerk.post(f"/desk/{row}/claim", {}, Origin="null")
    del clerk.http.headers["Origin"]
    unsaid = clerk.post(f"/desk/{row}/claim", {})
    crossing = clerk.post(f"/desk/{row}/claim", {}, **{"Sec-Fetch-Site": "cross-site"})

    for answer in (without, wrong, elsewhere, nowhere, unsaid, crossing):
        assert answer.status_code == 403
        assert "Nothing was changed." in words(answer)
    found = rig.parts.store.desk_row(row)
    assert found is not None
    assert found.state == "open"


def test_a_form_of_another_session_is_refused(rig: Rig, clerk: Visitor, row: int) -> None:
    with httpx.Client(base_url=rig.url, headers={"Origin": rig.url}) as http:
        other = Visitor(http=http)
        other.sign_in(rig.token(Role.CLERK, DESK, "omar"))
        clerk.token = other.token

    assert clerk.post(f"/desk/{row}/claim", {}).status_code == 403


def test_a_sign_in_without_its_own_form_is_refused(rig: Rig, visitor: Visitor) -> None:
    assert visitor.post("/desk/sign-in", {"token": rig.token(Role.CLERK, DESK)}).status_code == 403


@pytest.mark.parametrize("path", ["/desk", "/desk/sign-in", "/desk/99", "/desk/x", "/track", "/track/x"])
def test_every_page_says_what_browsers_may_do_with_it(clerk: Visitor, path: str) -> None:
    headers = clerk.get(path).headers

    policy = headers["content-security-policy"]
    assert {"default-src 'none'", "style-src 'self'", "form-action 'self'", "frame-ancestors 'none'"} <= set(
        policy.split("; ")
    )
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"


def test_no_page_holds_a_script_or_a_style_of_its_own(clerk: Visitor, claimed: int) -> None:
    for path in ("/desk", f"/desk/{claimed}", f"/desk/{claimed}/return", f"/desk/{claimed}/refuse", "/track"):
        assert not re.search(r"<script|<style|\sstyle=|\son[a-z]+=|javascript:", clerk.get(path).text), path


@pytest.mark.parametrize(
    ("content", "content_type", "status"),
    [
        (b"", "application/x-www-form-urlencoded", 403),
        (b"x=%ff", "application/x-www-form-urlencoded", 400),
        (b"x=\xff\xfe", "application/x-www-form-urlencoded", 400),
        (b"&".join(b"a=1" for _ in range(9000)), "application/x-www-form-urlencoded", 400),
        (b"x=" + b"a" * 300_000, "application/x-www-form-urlencoded", 413),
        (b"x=" + b"a" * 10_000_000, "application/x-www-form-urlencoded", 413),
        (b"{}", "application/json", 415),
        (b"--x", "multipart/form-data; boundary=x", 415),
    ],
)
def test_a_body_that_no_form_sends_is_told_and_nothing_more(
    clerk: Visitor, row: int, content: bytes, content_type: str, status: int
) -> None:
    answer = clerk.http.post(f"/desk/{row}/answer", content=content, headers={"Content-Type": content_type})

    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize("row_", ["99", "x", "9" * 19, "9" * 5000, "-1", "1.5", "٣"])
def test_a_task_that_is_not_on_the_desk_is_not_found(clerk: Visitor, row_: str) -> None:
    for answer in (clerk.get(f"/desk/{row_}"), clerk.post(f"/desk/{row_}/claim", {})):
        assert answer.status_code == 404
        assert "لا توجد صفحة كهذه" in words(answer)


def test_a_clerk_of_another_agency_finds_nothing(rig: Rig, visitor: Visitor, row: int) -> None:
    visitor.sign_in(rig.token(Role.CLERK, REGISTRY))

    assert visitor.get(f"/desk/{row}").status_code == 404
    for action in ("claim", "release", "answer", "return", "refuse"):
        assert visitor.post(f"/desk/{row}/{action}", ANSWER | {"do": "answer"}).status_code == 404


def test_a_persons_data_is_shown_to_the_clerk_who_has_the_task_only(rig: Rig, clerk: Visitor, row: int) -> None:
    before = clerk.get(f"/desk/{row}")
    clerk.post(f"/desk/{row}/claim", {})
    after = clerk.get(f"/desk/{row}")
    clerk.sign_in(rig.token(Role.CLERK, DESK, "omar"))
    others = clerk.get(f"/desk/{row}")

    assert "شارع النيل" in after.text
    for answer in (before, others):
        assert "شارع النيل" not in answer.text
        assert 'name="/permit_number"' not in answer.text
    assert "fatima took it on" in words(others)


# --- the list


def test_the_list_goes_on_by_key_and_shows_no_data(rig: Rig, visitor: Visitor) -> None:
    rows = [submit(rig)[2] for _ in range(22)]
    visitor.sign_in(rig.token(Role.CLERK, DESK, "reader"))
    seen: list[int] = []
    path = "/desk"
    for _ in range(20):
        page = visitor.get(path)
        seen += [int(key) for key in re.findall(r'href="/desk/(\d+)"', page.text)]
        assert "شارع النيل" not in page.text
        following = re.search(r'href="(/desk\?after=\d+)"', page.text)
        if following is None:
            break
        path = following[1]

    assert seen == sorted(seen)
    assert set(rows) <= set(seen)


@pytest.mark.parametrize("query", ["state=odd", "after=x", "after=-1", "after=99999999999999999999", "after=٣"])
def test_a_made_up_list_is_not_found(clerk: Visitor, query: str) -> None:
    assert clerk.get(f"/desk?{query}").status_code == 404
