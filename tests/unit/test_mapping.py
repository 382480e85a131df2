"""Data moves by paths and literals only, and nothing is invented on the way."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.errors import InvalidMessageError
from bus.message.strict_json import pointer_to
from bus.message.text import Text
from bus.process.definition import Condition, Const, Definition, Path, Repeat, StepDefinition, Value
from bus.process.mapping import (
    conditions_from_request,
    conditions_from_step,
    cut,
    holds,
    parse_path,
    patch,
    resolve,
    split_pointer,
)

REQUEST = {
    "owner": {"number": "29001011234567", "guest": False, "age": None},
    "shop": {"name": "الواحة", "kinds": ["food"], "floors": 1},
}
STEPS = {"name": {"reservation": "R-7"}, "empty": {}}

names = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True)
scalars = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=5)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)
records = st.dictionaries(st.text(max_size=4), values, max_size=4)


def step(name: str, when: Condition | None = None) -> StepDefinition:
    title = Text(en=name, ar=name)
    return StepDefinition(
        name=name, title=title, provider="office", operation="a.v1", input={}, repeat=Repeat(kind="safe"), when=when
    )


def definition(*steps: StepDefinition) -> Definition:
    return Definition(
        service="open-shop.v1",
        title=Text(en="Open a shop", ar="فتح متجر"),
        request_contract="service/a",
        result_contract="service/b",
        subject=parse_path("request.owner.number"),
        consumers={},
        purposes={},
        steps={one.name: one for one in steps},
        output={},
    )


def pointers_of(value: Any, at: str = "") -> set[str]:
    """Every member below, by pointer."""
    if not isinstance(value, dict):
        return set()
    here = {f"{at}{pointer_to((name,))}" for name in value}
    return here.union(*(pointers_of(member, f"{at}{pointer_to((name,))}") for name, member in value.items()))


def at(value: Any, pointer: str) -> Any:
    for part in split_pointer(pointer):
        value = value[part]
    return value


@given(st.sampled_from(["request", "item", "steps.name"]), st.lists(names, max_size=4))
def test_a_path_is_read_back_from_its_text(root: str, members: list[str]) -> None:
    text = ".".join([root, *members])
    path = parse_path(text)
    assert str(path) == text
    assert path.members == tuple(members)


@pytest.mark.parametrize(
    "text", ["", "steps", "applicant.name", "request.", "request..a", "request.a-b", "request.الاسم", "Request.a"]
)
def test_what_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"part|path"):
        parse_path(text)


def test_values_come_from_the_request_the_steps_the_item_and_literals() -> None:
    wanted: dict[str, Value] = {
        "number": parse_path("request.owner.number"),
        "reservation": parse_path("steps.name.reservation"),
        "part": parse_path("item.part"),
        "kind": Const(value="sole"),
    }
    found = resolve(wanted, request=REQUEST, steps=STEPS, item={"part": 3})
    assert found == {"number": "29001011234567", "reservation": "R-7", "part": 3, "kind": "sole"}


def test_a_compensation_reads_what_its_step_was_given() -> None:
    # Given a step whose data a person had corrected
    given = {"name": "الواحة الجديدة"}
    # When its compensation names it
    found = resolve({"name": parse_path("input.name")}, request=REQUEST, steps=STEPS, own_input=given)
    # Then it gets the corrected value, and without a step that was given anything, none
    assert found == given
    assert resolve({"name": parse_path("input.name")}, request=REQUEST, steps=STEPS) == {}


@pytest.mark.parametrize(
    "path",
    ["request.owner.nickname", "request.owner.number.length", "steps.permit.number", "steps.empty.x", "item.part"],
)
def test_a_member_whose_source_is_absent_is_left_out(path: str) -> None:
    assert resolve({"a": parse_path(path)}, request=REQUEST, steps=STEPS) == {}


def test_false_and_null_are_values_and_are_not_left_out() -> None:
    wanted: dict[str, Value] = {
        "guest": parse_path("request.owner.guest"),
        "age": parse_path("request.owner.age"),
        "c": Const(value=None),
    }
    assert resolve(wanted, request=REQUEST, steps={}) == {"guest": False, "age": None, "c": None}


@pytest.mark.parametrize(
    ("path", "among", "expected"),
    [
        ("request.shop", None, True),
        ("request.shop.floors", None, True),
        ("request.owner.age", None, True),
        ("request.owner.guest", None, False),
        ("request.owner.nickname", None, False),
        ("steps.name.reservation", ("R-6", "R-7"), True),
        ("steps.name.reservation", ("R-6",), False),
        ("request.owner.guest", (False,), True),
        ("request.owner.guest", (0,), False),
        ("request.shop.floors", (True,), False),
        ("request.shop.floors", (1.0,), True),
        ("request.owner.nickname", (None,), False),
        ("request.owner.age", (None,), True),
    ],
)
def test_a_condition_holds_as_written(path: str, among: tuple[Any, ...] | None, *, expected: bool) -> None:
    assert holds(Condition(path=parse_path(path), among=among), REQUEST, STEPS) is expected


def test_each_condition_is_decided_by_the_data_that_it_reads_and_by_no_other() -> None:
    # Given
    service = definition(
        step("always"),
        step("premises", Condition(path=parse_path("request.shop"))),
        step("guest", Condition(path=parse_path("request.owner.guest"))),
        step("reserved", Condition(path=parse_path("steps.name.reservation"))),
        step("permitted", Condition(path=parse_path("steps.permit.number"))),
    )
    # When, Then
    assert conditions_from_request(service, REQUEST) == {"premises": True, "guest": False}
    assert conditions_from_step(service, "name", {"reservation": "R-7"}) == {"reserved": True}
    assert conditions_from_step(service, "name", {}) == {"reserved": False}
    assert conditions_from_step(service, "always", {"x": 1}) == {}


def test_a_consumer_receives_the_granted_fields_and_learns_what_was_withheld() -> None:
    # Given
    result = {"number": 7, "owner": {"name": "a", "tax": {"id": 1, "sum": 2}}, "list": [1], "a/b": 1}
    # When
    data, withheld = cut(result, ["/number", "/owner/tax/id", "/a~1b", "/none", "/number/below"])
    # Then
    assert data == {"number": 7, "owner": {"tax": {"id": 1}}, "a/b": 1}
    assert withheld == ("/owner/name", "/owner/tax/sum", "/list")


@given(records, st.data())
def test_what_is_cut_and_what_is_withheld_make_up_the_whole(result: dict[str, Any], data: st.DataObject) -> None:
    # Given
    every = sorted(pointers_of(result))
    granted = data.draw(st.lists(st.sampled_from(every), unique=True) if every else st.just([]))
    # When
    kept, withheld = cut(result, granted)
    # Then
    for pointer in pointers_of(kept):
        assert any(f"{pointer}/".startswith(f"{grant}/") or f"{grant}/".startswith(f"{pointer}/") for grant in granted)
    for pointer in granted:
        assert at(kept, pointer) == at(result, pointer)
    for pointer in withheld:
        assert pointer not in pointers_of(kept)
        at(result, pointer)


def test_no_grant_gives_nothing_and_the_empty_pointer_everything() -> None:
    assert cut(REQUEST, []) == ({}, ("/owner", "/shop"))
    assert cut(REQUEST, [""]) == (REQUEST, ())


def test_a_supplement_sets_what_was_asked_and_leaves_the_original() -> None:
    # Given
    data = {"address": "a", "papers": [{"number": 1}], "old": {"x": 1}}
    before = copy.deepcopy(data)
    # When
    patched = patch(
        data,
        {"/lease/number": "L-1", "/papers/0/number": 2, "/papers/1": {"number": 3}, "/old": None},
        ["/lease/number", "/papers/0/number", "/papers/1", "/old", "/never_sent"],
    )
    # Then
    assert patched == {
        "address": "a",
        "papers": [{"number": 2}, {"number": 3}],
        "old": None,
        "lease": {"number": "L-1"},
    }
    assert data == before


@pytest.mark.parametrize(
    ("pointer", "asked", "code"),
    [
        ("/owner", ["/address"], "not-asked"),
        ("/address/street", ["/address"], "not-asked"),
        ("/", ["/address"], "not-asked"),
        ("/address/street", ["/address/street"], "no-such-place"),
        ("/papers/2", ["/papers/2"], "no-such-place"),
        ("/papers/-1", ["/papers/-1"], "no-such-place"),
        ("/papers/01", ["/papers/01"], "no-such-place"),
        ("/papers/٠", ["/papers/٠"], "no-such-place"),
        ("address", ["address"], "no-such-place"),
        ("", [""], "no-such-place"),
    ],
)
def test_a_supplement_cannot_set_anything_else(pointer: str, asked: list[str], code: str) -> None:
    with pytest.raises(InvalidMessageError) as error:
        patch({"address": "a", "papers": [1]}, {pointer: "secret words"}, asked)
    assert [fault.code for fault in error.value.faults] == [code]
    assert "secret words" not in str(error.value)


def test_all_faults_of_a_supplement_are_told_at_once() -> None:
    with pytest.raises(InvalidMessageError) as error:
        patch({}, {"/a": 1, "/b": 2, "/c": 3}, ["/b"])
    assert [fault.pointer for fault in error.value.faults] == ["/a", "/c"]


@given(st.lists(st.text(max_size=4)))
def test_a_pointer_is_split_into_the_names_that_it_was_joined_from(parts: list[str]) -> None:
    assert split_pointer(pointer_to(parts)) == tuple(parts)


@given(records, st.lists(st.text(max_size=3), min_size=1, max_size=2), values)
def test_what_a_supplement_set_is_found_there(data: dict[str, Any], parts: list[str], value: Any) -> None:
    # Given
    pointer = pointer_to(parts)
    try:
        # When
        patched = patch(data, {pointer: value}, [pointer])
    except InvalidMessageError:
        return
    # Then
    found: Any = patched
    for part in parts:
        found = found[int(part)] if isinstance(found, list) else found[part]
    assert found == value


def test_a_path_without_members_names_the_whole() -> None:
    assert resolve({"all": Path(root="request", step="", members=())}, request=REQUEST, steps={}) == {"all": REQUEST}
