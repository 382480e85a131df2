"""The tax authority's adapter on the wire: what leaves, what comes back, and what is never loaded, followed or told."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from zeep.exceptions import ExternalReferenceForbidden

from adapters.tax_authority import service, translate
from adapters.tax_authority.adapter import TaxAuthority
from adapters.tax_authority.answer import pack
from bus.adapter import (
    Absent,
    AgencyUnavailableError,
    Completed,
    Effect,
    Failed,
    Found,
    LookUp,
    Refused,
    Reply,
    Task,
    Unknown,
    Unsure,
)
from bus.errors import InvalidMessageError

FOLDER = Path(__file__).parents[2] / "adapters" / "tax_authority"
SAMPLES = FOLDER / "samples"
ISSUE, CANCEL = "clearance.issue.v1", "clearance.cancel.v1"
REFERENCE = "ABCDEFGHIJKLMNOP"
PASSWORD = "open sesame"
TASK = Task(reference=REFERENCE, data={"national_id": "28501011234567"})


def sample(name: str, operation: str = ISSUE) -> bytes:
    return (SAMPLES / operation / f"{name}.native.http").read_bytes()


def http_of(raw: bytes) -> bytes:
    """The sample as it came over the wire."""
    return raw.split(b"\r\n", 1)[1]


GOOD = http_of(sample("reply-valid-issued"))
BODY_AT = GOOD.index(b"\r\n\r\n") + 4


class Wire:
    """A server that takes one request at a time and does with the connection what the test wants."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        #: What came, connection by connection.
        self.heard: list[bytes] = []
        #: One for each connection; the last one again and again.
        self.acts: list[Callable[[socket.socket], None]] = [lambda stream: stream.sendall(GOOD)]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def says(self, *answers: bytes) -> None:
        self.acts = [lambda stream, answer=answer: stream.sendall(answer) for answer in answers]  # type: ignore[misc]

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                stream, _ = self._listening.accept()
            except OSError:
                return
            with stream, suppress(OSError):
                stream.settimeout(30)
                self.heard.append(b"")
                self.heard[-1] = whole_request(stream)
                (self.acts.pop(0) if len(self.acts) > 1 else self.acts[0])(stream)

    def adapter(self, **settings: Any) -> TaxAuthority:
        return TaxAuthority(
            {"url": f"http://127.0.0.1:{self.port}/clearance", "user": "bus", "password": PASSWORD, **settings}
        )

    def call(self, operation: str = ISSUE, count: int = 1, **settings: Any) -> tuple[bytes, ...]:
        adapter = self.adapter(**settings)
        native = adapter.prepare(operation, [TASK])
        return adapter.call(operation, native * count)

    def ask(self, **settings: Any) -> Reply:
        [reply] = self.adapter(**settings).read(ISSUE, self.call(**settings))
        return reply


