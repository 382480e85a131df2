"""Forms from contracts: every kind of field, what is typed is kept, and what is read obeys the contract."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.console import writing
from bus.console.form import (
    Filled,
    data_of,
    each,
    fields,
    filled,
    place,
    posted,
    with_row,
    without_blank_rows,
    without_row,
)
from bus.console.language import languages
from bus.console.shape import Shape, shape_of
from bus.console.wording import by_field
from bus.message.contract import Contracts
from bus.message.strict_json import dump, nfc, parse
from bus.operations.titled import Folded, titled

ENGLISH, ARABIC = languages()["en"], languages()["ar"]
CONTRACT: dict[str, Any] = {
    "type": "object",
    "required": ["name", "day", "sure", "owner"],
    "additionalProperties": False,
    "properties": {
        "name": {"title": "Name", "x-title-ar": "الاسم", "type": "string", "minLength": 2, "maxLength": 5},
        "day": {"type": "string", "format": "date"},
        "sure": {"type": "boolean"},
        "age": {"type": "integer", "minimum": 18},
        "area": {"type": ["number", "null"]},
        "kind": {"enum": ["shop", "office", 3]},
        "owner": {"$ref": "#/$defs/person"},
        "partners": {"type": "array", "items": {"allOf": [{"$ref": "#/$defs/person"}]}, "maxItems": 2},
        "tags": {"type": "array", "items": {"type": "string"}},
        "badge": {"$ref": "urn:bus:part#/$defs/badge"},
        "odd": {"anyOf": [{"type": "string"}, {"type": "array"}]},
    },
    "$defs": {
        "person": {
            "type": "object",
            "required": ["id"],
            "properties": {"id": {"$ref": "urn:bus:part#/$defs/number"}, "note": {"type": "string"}},
        }
    },
}
PART = {
    "$defs": {
        "number": {"title": "Number", "x-title-ar": "الرقم", "type": "string", "pattern": "^[0-9]{4}$"},
        "badge": {"allOf": [{"$ref": "#/$defs/number"}, {"title": "Badge", "x-title-ar": "الشارة"}]},
    }
}
CONTRACTS = Contracts({"answer": CONTRACT, "part": PART})
SHAPE = shape_of(CONTRACTS, "answer")
WHOLE = {
    "name": "Mona",
    "day": "2026-11-22",
    "sure": False,
    "age": 40,
    "area": 12.5,
    "kind": 3,
    "owner": {"id": "1234", "note": "x"},
    "partners": [{"id": "0001"}, {"id": "0002", "note": "y"}],
    "tags": ["a", "b"],
    "badge": "0042",
    "odd": ["free", {"form": 1}],
}


def member(name: str) -> Shape:
    return next(each for each in SHAPE.members if each.name == name)


def faults(data: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    return dict(by_field(CONTRACTS.explain("answer", data), SHAPE, ENGLISH))


def test_each_part_of_a_contract_becomes_the_field_that_fits_it() -> None:
    assert {part.name: part.kind for part in SHAPE.members} == {
        "name": "text",
        "day": "date",
        "sure": "truth",
        "age": "whole",
        "area": "number",
        "kind": "choice",
        "owner": "object",
        "partners": "list",
        "tags": "list",
        "badge": "text",
        "odd": "free",
    }


def test_references_into_other_contracts_are_followed_and_what_stands_beside_them_counts() -> None:
    badge, partner = member("badge"), member("partners").item

    assert (badge.title.en, badge.title.ar, badge.schema["pattern"]) == ("Badge", "الشارة", "^[0-9]{4}$")
    assert partner is not None
    assert [(part.name, part.required) for part in partner.members] == [("id", True), ("note", False)]


def test_what_must_be_filled_in_comes_first_in_the_order_of_the_contract() -> None:
    assert [part.name for part in SHAPE.members][:4] == ["name", "day", "sure", "owner"]


def test_choices_with_titles_are_shown_in_words() -> None:
    titled = {"oneOf": [{"const": "a", "title": "First", "x-title-ar": "الأول"}, {"const": "b"}]}
    shape = shape_of(Contracts({"c": {"type": "object", "properties": {"x": titled}}}), "c")

    (choice,) = shape.members
    assert [(each.value, each.title.en, each.title.ar) for each in choice.choices] == [
        ("a", "First", "الأول"),
        ("b", "b", "b"),
    ]


def test_a_contract_that_contains_itself_ends_somewhere() -> None:
    person = {"type": "object", "properties": {"parent": {"$ref": "urn:bus:person"}}}
    shape = shape_of(Contracts({"person": person}), "person")

    depth = 0
    while shape.members:
        shape, depth = shape.members[0], depth + 1
    assert shape.kind == "free"
    assert 3 < depth < 10


def test_a_whole_answer_comes_back_from_its_form_as_it_was() -> None:
    assert CONTRACTS.accepts("answer", WHOLE)
    assert data_of(SHAPE, filled(SHAPE, WHOLE)) == WHOLE


TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=8).map(nfc)


@given(
    st.fixed_dictionaries(
        {"owner": st.fixed_dictionaries({}, optional={"id": TEXTS, "note": TEXTS})},
        optional={
            "name": TEXTS,
            "day": st.dates().map(lambda day: day.isoformat()),
            "sure": st.booleans(),
            "age": st.integers(-(2**53) + 1, 2**53 - 1),
            "area": st.floats(-1e6, 1e6).map(lambda number: float(f"{number:.6f}")),
            "kind": st.sampled_from(["shop", "office", 3]),
            "tags": st.lists(TEXTS, min_size=1, max_size=3),
            "partners": st.lists(st.fixed_dictionaries({"id": TEXTS}), min_size=1, max_size=3),
        },
    )
)
def test_no_draft_is_changed_by_its_form(draft: dict[str, Any]) -> None:
    shown = filled(SHAPE, parse(dump(draft)))
    rows = [(f"rows:{name}", str(number)) for name, number in shown.rows.items()]

    assert data_of(SHAPE, posted([*shown.texts.items(), *rows])) == draft


def test_what_cannot_be_read_stays_as_it_was_typed_and_is_told() -> None:
    form = posted([("/age", "forty"), ("/day", "tomorrow"), ("/area", "1,5"), ("/sure", "perhaps")])
    data = data_of(SHAPE, form)

    assert {name: data[name] for name in ("age", "day", "area", "sure")} == {
        "age": "forty",
        "day": "tomorrow",
        "area": "1,5",
        "sure": "perhaps",
    }
    assert faults(data)["/age"] == ("Write a whole number, for example 12.",)
    assert faults(data)["/day"] == ("Write a day of the calendar, for example 31/01/2026.",)
    assert {field.pointer: field.value for field in each(fields(SHAPE, filled(SHAPE, data), {}))}["/age"] == "forty"


def test_what_is_left_empty_is_left_out_and_missed_only_where_it_is_needed() -> None:
    data = data_of(SHAPE, posted([("/name", "  "), ("/age", ""), ("/owner/note", "")]))

    assert data == {"owner": {}}
    assert faults(data) == {
        "/name": ("Fill in this field.",),
        "/day": ("Fill in this field.",),
        "/sure": ("Choose an answer.",),
        "/owner/id": ("Fill in this field.",),
    }


@pytest.mark.parametrize(
    ("change", "pointer", "english", "arabic"),
    [
        ({"name": "x"}, "/name", "Write at least 2 characters.", "اكتب حرفين على الأقل."),
        ({"name": "xxxxxx"}, "/name", "Write at most 5 characters.", "اكتب 5 أحرف على الأكثر."),
        ({"age": 3}, "/age", "Write 18 or more.", "اكتب 18 أو أكثر."),
        ({"kind": "farm"}, "/kind", "Choose one of the answers offered.", "اختر إحدى الإجابات المعروضة."),
        (
            {"partners": [{"id": "0001"}] * 3},
            "/partners",
            "At most 2 rows are allowed.",
            "يُسمح بسطرين على الأكثر.",
        ),
        (
            {"partners": [{"id": "0001"}, {"id": "x"}]},
            "/partners/1/id",
            "The form is not right. Compare it with the paper, sign by sign.",
            "الصيغة غير صحيحة. قارنها بالأصل حرفًا حرفًا.",
        ),
    ],
)
def test_each_fault_is_told_at_its_field_in_the_readers_language(
    change: dict[str, Any], pointer: str, english: str, arabic: str
) -> None:
    found = CONTRACTS.explain("answer", WHOLE | change)

    assert by_field(found, SHAPE, ENGLISH) == {pointer: (english,)}
    assert by_field(found, SHAPE, ARABIC) == {pointer: (arabic,)}


def test_a_row_is_added_and_removed_and_the_others_keep_what_is_in_them() -> None:
    form = filled(SHAPE, WHOLE)
    longer = with_row(form, "/partners", 2)
    shorter = without_row(longer, "/partners", 0, 3)

    assert longer.rows["/partners"] == 3
    assert shorter.rows["/partners"] == 2
    assert shorter.texts["/partners/0/note"] == "y"
    assert "/partners/1/id" not in shorter.texts
    assert data_of(SHAPE, shorter) == WHOLE | {"partners": [{"id": "0002", "note": "y"}]}


def test_blank_rows_close_up_so_that_a_fault_stands_at_the_row_that_has_it() -> None:
    form = Filled(texts={"/tags/0": "", "/tags/1": "a", "/tags/3": "b"}, rows={"/tags": 5, "/partners": 1})
    closed = without_blank_rows(SHAPE, form)

    assert (closed.texts, closed.rows["/tags"], closed.rows["/partners"]) == ({"/tags/0": "a", "/tags/1": "b"}, 2, 0)
    assert data_of(SHAPE, closed)["tags"] == ["a", "b"]


def test_a_made_up_number_of_rows_makes_no_endless_page() -> None:
    form = posted([("rows:/tags", "9" * 4000), ("rows:/partners", "-1")])

    assert len(next(part for part in each(fields(SHAPE, form, {})) if part.pointer == "/tags").rows) == 200
    assert "/partners" not in form.rows


def test_the_place_of_a_field_in_the_page_has_no_blanks() -> None:
    assert place("/a b/ج~1") == "answer/a%20b/%D8%AC~1"


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2026-11-22", "2026-11-22"),
        ("22/11/2026", "2026-11-22"),
        ("٢٢/١١/٢٠٢٦", "2026-11-22"),
        ("۲۰۲۶-۱۱-۲۲", "2026-11-22"),
        ("1.2.2026", "2026-02-01"),
        ("\u200f٢٢\u060c ١١ ٢٠٢٦\u200e", "2026-11-22"),
        ("31/02/2026", None),
        ("22/11/26", None),
        ("2026-11", None),
        ("1/1/1/2026", None),
        ("²²/11/2026", None),
        ("", None),
    ],
)
def test_a_day_is_read_in_the_orders_and_digits_that_clerks_use(text: str, meant: str | None) -> None:
    assert writing.day(text) == meant


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("12", 12),
        ("١٢٫٥", 12.5),
        ("١٬٢٣٤٫٥", 1234.5),
        ("\u221212.50", -12.5),
        ("1 234", 1234),
        ("1,5", None),
        ("1e5", None),
        ("NaN", None),
        ("9" * 41, None),
        ("", None),
    ],
)
def test_a_number_is_read_in_the_digits_that_clerks_use_and_never_guessed(text: str, meant: float | None) -> None:
    assert writing.number(text) == meant


def test_a_whole_number_has_no_fraction() -> None:
    assert (writing.whole("٤٢"), writing.whole("4.2"), writing.whole("+7")) == (42, None, 7)


def test_a_code_is_made_of_what_was_typed() -> None:
    assert writing.code("  Lease  missing ٢ ") == "lease_missing_2"


def test_the_fields_that_may_be_asked_for_again_are_found_behind_references_too() -> None:
    folded = Folded(CONTRACTS)
    found = {field.pointer: field for field in titled(folded.whole("answer"), {"owner": {"id": "7"}}, folded)}

    assert (found["/owner/id"].title.ar, found["/owner/id"].required, found["/owner/id"].value) == ("الرقم", True, "7")
    assert found["/badge"].title.en == "Badge"
    assert found["/partners"].type == "array"
