"""Whatever is sent to the gateway, it answers with a problem that tells the mend, and tells nothing else."""

from __future__ import annotations

import asyncio
import json
import re
import select
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from fastapi import Request
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.errors import InvalidMessageError
from bus.gateway import app
from bus.gateway.problems import PROBLEMS
from bus.gateway.reading import read_body
from bus.gateway.wire import Wire
from bus.operations.caller import Role
from bus.operations.registry import OPERATIONS
from bus.ports import Store
from tests.support.gateway_rig import BUSINESS, DESK, PERMIT, PORTAL, Rig, application, business, gateway

SUBMIT = f"/services/{BUSINESS}/requests"
#: Names of members that operations know.
MEMBERS = sorted({field.name for one in OPERATIONS for field in one.fields if field.given.place == "member"})
ARABIC = re.compile("[\u0621-\u064a]")


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with gateway(Path(tmp_path_factory.mktemp("gateway"))) as rig:
        yield rig


@pytest.fixture(scope="module")
def portal(rig: Rig) -> Iterator[httpx.Client]:
    with rig.http(rig.token(Role.CONSUMER, PORTAL)) as http:
        yield http


def _problem(answer: httpx.Response, status: int, code: str) -> Mapping[str, Any]:
    """The problem of an answer, which has everything that a problem must have."""
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert (answer.status_code, problem["status"], problem["code"]) == (status, status, code)
    assert problem["type"] == f"urn:bus:problem:{code}"
    assert problem["instance"].startswith("urn:uuid:")
    assert all(problem[name] for name in ("title", "detail", "mend"))
    assert all(ARABIC.search(problem["i18n"]["ar"][name]) for name in ("title", "mend"))
    assert problem["i18n"]["en"]["title"] == problem["title"]
    assert "Traceback" not in answer.text
    return problem


def _path(path: str) -> str:
    return re.sub(r"{\w+}", "1", path)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_nothing_but_health_answers_without_a_valid_token(rig: Rig, operation: Any) -> None:
    with rig.http() as nobody, rig.http("bus_wrong") as stranger:
        if not operation.roles:
            assert nobody.get("/health").json()["status"] == "ok"
            return
        missing = nobody.request(operation.method, _path(operation.path))
        unknown = stranger.request(operation.method, _path(operation.path))

    _problem(missing, 401, "token-missing")
    _problem(unknown, 401, "token-unknown")
    assert missing.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_a_role_may_do_its_own_operations_only(rig: Rig, operation: Any) -> None:
    agencies = {Role.CONSUMER: PORTAL, Role.CLERK: DESK}
    for role in Role:
        with rig.http(rig.token(role, agencies.get(role))) as http:
            answer = http.request(operation.method, _path(operation.path), headers={"Content-Type": "text/plain"})
        refused = answer.status_code == 403 and answer.json()["code"] == "role-not-allowed"
        assert refused is (bool(operation.roles) and role not in operation.roles | {Role.ADMIN})


def test_only_an_administrator_may_name_another_agency_and_only_one_that_exists(rig: Rig, portal: httpx.Client) -> None:
    with rig.http(rig.token(Role.ADMIN)) as admin:
        wrong = admin.get("/requests", headers={"Bus-Agency": "moon"})
        right = admin.get("/requests", headers={"Bus-Agency": PORTAL})
    foreign = portal.get("/requests", headers={"Bus-Agency": DESK})

    _problem(wrong, 403, "agency-needed")
    _problem(foreign, 403, "agency-not-yours")
    assert right.status_code == 200


def test_a_submission_without_its_own_key_is_refused(portal: httpx.Client) -> None:
    _problem(portal.post(SUBMIT, json=business()), 400, "key-needed")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "not-json"),
        (b"{", "not-json"),
        (b"\xff\xfe", "not-utf8"),
        (b"\xef\xbb\xbf{}", "byte-order-mark"),
        (b'{"a": 1, "a": 2}', "duplicate-key"),
        (b'{"a": NaN}', "not-a-number"),
        (b'{"a": 9007199254740993}', "number-too-large"),
        (b'{"a": "\\ud800"}', "bad-character"),
        (b"[" * 100 + b"]" * 100, "too-deep"),
    ],
)
def test_json_that_is_read_in_two_ways_is_refused(portal: httpx.Client, body: bytes, code: str) -> None:
    headers = {"Idempotency-Key": "json", "Content-Type": "application/json"}

    problem = _problem(portal.post(SUBMIT, content=body, headers=headers), 400, code)

    assert problem["faults"][0]["code"] == code


