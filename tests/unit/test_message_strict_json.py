"""JSON means one thing to everybody, or is refused with the place and the mend."""

from __future__ import annotations

import json
import unicodedata
from types import MappingProxyType
from typing import Any

import pytest
import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st

from bus.errors import InvalidMessageError
from bus.message.strict_json import (
    MOST_BYTES,
    MOST_DEPTH,
    MOST_INTEGER,
    canonical,
    dump,
    nfc,
    not_nfc,
    parse,
    pointer_to,
    shown_pointer,
)

# Every text that UTF-8 can carry and that I-JSON allows.
TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cn")))
NUMBERS = st.integers(-MOST_INTEGER, MOST_INTEGER) | st.floats(-1e15, 1e15)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXTS, inner, max_size=5),
    max_leaves=20,
)


def refusal(raw: bytes) -> InvalidMessageError:
    with pytest.raises(InvalidMessageError) as caught:
        parse(raw)
    assert caught.value.raw == raw
    return caught.value


def found(error: InvalidMessageError) -> set[tuple[str, str]]:
    return {(fault.code, fault.pointer) for fault in error.faults}


@given(VALUES)
def test_what_is_written_is_read_back_as_the_same_value(value: Any) -> None:
    assert parse(dump(value)) == value
    assert parse(canonical(value)) == value


@given(VALUES | st.dictionaries(TEXTS, VALUES))
@example({"\ue000": 1, "\U00010000": 2})  # UTF-16 and UTF-8 put these names in different order
def test_the_canonical_form_is_what_the_reference_implementation_gives(value: Any) -> None:
    # Given a value as it is read, where a whole number has one form
    read = parse(dump(value))
    # Then the reference implementation gives the same bytes
    assert canonical(read) == rfc8785.dumps(read)


@given(st.dictionaries(st.text(st.characters(max_codepoint=127)), st.text() | st.lists(st.integers())))
def test_the_canonical_form_is_the_same_whatever_mapping_holds_the_value(value: dict[str, Any]) -> None:
    # Given the same members in a plain dict and in another mapping, of any text and any number
    def told(given: Any) -> Any:
        try:
            return canonical(given)
        except InvalidMessageError as error:
            return error.faults

    # Then both have the same form, or the same faults
    assert told(value) == told(MappingProxyType(value))


@given(VALUES)
def test_layout_does_not_change_what_is_read(value: Any) -> None:
    # Given the same value in the layout of another writer: blanks, escapes, another order
    spread = json.dumps(value, indent=2, ensure_ascii=True, sort_keys=True).encode()
    # Then the value, and so its canonical form, is the same
    assert parse(spread) == value
    assert canonical(parse(spread)) == canonical(parse(dump(value)))


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (b"1.0", 1),
        (b"10e2", 1000),
        (b"1E2", 100),
        (b"-0", 0),
        (b"-0.0", 0),
        (b"2.50", 2.5),
        (b"1e-2", 0.01),
        (b"0e0", 0),
        (b"9007199254740991", MOST_INTEGER),
        (b"9007199254740991.0", MOST_INTEGER),
        (b"-9007199254740991", -MOST_INTEGER),
    ],
)
@pytest.mark.parametrize("frame", [b"%s", b"[%s]", b'{"a":%s}', b'{"a":%s,"b":2}', b"[ %s ]"])
def test_a_whole_number_is_an_int_however_it_is_spelled(text: bytes, number: float, frame: bytes) -> None:
    value = parse(frame % text)
    while isinstance(value, list | dict):
        value = value[0] if isinstance(value, list) else value["a"]
    assert value == number
    assert type(value) is type(number)
    assert str(value) != "-0"


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (b"9007199254740992", "number-too-large"),
        (b"-9007199254740992", "number-too-large"),
        (b"9007199254740992.0", "number-too-large"),
        (b"12345678901234567890", "number-too-large"),
        (b"123456789012345678901234567890", "number-too-large"),
        (b"1e16", "number-too-large"),
        (b"1e+16", "number-too-large"),
        (b"1.5e+300", "number-too-large"),
        (b"1e400", "number-too-large"),
        (b"-1e400", "number-too-large"),
        (b"1e-400", "number-too-small"),
        (b"NaN", "not-a-number"),
        (b"Infinity", "not-a-number"),
        (b"-Infinity", "not-a-number"),
    ],
)
def test_a_number_that_readers_would_understand_differently_is_refused_where_it_stands(
    number: bytes, code: str
) -> None:
    assert found(refusal(b'{"a":{"b":[0,%s]}}' % number)) == {(code, "/a/b/1")}


