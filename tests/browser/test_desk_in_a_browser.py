"""The desk as clerks use it: Debian's Chromium without scripts, in both languages, on a screen and on a phone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, Page, expect, sync_playwright

from bus.message.envelope import decode
from bus.operations.caller import Role
from bus.process.state import StepKey
from tests.browser.desk_rig import LANGUAGES, PHONE, chromium, desk, keep, sign_in, submit, window
from tests.support.gateway_rig import DESK, PRESS, Rig

#: What a clerk reads on the buttons.
WORDS = {
    "en": {
        "take": "Take this task",
        "send": "Send the answer",
        "draft": "Save the draft",
        "add": "Add a row",
        "kind": "Office",
        "yes": "Yes",
        "sent": "The answer is sent.",
        "kept": "The draft is saved.",
        "places": "4 places need your attention",
        "missing": "A paper is missing",
        "refuse": "Refuse",
        "go": "Go on",
        "returned": "The task went back to the applicant.",
        "refused": "The task is refused",
        "condition": "No noise after ten",
        "taken": "omar took it on",
        "withdrawn": "The task was withdrawn meanwhile",
        "out": "You are signed out.",
        "leave": "Sign out",
    },
    "ar": {
        "take": "استلام المعاملة",
        "send": "إرسال الجواب",
        "draft": "حفظ المسودة",
        "add": "إضافة سطر",
        "kind": "مكتب",
        "yes": "نعم",
        "sent": "أُرسل الجواب.",
        "kept": "حُفظت المسودة.",
        "places": "4 مواضع تحتاج إلى مراجعة",
        "missing": "مستند ناقص",
        "refuse": "رفض",
        "go": "متابعة",
        "returned": "أُعيدت المعاملة إلى مقدّم الطلب.",
        "refused": "رُفضت المعاملة",
        "condition": "لا ضوضاء بعد العاشرة",
        "taken": "استلمها",
        "withdrawn": "سُحبت المعاملة في هذه الأثناء",
        "out": "سُجّل خروجك.",
        "leave": "تسجيل الخروج",
    },
}
SIZES = {"wide": None, "phone": PHONE}


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with desk(Path(tmp_path_factory.mktemp("desk"))) as rig:
        yield rig


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        found = chromium(playwright)
        yield found
        found.close()


@pytest.fixture(params=LANGUAGES)
def language(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def page(browser: Browser, rig: Rig, language: str) -> Iterator[Page]:
    with window(browser, rig, language) as page:
        yield page


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def take(page: Page, rig: Rig, language: str) -> int:
    """Sign in and take a new task."""
    _, _, row = submit(rig)
    sign_in(page, rig)
    page.goto(f"/desk/{row}")
    press(page, WORDS[language]["take"])
    return row


def fill(page: Page, **values: str) -> None:
    for name, text in values.items():
        page.fill(f'[name="/{name}"]', text)


def choose(page: Page, *texts: str) -> None:
    for text in texts:
        page.get_by_label(text, exact=True).check()


def answered(rig: Rig, request: str) -> Any:
    """The data of the answer that the bus keeps; None before there is one."""
    read = rig.parts.store.request(request)
    assert read is not None
    output = read.steps[StepKey(step="permit")].output_id
    return None if output is None else decode(rig.parts.store.payloads([output])[output]).data


def request_of(rig: Rig, row: int) -> str:
    found = rig.parts.store.desk_row(row)
    assert found is not None
    return found.request_id


def test_a_clerk_answers_a_task_from_sign_in_to_sign_out(page: Page, rig: Rig, language: str) -> None:
    words = WORDS[language]
    row = take(page, rig, language)
    expect(page.locator("html")).to_have_attribute("dir", "rtl" if language == "ar" else "ltr")
    expect(page.get_by_text("شارع النيل 5")).to_be_visible()

    fill(page, permit_number="P-2026-0042", valid_until="soon", floors="many")
    press(page, words["send"])
    expect(page.get_by_role("alert")).to_contain_text(words["places"])
    expect(page.locator('[name="/valid_until"]')).to_have_value("soon")
    page.get_by_role("alert").get_by_role("link").first.click()
    expect(page.locator('[name="/valid_until"]')).to_be_focused()
    keep(page, f"{language}-task-with-faults")

    fill(page, valid_until="٣١/١٢/٢٠٣٠", floors="٢")
    choose(page, words["kind"])
    press(page, words["draft"])
    expect(page.get_by_role("status")).to_contain_text(words["kept"])
    expect(page.locator('[name="/valid_until"]')).to_have_value("31/12/2030")

    choose(page, words["yes"])
    page.get_by_role("button", name=words["add"]).click()
    page.fill('[name="/conditions/0/text"]', words["condition"])
    press(page, words["send"])
    expect(page.get_by_role("status")).to_contain_text(words["sent"])
    assert answered(rig, request_of(rig, row)) == {
        "permit_number": "P-2026-0042",
        "valid_until": "2030-12-31",
        "kind": "office",
        "conditional": True,
        "floors": 2,
        "conditions": [{"text": words["condition"]}],
    }

    press(page, words["leave"])
    expect(page.get_by_role("status")).to_contain_text(words["out"])


def test_the_key_enter_keeps_a_draft_and_sends_nothing(page: Page, rig: Rig, language: str) -> None:
    row = take(page, rig, language)
    fill(page, permit_number="P-1")
    page.locator('[name="/permit_number"]').press("Enter")

    expect(page.get_by_role("status")).to_contain_text(WORDS[language]["kept"])
    assert answered(rig, request_of(rig, row)) is None


def test_a_clerk_asks_for_a_missing_paper(page: Page, rig: Rig, language: str) -> None:
    words = WORDS[language]
    row = take(page, rig, language)
    page.get_by_role("link", name=words["missing"]).click()
    keep(page, f"{language}-return")
    page.check('[value="/lease_number"]')
    fields = {"reason_code": "Lease missing", "text_ar": "رقم عقد الإيجار ناقص.", "text_en": "No lease.", "days": "١٤"}
    for name, text in fields.items():
        page.fill(f"#{name}", text)
    press(page, words["go"])
    keep(page, f"{language}-return-confirm")
    page.locator("button.main").click()

    expect(page.get_by_role("status")).to_contain_text(words["returned"])
    with rig.client(Role.CONSUMER, PRESS) as portal:
        asked = portal.request_show(request_of(rig, row))["asked"][0]
    assert asked["pointers"] == ["/lease_number"]
    assert asked["question"]["needs"][0]["reason_code"] == "lease_missing"


def test_a_clerk_refuses_a_task(page: Page, rig: Rig, language: str) -> None:
    words = WORDS[language]
    row = take(page, rig, language)
    page.get_by_role("link", name=words["refuse"], exact=True).click()
    fields = {"reason_code": "zoning", "text_ar": "ليس في هذا الشارع.", "text_en": "Not in this street."}
    for name, text in fields.items():
        page.fill(f"#{name}", text)
    press(page, words["go"])
    keep(page, f"{language}-refuse-confirm")
    page.locator("button.main").click()

    expect(page.get_by_role("status")).to_contain_text(words["refused"])
    with rig.client(Role.CONSUMER, PRESS) as portal:
        assert portal.request_show(request_of(rig, row))["state"] == "rejected"


def test_the_second_clerk_meets_a_page_that_says_who_and_when(page: Page, rig: Rig, language: str) -> None:
    _, _, row = submit(rig)
    sign_in(page, rig)
    page.goto(f"/desk/{row}")
    with rig.client(Role.CLERK, DESK, user="omar") as omar:
        omar.desk_claim(row)
    with page.expect_response(lambda answer: answer.url.endswith("/claim")) as answer:
        press(page, WORDS[language]["take"])

    assert answer.value.status == 409
    expect(page.locator("main")).to_contain_text(WORDS[language]["taken"])
    expect(page.locator("main")).to_contain_text("omar")
    expect(page.locator("main")).to_contain_text(re.compile(r"20\d\d.{1,2}\d\d:\d\d"))
    keep(page, f"{language}-second-clerk")


def test_a_request_withdrawn_meanwhile_has_a_page_that_says_so(page: Page, rig: Rig, language: str) -> None:
    row = take(page, rig, language)
    with rig.client(Role.CONSUMER, PRESS) as portal:
        portal.request_cancel(request_of(rig, row), reason="applicant withdrew")
    fill(page, permit_number="P-LATE")
    press(page, WORDS[language]["send"])

    expect(page.locator("h1")).to_have_text(WORDS[language]["withdrawn"])
    expect(page.locator("main")).to_contain_text("P-LATE")
    keep(page, f"{language}-withdrawn")


def test_a_browser_that_dies_in_the_middle_of_an_answer_leaves_all_of_it_or_nothing(
    browser: Browser, rig: Rig, language: str
) -> None:
    words = WORDS[language]
    for _ in range(4):
        with window(browser, rig, language) as page:
            row = take(page, rig, language)
            fill(page, permit_number="P-1", valid_until="31/12/2030", remarks="x" * 300)
            choose(page, words["kind"], words["yes"])
            with page.expect_request(lambda asked: asked.url.endswith("/answer")):
                page.get_by_role("button", name=words["send"], exact=True).click(no_wait_after=True)
        request = request_of(rig, row)
        with rig.client(Role.CONSUMER, PRESS) as portal:
            portal.request_show(request, wait=1)
        state, on_the_desk, found = standing(rig, request, row)
        if found is None:
            assert (state, on_the_desk) == ("open", "claimed")
        else:
            assert (state, on_the_desk, found["remarks"]) == ("completed", "answered", "x" * 300)
    assert rig.parts.store.recount() == ()


def standing(rig: Rig, request: str, row: int) -> tuple[str, str, Any]:
    """State of the request and of its row, and the kept answer, all of the same moment."""
    while True:
        before = rig.parts.store.request(request)
        on_the_desk, found = rig.parts.store.desk_row(row), answered(rig, request)
        after = rig.parts.store.request(request)
        assert before is not None
        assert after is not None
        assert on_the_desk is not None
        if before.version == after.version:
            return after.state.value, on_the_desk.state, found


@pytest.mark.parametrize("size", SIZES)
def test_every_page_is_calm_narrow_enough_and_free_of_serious_faults_for_all(
    browser: Browser, rig: Rig, language: str, size: str
) -> None:
    words, found = WORDS[language], []
    options: dict[str, Any] = {"viewport": SIZES[size]} if SIZES[size] else {}
    # Axe itself is a script: it is let in here, and past the policy of the page.
    with window(browser, rig, language, java_script_enabled=True, bypass_csp=True, **options) as page:

        def look(name: str) -> None:
            found.extend(_faults(page, f"{language}-{size}-{name}"))

        _, tracking, theirs = submit(rig)
        with rig.client(Role.CLERK, DESK, user="omar") as omar:
            omar.desk_claim(theirs)
        for path, name in (("/desk/sign-in", "sign-in"), ("/track", "track-ask"), (f"/track/{tracking}", "track")):
            page.goto(path)
            look(name)
        page.goto("/track/7K4M9-Q2XHT-A")
        look("track-unknown")
        row = take(page, rig, language)
        page.goto("/desk")
        look("list")
        page.goto("/desk?state=withdrawn&after=9000000000000000000")
        look("list-empty")
        page.goto(f"/desk/{theirs}")
        look("task-of-another")
        page.goto("/desk/1")
        look("not-found")
        page.goto(f"/desk/{row}")
        look("task")
        page.get_by_role("button", name=words["add"]).click()
        press(page, words["send"])
        look("task-faults")
        for way in ("return", "refuse"):
            page.goto(f"/desk/{row}/{way}")
            press(page, words["go"])
            look(f"{way}-faults")
        for name in ("text_ar", "text_en", "reason_code"):
            page.fill(f"#{name}", "x")
        press(page, words["go"])
        look("refuse-confirm")
        page.locator("button.main").click()
        page.goto(f"/desk/{row}")
        look("task-done")
        press(page, words["leave"])
        sign_in(page, rig, "root", Role.ADMIN)
        look("agency")

    assert found == []


def test_pages_are_readable_in_the_dark_and_without_colours_of_our_own(
    browser: Browser, rig: Rig, language: str
) -> None:
    found = []
    for name, options in (("dark", {"color_scheme": "dark"}), ("forced", {"forced_colors": "active"})):
        with window(browser, rig, language, java_script_enabled=True, bypass_csp=True, **options) as page:
            row = take(page, rig, language)
            found += _faults(page, f"{language}-{name}-task")
            page.goto("/desk")
            found += _faults(page, f"{language}-{name}-list")
            page.goto(f"/desk/{row}/refuse")
            found += _faults(page, f"{language}-{name}-refuse")

    assert found == []


def _faults(page: Page, name: str) -> list[str]:
    """What keeps somebody from using this page, and whether it must be moved sideways; a picture is kept."""
    keep(page, name)
    report = Axe().run(page).response
    found = [
        f"{name}: {violation['id']} ({violation['impact']}): {json.dumps(violation['nodes'][0]['target'])}"
        for violation in report["violations"]
        if violation["impact"] in {"serious", "critical"}
    ]
    if page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
        found.append(f"{name}: wider than the window")
    return found
