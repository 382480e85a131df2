"""The front door under attack: what is forged, made up or repeated changes nothing and tells nothing."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import count
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest

from bus.console.limiting import Limit
from bus.console.session import REFRESHED
from bus.message.instant import SECOND
from bus.operations.caller import Role
from bus.operations.registry import OPERATIONS
from bus.runtime.webhook import FAILING, TOLD_AFTER, Webhook, web
from tests.browser.desk_rig import desk, submit
from tests.support.desk_visitor import Visitor
from tests.support.gateway_rig import DESK, NUMBER, PERMIT, PORTAL, PRESS, REGISTRY, Rig, application

HOSTILE = "</bdi><script>alert(1)</script>{{7*7}}%(who)s"
ANSWER = {"permit_number": "P-7", "valid_until": "2030-12-31", "kind": "shop", "conditional": False}
NEED = {"pointer": "/address", "reason_code": "address_unclear", "text": {"en": "Which house?", "ar": "أي مبنى؟"}}
REASONS = {"reason_code": "address_unclear", "text_en": "Which house?", "text_ar": "أي مبنى؟", "do": "confirm"}


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with desk(Path(tmp_path_factory.mktemp("attacked"))) as rig:
        yield rig


@pytest.fixture(autouse=True)
def nothing_is_lost(rig: Rig) -> Iterator[None]:
    yield
    assert rig.parts.store.recount() == ()


@contextmanager
def a_browser(rig: Rig) -> Iterator[Visitor]:
    with httpx.Client(base_url=rig.url, headers={"Origin": rig.url, "Accept-Language": "en"}, timeout=30) as http:
        yield Visitor(http=http)


@pytest.fixture
def visitor(rig: Rig) -> Iterator[Visitor]:
    with a_browser(rig) as visitor:
        yield visitor


@pytest.fixture
def clerk(rig: Rig, visitor: Visitor) -> Visitor:
    visitor.sign_in(rig.token(Role.CLERK, DESK, "fatima"))
    return visitor


@pytest.fixture
def claimed(rig: Rig, clerk: Visitor) -> int:
    row = submit(rig)[2]
    clerk.post(f"/desk/{row}/claim", {})
    return row


@contextmanager
def later(rig: Rig) -> Iterator[None]:
    """A time at which the gateway notes that a session is still in use."""
    store: Any = rig.parts.store
    store.offset += 2 * REFRESHED
    try:
        yield
    finally:
        store.offset -= 2 * REFRESHED


def _state(rig: Rig, row: int) -> str:
    found = rig.parts.store.desk_row(row)
    assert found is not None
    return found.state


# --- forged forms and sessions


@pytest.mark.parametrize("origin", ["http://[", "null", "", "http://evil.example", "http://127.0.0.1@evil.example"])
def test_a_form_from_nowhere_or_elsewhere_is_refused_as_such(
    clerk: Visitor, claimed: int, rig: Rig, origin: str
) -> None:
    for path in (f"/desk/{claimed}/release", "/desk/sign-in"):
        answer = clerk.post(path, {}, Origin=origin)
        assert answer.status_code == 403

    assert _state(rig, claimed) == "claimed"


def test_who_signs_out_after_a_while_keeps_no_cookie(rig: Rig, clerk: Visitor) -> None:
    with later(rig):
        clerk.post("/desk/sign-out", {})

    assert "bus_desk" not in clerk.http.cookies


def test_an_administrator_who_takes_his_time_to_choose_an_agency_has_chosen_it(rig: Rig, visitor: Visitor) -> None:
    visitor.sign_in(rig.token(Role.ADMIN))
    visitor.get("/desk/agency")
    with later(rig):
        visitor.post("/desk/agency", {"agency": DESK})
        assert visitor.get("/desk").status_code == 200


@pytest.mark.parametrize(
    ("carried", "following"),
    [
        ('[["a", "b"]]', "/desk"),
        ('[["a", "b"]]', "/desk/{row}"),
        ('[["a", "b", "c"]]', "/desk/{row}/answer"),
        ("[" * 40_000, "/desk/{row}/answer"),
        ("1" * 5_000, "/desk/{row}/answer"),
        ('[["/permit_number", "\\ud800"]]', "/desk/{row}/answer"),
    ],
)
def test_made_up_fields_that_a_sign_in_carries_do_not_stop_it(
    rig: Rig, visitor: Visitor, carried: str, following: str
) -> None:
    row = submit(rig)[2]
    visitor.get("/desk/sign-in")

    fields = {"token": rig.token(Role.CLERK, DESK), "next": following.format(row=row), "carried": carried}
    answer = visitor.post("/desk/sign-in", fields)

    assert answer.status_code in {200, 303}
    assert "bus_desk" in visitor.http.cookies


def test_a_sign_in_presses_no_button_of_the_form_that_it_carries(rig: Rig, clerk: Visitor, claimed: int) -> None:
    carried = json.dumps([*REASONS.items(), ["pointer", "/address"]])
    for way in ("refuse", "return"):
        clerk.get("/desk/sign-in")
        fields = {"token": rig.token(Role.CLERK, DESK, "fatima"), "next": f"/desk/{claimed}/{way}", "carried": carried}
        assert clerk.post("/desk/sign-in", fields).status_code == 200

    assert _state(rig, claimed) == "claimed"


# --- garbage in forms


@pytest.mark.parametrize("number", ["9" * 5_000, "-1", "٣", "²", "1e3", "00"])
def test_a_row_with_no_real_number_is_not_removed_and_breaks_nothing(clerk: Visitor, claimed: int, number: str) -> None:
    typed = {"rows:/conditions": "2", "/conditions/0/text": "first", "/conditions/1/text": "second"}

    by_button = clerk.post(f"/desk/{claimed}/answer", {**typed, "do": f"remove:/conditions/{number}"})
    by_name = clerk.post(
        f"/desk/{claimed}/answer", {**typed, f"/conditions/{number}/text": "x", "do": "remove:/conditions/0"}
    )

    assert (by_button.status_code, by_name.status_code) == (200, 200)
    assert all(text in by_button.text for text in ('value="first"', 'value="second"'))
    assert 'value="first"' not in by_name.text
    assert 'value="second"' in by_name.text


def test_a_field_that_a_form_names_sixty_times_is_asked_for_once(rig: Rig, clerk: Visitor, claimed: int) -> None:
    clerk.get(f"/desk/{claimed}/return")
    fields = {"form_token": clerk.token, **REASONS, "pointer": ["/address"] * 60}

    answer = clerk.http.post(f"/desk/{claimed}/return", data=fields)

    assert answer.headers["location"] == "/desk?note=returned"
    found = rig.parts.store.desk_row(claimed)
    assert found is not None
    with rig.client(Role.CONSUMER, PRESS) as press:
        question = press.request_show(found.request_id)["asked"][0]["question"]
    assert len(question["needs"]) == 1


def test_what_applicants_and_clerks_write_is_shown_as_text_everywhere(rig: Rig, clerk: Visitor) -> None:
    # Given hostile texts in a request, a draft, reasons, and another clerk's conflict
    with rig.client(Role.CONSUMER, PRESS) as press:
        receipt = press.submit(PERMIT, {**application(), "address": HOSTILE, "name": HOSTILE}, key="hostile")
    row = rig.row_of(str(receipt["request_id"]))
    clerk.post(f"/desk/{row}/claim", {})
    reasons = {**REASONS, "text_en": HOSTILE, "text_ar": HOSTILE, "pointer": "/address"}

    pages = [
        clerk.get(f"/desk/{row}"),
        clerk.get(f"/desk/{row}/return"),
        clerk.post(f"/desk/{row}/answer", {"/permit_number": HOSTILE, "/kind": HOSTILE, "do": "answer"}),
        clerk.post(f"/desk/{row}/return", {**reasons, "do": "review"}),
        clerk.post(f"/desk/{row}/refuse", {**reasons, "reason_code": HOSTILE}),
    ]
    with rig.client(Role.CLERK, DESK, "fatima") as api:
        api.desk_answer(row, ANSWER)
    pages.append(clerk.post(f"/desk/{row}/refuse", reasons))

    assert [page.status_code for page in pages] == [200, 200, 422, 200, 422, 409]
    for page in pages:
        assert "<script" not in page.text
        assert "&lt;script&gt;" in page.text
        assert "{{7*7}}%(who)s" in page.text


# --- who may see what


def test_no_address_of_the_api_tells_a_stranger_anything_of_a_person(rig: Rig) -> None:
    # Given a request of the press office, whose task a clerk of the municipality has taken
    id_, tracking, row = submit(rig)
    with rig.client(Role.CLERK, DESK, "fatima") as clerk:
        clerk.desk_claim(row)
    values = {"request": id_, "row": str(row), "service": PERMIT, "failure": "1", "agency": DESK}
    strangers = [
        (Role.CONSUMER, PORTAL),
        (Role.CLERK, DESK),
        (Role.CLERK, REGISTRY),
        (Role.OPERATOR, None),
        (Role.AUDITOR, None),
        (Role.ADMIN, None),
    ]

    # Then whoever neither asked nor took the task reads nothing of the applicant, wherever he looks
    for role, agency in strangers:
        with rig.http(rig.token(role, agency, "stranger")) as http:
            for operation in OPERATIONS:
                if operation.method != "GET":
                    continue
                for request in (id_, tracking):
                    answer = http.get(operation.path.format_map({**values, "request": request}))
                    assert answer.status_code in {200, 403, 404}
                    assert not any(value in answer.text for value in application(NUMBER).values())
            if role in {Role.CONSUMER, Role.AUDITOR} or agency == REGISTRY:
                assert http.get(f"/requests/{tracking}").status_code in {403, 404}
                assert http.get(f"/desk/{row}").status_code in {403, 404}


# --- limits


def test_a_made_up_address_before_the_gateway_does_not_lift_a_limit(visitor: Visitor) -> None:
    statuses = [
        visitor.http.get("/track/7K4M9-Q2XHT-A", headers={"X-Forwarded-For": f"unknown-{number}"}).status_code
        for number in range(32)
    ]

    assert statuses[-1] == 429


def test_addresses_of_version_4_are_counted_apart_on_a_socket_of_version_6() -> None:
    limit = Limit("1 per minute")
    limit.count("::ffff:192.0.2.1")

    assert limit.wait("192.0.2.1") > 0
    assert limit.wait("::ffff:192.0.2.2") == 0


# --- the wire


@pytest.mark.parametrize("path", ["/v1/requests/", "/v1/results/ack/", "/v1/health/"])
def test_a_slash_too_many_sends_nobody_and_no_token_elsewhere(rig: Rig, path: str) -> None:
    answer = httpx.post(f"{rig.url}{path}", headers={"Host": "evil.example", "Authorization": "Bearer x"}, json={})

    assert (answer.status_code, answer.json()["code"]) == (404, "route-unknown")
    assert "location" not in answer.headers


@pytest.mark.parametrize(
    "lines",
    [
        "Content-Length: 2\r\nContent-Length: 60\r\n",
        "Content-Length: -2\r\n",
        f"Content-Length: {'9' * 5_000}\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Content-Length : 2\r\n",
    ],
)
def test_a_body_of_two_lengths_is_refused_and_what_is_hidden_behind_it_never_asked(rig: Rig, lines: str) -> None:
    address = httpx.URL(rig.url)
    head = f"POST /v1/results/ack HTTP/1.1\r\nHost: bus\r\nContent-Type: application/json\r\n{lines}\r\n"
    with socket.create_connection((address.host, address.port or 80), timeout=20) as wire:
        wire.sendall(f"{head}{{}}GET /v1/health HTTP/1.1\r\nHost: bus\r\n\r\n".encode())
        read = b"".join(iter(lambda: wire.recv(65_536), b""))

    assert re.findall(rb"HTTP/1\.1 (\d+)", read) == [b"400"]


@pytest.mark.parametrize("path", ["/assets/../../routes.yaml", "/assets/%2e%2e/%2e%2e/etc/passwd", "/assets/..%2fx"])
def test_no_file_but_the_style_sheet_is_served(rig: Rig, path: str) -> None:
    address = httpx.URL(rig.url)
    with socket.create_connection((address.host, address.port or 80), timeout=20) as wire:
        wire.sendall(f"GET {path} HTTP/1.1\r\nHost: bus\r\nConnection: close\r\n\r\n".encode())
        read = b"".join(iter(lambda: wire.recv(65_536), b""))

    assert read.startswith(b"HTTP/1.1 404")


# --- bad luck


def test_while_the_store_is_locked_nothing_typed_is_lost_and_pages_say_when_to_come_back(
    rig: Rig, clerk: Visitor, claimed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    store: Any = rig.parts.store
    monkeypatch.setattr(store, "_patience", 50)
    typed = {f"/{name}": str(value) for name, value in ANSWER.items()} | {"/conditional": "no", "do": "answer"}

    with store.writing():
        stopped = clerk.post(f"/desk/{claimed}/answer", typed)
        taken = clerk.post(f"/desk/{claimed}/claim", {})
        read = clerk.http.get(f"/desk/{claimed}")

    assert [answer.status_code for answer in (stopped, taken, read)] == [503, 503, 200]
    assert all(int(answer.headers["retry-after"]) > 0 for answer in (stopped, taken))
    assert 'value="P-7"' in stopped.text
    clerk.get(f"/desk/{claimed}")
    assert clerk.post(f"/desk/{claimed}/answer", typed).headers["location"] == "/desk?note=answered"


# --- at the same moment


def test_of_page_and_api_at_the_same_moment_one_clerk_has_the_task(rig: Rig) -> None:
    row = submit(rig)[2]
    with a_browser(rig) as page, rig.http(rig.token(Role.CLERK, DESK, "omar")) as api:
        page.sign_in(rig.token(Role.CLERK, DESK, "fatima"))
        with ThreadPoolExecutor(2) as pool:
            by_page = pool.submit(page.post, f"/desk/{row}/claim", {})
            by_api = pool.submit(api.post, f"/desk/{row}/claim")
        statuses = (by_page.result().status_code, by_api.result().status_code)

    found = rig.parts.store.desk_row(row)
    assert found is not None
    assert statuses == {f"{DESK}/fatima": (303, 409), f"{DESK}/omar": (409, 200)}[found.clerk or ""]


def test_one_supplement_sent_twenty_times_at_once_counts_once(rig: Rig) -> None:
    id_, _, row = submit(rig)
    with rig.http(rig.token(Role.CLERK, DESK)) as clerk:
        clerk.post(f"/desk/{row}/claim")
        assert clerk.post(f"/desk/{row}/return", json={"needs": [NEED]}).status_code == 200

    with rig.http(rig.token(Role.CONSUMER, PRESS)) as press, ThreadPoolExecutor(20) as pool:
        body = {"values": {"/address": "شارع النيل 7"}}
        sent = [pool.submit(press.post, f"/requests/{id_}/supplement", json=body) for _ in range(20)]
        statuses = sorted(each.result().status_code for each in sent)

    assert statuses == [200, *[409] * 19]


# --- webhooks


def test_what_is_not_enciphered_never_leaves_by_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    # Given a machine whose way out is a proxy
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "")
    with HTTPServer(("127.0.0.1", 0), Receiver) as receiver:
        thread = Thread(target=receiver.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            # Then a receiver on this machine is reached directly
            with web(5 * SECOND) as client:
                answer = client.post(f"http://127.0.0.1:{receiver.server_port}/")
        finally:
            receiver.shutdown()
            thread.join()

    assert answer.status_code == 204


@pytest.mark.parametrize("url", ["https://receiver\r\n.example/", "https://xn--\u0661/"])
def test_a_receiver_whose_address_is_none_is_shown_to_those_who_run_the_bus(rig: Rig, url: str) -> None:
    # Given something to tell the press office, and an address that no client can call
    id_ = submit(rig)[0]
    with rig.client(Role.CONSUMER, PRESS) as press:
        press.request_cancel(id_, reason="not needed")
    webhook = Webhook(
        consumer=PRESS,
        url=url,
        secret=bytes(32),
        store=rig.parts.store,
        keys=rig.parts.tools.keys,
        settings=rig.parts.context.settings,
        monotonic=count(0, 100_000).__next__,
    )

    for _ in range(TOLD_AFTER):
        webhook.step()
    webhook.close()

    shown = [row for row in rig.parts.store.failures(is_open=True, after=0, most=50) if row.code == FAILING]
    assert [row.agency for row in shown] == [PRESS]
    rig.parts.store.close_failure(shown[0].key, "settled by this test")
