"""What the registry's translator promises beyond its golden samples, and the shape of contracts and manifests."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from adapters.commercial_registry.translate import TRANSACTIONS, orders, replies
from bus.adapter import Failed, Returned, Task
from bus.errors import InvalidMessageError

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "adapters" / "commercial_registry"
SAMPLES = FOLDER / "samples"
REFERENCE = "ABCDEFGHIJKLMNOP"
SCHEMAS = sorted((ROOT / "schemas" / "operation").glob("*.json"))


def samples(pattern: str) -> list[Any]:
    found = sorted(SAMPLES.glob(f"*/{pattern}"))
    assert found, f"there is no sample {pattern}"
    return [pytest.param(path, id=f"{path.parent.name}/{path.name}") for path in found]


def load(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def contract(operation: str, side: str) -> Draft202012Validator:
    checker = Draft202012Validator.FORMAT_CHECKER
    schema = load(ROOT / "schemas" / "operation" / f"{operation}.{side}.json")
    return Draft202012Validator(schema, format_checker=checker)


@pytest.mark.parametrize("path", samples("task-returned-*.canonical.json"))
def test_a_name_that_the_registry_cannot_store_goes_back_to_the_applicant_and_spoils_no_neighbour(path: Path) -> None:
    # Given a task whose name the registry has no letters or no room for, beside a good one
    good = load(min(path.parent.glob("task-valid-*.canonical.json")))
    tasks = [Task(reference=REFERENCE, data=data) for data in (load(path), good)]
    # When they are prepared
    first, second = orders(path.parent.name, tasks)
    # Then the applicant is asked for another name, and the good one becomes a row
    assert isinstance(first, Returned)
    assert [(need.pointer, need.reason_code) for need in first.needs] == [("/name", "cannot_be_stored")]
    assert isinstance(second, bytes)


@pytest.mark.parametrize("name", ["", " ", "\u00a0 \t", "ا" * 61])
def test_a_name_of_blanks_or_beyond_the_column_does_not_get_as_far_as_the_registry(name: str) -> None:
    assert not contract("name.reserve.v1", "input").is_valid({"name": name})
    business = load(ROOT / "schemas/service/open-business.v1.request.json")["properties"]["business"]
    assert not Draft202012Validator(business).is_valid({"name": name, "kind": "sole"})
    assert Draft202012Validator(business).is_valid({"name": "مخبز ٢٤", "kind": "sole"})


def test_a_reference_that_the_registry_cannot_hold_is_never_the_applicants_affair() -> None:
    with pytest.raises(InvalidMessageError, match="21 bytes"):
        orders("name.reserve.v1", [Task(reference="R" * 21, data={"name": "مخبز ٢٤"})])


def test_an_answer_that_was_cut_anywhere_is_unreadable() -> None:
    whole = (SAMPLES / "name.reserve.v1" / "reply-valid-reserved.native.row").read_bytes()
    for length in range(1, len(whole)):
        [reply] = replies("name.reserve.v1", [whole[:length]])
        assert isinstance(reply, Failed), length
        assert reply.code == "answer_unreadable"


def titled(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "", schema
    for name, below in schema.get("properties", {}).items():
        yield from ((f"/{name}{pointer}", found) for pointer, found in titled(below))


@pytest.mark.parametrize("path", SCHEMAS, ids=[path.name for path in SCHEMAS])
def test_every_contract_is_a_schema_with_titles_in_both_languages(path: Path) -> None:
    schema = load(path)
    Draft202012Validator.check_schema(schema)
    assert schema["$id"] == f"urn:bus:operation:{path.name.removesuffix('.json')}"
    assert schema["additionalProperties"] is False
    for pointer, part in titled(schema):
        assert part["title"].isascii(), pointer
        assert any("\u0621" <= letter <= "\u064a" for letter in part["x-title-ar"]), pointer


MANIFEST: dict[str, Any] = yaml.safe_load((FOLDER / "manifest.yaml").read_text(encoding="utf-8"))
META = Draft202012Validator(load(ROOT / "schemas" / "meta" / "adapter.schema.json"))


def test_the_manifest_is_what_its_schema_says_and_offers_what_the_translator_knows() -> None:
    Draft202012Validator.check_schema(META.schema)
    META.validate(MANIFEST)
    assert MANIFEST["id"] == FOLDER.name
    assert MANIFEST["operations"].keys() == TRANSACTIONS.keys()


@pytest.mark.parametrize(
    "repeat",
    [
        "safe",
        "at_most_once",
        {"idempotent": {"window": "7d"}},
        {"queryable": {"absence_proof_after": "30s"}},
        {"natural_key": {"carries_reference": True}},
    ],
    ids=str,
)
def test_each_form_of_repeat_is_accepted(repeat: Any) -> None:
    assert META.is_valid(changed(repeat=repeat))


@pytest.mark.parametrize(
    "repeat",
    [
        None,
        "queryable",
        "maybe",
        {},
        {"safe": {}},
        {"idempotent": {}},
        {"queryable": {"absence_proof_after": 30}},
        {"queryable": {"absence_proof_after": "30 s"}},
        {"natural_key": {"carries_reference": False}},
        {"idempotent": {"window": "7d"}, "queryable": {"absence_proof_after": "30s"}},
    ],
    ids=str,
)
def test_no_other_form_of_repeat_is_accepted(repeat: Any) -> None:
    assert not META.is_valid(changed(repeat=repeat))


@pytest.mark.parametrize("name", ["repeat", "timeout", "batch"])
def test_an_operation_has_no_defaults(name: str) -> None:
    assert not META.is_valid(changed(**{name: ...}))


def changed(**values: Any) -> dict[str, Any]:
    """The manifest with these values in one operation; ``...`` takes a name away."""
    manifest = copy.deepcopy(MANIFEST)
    operation = manifest["operations"]["name.reserve.v1"]
    for name, value in values.items():
        operation.pop(name) if value is ... else operation.update({name: value})
    return manifest