@pytest.mark.parametrize("body", [b"[]", b"7", b"null", b'"text"'])
def test_a_body_that_is_no_object_is_refused(portal: httpx.Client, body: bytes) -> None:
    headers = {"Idempotency-Key": "object", "Content-Type": "application/json"}

    _problem(portal.post(SUBMIT, content=body, headers=headers), 400, "body-not-object")


def test_a_body_of_another_kind_is_refused(portal: httpx.Client) -> None:
    headers = {"Idempotency-Key": "kind", "Content-Type": "application/xml"}

    _problem(portal.post(SUBMIT, content=b"<a/>", headers=headers), 415, "media-type")


def test_a_body_of_300_kb_is_refused_whether_announced_or_not(portal: httpx.Client) -> None:
    raw = json.dumps({"a": "x" * 300_000}).encode()
    headers = {"Idempotency-Key": "large", "Content-Type": "application/json"}

    announced = portal.post(SUBMIT, content=raw, headers=headers)
    streamed = portal.post(SUBMIT, content=iter([raw[:200_000], raw[200_000:]]), headers=headers)

    _problem(announced, 413, "too-large")
    _problem(streamed, 413, "too-large")


def test_an_endless_body_is_cut_off_while_it_is_read(rig: Rig) -> None:
    address = httpx.URL(rig.url)
    head = (
        f"POST /v1{SUBMIT} HTTP/1.1\r\nHost: bus\r\nAuthorization: Bearer {rig.token(Role.CONSUMER, PORTAL)}\r\n"
        "Content-Type: application/json\r\nIdempotency-Key: endless\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    with socket.create_connection((address.host, address.port or 80), timeout=20) as wire:
        wire.sendall(head.encode())
        # A little more than is allowed, and never an end.
        for _ in range(17):
            wire.sendall(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")
        answer = wire.recv(4096)

    assert answer.startswith(b"HTTP/1.1 413")


def test_a_body_of_10_mb_is_refused_by_its_announced_size_before_it_is_sent(rig: Rig) -> None:
    # Given a client that waits for the bus to say "go on" before it sends its 10 MB
    head = _head(rig, "Content-Length: 10485760", "Expect: 100-continue")
    with _connected(rig) as wire:
        wire.sendall(head)
        answer = wire.recv(4096)

    # Then it is refused, not told to go on
    assert answer.startswith(b"HTTP/1.1 413")


def test_who_sends_10_mb_nevertheless_gets_the_refusal_and_is_hung_up_on(rig: Rig) -> None:
    with _connected(rig) as wire:
        wire.sendall(_head(rig, "Content-Length: 10485760"))
        answer = wire.recv(4096)
        with pytest.raises(ConnectionError):
            wire.sendall(bytes(10_485_760))

    assert answer.startswith(b"HTTP/1.1 413")


def test_letters_of_an_older_character_set_are_refused_with_their_place(portal: httpx.Client) -> None:
    raw = json.dumps(business(), ensure_ascii=False).encode("cp1256")
    headers = {"Idempotency-Key": "cp1256", "Content-Type": "application/json"}

    undeclared = portal.post(SUBMIT, content=raw, headers=headers)
    declared = portal.post(
        SUBMIT, content=raw, headers={**headers, "Content-Type": "application/json; charset=windows-1256"}
    )

    assert "byte" in _problem(undeclared, 400, "not-utf8")["faults"][0]["message"]
    _problem(declared, 415, "charset")


def test_what_is_no_http_is_answered_with_a_problem_too(rig: Rig) -> None:
    for raw in (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", b"GET / HTTP/9\r\n\r\n", b"GET /" + b"a" * 100_000):
        with _connected(rig) as wire:
            wire.sendall(raw)
            _problem(_read_answer(wire), 400, "bad-request")


@pytest.mark.parametrize("begun", [b"", b"POST /v1/requests HTTP/1.1\r\nHost: bus\r\n"])
def test_a_head_that_trickles_or_never_comes_is_answered_and_hung_up_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    monkeypatch.setattr(Wire, "head_within", 0.3)
    with gateway(tmp_path) as rig, _connected(rig) as wire:
        wire.sendall(begun)
        answer = _read_answer(wire)

        _problem(answer, 408, "too-slow")
        assert wire.recv(1) == b""


def test_a_body_that_trickles_is_answered_and_keeps_no_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "BODY_WITHIN", 0.3)
    monkeypatch.setattr(Wire, "head_within", 0.3)
    with gateway(tmp_path) as rig, _connected(rig) as wire:
        wire.sendall(_head(rig, "Content-Length: 1000") + b"{")
        answer = _read_answer(wire)
        # Also one more byte now and then does not keep the connection.
        with suppress(ConnectionError):
            while not select.select([wire], [], [], 0.02)[0]:
                wire.sendall(b"x")
            assert wire.recv(1) == b""

        _problem(answer, 408, "too-slow")
        with rig.http() as next_one:
            assert next_one.get("/health").status_code == 200


def test_who_comes_when_every_place_is_taken_is_told_to_come_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Wire, "most_connections", 1)
    with gateway(tmp_path) as rig:
        with _connected(rig), _connected(rig) as one_too_many:
            answer = _read_answer(one_too_many)
            assert one_too_many.recv(1) == b""

        _problem(answer, 503, "busy")
        assert int(answer.headers["retry-after"]) > 0
        # Whoever leaves gives his place back.
        statuses = {_status_of_health(rig) for _ in range(50)}
        assert 200 in statuses


def _status_of_health(rig: Rig) -> int:
    try:
        with _connected(rig) as wire:
            wire.sendall(b"GET /v1/health HTTP/1.1\r\nHost: bus\r\nConnection: close\r\n\r\n")
            return _read_answer(wire).status_code
    except ConnectionError:
        return 0


def _connected(rig: Rig) -> socket.socket:
    address = httpx.URL(rig.url)
    return socket.create_connection((address.host, address.port or 80), timeout=20)


def _head(rig: Rig, *lines: str) -> bytes:
    token = rig.token(Role.CONSUMER, PORTAL)
    known = [f"POST /v1{SUBMIT} HTTP/1.1", "Host: bus", f"Authorization: Bearer {token}", "Idempotency-Key: wire"]
    return "\r\n".join([*known, "Content-Type: application/json", *lines, "", ""]).encode()


def _read_answer(wire: socket.socket) -> httpx.Response:
    """The answer as it stands on the wire."""
    read = b""
    while b"\r\n\r\n" not in read or len(read.partition(b"\r\n\r\n")[2]) < _length(read):
        piece = wire.recv(65_536)
        assert piece, f"hung up after {read!r}"
        read += piece
    head, _, content = read.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    return httpx.Response(int(status.split(" ")[1]), headers=headers, content=content)


def _length(read: bytes) -> int:
    return int(re.search(rb"(?i)content-length: *(\d+)", read)[1])  # type: ignore[index]  # the gateway always says it


def test_an_asker_who_goes_away_in_the_middle_of_his_body_is_no_fault_of_the_bus() -> None:
    news = iter([{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}])

    async def receive() -> Any:
        return next(news)

    with pytest.raises(InvalidMessageError):
        asyncio.run(read_body(Request({"type": "http", "method": "POST", "headers": []}, receive)))


def test_an_unknown_address_and_a_wrong_method_are_problems_too(rig: Rig, portal: httpx.Client) -> None:
    _problem(portal.get("/nothing"), 404, "route-unknown")
    wrong = portal.delete("/requests")
    _problem(wrong, 405, "method-not-allowed")
    assert wrong.headers["allow"] == "GET"
    with httpx.Client(base_url=rig.url) as outside:
        _problem(outside.get("/"), 404, "route-unknown")


def test_unknown_values_are_refused_and_every_fault_is_named(portal: httpx.Client) -> None:
    problem = _problem(portal.get("/requests?most=1000&after=x&color=29801011234567&state=ill"), 422, "input")

    assert len(problem["faults"]) == 4
    assert "29801011234567" not in json.dumps(problem)


def test_unknown_members_of_a_body_are_refused(portal: httpx.Client) -> None:
    answer = portal.post("/results/ack", json={"cursors": ["1"], "all": True})

    assert _problem(answer, 422, "input")["faults"][0]["pointer"] == "/all"


def test_a_header_given_twice_is_refused(portal: httpx.Client) -> None:
    headers = [("Idempotency-Key", "one"), ("Idempotency-Key", "two")]

    _problem(portal.post(SUBMIT, json=business(), headers=headers), 422, "input")


def test_a_reason_with_somebodys_number_is_refused(portal: httpx.Client) -> None:
    request = portal.post(SUBMIT, json=business(), headers={"Idempotency-Key": "reason"}).json()["request_id"]

    answer = portal.post(f"/requests/{request}/cancel", json={"reason": "he is ٢٩٨ ٠١٠١ ١٢٣٤ ٥٦٧"})

    assert _problem(answer, 422, "input")["faults"][0]["code"] == "personal-data"


def test_an_unknown_service_is_not_found(portal: httpx.Client) -> None:
    answer = portal.post("/services/nothing.v1/requests", json={}, headers={"Idempotency-Key": "service"})

    _problem(answer, 404, "service-unknown")


def test_an_operation_without_a_body_takes_none(rig: Rig) -> None:
    with rig.http(rig.token(Role.CLERK, DESK)) as clerk:
        _problem(clerk.post("/desk/1/claim", json={"for": "ever"}), 400, "body-unexpected")


def test_answers_are_kept_by_nobody_on_the_way(portal: httpx.Client) -> None:
    for answer in (portal.get("/requests"), portal.get("/nothing"), portal.post("/results/ack", json={})):
        assert answer.headers["cache-control"] == "no-store"


def test_the_api_describes_every_operation_with_its_values(portal: httpx.Client) -> None:
    described = portal.get("/openapi.json").json()["paths"]

    for operation in OPERATIONS:
        route = described[f"/v1{operation.path}"][operation.method.lower()]
        assert route["operationId"] == operation.name
        named = {parameter["name"] for parameter in route.get("parameters", ())}
        assert {field.wire_name for field in operation.fields if field.given.place == "path"} <= named


@pytest.fixture(scope="module")
def send(rig: Rig) -> Iterator[Callable[[str, str, bytes], httpx.Response]]:
    """Sends any bytes as an administrator who acts for the desk."""
    headers = {"Content-Type": "application/json", "Idempotency-Key": "garbage", "Bus-Agency": DESK}
    with rig.http(rig.token(Role.ADMIN)) as admin:
        yield lambda method, path, body: admin.request(method, path, content=body, headers=headers)


@settings(max_examples=100)
@given(
    body=st.one_of(
        st.binary(max_size=200),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        ).map(lambda value: json.dumps(value).encode()),
        st.dictionaries(st.sampled_from(MEMBERS), st.integers() | st.text() | st.lists(st.integers()), max_size=3).map(
            lambda value: json.dumps(value).encode()
        ),
    ),
    route=st.sampled_from([(one.method, one.path) for one in OPERATIONS if one.method != "GET"]),
    name=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=80),
)
def test_garbage_is_never_an_internal_error(
    send: Callable[[str, str, bytes], httpx.Response], route: tuple[str, str], body: bytes, name: str
) -> None:
    method, path = route

    answer = send(method, re.sub(r"{\w+}", lambda _: quote(name, safe=""), path), body)

    # Acknowledging cursors that do not exist is no error.
    assert 400 <= answer.status_code < 500 or path == "/results/ack"
    assert path == "/results/ack" or answer.json()["code"] in PROBLEMS


