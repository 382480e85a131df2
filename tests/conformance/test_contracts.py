"""Two engines judge every contract: they agree, explain in the contract's words, and fetch nothing."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.errors import ConfigurationError, InvalidMessageError
from bus.message.contract import Contracts, urn
from bus.message.strict_json import dump, parse

ROOT = Path(__file__).parents[2]
PUBLISHED = sorted(ROOT.glob("schemas/envelope/*.json")) + sorted(ROOT.glob("schemas/reply/*.json"))

# --- A small generator of schemas, and of values that nearly fit them ---------------------------------------------

_member_names = st.sampled_from(["a", "b", "اسم"])
_PLAIN_TEXTS = ("", "a", "ab", "a\n", "\n", "اسم", "١", "1", "🇪🇬", "é", "/a/0", "/~", "a/b", "\u2028")
_DAYS = ("2026-01-05", "2026-02-30", "2026-01-05T08:30:00Z", "2026-01-05T08:30:00.1234567Z")
# Each of these is read by one library or another in its own way.
_DISPUTED = ("2026-01-05t08:30:00z", "2026-01-05T23:59:60Z", "2026-01-05T24:00:00Z")
_UUIDS = ("0F7E9C1E-4C6B-5D0A-9A53-0D8F2B7C6E11", "0f7e9c1e-4c6b-5d0a-9a53-0d8f2b7c6e11")
_texts = st.sampled_from([*_PLAIN_TEXTS, *_DAYS, *_DISPUTED, *_UUIDS])
_numbers = st.sampled_from(
    [0, 1, -1, 2, 10, 2**53 - 1, 0.5, -0.5, 0.07, 0.1, 0.3, 1.1, 4.35, 19.99, 1e-7, 123456789.125]
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | _numbers | _texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_member_names, inner, max_size=3),
    max_leaves=6,
)
_patterns = st.sampled_from(["^a$", "a", "^[a-z]+$", "^.$", r"^\d+$", r"^\w+$", r"^\s$", "^[؀-ۿ]+$", "^(a|b)*$", "$"])
_small = st.integers(0, 3)
_bounds = st.sampled_from([0, 1, -1, 0.5, 2**53 - 1])
_leaves = st.one_of(
    st.booleans(),
    st.just({}),
    st.builds(lambda kind: {"type": kind}, st.sampled_from(["null", "boolean", "integer", "number", "string"])),
    st.builds(lambda kinds: {"type": kinds}, st.just(["integer", "null"]) | st.just(["object", "string"])),
    st.builds(lambda value: {"const": value}, VALUES),
    st.builds(lambda values: {"enum": values}, st.lists(VALUES, min_size=1, max_size=3)),
    st.builds(lambda pattern: {"type": "string", "pattern": pattern}, _patterns),
    st.builds(lambda name: {"format": name}, st.sampled_from(["date", "date-time", "uuid", "json-pointer"])),
    st.builds(lambda least, most: {"minLength": least, "maxLength": most}, _small, _small),
    st.builds(lambda least, most: {"minimum": least, "maximum": most}, _bounds, _bounds),
    st.builds(lambda least, most: {"exclusiveMinimum": least, "exclusiveMaximum": most}, _bounds, _bounds),
    st.builds(lambda step: {"multipleOf": step}, st.sampled_from([1, 2, 0.01, 0.1, 0.5, 3])),
    st.builds(lambda least, most: {"minItems": least, "maxItems": most}, _small, _small),
    st.builds(lambda least, most: {"minProperties": least, "maxProperties": most}, _small, _small),
    st.just({"uniqueItems": True}),
    st.builds(lambda names: {"required": names}, st.lists(_member_names, unique=True, max_size=2)),
    st.builds(lambda name, names: {"dependentRequired": {name: names}}, _member_names, st.just(["a"])),
    st.builds(lambda name: {"$ref": name}, st.sampled_from(["urn:bus:other", "urn:bus:other#/$defs/short"])),
)


def _composed(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    lists = st.lists(inner, min_size=1, max_size=2)
    members = st.dictionaries(_member_names, inner, max_size=3)
    return st.one_of(
        st.builds(lambda members, rest: {"properties": members, "additionalProperties": rest}, members, inner),
        st.builds(lambda members, rest: {"properties": members, "unevaluatedProperties": rest}, members, inner),
        st.builds(lambda first, rest: {"prefixItems": first, "items": rest}, lists, inner),
        st.builds(lambda first, rest: {"prefixItems": first, "unevaluatedItems": rest}, lists, inner),
        st.builds(lambda one, least: {"contains": one, "minContains": least, "maxContains": 2}, inner, _small),
        st.builds(lambda one: {"propertyNames": one}, inner),
        st.builds(lambda name, one: {"dependentSchemas": {name: one}}, _member_names, inner),
        st.builds(lambda one: {"not": one}, inner),
        st.builds(lambda a, b, c: {"if": a, "then": b, "else": c}, inner, inner, inner),
        st.builds(lambda word, parts: {word: parts}, st.sampled_from(["allOf", "anyOf", "oneOf"]), lists),
        st.builds(lambda parts, rest: {"allOf": parts, "unevaluatedProperties": rest}, lists, inner),
    )


SCHEMAS = st.recursive(_leaves, _composed, max_leaves=6)
OTHER = {"$id": "urn:bus:other", "type": ["object", "string"], "$defs": {"short": {"maxLength": 1}}}


@given(SCHEMAS, st.lists(VALUES, min_size=1, max_size=8))
def test_both_engines_give_the_same_verdict(schema: Any, values: list[Any]) -> None:
    contracts = Contracts({"it": {"allOf": [schema]}, "other": OTHER})
    for value in values:
        # As values arrive: written by somebody, read by us
        received = parse(dump(value))
        assert contracts.accepts("it", received) == (contracts.explain("it", received) == ()), (schema, received)


# --- What each keyword says, so that both engines cannot be wrong together ----------------------------------------


@pytest.mark.parametrize(
    ("schema", "yes", "no"),
    [
        ({"type": "integer"}, [0, 1.0, -(2**53) + 1], [0.5, True, "1", None]),
        ({"type": "number"}, [0, 0.5], [True, "1"]),
        ({"const": 1}, [1, 1.0], [True, "1", [1]]),
        ({"enum": [0, "a"]}, [0, "a"], [False, "b"]),
        ({"multipleOf": 0.01}, [0.07, 4.35, 19.99, 1], [0.001, 4.355]),
        ({"uniqueItems": True}, [[1, True], [0, False], ["1", 1]], [[1, 1.0], [{"a": 1}, {"a": 1}]]),
        ({"maxLength": 1}, ["", "é", "🇪", "ا"], ["ab", "e\u0301"]),
        ({"pattern": "^[a-z]+$"}, ["abc", 3], ["abc\n", "", "\nabc"]),
        ({"pattern": r"^\d+$"}, ["123"], ["١٢٣"]),
        ({"format": "date"}, ["2026-01-05", 3], ["2026-02-30", "20260105", "2026-1-5", "٢٠٢٦-01-05", ""]),
        (
            {"format": "date-time"},
            ["2026-01-05T08:30:00Z", "2026-01-05T08:30:00.123456789+02:00"],
            ["2026-01-05T08:30:00", "2026-01-05t08:30:00z", "2026-01-05T24:00:00Z", "2026-12-31T23:59:60Z"],
        ),
        (
            {"format": "uuid"},
            ["0f7e9c1e-4c6b-5d0a-9a53-0d8f2b7c6e11"],
            ["0F7E9C1E-4C6B-5D0A-9A53-0D8F2B7C6E11", "0f7e9c1e4c6b5d0a9a530d8f2b7c6e11", ""],
        ),
        ({"format": "json-pointer"}, ["", "/", "/a~0b/0"], ["a", "/~", "/~2"]),
    ],
)
def test_a_keyword_takes_and_refuses_what_it_says(schema: dict[str, Any], yes: list[Any], no: list[Any]) -> None:
    contracts = Contracts({"it": schema})
    for value, verdict in [*((value, True) for value in yes), *((value, False) for value in no)]:
        assert contracts.accepts("it", value) is verdict, value
        assert (contracts.explain("it", value) == ()) is verdict, value


PERSON = {
    "$id": "urn:bus:canonical:person.v1",
    "type": "object",
    "properties": {
        "national_id": {"type": "string", "pattern": "^[0-9]{14}$"},
        "birth_date": {"type": "string", "format": "date"},
        "kind": {"enum": ["citizen", "resident"]},
        "اسم": {"type": "string", "maxLength": 5},
    },
    "required": ["national_id", "birth_date"],
    "additionalProperties": False,
}
REQUEST = {
    "$id": "urn:bus:service:open-business.v1.request",
    "type": "object",
    "properties": {
        "applicant": {"$ref": "urn:bus:canonical:person.v1"},
        "partners": {"type": "array", "items": {"$ref": "urn:bus:canonical:person.v1"}, "maxItems": 2},
    },
    "required": ["applicant"],
    "additionalProperties": False,
}
CONTRACTS = Contracts({"service/open-business.v1.request": REQUEST, "canonical/person.v1": PERSON})
MONA = {"national_id": "29001011234567", "birth_date": "1990-01-01"}


def test_a_no_is_explained_with_every_place_and_mend() -> None:
    value = {
        "applicant": {"nationl_id": "29001011234567", "kind": 3},
        "partners": [MONA, {**MONA, "birth_date": "1.1.90"}],
    }
    faults = {fault.pointer: fault for fault in CONTRACTS.explain("service/open-business.v1.request", value)}
    assert set(faults) == {
        "/applicant/national_id",
        "/applicant/birth_date",
        "/applicant/nationl_id",
        "/applicant/kind",
        "/partners/1/birth_date",
    }
    assert faults["/applicant/national_id"].code == "contract-missing"
    assert faults["/applicant/nationl_id"].mend == "Did you mean national_id?"
    assert faults["/applicant/kind"].mend == "Send one of citizen, resident."
    assert "2026-01-05" in faults["/partners/1/birth_date"].mend


def test_an_explanation_never_repeats_what_may_be_personal() -> None:
    name, number = "منى عبد الرحمن", "29001011234567"
    value = {"applicant": {number: name, name: number, "اسم": name, "kind": name, "national_id": f"{number}x"}}
    told = "\n".join(map(str, CONTRACTS.explain("service/open-business.v1.request", value)))
    assert number not in told
    assert name not in told
    # A name that the contract itself declares is shown.
    assert "/applicant/اسم" in told


def test_check_raises_with_all_faults_and_passes_what_obeys() -> None:
    CONTRACTS.check("service/open-business.v1.request", {"applicant": MONA})
    with pytest.raises(InvalidMessageError) as caught:
        CONTRACTS.check("service/open-business.v1.request", {"applicant": {}})
    assert caught.value.code == "contract"
    assert [fault.code for fault in caught.value.faults] == ["contract-missing"] * 2


@pytest.mark.parametrize("value", [object(), {"a": object()}, float("nan"), "\ud800", {1: 2}, 2**70])
def test_what_has_no_json_form_obeys_nothing_that_asks_for_something(value: Any) -> None:
    contracts = Contracts({"it": {"type": ["array", "null"]}})
    assert not contracts.accepts("it", value)
    assert contracts.explain("it", value)


def test_a_member_that_the_contract_forbids_is_named() -> None:
    contracts = Contracts({"it": {"properties": {"a": False}}})
    (fault,) = contracts.explain("it", {"a": 1})
    assert (fault.code, fault.pointer) == ("contract-forbidden", "/a")


def test_a_pattern_made_to_run_for_ever_does_not() -> None:
    contracts = Contracts({"it": {"pattern": "^(a+)+$"}})
    assert not contracts.accepts("it", "a" * 50_000 + "!")
    assert contracts.explain("it", "a" * 50_000 + "!")


# --- The registry --------------------------------------------------------------------------------------------------


def test_names_schemas_and_closures_can_be_asked_for() -> None:
    assert CONTRACTS.names() == ("canonical/person.v1", "service/open-business.v1.request")
    assert CONTRACTS.schema("canonical/person.v1") == PERSON
    assert CONTRACTS.closure("service/open-business.v1.request") == CONTRACTS.names()
    assert CONTRACTS.closure("canonical/person.v1") == ("canonical/person.v1",)
    assert "canonical/person.v1" in CONTRACTS
    assert "canonical/person.v2" not in CONTRACTS
    assert urn("service/open-business.v1.request") == REQUEST["$id"]


def test_a_hash_depends_on_meaning_and_on_all_that_is_referred_to_and_not_on_layout() -> None:
    reordered = dict(reversed(REQUEST.items()))
    changed = {**PERSON, "required": ["national_id"]}
    names = ("service/open-business.v1.request", "canonical/person.v1")
    first = CONTRACTS.hash(names[0])
    assert re.fullmatch("[0-9a-f]{64}", first)
    assert Contracts({names[0]: reordered, names[1]: PERSON}).hash(names[0]) == first
    assert Contracts({names[0]: REQUEST, names[1]: changed}).hash(names[0]) != first


def test_a_schema_changed_after_loading_changes_no_contract() -> None:
    schema: dict[str, Any] = {"type": "object", "properties": {}}
    contracts = Contracts({"it": schema})
    before = contracts.hash("it")
    schema["properties"]["a"] = False
    assert contracts.hash("it") == before
    assert contracts.explain("it", {"a": 1}) == ()


@pytest.mark.parametrize(
    ("schema", "code", "pointer"),
    [
        ({"type": "objct"}, "not-a-schema", "/type"),
        ({"properties": {"a": {"minLength": -1}}}, "not-a-schema", "/properties/a/minLength"),
        ([], "not-a-schema", ""),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "dialect", "/$schema"),
        ({"$id": "urn:bus:another"}, "wrong-id", "/$id"),
        ({"items": {"format": "email"}}, "unknown-format", "/items/format"),
        ({"allOf": [{"pattern": "(?=a)b"}]}, "pattern", "/allOf/0/pattern"),
        ({"pattern": "("}, "pattern", "/pattern"),
        ({"patternProperties": {"^a": {}}}, "unsupported", "/patternProperties"),
        ({"$defs": {"a": {"$id": "urn:x"}}}, "unsupported", "/$defs/a/$id"),
        ({"$dynamicRef": "#a"}, "unsupported", "/$dynamicRef"),
        ({"$defs": {"a": {"$anchor": "x"}}}, "unsupported", "/$defs/a/$anchor"),
        ({"$ref": "#"}, "circle", ""),
        ({"properties": {"a": {"anyOf": [{"$ref": "#/properties/a"}, {}]}}}, "circle", "/properties/a"),
        ({"properties": {"a": {"$ref": "#/$defs/b"}}}, "unknown-reference", "/properties/a/$ref"),
        ({"$ref": "urn:bus:missing"}, "unknown-reference", "/$ref"),
        ({"$ref": "https://example.org/schema.json"}, "unknown-reference", "/$ref"),
        ({"$ref": "file:///etc/passwd"}, "unknown-reference", "/$ref"),
        ({"maximum": 1e300}, "number-too-large", "/maximum"),
    ],
)
def test_a_schema_that_cannot_serve_is_refused_with_its_name_and_place(schema: Any, code: str, pointer: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Contracts({"it": schema, "good": {}})
    assert [(fault.file, fault.code, fault.pointer) for fault in caught.value.faults] == [("it", code, pointer)]
    assert caught.value.faults[0].mend


def test_contracts_that_ask_each_other_about_the_same_value_are_a_circle_and_deeper_ones_are_none() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Contracts({"one": {"allOf": [{"$ref": "urn:bus:two"}]}, "two": {"$ref": "urn:bus:one#/allOf/0"}})
    assert [fault.code for fault in caught.value.faults] == ["circle"]
    tree = Contracts({"tree": {"type": "object", "additionalProperties": {"$ref": "#"}}})
    assert tree.accepts("tree", {"a": {"b": {}}})
    assert tree.explain("tree", {"a": {"b": 1}})


def test_the_faults_of_all_schemas_are_told_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Contracts({"one": {"type": 1}, "two": {"format": "email", "pattern": "("}, "three": {}})
    assert {(fault.file, fault.code) for fault in caught.value.faults} == {
        ("one", "not-a-schema"),
        ("two", "unknown-format"),
        ("two", "pattern"),
    }


def test_a_misspelled_reference_is_told_the_nearest_name() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Contracts({"it": {"$ref": "urn:bus:canonical:persn.v1"}, "canonical/person.v1": PERSON})
    assert caught.value.faults[0].mend == "Did you mean urn:bus:canonical:person.v1?"


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_every_published_schema_is_titled_in_both_languages_and_loads(path: Path) -> None:
    schema = json.loads(path.read_text("utf-8"))
    name = str(path.relative_to(ROOT / "schemas").with_suffix(""))
    Contracts({name: schema})
    titled = [schema, *schema.get("properties", {}).values()]
    assert all(part["title"].isascii() for part in titled)
    assert all(re.search("[\u0600-\u06ff]", part["x-title-ar"]) for part in titled)
    assert schema["$id"] == urn(name)
