"""Code pages: what goes in comes out, and what cannot go in is named."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bus.record import ASCII, CP1256, InvalidMessageError, code_page


def is_utf_8(data: bytes) -> bool:
    """Whether the data is letters of more than one byte, well formed."""
    return not data.isascii() and "\ufffd" not in data.decode("utf-8", errors="replace")


letters = st.sampled_from(sorted(CP1256.letters))


@given(st.text(letters, max_size=60))
def test_a_text_that_could_be_written_is_read_back_in_nfc(text: str) -> None:
    assume(not is_utf_8(unicodedata.normalize("NFC", text).encode("cp1256")))
    data = CP1256.encode(text)
    assert CP1256.decode(data) == unicodedata.normalize("NFC", text)


@given(st.binary(max_size=60))
def test_bytes_that_could_be_read_are_written_back_unless_their_vowel_signs_were_in_another_order(data: bytes) -> None:
    try:
        text = CP1256.decode(data)
    except InvalidMessageError:
        return
    assert sorted(CP1256.encode(text)) == sorted(data)


@given(st.text("ابتثجحخدذرزسشصضطظعغفقكلمنهوي ", min_size=1, max_size=30))
def test_arabic_written_as_utf_8_is_never_read_as_cp1256(text: str) -> None:
    assume(text.strip())
    with pytest.raises(InvalidMessageError) as caught:
        CP1256.decode(text.encode())
    assert caught.value.faults[0].code == "text-is-utf-8"


def test_a_byte_that_cannot_stand_in_a_name_is_named_by_its_place() -> None:
    with pytest.raises(InvalidMessageError) as caught:
        CP1256.decode("مخ".encode("cp1256") + b"\x00", offset=100)
    assert "byte 102 (0x00): U+0000 (a control) cannot stand in cp1256 text." in str(caught.value)


def test_every_letter_that_the_page_lacks_is_named_once_with_its_place() -> None:
    with pytest.raises(InvalidMessageError) as caught:
        CP1256.encode("١ مخبز ☃ ١")
    assert [fault.message for fault in caught.value.faults] == [
        "letter 1 is U+0661 ARABIC-INDIC DIGIT ONE, which cp1256 does not have.",
        "letter 8 is U+2603 SNOWMAN, which cp1256 does not have.",
    ]


@pytest.mark.parametrize("sign", ["\n", "\t", "\u200f", "\u200d", "\u00a0", "\ufffd", "…"])
def test_invisible_and_typographic_signs_are_neither_written_nor_read(sign: str) -> None:
    with pytest.raises(InvalidMessageError):
        CP1256.encode(sign)
    with pytest.raises(InvalidMessageError):
        CP1256.decode(sign.encode("cp1256", errors="ignore") or b"\x00")


def test_a_text_whose_bytes_are_another_text_in_utf_8_is_refused_since_it_could_not_be_read_back() -> None:
    with pytest.raises(InvalidMessageError) as caught:
        CP1256.encode("ا،")
    assert [fault.code for fault in caught.value.faults] == ["text-is-ambiguous"]


def test_a_decomposed_letter_is_written_as_the_one_letter_that_it_is() -> None:
    assert CP1256.decode(CP1256.encode("cafe\u0301")) == "café"


def test_a_page_with_holes_refuses_the_bytes_that_mean_nothing() -> None:
    with pytest.raises(InvalidMessageError, match=r"byte 2 \(0xA1\)"):
        code_page("iso8859_6").decode(b"\xc7\xc7\xa1")


def test_ascii_takes_no_other_letter() -> None:
    assert ASCII.decode(b"R 12") == "R 12"
    with pytest.raises(InvalidMessageError, match=r"byte 0 \(0xC7\)"):
        ASCII.decode(b"\xc7")
