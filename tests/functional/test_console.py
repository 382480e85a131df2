"""The pages over HTTP: who may come in, what forms must prove, and that nothing typed is lost."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from bus.console.session import IDLE, Seal, Session
from bus.operations.caller import Role
from tests.browser.desk_rig import desk, submit
from tests.support.gateway_rig import DESK, NUMBER, PRESS, REGISTRY, Rig

ANSWER = {"/permit_number": "P-7", "/valid_until": "31/12/2030", "/kind": "shop", "/conditional": "no"}
HOSTILE = '"><script>alert(1)</script>'


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with desk(Path(tmp_path_factory.mktemp("desk"))) as rig:
        yield rig


@dataclass(kw_only=True)
class Visitor:
    """A browser that remembers cookies and the token of the forms that it got."""

    http: httpx.Client
    token: str = ""
    last: httpx.Response | None = field(default=None, repr=False)

    def get(self, path: str) -> httpx.Response:
        return self._seen(self.http.get(path))

    def post(self, path: str, fields: Mapping[str, str], **headers: str) -> httpx.Response:
        return self._seen(self.http.post(path, data={"form_token": self.token} | dict(fields), headers=headers))

    def sign_in(self, token: str) -> httpx.Response:
        self.get("/desk/sign-in")
        answer = self.post("/desk/sign-in", {"token": token})
        if answer.is_redirect:
            self.get(answer.headers["location"])
        return answer

    def _seen(self, answer: httpx.Response) -> httpx.Response:
        found = re.search(r'name="form_token" value="([0-9a-f]+)"', answer.text)
        self.token = found[1] if found else self.token
        self.last = answer
        return answer


@pytest.fixture
def visitor(rig: Rig) -> Iterator[Visitor]:
    with httpx.Client(base_url=rig.url, headers={"Origin": rig.url, "Accept-Language": "en"}, timeout=30) as http:
        yield Visitor(http=http)


@pytest.fixture
def clerk(rig: Rig, visitor: Visitor) -> Visitor:
    visitor.sign_in(rig.token(Role.CLERK, DESK, "fatima"))
    return visitor


@pytest.fixture
def row(rig: Rig) -> int:
    return submit(rig)[2]


@pytest.fixture
def claimed(clerk: Visitor, row: int) -> int:
    clerk.post(f"/desk/{row}/claim", {})
    return row


def words(answer: httpx.Response) -> str:
    """The page as a reader sees it."""
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", " ", answer.text)))


def value(answer: httpx.Response, name: str) -> str:
    """What stands in a field."""
    found = re.search(rf'name="{re.escape(name)}"[^>]*?value="([^"]*)"', answer.text)
    assert found is not None, name
    return html.unescape(found[1])


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


# --- answering


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


# --- sending back


RETURN = {
    "pointer": "/lease_number",
    "reason_code": "Lease missing",
    "text_en": "The lease is missing.",
    "text_ar": "عقد الإيجار ناقص.",
    "days": "١٤",
}


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


# --- the citizen's page


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
