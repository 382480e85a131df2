"""The registry's translator against its golden samples, and its promises to the rest of the workspace."""

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
from bus.message.replies import reply_to_data, reply_type

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


def beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name.split(".", 1)[0] + ending)


def contract(operation: str, side: str) -> Draft202012Validator:
    checker = Draft202012Validator.FORMAT_CHECKER
    schema = load(ROOT / "schemas" / "operation" / f"{operation}.{side}.json")
    return Draft202012Validator(schema, format_checker=checker)


def contains(whole: Any, part: Any) -> bool:
    """Whether the golden part is in the whole; texts for people are not in the golden files."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(key in whole and contains(whole[key], part[key]) for key in part)
    if isinstance(part, list):
        return len(whole) == len(part) and all(map(contains, whole, part))
    return bool(whole == part)


@pytest.mark.parametrize("path", samples("task-valid-*.canonical.json"))
def test_a_task_becomes_the_golden_row(path: Path) -> None:
    operation, data = path.parent.name, load(path)
    contract(operation, "input").validate(data)
    assert orders(operation, [Task(reference=REFERENCE, data=data)]) == (beside(path, ".native.row").read_bytes(),)


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


@pytest.mark.parametrize("path", samples("task-invalid-*.canonical.json"))
def test_what_no_applicant_wrote_and_no_row_can_hold_is_told_with_every_fault(path: Path) -> None:
    golden = load(beside(path, ".faults.json"))
    with pytest.raises(InvalidMessageError) as caught:
        orders(path.parent.name, [Task(reference=REFERENCE, data=load(path))])
    faults = caught.value.faults
    assert [(fault.code, fault.pointer) for fault in faults] == [(fault["code"], fault["pointer"]) for fault in golden]
    for fault, wanted in zip(faults, golden, strict=True):
        assert wanted["says"] in fault.message


@pytest.mark.parametrize("name", ["", " ", "\u00a0 \t", "ا" * 61])
def test_a_name_of_blanks_or_beyond_the_column_does_not_get_as_far_as_the_registry(name: str) -> None:
    assert not contract("name.reserve.v1", "input").is_valid({"name": name})
    business = load(ROOT / "schemas/service/open-business.v1.request.json")["properties"]["business"]
    assert not Draft202012Validator(business).is_valid({"name": name, "kind": "sole"})
    assert Draft202012Validator(business).is_valid({"name": "مخبز ٢٤", "kind": "sole"})


def test_a_reference_that_the_registry_cannot_hold_is_never_the_applicants_affair() -> None:
    with pytest.raises(InvalidMessageError, match="21 bytes"):
        orders("name.reserve.v1", [Task(reference="R" * 21, data={"name": "مخبز ٢٤"})])


@pytest.mark.parametrize("path", samples("reply-*.native.row"))
def test_an_answer_becomes_the_golden_reply(path: Path) -> None:
    operation, golden = path.parent.name, load(beside(path, ".canonical.json"))
    [reply] = replies(operation, [path.read_bytes()])
    data = reply_to_data(reply)
    assert reply_type(reply) == golden["type"]
    assert contains(data, golden["data"])
    if golden["type"] == "bus.task.completed.v1":
        assert data == golden["data"]
        contract(operation, "output").validate(dict(data))
    if isinstance(reply, Failed):
        assert reply.legacy_code == golden["data"].get("legacy_code")
        assert golden.get("says", "") in reply.text.en


@pytest.mark.parametrize("path", samples("reply-invalid-*.native.row"))
def test_an_answer_that_cannot_be_read_spoils_no_neighbour(path: Path) -> None:
    operation = path.parent.name
    good = min((SAMPLES / operation).glob("reply-valid-re*.native.row")).read_bytes()
    before, bad, after = replies(operation, [good, path.read_bytes(), good])
    assert before == after == replies(operation, [good])[0]
    assert isinstance(bad, Failed)
    assert bad.effect != "none", "who cannot read an answer cannot promise that nothing happened"


def test_an_answer_that_was_cut_anywhere_is_unreadable() -> None:
    whole = (SAMPLES / "name.reserve.v1" / "reply-valid-reserved.native.row").read_bytes()
    for length in range(1, len(whole)):
        [reply] = replies("name.reserve.v1", [whole[:length]])
        assert isinstance(reply, Failed), length
        assert reply.code == "answer_unreadable"


@pytest.mark.parametrize("operation", sorted(TRANSACTIONS))
def test_every_operation_of_the_manifest_has_samples_of_both_sides_and_contracts(operation: str) -> None:
    assert list((SAMPLES / operation).glob("task-valid-*.canonical.json"))
    assert [*(SAMPLES / operation).glob("task-invalid-*"), *(SAMPLES / operation).glob("task-returned-*")]
    assert list((SAMPLES / operation).glob("reply-invalid-*"))
    assert {"input", "output"} <= {path.name.removeprefix(f"{operation}.")[:-5] for path in SCHEMAS}


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
