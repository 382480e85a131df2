"""YAML is read with positions, and nothing in it is followed, run or guessed."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from bus.catalog.document import MOST_BYTES, MOST_DEPTH, read_document, suggest

texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=8).map(
    lambda text: text.replace("\ufeff", "")
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.sampled_from(["yes", "1", "~", "a: b", "الاسم"])
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
)


def read(text: str) -> Any:
    document, faults = read_document("a.yaml", text.encode())
    assert faults == ()
    return document.value


def refused(text: str | bytes) -> list[tuple[str, int, int]]:
    raw = text.encode() if isinstance(text, str) else text
    return [(fault.code, fault.line, fault.column) for fault in read_document("a.yaml", raw)[1]]


@given(values)
def test_what_another_writer_wrote_is_read_alike(value: Any) -> None:
    assert read(yaml.safe_dump(value, allow_unicode=True)) == value


def test_plain_words_are_json_values_and_nothing_more() -> None:
    assert read(
        "{a: 1, b: 1.5, c: true, d: null, e: , f: ~, g: 2026-01-05, h: 12:30:00, i: 0x10, j: 010, k: 1_000}"
    ) == {
        "a": 1,
        "b": 1.5,
        "c": True,
        "d": None,
        "e": None,
        "f": None,
        "g": "2026-01-05",
        "h": "12:30:00",
        "i": "0x10",
        "j": "010",
        "k": "1_000",
    }


def test_quoted_words_stay_texts_and_names_are_texts() -> None:
    assert read("""{a: "yes", b: '1', 1: x, true: y}""") == {"a": "yes", "b": "1", "1": "x", "true": "y"}


def test_text_is_composed() -> None:
    assert read("a: \u0627\u0653") == {"a": "\u0622"}


def test_every_value_and_name_knows_its_line_and_column() -> None:
    # When
    document, _ = read_document("a.yaml", "الاسم:\n  - one\n  - {b: 2}\n".encode())
    # Then
    assert (document.values[("الاسم", 0)].line, document.values[("الاسم", 0)].column) == (2, 5)
    assert (document.names[("الاسم", 1, "b")].line, document.names[("الاسم", 1, "b")].column) == (3, 6)
    assert (document.values[("الاسم", 1, "b")].line, document.values[("الاسم", 1, "b")].column) == (3, 9)


def test_a_fault_about_what_is_not_there_stands_at_what_should_hold_it() -> None:
    document, _ = read_document("a.yaml", b"a:\n  b: 1\n")
    fault = document.fault(("a", "c", "d"), "missing", "There is no d.")
    assert (fault.line, fault.column, fault.pointer) == (2, 3, "/a/c/d")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: &x [1]\nb: *x\n", [("anchor", 1, 4), ("anchor", 2, 4)]),
        ("a: !!python/object/apply:os.system [x]", [("tag", 1, 4)]),
        ("a: &x 1\nb: &x 2", [("anchor", 1, 4), ("anchor", 2, 4)]),
        ("a: !!binary aGk=", [("tag", 1, 4)]),
        ("a: 1\na: 2\n a: 3", [("yaml", 3, 3)]),
        ("a: {b: 1, b: 2}", [("duplicate-name", 1, 11)]),
        ('"a": 1\na: 2', [("duplicate-name", 2, 1)]),
        ("? [a]\n: 1", [("name-not-text", 1, 3)]),
        ("a: off", [("quarrelsome-word", 1, 4)]),
        ("a: TRUE", [("quarrelsome-word", 1, 4)]),
        ("a: 9007199254740992", [("number-too-large", 1, 4)]),
        ("a: " + "9" * 5000, [("number-too-large", 1, 4)]),
        ("a: 1e999", [("number-too-large", 1, 4)]),
        ("a: 1\n---\nb: 1", [("yaml", 2, 1)]),
        ("a: [", [("yaml", 1, 5)]),
        ("\ta: 1", [("yaml", 1, 1)]),
        (b"a: 1\nb: \xff", [("not-utf-8", 2, 0)]),
        (b"a: \x00", [("yaml", 0, 0)]),
        (b"a: " + b"x" * MOST_BYTES, [("too-large", 0, 0)]),
        ("[" * (MOST_DEPTH + 1) + "]" * (MOST_DEPTH + 1), [("yaml", 1, MOST_DEPTH + 1)]),
    ],
)
def test_what_is_not_plain_data_is_refused_with_its_place(text: str | bytes, expected: list[Any]) -> None:
    assert refused(text) == expected


def test_the_deepest_nesting_allowed_is_read() -> None:
    value = read("[" * MOST_DEPTH + "]" * MOST_DEPTH)
    for _ in range(MOST_DEPTH - 1):
        (value,) = value
    assert value == []


def test_many_aliases_cannot_grow() -> None:
    # Given
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 30)]
    # When
    document, faults = read_document("a.yaml", "\n".join(lines).encode())
    # Then
    assert document.value["a29"] == [None, None]
    assert {fault.code for fault in faults} == {"anchor"}


@given(st.binary(max_size=60) | texts.map(str.encode))
def test_any_bytes_give_a_document_or_a_fault(raw: bytes) -> None:
    document, faults = read_document("a.yaml", raw)
    assert document.file == "a.yaml"
    assert all(fault.file == "a.yaml" and fault.message for fault in faults)


def test_the_nearest_name_is_suggested_and_otherwise_the_few_that_there_are() -> None:
    assert suggest("municipalty", ["municipality", "registry"]) == "Did you mean municipality?"
    assert suggest("x", ["b", "a"]) == "Known: a, b."
    assert suggest("x", map("name{}".format, range(30))) == ""
    assert suggest("x", []) == ""
