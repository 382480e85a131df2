"""What stands at a path into a contract, through references and combinations."""

from __future__ import annotations

import pytest

from bus.catalog.shelf import PrefixItemsError, Shelf, UnknownMemberError, compile_contracts
from bus.message.reply import Data

CONTRACTS: dict[str, Data] = {
    "service/a": {
        "$ref": "#/$defs/base",
        "required": ["address"],
        "properties": {
            "address": {"allOf": [{"$ref": "urn:bus:shared:address"}, {"required": ["city"]}]},
            "maybe": {"type": ["object", "null"], "required": ["x"], "properties": {"x": {"type": "integer"}}},
            "tree": {"$ref": "#/$defs/tree"},
            "any": {},
            "choice": {"enum": ["a", "b", 1]},
            "fixed": {"const": True},
            "narrow": {"allOf": [{"enum": ["a", "b", "c"]}, {"enum": ["a", "b"]}, {"type": "string"}]},
            "titled": {"oneOf": [{"const": "a", "title": "A"}, {"const": "b"}]},
            "either": {"oneOf": [{"const": "a"}, {"type": "integer"}, True]},
            "a/b": {"type": "string", "pattern": "^x"},
            "anything": True,
            "people": {
                "allOf": [{"minItems": 1, "maxItems": 9}, {"maxItems": 5}],
                "type": "array",
                "items": {
                    "type": ["object", "null"],
                    "required": ["id"],
                    "properties": {"id": {"type": "string"}, "age": {"type": "integer"}},
                },
            },
            "bare": {"type": "array"},
            "pair": {"type": "array", "prefixItems": [{"type": "string"}]},
        },
        "$defs": {
            "base": {"required": ["id"], "properties": {"id": {"type": ["string", "integer"]}}},
            "tree": {"type": "object", "required": ["below"], "properties": {"below": {"$ref": "#/$defs/tree"}}},
        },
    },
    "shared/address": {"type": "object", "properties": {"city": {"type": "string"}, "street": {"type": "string"}}},
}


@pytest.fixture
def shelf() -> Shelf:
    contracts, faults = compile_contracts(CONTRACTS)
    assert faults == ()
    return Shelf({name: contracts.schema(name) for name in contracts.names()})


@pytest.mark.parametrize(
    ("path", "kinds", "sure_from"),
    [
        ("id", {"string", "integer"}, 0),
        ("address", {"object"}, 0),
        ("address.city", {"string"}, 0),
        ("address.street", {"string"}, 2),
        ("maybe", {"object", "null"}, 1),
        ("maybe.x", {"integer"}, 2),
        ("tree.below.below", {"object"}, 1),
        ("any", set(), 1),
        ("choice", {"string", "integer"}, 1),
        ("fixed", {"boolean"}, 1),
        ("narrow", {"string"}, 1),
        ("titled", {"string"}, 1),
        ("anything", set(), 1),
    ],
)
def test_a_path_has_the_kinds_that_all_parts_allow_and_knows_when_it_is_there(
    path: str, kinds: set[str], sure_from: int, shelf: Shelf
) -> None:
    spot = shelf.find("service/a", path.split("."))
    assert (set(spot.kinds), spot.sure_from) == (kinds, sure_from)


def test_the_narrowest_choices_count(shelf: Shelf) -> None:
    assert shelf.find("service/a", ["narrow"]).choices == ("a", "b")
    assert shelf.find("service/a", ["any"]).choices is None


def test_choices_with_titles_are_choices_too(shelf: Shelf) -> None:
    assert shelf.find("service/a", ["titled"]).choices == ("a", "b")
    assert shelf.find("service/a", ["either"]).choices is None


def test_what_the_contract_demands_is_gathered_from_its_parts(shelf: Shelf) -> None:
    assert set(shelf.required("service/a")) == {"id", "address"}


def test_an_unknown_member_comes_with_the_names_that_are_there(shelf: Shelf) -> None:
    with pytest.raises(UnknownMemberError) as error:
        shelf.find("service/a", ["address", "town"])
    assert (error.value.member, error.value.known) == ("town", ("city", "street"))


@pytest.mark.parametrize(
    ("path", "value", "allowed"),
    [
        ("a/b", "x1", True),
        ("a/b", "y1", False),
        ("maybe.x", 1, True),
        ("maybe.x", "1", False),
        ("address.city", 1, False),
    ],
)
def test_a_literal_is_judged_by_the_whole_rule_at_its_place(
    path: str, value: object, *, allowed: bool, shelf: Shelf
) -> None:
    assert shelf.allows(shelf.find("service/a", path.split(".")), value) is allowed


def test_a_contract_is_not_blamed_for_the_fault_of_one_that_it_refers_to() -> None:
    # Given
    broken = CONTRACTS | {"shared/address": {"type": "objekt"}, "service/b": {"type": "object"}}
    # When
    contracts, faults = compile_contracts(broken)
    # Then
    assert {fault.file for fault in faults} == {"schemas/shared/address.json"}
    assert contracts.names() == ("service/b",)


def test_a_list_knows_its_length_and_what_its_items_are(shelf: Shelf) -> None:
    # When
    people = shelf.find("service/a", ["people"])
    item = shelf.items(people)
    # Then
    assert (people.least, people.most, set(people.kinds)) == (1, 5, {"array"})
    assert item is not None
    assert item.kinds == {"object", "null"}
    # An item that may be null may lack all of its members.
    assert [shelf.inside(item, [name]).sure_from for name in ("id", "age")] == [1, 1]
    with pytest.raises(UnknownMemberError):
        shelf.inside(item, ["name"])


def test_a_list_without_items_says_nothing_of_them_and_one_with_prefix_items_is_refused(shelf: Shelf) -> None:
    assert shelf.items(shelf.find("service/a", ["bare"])) is None
    with pytest.raises(PrefixItemsError):
        shelf.items(shelf.find("service/a", ["pair"]))
