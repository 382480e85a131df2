"""The tax authority's adapter on the wire: what leaves, what comes back, and what is never loaded, followed or told."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from zeep.exceptions import ExternalReferenceForbidden

from adapters.tax_authority import service, translate
from adapters.tax_authority.adapter import TaxAuthority
from bus.adapter import AgencyUnavailableError, Completed, Effect, Task, Unknown
from bus.errors import InvalidMessageError
from tests.conformance.tax_authority_wire import (
    BODY_AT,
    FOLDER,
    GOOD,
    ISSUE,
    REFERENCE,
    TASK,
    Wire,
    code_of,
    http_of,
    read,
    sample,
    wire,
)

__all__ = ["wire"]  # a fixture


# --- what leaves ----------------------------------------------------------------------------------------------------


def test_the_prepared_bytes_leave_as_they_are_with_action_and_credentials(wire: Wire) -> None:
    [raw] = wire.call()
    [heard] = wire.heard
    head, body = heard.split(b"\r\n\r\n", 1)
    assert body == translate.requests(ISSUE, [TASK])[0]
    assert head.startswith(b"POST /clearance HTTP/1.1\r\n")
    for line in (
        b'SOAPAction: "http://tax.example.gov/clearance/1/IssueClearance"',
        b"Content-Type: text/xml; charset=utf-8",
        b"Authorization: Basic YnVzOm9wZW4gc2VzYW1l",
        b"Connection: close",
    ):
        assert line in head.split(b"\r\n")
    assert raw == f"asked {REFERENCE} whole\r\n".encode() + GOOD


def test_the_password_is_nowhere_but_on_the_wire(wire: Wire) -> None:
    wire.acts = [lambda _: None]
    with pytest.raises(Exception) as caught:  # noqa: PT011  # whichever it is
        wire.call()
    native = wire.adapter().prepare(ISSUE, [TASK])
    assert "sesame" not in f"{caught.value!r}{native!r}"
    assert "YnVz" not in f"{caught.value!r}{native!r}"


def test_without_a_user_no_credentials_leave(wire: Wire) -> None:
    adapter = TaxAuthority({"url": f"http://127.0.0.1:{wire.port}"})
    adapter.call(ISSUE, adapter.prepare(ISSUE, [TASK]))
    assert b"Authorization" not in wire.heard[0]
    assert wire.heard[0].startswith(b"POST / HTTP/1.1\r\n")


def test_a_value_that_could_become_markup_is_text_or_refused() -> None:
    for reference in ("A&B", "<x/>", "R" * 21, "", "مرجع"):
        with pytest.raises(InvalidMessageError, match="ExternalReference"):
            translate.requests(ISSUE, [Task(reference=reference, data=TASK.data)])


# --- what comes back ------------------------------------------------------------------------------------------------


def test_a_connection_that_ends_before_an_answer_leaves_it_open_whether_anything_happened(wire: Wire) -> None:
    for end in (0, BODY_AT):
        wire.says(GOOD[:end])
        with pytest.raises(ConnectionError):
            wire.call()
    # A line of headers that was cut looks whole; the answer still proves nothing.
    wire.says(GOOD[:20])
    assert code_of(wire.ask()) == ("answer_unreadable", Effect.UNKNOWN)


def test_a_connection_that_is_reset_leaves_it_open_too(wire: Wire) -> None:
    wire.acts = [lambda stream: stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")]
    with pytest.raises(ConnectionError):
        wire.call()


@pytest.mark.parametrize(("until", "effect"), [(b"</t:CertificateNumber>", Effect.DONE), (b"000042", Effect.UNKNOWN)])
def test_half_an_answer_is_kept_and_proves_no_more_than_it_shows(wire: Wire, until: bytes, effect: Effect) -> None:
    part = GOOD[: GOOD.index(until) + len(until)]
    wire.says(part)
    [raw] = wire.call()
    assert raw == f"asked {REFERENCE} cut\r\n".encode() + part
    assert code_of(read(raw)) == ("answer_unreadable", effect)


def test_an_answer_that_never_ends_is_cut_when_time_is_up(wire: Wire) -> None:
    def drip(stream: socket.socket) -> None:
        stream.sendall(GOOD[: BODY_AT + 40])
        gone = threading.Event()
        while not gone.wait(0.02):
            stream.sendall(b" ")  # raises once the client has gone

    wire.acts = [drip]
    [raw] = wire.call(timeout_s=0.2)
    assert raw.startswith(f"asked {REFERENCE} cut\r\n".encode())


def test_an_answer_without_end_does_not_fill_the_memory(wire: Wire) -> None:
    def flood(stream: socket.socket) -> None:
        stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\n\r\n")
        while True:
            stream.sendall(b"<a>" * 10_000)

    wire.acts = [flood]
    [raw] = wire.call()
    assert len(raw) < 1_001_000
    assert code_of(read(raw)) == ("answer_unreadable", Effect.UNKNOWN)


def test_no_answer_in_time_leaves_it_open(wire: Wire) -> None:
    gone = threading.Event()

    def wait(_: socket.socket) -> None:
        gone.wait(30)

    wire.acts = [wait]
    try:
        with pytest.raises(TimeoutError):
            wire.call(timeout_s=0.1)
    finally:
        gone.set()


def test_an_answer_in_chunks_is_one_answer(wire: Wire) -> None:
    body = GOOD[BODY_AT:]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:7], body[7:]))
    wire.says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n")
    assert isinstance(wire.ask(), Completed)


def test_of_two_answers_to_one_call_the_first_counts(wire: Wire) -> None:
    wire.says(GOOD + http_of(sample("reply-valid-debts")))
    assert isinstance(wire.ask(), Completed)


def test_of_two_calls_the_second_of_which_is_lost_the_first_is_read(wire: Wire) -> None:
    wire.says(GOOD, b"")
    answers = wire.call(count=3)
    first, *rest = wire.adapter().read(ISSUE, answers)
    assert isinstance(first, Completed)
    assert rest == [Unknown(), Unknown()]
    assert len(wire.heard) == 2, "after a loss nothing more is sent"


def test_a_redirect_is_not_followed(wire: Wire) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.settimeout(0.05)
        port = other.getsockname()[1]
        wire.says(f"HTTP/1.1 307 See\r\nLocation: http://127.0.0.1:{port}/\r\nContent-Length: 0\r\n\r\n".encode())
        assert code_of(wire.ask()) == ("wrong_address", Effect.NONE)
        with pytest.raises(TimeoutError):
            other.accept()


def test_a_service_that_cannot_prove_who_it_is_is_sent_nothing(wire: Wire) -> None:
    with pytest.raises(AgencyUnavailableError):
        wire.call(url=f"https://127.0.0.1:{wire.port}/clearance", connect_s=0.2)
    assert b"Envelope" not in b"".join(wire.heard)


# --- nothing is loaded from elsewhere -------------------------------------------------------------------------------


def test_the_description_is_read_without_any_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("somebody connects")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert {*translate.OPERATIONS.values(), translate.LOOK_UP} == set(service.load().service._operations)  # noqa: SLF001  # zeep lists them nowhere else


@pytest.mark.parametrize("scheme", ["http", "file"])
def test_a_description_that_asks_for_another_place_is_refused_and_nobody_is_asked(
    wire: Wire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    # Given a bundled description whose schema stands elsewhere
    elsewhere = {"http": f"http://127.0.0.1:{wire.port}/x.xsd", "file": (FOLDER / "manifest.yaml").as_uri()}
    text = (FOLDER / "wsdl" / "clearance.wsdl").read_text(encoding="utf-8")
    (tmp_path / "clearance.wsdl").write_text(text.replace("clearance.xsd", elsewhere[scheme]), encoding="utf-8")
    monkeypatch.setattr(service, "WSDL", tmp_path)
    # When it is loaded as the adapter does, then it is refused
    with pytest.raises((PermissionError, ExternalReferenceForbidden)):
        service.load()
    assert wire.heard == []


def test_the_transport_loads_bundled_files_and_sends_nothing() -> None:
    transport: Any = service.BundledOnly()  # type: ignore[no-untyped-call]
    assert transport.load(str(service.WSDL / "clearance.xsd")).startswith(b"<?xml")
    for place in ("http://127.0.0.1/x", "/etc/passwd", str(service.WSDL / ".." / "adapter.py"), str(service.WSDL), ""):
        with pytest.raises(PermissionError):
            transport.load(place)
    for send in (transport.post, transport.get):
        with pytest.raises(PermissionError):
            send("http://127.0.0.1/x", None, None)


# --- settings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "is_good"),
    [
        ({"url": "https://tax.example.gov/clearance"}, True),
        ({"url": "https://tax.example.gov", "user": "u", "password": "p", "read_as": "windows-1256"}, True),
        ({"url": "https://u:p@tax.example.gov/"}, False),
        ({"url": "ftp://tax.example.gov/"}, False),
        ({"url": "https://tax.example.gov", "user": "u"}, False),
        ({"url": "https://tax.example.gov", "read_as": "cp037"}, False),
        ({"url": "https://tax.example.gov", "timeout_s": 0}, False),
    ],
)
def test_settings_are_judged_before_anything_runs(settings: dict[str, Any], is_good: bool) -> None:  # noqa: FBT001  # a column of the table
    schema = json.loads((FOLDER / "settings.schema.json").read_text(encoding="utf-8"))
    assert Draft202012Validator(schema).is_valid(settings) is is_good
    assert schema["properties"]["password"]["writeOnly"] is True
