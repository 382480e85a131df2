"""A gateway with its pages over a real store, a task with a long form, and Debian's Chromium without scripts."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Playwright

from bus.bootstrap import assemble, load_workspace
from bus.console.pages import pages
from bus.gateway.server import serving
from bus.operations.caller import Role
from tests.support.gateway_rig import DESK, PERMIT, PRESS, Rig, application, make_workspace

ARTEFACTS = Path(os.environ.get("BUS_TEST_ARTEFACTS", Path(__file__).parents[2] / ".artefacts"))
LANGUAGES = ("en", "ar")
PHONE = {"width": 360, "height": 740}
WIDE = {"width": 1180, "height": 860}
_KEYS = count()

#: One of everything that a form can show, beside what the demo's contract asks for.
_PARTS: dict[str, Any] = {
    "kind": {"$ref": "#/$defs/kind"},
    "conditional": {"title": "Under conditions", "x-title-ar": "بشروط", "type": "boolean"},
    "area": {
        "title": "Area in square metres",
        "x-title-ar": "المساحة بالأمتار المربعة",
        "type": "number",
        "exclusiveMinimum": 0,
    },
    "floors": {"title": "Number of floors", "x-title-ar": "عدد الطوابق", "type": "integer", "minimum": 1},
    "inspector": {
        "title": "Inspector",
        "x-title-ar": "المفتش",
        "type": "object",
        "required": ["badge"],
        "additionalProperties": False,
        "properties": {
            "badge": {
                "title": "Badge",
                "x-title-ar": "رقم الشارة",
                "type": "string",
                "pattern": "^[0-9]{4}$",
                "examples": ["0042"],
            },
            "visited_on": {"title": "Visited on", "x-title-ar": "تاريخ المعاينة", "type": "string", "format": "date"},
        },
    },
    "conditions": {
        "title": "Conditions",
        "x-title-ar": "الشروط",
        "type": "array",
        "maxItems": 5,
        "items": {
            "type": "object",
            "required": ["text"],
            "additionalProperties": False,
            "properties": {
                "text": {"title": "Condition", "x-title-ar": "الشرط", "type": "string", "minLength": 3},
                "until": {"title": "Until", "x-title-ar": "حتى تاريخ", "type": "string", "format": "date"},
            },
        },
    },
    "remarks": {
        "title": "Remarks",
        "x-title-ar": "ملاحظات",
        "description": "For the file only.",
        "x-description-ar": "للملف فقط.",
        "type": "string",
        "maxLength": 400,
    },
}
_KIND = {
    "title": "Kind of permit",
    "x-title-ar": "نوع الرخصة",
    "oneOf": [
        {"const": "shop", "title": "Shop", "x-title-ar": "محل"},
        {"const": "office", "title": "Office", "x-title-ar": "مكتب"},
        {"const": "workshop", "title": "Workshop", "x-title-ar": "ورشة"},
    ],
}


def make_long_form(workspace: Path) -> None:
    """Let the answer of the site permit consist of every kind of field."""
    for name, members in (("output", _PARTS), ("input", {})):
        file = workspace / "schemas" / "operation" / f"site.permit.v1.{name}.json"
        schema = json.loads(file.read_text(encoding="utf-8"))
        schema["properties"] |= members
        if members:
            schema["$defs"] = {"kind": _KIND}
            schema["required"] += ["kind", "conditional"]
        file.write_text(json.dumps(schema, ensure_ascii=False), encoding="utf-8")


@contextmanager
def desk(folder: Path) -> Iterator[Rig]:
    """A gateway with pages in this process, on a free port."""
    workspace = make_workspace(folder / "workspace")
    make_long_form(workspace)
    parts = assemble(load_workspace(workspace, "test"), folder / "data")
    try:
        with serving(parts.context, pages) as url:
            yield Rig(parts=parts, url=url)
    finally:
        parts.manager.close()
        parts.broker.close()
        parts.store.close()


def submit(rig: Rig) -> tuple[str, str, int]:
    """A request whose one step waits on the desk: its id, its tracking code, the key of the row."""
    with rig.client(Role.CONSUMER, PRESS) as press:
        receipt = press.submit(PERMIT, application(), key=f"browser-{next(_KEYS)}")
    return str(receipt["request_id"]), str(receipt["tracking"]), rig.row_of(str(receipt["request_id"]))


def chromium(playwright: Playwright) -> Browser:
    """The browser of the distribution; a failure with the mend where there is none."""
    program = next(
        (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
    )
    if program is None:
        pytest.fail("There is no Chromium on this machine. Install it: apt-get install chromium")
    return playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])


@contextmanager
def window(browser: Browser, rig: Rig, language: str, **options: Any) -> Iterator[Page]:
    """A fresh browser of somebody who reads this language; unless told otherwise it runs no script."""
    usual: dict[str, Any] = {"viewport": WIDE, "java_script_enabled": False}
    context = browser.new_context(locale=language, base_url=rig.url, **(usual | options))
    context.set_default_timeout(10_000)
    try:
        yield context.new_page()
    finally:
        context.close()


def sign_in(page: Page, rig: Rig, user: str = "fatima", role: Role = Role.CLERK) -> None:
    """Sign in with a new token."""
    page.goto("/desk/sign-in")
    page.fill("#token", rig.token(role, DESK if role is Role.CLERK else None, user))
    page.click("form.entry button")


def keep(page: Page, name: str) -> Path:
    """Keep a picture of the whole page."""
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    file = ARTEFACTS / f"{name}.png"
    page.screenshot(path=file, full_page=True)
    return file