def whole_request(stream: socket.socket) -> bytes:
    heard = b""
    while b"\r\n\r\n" not in heard:
        piece = stream.recv(65_536)
        if not piece:
            return heard
        heard += piece
    head, body = heard.split(b"\r\n\r\n", 1)
    [length] = [int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    while len(body) < length and (piece := stream.recv(65_536)):
        body += piece
    return head + b"\r\n\r\n" + body


@pytest.fixture
def wire() -> Iterator[Wire]:
    wire = Wire()
    yield wire
    wire.close()


def read(raw: bytes, operation: str = ISSUE, read_as: str | None = None) -> Reply:
    [reply] = translate.replies(operation, [raw], read_as)
    return reply


def code_of(reply: Reply) -> tuple[str, Effect]:
    assert isinstance(reply, Failed), reply
    return reply.code, reply.effect


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


# --- encodings ------------------------------------------------------------------------------------------------------


def test_an_answer_in_another_page_than_declared_names_the_byte_and_is_read_once_the_page_is_named() -> None:
    raw = sample("reply-invalid-cp1256-declared-utf-8")
    reply = read(raw)
    assert code_of(reply) == ("answer_unreadable", Effect.DONE)
    assert isinstance(reply, Failed)
    body = raw[raw.index(b"\r\n\r\n") + 4 :]
    bad = next(place for place, byte in enumerate(body) if byte > 0x7F)
    assert f"byte {bad} of the body (0x{body[bad]:02X})" in reply.text.en
    assert "read_as" in reply.text.en
    assert read(raw, read_as="windows-1256") == read(sample("reply-valid-issued"))


def test_the_named_page_does_not_spoil_what_was_declared_rightly() -> None:
    for name in ("reply-valid-issued", "reply-valid-issued-declared-windows-1256", "reply-valid-debts"):
        assert read(sample(name), read_as="iso-8859-6") == read(sample(name))


def test_a_no_in_the_wrong_page_is_a_no_once_the_page_is_named() -> None:
    raw = sample("reply-invalid-fault-cp1256-declared-utf-8")
    refused = read(raw, read_as="windows-1256")
    assert isinstance(refused, Refused)
    assert refused.reason_code == "debts"


@pytest.mark.parametrize("encoding", ["utf-7", "base64", "utf-8-no", "ebcdic-cp-ar1"])
def test_an_encoding_that_is_not_expected_is_not_tried(encoding: str) -> None:
    raw = sample("reply-valid-issued").replace(b"charset=utf-8", f"charset={encoding}".encode())
    assert code_of(read(raw)) == ("answer_unreadable", Effect.DONE)


@pytest.mark.parametrize("mark", ["utf-16", "utf-8-sig"])
def test_a_byte_order_mark_goes_before_what_is_declared(mark: str) -> None:
    head, body = sample("reply-valid-issued").split(b"\r\n\r\n", 1)
    assert read(head + b"\r\n\r\n" + body.decode().encode(mark)) == read(sample("reply-valid-issued"))


# --- hostile and damaged answers ------------------------------------------------------------------------------------


def answered(body: str) -> bytes:
    headers = [("Content-Type", "text/xml; charset=utf-8")]
    return pack(reference=REFERENCE, status=200, reason="OK", headers=headers, body=body.encode(), is_cut=False)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"200 OK", b"500 Error"),
        (b"</t:CertificateNumber>", b"</t:CertificateNumber><!-- </s:Fault> -->"),
        (b"<t:ExternalReference>", b"<t:ExternalReference>SOMEBODYELSE</t:ExternalReference><t:ExternalReference>"),
        (REFERENCE.encode() + b"</", b"SOMEBODYELSE</"),
    ],
    ids=["a status of failure", "a fault", "two references", "another reference"],
)
def test_a_damaged_answer_shows_the_effect_only_where_nothing_in_it_speaks_against_it(old: bytes, new: bytes) -> None:
    damaged = sample("reply-valid-issued")[:-12].replace(b"whole\r\n", b"cut\r\n", 1)
    assert code_of(read(damaged)) == ("answer_unreadable", Effect.DONE)
    assert old in damaged
    assert code_of(read(damaged.replace(old, new, 1))) == ("answer_unreadable", Effect.UNKNOWN)


def test_only_what_may_be_tried_again_names_a_time_to_come_back() -> None:
    for page in ("reply-valid-page-401", "reply-valid-redirect"):
        head, _, body = sample(page).partition(b"\r\n\r\n")
        reply = read(head + b"\r\nRetry-After: 30\r\n\r\n" + body)
        assert isinstance(reply, Failed)
        assert (reply.retryable, reply.retry_after) == (False, None)


def test_what_the_book_says_of_another_operation_is_no_answer_to_this_one() -> None:
    assert code_of(read(book(entry("CANCEL", "DONE")), ISSUE)) == ("answer_contradictory", Effect.UNKNOWN)
    assert code_of(read(book(entry("CANCEL", "REJECTED")), CANCEL)) == ("answer_contradictory", Effect.UNKNOWN)
    assert read(book(entry("ISSUE", "DONE"), entry("CANCEL", "DONE")), CANCEL) == Completed(data={"cancelled": True})


def test_entities_and_document_types_are_refused_before_they_do_anything(wire: Wire) -> None:
    laughs = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 20))
    for declaration in (
        "<!DOCTYPE a>",
        f'<!DOCTYPE a SYSTEM "http://127.0.0.1:{wire.port}/evil.dtd">',
        f'<!DOCTYPE a [<!ENTITY a0 SYSTEM "http://127.0.0.1:{wire.port}/x">]>',
        '<!DOCTYPE a [<!ENTITY a0 SYSTEM "file:///etc/passwd">]>',
        f'<!DOCTYPE a [<!ENTITY a0 "ha">{laughs}]>',
    ):
        reply = read(answered(f"{declaration}<a>&a19;</a>"))
        assert code_of(reply) == ("answer_unreadable", Effect.UNKNOWN)
        assert isinstance(reply, Failed)
        assert "[document-type]" in reply.text.en or "[not-xml]" in reply.text.en
    assert wire.heard == []