def test_a_store_that_cannot_be_reached_is_told_with_a_time_to_try_again(tmp_path: Path) -> None:
    with gateway(tmp_path) as rig:
        with rig.http(rig.token(Role.CONSUMER, PORTAL)) as portal:
            assert portal.get("/requests").status_code == 200
            _break(rig.parts.store, tmp_path / "data" / "store.db")

            reading = portal.get("/requests")
            writing = portal.post(
                f"/services/{PERMIT}/requests",
                json=application(),
                headers={"Idempotency-Key": "down", "Bus-Purpose": "statistics"},
            )
            health = portal.get("/health")

        for answer in (reading, writing, health):
            _problem(answer, 503, "store-unavailable")
            assert int(answer.headers["retry-after"]) > 0


def _break(store: Store, file: Path) -> None:
    """The disk gives back something that is no database."""
    store.close()
    for part in file.parent.glob("store.db*"):
        part.unlink()
    file.mkdir()


@pytest.mark.parametrize("sign", ["\x1b]0;owned\x07", "\u202e", "\x00"])
def test_signs_that_nobody_sees_are_refused_by_their_place_and_never_repeated(portal: httpx.Client, sign: str) -> None:
    data = business()
    data["business"]["name"] = f"نور{sign}"

    answer = portal.post(SUBMIT, json=data, headers={"Idempotency-Key": "hidden"})

    problem = _problem(answer, 422, "hidden-character")
    assert [fault["pointer"] for fault in problem["faults"]] == ["/business/name"]
    assert "نور" not in answer.text


def test_the_client_refuses_what_no_header_and_no_path_can_carry(rig: Rig) -> None:
    with rig.client(Role.CONSUMER, PORTAL) as portal:
        with pytest.raises(InvalidMessageError) as header:
            portal.submit(BUSINESS, business(), key="مفتاح")
        with pytest.raises(InvalidMessageError) as path:
            portal.request_show("..")

    assert (header.value.code, path.value.code) == ("header-letters", "no-name")