def test_all_faults_of_a_text_are_told_at_once() -> None:
    error = refusal(rb'{"a":1,"a":NaN,"b":[1e400,"\ud800"],"c":{"d":1,"d":1}}')
    assert found(error) == {
        ("duplicate-key", "/a"),
        ("not-a-number", "/a"),
        ("number-too-large", "/b/0"),
        ("bad-character", "/b/1"),
        ("duplicate-key", "/c/d"),
    }
    assert all(fault.mend for fault in error.faults)


@pytest.mark.parametrize("raw", [b'{"a":1,"a":1}', b'{"a":1,"\\u0061":2}', b'[{"x":{"a":1,"b":2,"a":3}}]'])
def test_a_duplicate_member_is_refused_also_when_it_is_spelled_differently(raw: bytes) -> None:
    assert {fault.code for fault in refusal(raw).faults} == {"duplicate-key"}


@pytest.mark.parametrize(
    ("raw", "code", "at"),
    [
        (b"", "not-json", 0),
        (b"   ", "not-json", 3),
        (b'{"a":tru}', "not-json", 5),
        ('{"اسم":tru}'.encode(), "not-json", 10),
        (b'{"a":1}{', "not-json", 7),
        (b"[1,]", "not-json", 3),
        (b"'a'", "not-json", 0),
        (b'"a\nb"', "not-json", 2),
        (b"01", "not-json", 1),
        (b"\xef\xbb\xbf{}", "byte-order-mark", 0),
        (b'{"a":"\xff"}', "not-utf8", 6),
        (b'"\xed\xa0\x80"', "not-utf8", 1),
        (b'"\xc0\xaf"', "not-utf8", 1),
        ("{}".encode("utf-16"), "not-utf8", 0),
    ],
)
def test_what_is_no_json_text_is_refused_with_the_byte_where_it_goes_wrong(raw: bytes, code: str, at: int) -> None:
    (fault,) = refusal(raw).faults
    assert fault.code == code
    assert f"at byte {at}" in fault.message


@pytest.mark.parametrize("text", [rb'"\ud800"', rb'"a\udfffb"', rb'"\ufffe"', '"\uffff"'.encode(), '"\ufdd0"'.encode()])
def test_a_lone_surrogate_or_noncharacter_is_refused(text: bytes) -> None:
    assert found(refusal(b'{"a":' + text + b"}")) == {("bad-character", "/a")}
    assert found(refusal(b"{" + text + b":1}")) == {("bad-character", "/*")}


@pytest.mark.parametrize("plane", range(17))
def test_the_noncharacters_of_every_plane_are_refused(plane: int) -> None:
    for low in (0xFFFE, 0xFFFF):
        raw = f'"{chr(plane << 16 | low)}"'.encode()
        assert found(refusal(raw)) == {("bad-character", "")}


@pytest.mark.parametrize("text", ["\x00", "\u202e", "\ufdfa", "\ufeff", "🇪🇬", "¿؟", "ﻻ", "\u2028"])
def test_unusual_text_that_is_valid_passes_unchanged(text: str) -> None:
    assert parse(dump({"a": text, text: 1})) == {"a": text, text: 1}