def test_a_tree_too_deep_is_refused() -> None:
    assert code_of(read(answered("<a>" * 50_000 + "</a>" * 50_000))) == ("answer_unreadable", Effect.UNKNOWN)


def test_what_a_broken_answer_holds_is_not_told() -> None:
    good = sample("reply-valid-issued").decode()
    for secret, wherein in (("28501011234567", "CertificateNumber"), ("منى الشريف", "IssuedOn")):
        start = good.index(f"<t:{wherein}>") + len(wherein) + 4
        reply = read((good[:start] + secret + good[start:]).encode())
        assert code_of(reply) == ("answer_unreadable", Effect.UNKNOWN if wherein[0] == "C" else Effect.DONE)
        assert isinstance(reply, Failed)
        assert f"/{wherein}" in reply.text.en
        assert secret not in reply.text.en + reply.text.ar
        assert secret not in str(read(answered(f"<{secret} <")))


@pytest.mark.parametrize("raw", [b"nonsense", b"asked A whole\r\n", b"HTTP/1.1 200 OK\r\n\r\n", GOOD, b"\xff" * 100])
def test_kept_bytes_that_are_no_answer_are_unreadable(raw: bytes) -> None:
    assert code_of(read(raw)) == ("answer_unreadable", Effect.UNKNOWN)


# --- the look-up ----------------------------------------------------------------------------------------------------


def entry(kind: str, state: str) -> str:
    day = "<t:CancelledOn>2026-01-06</t:CancelledOn>" if (kind, state) == ("CANCEL", "DONE") else ""
    return f"<t:Entry><t:Kind>{kind}</t:Kind><t:State>{state}</t:State>{day}</t:Entry>"


def book(*entries: str, reference: str = REFERENCE) -> bytes:
    inner = f"<t:ExternalReference>{reference}</t:ExternalReference>{''.join(entries)}"
    return answered(
        f'<s:Envelope xmlns:s="{service.SOAP}"><s:Body><t:FindClearanceResponse xmlns:t="{service.NAMESPACE}">'
        f"{inner}</t:FindClearanceResponse></s:Body></s:Envelope>"
    )


@pytest.mark.parametrize(
    ("entries", "wanted"),
    [
        ((), Absent),
        ((("CANCEL", "REJECTED"),), Absent),
        ((("ISSUE", "DONE"),), Absent),
        ((("CANCEL", "RECEIVED"),), Unsure),
        ((("CANCEL", "REJECTED"), ("CANCEL", "RECEIVED")), Unsure),
        ((("CANCEL", "RECEIVED"), ("CANCEL", "DONE")), Found),
    ],
)
def test_absent_is_only_what_is_neither_done_nor_under_way(
    wire: Wire, entries: Sequence[tuple[str, str]], wanted: type[LookUp]
) -> None:
    wire.says(http_of(book(*(entry(*one) for one in entries))))
    [look] = wire.adapter().look_up(CANCEL, [REFERENCE])
    assert type(look) is wanted
    assert b"FindClearance" in wire.heard[0]
    if isinstance(look, Found):
        assert read(look.raw, CANCEL) == Completed(data={"cancelled": True})


def test_a_look_up_that_failed_or_speaks_of_somebody_else_cannot_tell(wire: Wire) -> None:
    for answer in (
        b"",
        http_of(book(entry("CANCEL", "DONE"), reference="SOMEBODYELSE")),
        http_of(sample("reply-valid-busy")),
        http_of(sample("reply-valid-page-503")),
        http_of(sample("reply-invalid-page-with-status-200")),
        http_of(sample("reply-valid-cancelled", CANCEL)),
        GOOD.replace(b"200 OK", b"500 Error"),
    ):
        wire.says(answer)
        assert wire.adapter().look_up(CANCEL, [REFERENCE]) == (Unsure(),), answer


def test_a_look_up_in_the_wrong_page_that_shows_the_effect_is_found_and_parks_as_done(wire: Wire) -> None:
    raw = sample("reply-valid-found-in-the-book")
    head, body = raw.split(b"\r\n\r\n", 1)
    wire.says(http_of(head.replace(str(len(body)).encode(), b"") + b"\r\n\r\n" + body.decode().encode("cp1256")))
    [look] = wire.adapter().look_up(ISSUE, [REFERENCE])
    assert isinstance(look, Found)
    assert code_of(read(look.raw)) == ("answer_unreadable", Effect.DONE)
    assert isinstance(read(look.raw, read_as="windows-1256"), Completed)


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
