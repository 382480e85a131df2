"""Quick values keep what a frozen dataclass promises: the whole set of fields, no other, and no change afterwards."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import FrozenInstanceError, dataclass, field, fields, replace
from inspect import signature
from typing import Any

import pytest

from bus.audit.fact import Fact
from bus.message.envelope import Envelope
from bus.message.quick import changed, made, quick
from bus.ports import AgencyRow
from bus.process.event import Replied
from bus.process.state import Request, Step


@quick
@dataclass(frozen=True, kw_only=True)
class _Parcel:
    name: str
    weight: int = 1
    marks: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class _Plain:
    name: str
    weight: int = 1
    marks: list[str] = field(default_factory=list)


def test_a_quick_value_is_made_compared_and_shown_as_a_plain_one() -> None:
    one, plain = _Parcel(name="a", weight=2), _Plain(name="a", weight=2)
    assert vars(one) == vars(plain)
    assert repr(one) == repr(plain).replace("_Plain", "_Parcel")
    assert one == _Parcel(name="a", weight=2) != _Parcel(name="a")
    assert replace(one, weight=3) == _Parcel(name="a", weight=3)
    assert deepcopy(one) == one
    assert signature(_Parcel) == signature(_Plain)


def test_each_value_has_its_own_default_where_that_can_change() -> None:
    assert _Parcel(name="a").marks is not _Parcel(name="a").marks


def test_a_list_that_is_given_is_not_replaced_by_the_default() -> None:
    assert _Parcel(name="a", marks=["x"]).marks == ["x"]


@pytest.mark.parametrize("wrong", [{}, {"weight": 2}, {"name": "a", "colour": "red"}, {"weight": 2, "colour": "red"}])
def test_a_value_without_a_field_or_with_a_strange_one_cannot_be_made(wrong: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=r"name|colour"):
        _Parcel(**wrong)


def test_nobody_changes_a_value_that_was_made() -> None:
    for one in (_Parcel(name="a"), changed(_Parcel(name="a"), {"weight": 2})):
        with pytest.raises(FrozenInstanceError):
            one.weight = 3  # type: ignore[misc]
        with pytest.raises(FrozenInstanceError):
            del one.name


def test_a_changed_copy_has_the_change_and_all_else_and_the_first_stays() -> None:
    before = _Parcel(name="a", weight=2, marks=["x"])
    assert changed(before, {"weight": 3}) == _Parcel(name="a", weight=3, marks=["x"])
    assert before == _Parcel(name="a", weight=2, marks=["x"])


def test_a_copy_cannot_be_given_a_field_that_the_value_has_not() -> None:
    with pytest.raises(KeyError, match="colour"):
        changed(_Parcel(name="a"), {"weight": 3, "colour": "red"})


def test_a_value_made_of_its_members_is_the_same() -> None:
    assert made(_Parcel, {"name": "a", "weight": 1, "marks": []}) == _Parcel(name="a")


@pytest.mark.parametrize("of", [Fact, Envelope, Step, Request, Replied, AgencyRow])
def test_the_records_of_a_request_are_quick_and_in_the_order_of_their_fields(of: Any) -> None:
    given = {one.name: one.name for one in fields(of)}
    assert list(vars(of(**dict(reversed(given.items()))))) == list(given)
    assert not hasattr(of, "__slots__")