@pytest.mark.parametrize(
    ("opening", "core", "closing", "times"),
    [
        ("[", "", "]", MOST_DEPTH),
        ('{"a":', "1", "}", MOST_DEPTH),
        ('[{"a":', "1", "}]", MOST_DEPTH // 2),
    ],
)
def test_nesting_is_taken_up_to_the_limit_and_refused_one_deeper(
    opening: str, core: str, closing: str, times: int
) -> None:
    # Given a text nested exactly as deep as is allowed
    raw = (opening * times + core + closing * times).encode()
    value = parse(raw)
    assert dump(value) == raw
    # When it is nested once more, then both directions refuse it, and blanks do not change that
    for deeper in (b"[" + raw + b"]", b"[ " + raw + b" ]"):
        (fault,) = refusal(deeper).faults
        assert fault.code == "too-deep"
        assert fault.pointer.count("/") == MOST_DEPTH
    with pytest.raises(InvalidMessageError, match="too-deep"):
        dump([value])
    with pytest.raises(InvalidMessageError, match="too-deep"):
        canonical([value])


@pytest.mark.parametrize("raw", [b"[" * 100_000, b"[" * 100_000 + b"]" * 100_000, b'{"a":' * 40_000])
def test_a_text_nested_without_end_is_refused_and_breaks_nothing(raw: bytes) -> None:
    assert refusal(raw).code in {"too-deep", "not-json"}


def test_many_lists_side_by_side_are_not_deep() -> None:
    value = [[[index], {"a": index}] for index in range(1000)]
    assert parse(dump(value)) == value


def test_a_text_is_taken_up_to_its_greatest_length_and_refused_one_byte_longer() -> None:
    longest = b'"' + b"x" * (MOST_BYTES - 2) + b'"'
    assert dump(parse(longest)) == longest
    longer = b'"' + b"x" * (MOST_BYTES - 1) + b'"'
    assert refusal(longer).code == "too-large"
    with pytest.raises(InvalidMessageError, match="too-large"):
        dump("x" * (MOST_BYTES - 1))


@pytest.mark.parametrize(
    ("value", "code", "pointer"),
    [
        ({"a": float("nan")}, "not-a-number", "/a"),
        ([float("inf")], "not-a-number", "/0"),
        ([-float("inf")], "not-a-number", "/0"),
        ({"a": MOST_INTEGER + 1}, "number-too-large", "/a"),
        ({"a": 10**30}, "number-too-large", "/a"),
        ({"a": 1e16}, "number-too-large", "/a"),
        ({"a": -9007199254740992.0}, "number-too-large", "/a"),
        ({"a": 1e22}, "number-too-large", "/a"),
        ({"a": "\ud800"}, "bad-character", "/a"),
        ({"\ud800": 1}, "bad-character", "/*"),
        ({"a": "\uffff"}, "bad-character", "/a"),
        ({1: 2}, "not-json", "/*"),
        ({"a": b"x"}, "not-json", "/a"),
        ({"a": {1, 2}}, "not-json", "/a"),
        ({"a": object()}, "not-json", "/a"),
    ],
)
def test_nothing_is_written_that_could_not_be_read(value: Any, code: str, pointer: str) -> None:
    for write in (dump, canonical):
        with pytest.raises(InvalidMessageError) as caught:
            write(value)
        assert found(caught.value) == {(code, pointer)}


def test_null_and_any_mapping_are_written() -> None:
    assert dump({"a": None, "b": MappingProxyType({"c": (1, 2)})}) == b'{"a":null,"b":{"c":[1,2]}}'
    assert canonical({"b": MappingProxyType({"c": (1, 2)}), "a": None}) == b'{"a":null,"b":{"c":[1,2]}}'


def test_the_canonical_form_is_that_of_rfc_8785() -> None:
    # Given the example of the RFC, section 3.2.2, without the number beyond 2^53
    raw = rb"""{"numbers": [4.50, 2e-3, 0.000000000000000000000000001],
                "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/", "literals": [null, true, false]}"""
    expected = '{"literals":[null,true,false],"numbers":[4.5,0.002,1e-27],"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    assert canonical(parse(raw)) == expected.encode()


@given(VALUES)
def test_normalised_text_is_normal_and_stays_as_it_is(value: Any) -> None:
    normal = nfc(value)
    assert list(not_nfc(normal)) == []
    assert nfc(normal) == normal


@pytest.mark.parametrize("text", ["e\u0301", "أحمد".replace("أ", "ا\u0654"), "\u1100\u1161"])
def test_text_in_parts_is_seen_and_composed_also_in_member_names(text: str) -> None:
    whole = unicodedata.normalize("NFC", text)
    assert list(not_nfc(["a", text])) == [(1,)]
    assert list(not_nfc({text: 1})) == [(text,)]
    assert nfc({text: [text, 1, None]}) == {whole: [whole, 1, None]}


def test_pointers_escape_their_parts_and_shown_ones_hide_what_may_be_personal() -> None:
    assert pointer_to(["a/b", "m~n", 0]) == "/a~1b/m~0n/0"
    assert shown_pointer(["applicant", "29001011234567", 0, "أحمد"]) == "/applicant/*/0/*"
    assert shown_pointer(["أحمد"], known={"أحمد"}) == "/أحمد"


def test_no_fault_repeats_a_key_that_may_be_a_persons_number() -> None:
    error = refusal(b'{"29001011234567":NaN}')
    assert "29001011234567" not in str(error)
