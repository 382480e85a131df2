"""An example made from a contract obeys it, reads like a real value, or is refused with the place and the mend."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.catalog.shelf import compile_contracts, read_schemas
from bus.message.contract import Contracts, urn
from bus.message.example import contract_example, example_of
from bus.message.reply import Data
from tests.support.workspaces.copies import REPOSITORY, SMALL


def contracts_in(root: Path) -> Contracts:
    schemas, faults = read_schemas(root)
    contracts, more = compile_contracts(schemas)
    assert (*faults, *more) == ()
    return contracts


NO_OTHER: Mapping[str, Data] = {}
EVERY = [(root, name) for root in (REPOSITORY, SMALL) for name in contracts_in(root).names()]


def only(schema: Data) -> Any:
    """An example of a contract that stands alone."""
    return contract_example(Contracts({"alone": schema}), "alone")


@pytest.mark.parametrize(("root", "name"), EVERY, ids=[f"{root.name}-{name}" for root, name in EVERY])
def test_the_example_of_every_contract_of_a_workspace_obeys_it(root: Path, name: str) -> None:
    contracts = contracts_in(root)
    assert contracts.accepts(name, contract_example(contracts, name))


# --- what a value is made from ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "example"),
    [
        ({"const": 7}, 7),
        ({"enum": ["sole", "partners"]}, "sole"),
        ({"type": "string", "examples": ["مخبز النور"]}, "مخبز النور"),
        ({"type": "integer", "default": 3}, 3),
        ({"type": "boolean"}, True),
        ({"type": ["null", "boolean"]}, True),
        ({"type": "null"}, None),
        ({"type": "integer", "minimum": 18, "maximum": 120}, 18),
        ({"type": "integer", "exclusiveMinimum": 0, "multipleOf": 5}, 5),
        ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, 0.5),
        ({"type": "string", "format": "date"}, "2026-01-05"),
        ({"type": "string", "pattern": "^[0-9]{7}$"}, "0000000"),
        ({"type": "string", "pattern": r"^P-\d{4}-[a-z]+$"}, "P-0000-a"),
        ({"type": "string", "title": "Trade name", "pattern": "\\S"}, "Trade name"),
        ({"type": "string", "title": "Ab", "minLength": 5, "maxLength": 5}, "AbAbA"),
        ({"type": "array", "items": {"const": 1}, "minItems": 2}, [1, 1]),
        ({"type": "array", "items": {"const": 1}, "maxItems": 0}, []),
        ({"properties": {"a": {"const": 1}}, "required": ["a"]}, {"a": 1}),
    ],
)
def test_a_value_is_made_from_what_its_schema_says(schema: Data, example: Any) -> None:
    assert only(schema) == example


def test_an_example_that_the_author_wrote_goes_before_everything_but_a_constant() -> None:
    said = {"enum": ["a", "b", "c"], "default": "b", "examples": ["c"]}
    assert only(said) == "c"
    assert only(said | {"const": "a"}) == "a"


def test_what_several_schemas_say_of_one_place_is_heeded_together() -> None:
    # Given a member described by a reference, and narrowed where it is used
    schema = {
        "type": "object",
        "required": ["code"],
        "properties": {"code": {"$ref": "#/$defs/code", "allOf": [{"minLength": 3}], "enum": ["ab", "abc"]}},
        "$defs": {"code": {"type": "string", "enum": ["a", "abc"]}},
    }
    # Then the one value that all of them allow is taken
    assert only(schema) == {"code": "abc"}


def test_a_reference_into_another_contract_is_followed_and_its_own_references_stay_in_it() -> None:
    other = {"$defs": {"outer": {"$ref": "#/$defs/inner"}, "inner": {"const": "theirs"}}}
    mine = {"$ref": f"{urn('other')}#/$defs/outer", "$defs": {"inner": {"const": "mine"}}}
    assert contract_example(Contracts({"mine": mine, "other": other}), "mine") == "theirs"


def test_members_that_are_not_required_are_there_as_far_as_they_can_be_made() -> None:
    hard = {"type": "string", "pattern": "^(?:a|b)(?:c|d)$"}
    schema = {"type": "object", "properties": {"easy": {"const": 1}, "hard": hard}}
    assert only(schema) == {"easy": 1}


def test_members_that_exclude_one_another_are_left_out() -> None:
    schema = {
        "type": "object",
        "required": ["kind"],
        "properties": {"kind": {"const": "a"}, "id": {"const": 1}, "passport": {"const": 2}},
        "not": {"required": ["id", "passport"]},
    }
    assert only(schema) == {"kind": "a"}


def test_a_list_that_may_hold_itself_ends() -> None:
    tree = {
        "type": "object",
        "properties": {"below": {"type": "array", "items": {"$ref": "#"}}, "name": {"type": "string"}},
    }
    assert only(tree)["name"] == "text"


# --- what cannot be made ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("member", "why"),
    [
        ({"type": "string", "pattern": "^(?:a|b)(?:c|d)$"}, "is not simple"),
        (False, "nothing may stand there"),
        ({"$ref": "#"}, "holds itself without end"),
    ],
)
def test_a_member_that_cannot_be_made_is_named_with_the_mend(member: Any, why: str) -> None:
    # Given
    inner = {"type": "object", "required": ["a~b"], "properties": {"a~b": member}}
    schema = {"type": "object", "required": ["list"], "properties": {"list": {"type": "array", "items": inner}}}
    # When
    with pytest.raises(ValueError, match="/list/0/a~0b") as caught:
        example_of(schema, NO_OTHER.__getitem__)
    # Then
    assert why in str(caught.value)
    assert str(caught.value).endswith("Give its schema `examples`.")


def test_a_required_member_that_no_schema_describes_is_named() -> None:
    with pytest.raises(ValueError, match="/b: the schema does not describe it"):
        only({"type": "object", "required": ["b"], "properties": {"a": True}})


def test_a_contract_that_asks_for_more_than_can_be_read_off_it_is_refused_with_its_faults() -> None:
    with pytest.raises(ValueError, match="What can be made from alone does not obey it"):
        only({"type": "array", "items": {"const": 1}, "minItems": 2, "uniqueItems": True})


# --- any plain schema ------------------------------------------------------------------------------------------------

_sizes = st.tuples(st.integers(0, 4), st.integers(0, 4)).map(sorted)
_bounds = st.tuples(st.integers(-9, 9), st.integers(-9, 9)).map(sorted)
_plain = st.one_of(
    st.sampled_from([{"type": kind} for kind in ("null", "boolean", "integer", "number", "string")]),
    st.sampled_from([{"format": name} for name in ("date", "date-time", "uuid", "json-pointer")]),
    st.sampled_from([{"pattern": f"^{text}$"} for text in ("[0-9]{14}", r"\d+-[A-Z]{2}", "a?b*c", r"\w{2,5}")]),
    st.builds(lambda sizes: {"type": "string", "minLength": sizes[0], "maxLength": sizes[1]}, _sizes),
    st.builds(lambda ends: {"type": "integer", "minimum": ends[0], "maximum": ends[1]}, _bounds),
    st.builds(lambda ends: {"type": "number", "exclusiveMinimum": ends[0], "maximum": ends[1] + 0.5}, _bounds),
    st.builds(lambda step, most: {"type": "integer", "multipleOf": step, "maximum": most}, st.just(3), st.just(-1)),
    st.builds(lambda value: {"const": value}, st.sampled_from([0, "اسم", None, {"a": []}])),
)


def _composed(inner: st.SearchStrategy[Data]) -> st.SearchStrategy[Data]:
    members = st.dictionaries(st.sampled_from(["a", "b/c", "اسم"]), inner, min_size=1)
    return st.one_of(
        st.builds(lambda of, kept: {"properties": of, "required": sorted(of)[:kept]}, members, st.integers(0, 2)),
        st.builds(
            lambda of, sizes: {"type": "array", "items": of, "minItems": sizes[0], "maxItems": sizes[1]}, inner, _sizes
        ),
        st.builds(lambda first, rest: {"prefixItems": [first], "items": rest, "minItems": 2}, inner, inner),
        st.builds(lambda one, other: {"anyOf": [one, other]}, inner, inner),
        st.builds(lambda one: {"allOf": [one], "$ref": "#/$defs/anything"}, inner),
    )


@given(st.recursive(_plain, _composed, max_leaves=6))
def test_the_example_of_any_plain_schema_can_be_made_and_obeys_it(schema: Data) -> None:
    alone = {**schema, "$defs": {"anything": {}}}
    contracts = Contracts({"alone": alone})
    assert contracts.accepts("alone", contract_example(contracts, "alone"))
