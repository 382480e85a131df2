"""A browser at the pages of the desk: its visitor, what he types and reads, and the fixtures that sign him in."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from bus.operations.caller import Role
from tests.browser.desk_rig import desk, submit
from tests.support.gateway_rig import DESK, Rig

ANSWER = {"/permit_number": "P-7", "/valid_until": "31/12/2030", "/kind": "shop", "/conditional": "no"}
HOSTILE = '"><script>alert(1)</script>'
RETURN = {
    "pointer": "/lease_number",
    "reason_code": "Lease missing",
    "text_en": "The lease is missing.",
    "text_ar": "عقد الإيجار ناقص.",
    "days": "١٤",
}


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
