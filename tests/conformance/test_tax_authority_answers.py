"""The tax authority's answers as its adapter reads them: encodings, damaged and hostile ones, and the look-up."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from adapters.tax_authority import service
from adapters.tax_authority.answer import pack
from bus.adapter import Absent, Completed, Effect, Failed, Found, LookUp, Refused, Unsure
from tests.conformance.tax_authority_wire import (
    CANCEL,
    GOOD,
    ISSUE,
    REFERENCE,
    Wire,
    code_of,
    http_of,
    read,
    sample,
    wire,
)

__all__ = ["wire"]  # a fixture


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
