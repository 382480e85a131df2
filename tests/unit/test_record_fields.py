"""Fields of legacy records: both directions, nothing cut, nothing guessed."""

from __future__ import annotations

import string
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.record import CP1256, Chars, Codes, DateNumber, Field, InvalidMessageError, Whole


@given(st.text(string.ascii_letters + string.digits + " ", max_size=20).map(str.rstrip))
def test_text_is_padded_with_blanks_and_read_back_without(text: str) -> None:
    field = Chars(20)
    cell = field.write(text)
    assert len(cell) == 20
    assert field.read(cell, 0) == text


@given(st.dates(min_value=date(1000, 1, 1)))
def test_a_day_is_a_number_and_back(day: date) -> None:
    number = DateNumber().write(day)
    assert str(number) == day.isoformat().replace("-", "")
    assert DateNumber().read(number, 0) == day


@given(st.integers(min_value=0, max_value=99_999_999))
def test_a_number_is_a_day_or_none_or_refused_and_never_another_day(number: int) -> None:
    try:
        day = DateNumber().read(number, 0)
    except InvalidMessageError:
        return
    assert DateNumber().write(day) == number or (day is None and number == 99_999_999)


@given(st.integers(min_value=-5, max_value=9))
def test_a_whole_number_is_itself(number: int) -> None:
    field = Whole(least=-5, most=9)
    assert field.read(field.write(number), 0) == number


@pytest.mark.parametrize("number", [0, 99_999_999])
def test_the_numbers_that_mean_no_day_are_read_as_none(number: int) -> None:
    assert DateNumber().read(number, 0) is None
    assert DateNumber().write(None) == 0


def test_a_code_is_a_word_and_back() -> None:
    kinds = Codes(2, {"1": "sole", "2": "partners"})
    assert kinds.write("partners") == b"2 "
    assert kinds.read(b"2 ", 0) == "partners"


def test_a_table_with_two_codes_for_one_word_is_refused() -> None:
    with pytest.raises(ValueError, match="same word"):
        Codes(1, {"1": "sole", "2": "sole"})


@pytest.mark.parametrize(
    ("field", "cell", "code", "says"),
    [
        (Chars(4), b"abc", "wrong-size", "byte 30: 3 bytes where 4 must stand."),
        (Chars(4), b"abcde", "wrong-size", "byte 30: 5 bytes where 4 must stand."),
        (Chars(4), None, "wrong-kind", "byte 30: nothing where text must stand."),
        (Chars(4), 12, "wrong-kind", "byte 30: a number where text must stand."),
        (Chars(4), b"ab\xc7 ", "byte-not-in-page", "byte 32 (0xC7)"),
        (Whole(), b"12", "wrong-kind", "byte 30: text where a whole number must stand."),
        (Whole(), 1.5, "wrong-kind", "a broken number where a whole number must stand."),
        (Whole(most=9), 10, "out-of-range", "not within 0 to 9"),
        (DateNumber(), 20260230, "no-such-day", "byte 30: the number is no day"),
        (DateNumber(), 260105, "no-such-day", "byte 30: the number is no day"),
        (DateNumber(), None, "wrong-kind", "byte 30: nothing where a date"),
        (Codes(1, {"1": "sole"}), b"7", "unknown-code", "byte 30: '7' is none of '1'."),
    ],
)
def test_a_cell_that_cannot_be_read_is_named_by_its_byte(field: Field, cell: Any, code: str, says: str) -> None:
    with pytest.raises(InvalidMessageError) as caught:
        field.read(cell, 30)
    assert [fault.code for fault in caught.value.faults] == [code]
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        (Chars(3), "abcd", "text-too-long"),
        (Chars(3, CP1256), "مخبز", "text-too-long"),
        (Chars(3), "ab ", "blank-at-end"),
        (Chars(3), 12, "wrong-kind"),
        (Chars(3), "م", "letter-not-in-page"),
        (Whole(most=9), 10, "out-of-range"),
        (Whole(), True, "wrong-kind"),
        (Whole(), "1", "wrong-kind"),
        (DateNumber(), "2026-01-05", "wrong-kind"),
        (DateNumber(), date(26, 1, 5), "day-too-early"),
        (DateNumber(none=(20260105,)), date(2026, 1, 5), "day-means-none"),
        (Codes(1, {"1": "sole"}), "club", "unknown-word"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_and_never_cut(field: Field, value: Any, code: str) -> None:
    with pytest.raises(InvalidMessageError) as caught:
        field.write(value)
    assert [fault.code for fault in caught.value.faults] == [code]


def test_no_fault_quotes_a_personal_value() -> None:
    for value in ("94000000000001x", "محمد علي"):
        with pytest.raises(InvalidMessageError) as caught:
            Chars(4, CP1256).write(value)
        assert value not in str(caught.value)
