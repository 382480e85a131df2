"""A closure holds everything that a pinned request needs, and gives it back exactly."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.message.reply import Data
from bus.message.text import Text
from bus.process.closure import contracts_of, from_closure, revision, to_closure
from bus.process.definition import (
    Backoff,
    Compensation,
    Condition,
    Const,
    Definition,
    Grant,
    Path,
    Purpose,
    Repeat,
    StepDefinition,
    Value,
)

names = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
texts = st.builds(Text, en=st.text("abc", max_size=3), ar=st.text("أبت", max_size=3))
literals = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text("أب", max_size=3) | st.just(1.5)
lengths = st.integers(0, 2**40)
paths = st.builds(
    Path, root=st.just("request"), step=st.just(""), members=st.lists(names, max_size=3).map(tuple)
) | st.builds(Path, root=st.just("steps"), step=names, members=st.lists(names, max_size=3).map(tuple))
mappings: st.SearchStrategy[dict[str, Value]] = st.dictionaries(
    names, paths | st.builds(Const, value=literals), max_size=3
)
repeats = st.builds(
    Repeat,
    kind=st.sampled_from(["safe", "idempotent", "queryable", "natural_key", "at_most_once"]),
    window=lengths,
    absence_proof_after=lengths,
)
backoffs = st.builds(
    Backoff, attempts=st.integers(1, 99), first=lengths, factor=st.sampled_from([1.0, 1.5, 3.0]), most=lengths
)
operations = st.sampled_from(["a.v1", "b.v1"])
compensations = st.builds(
    Compensation,
    operation=operations,
    input=mappings,
    repeat=repeats,
    deadline=st.none() | lengths,
    backoff=backoffs,
)
conditions = st.builds(Condition, path=paths, among=st.none() | st.lists(literals, min_size=1, max_size=2).map(tuple))
steps = st.builds(
    StepDefinition,
    name=names,
    title=texts,
    provider=names,
    operation=operations,
    input=mappings,
    repeat=repeats,
    desk=st.booleans(),
    needs=st.lists(names, max_size=2).map(tuple),
    when=st.none() | conditions,
    optional=st.booleans(),
    final=st.booleans(),
    deadline=st.none() | lengths,
    on_refused=st.sampled_from(["reject", "continue"]),
    on_exhausted=st.sampled_from(["park", "fail"]),
    on_deadline=st.sampled_from(["park", "refuse", "continue"]),
    backoff=backoffs,
    compensate=st.none() | compensations,
)
pointers = st.lists(names.map("/{}".format), max_size=2).map(tuple)
definitions = st.builds(
    Definition,
    service=names,
    title=texts,
    request_contract=st.just("service/request"),
    result_contract=st.just("service/result"),
    subject=paths,
    consumers=st.dictionaries(
        names, st.builds(Grant, purposes=st.lists(names, max_size=2).map(tuple), fields=pointers), max_size=2
    ),
    purposes=st.dictionaries(names, st.builds(Purpose, title=texts, legal_basis=st.text("abc")), max_size=2),
    steps=st.lists(steps, max_size=3, unique_by=lambda step: step.name).map(
        lambda found: {step.name: step for step in found}
    ),
    output=mappings,
    deadline=lengths,
    on_deadline=st.sampled_from(["escalate", "expire"]),
)

CONTRACTS: dict[str, Data] = {
    "service/request": {"type": "object", "properties": {"a": {"$ref": "urn:bus:shared:number"}}},
    "service/result": {"type": "object"},
    "operation/a.v1.input": {"type": "object"},
    "operation/a.v1.output": {"type": "object"},
    "operation/b.v1.input": {"type": "object"},
    "operation/b.v1.output": {"type": "object"},
    "shared/number": {"$ref": "urn:bus:shared:digits"},
    "shared/digits": {"type": "string"},
    "service/other": {"type": "object"},
}


def a_step(operation: str) -> StepDefinition:
    title = Text(en="a", ar="أ")
    repeat = Repeat(kind="safe")
    return StepDefinition(name="one", title=title, provider="office", operation=operation, input={}, repeat=repeat)


def a_definition(*found: StepDefinition) -> Definition:
    return Definition(
        service="open-shop.v1",
        title=Text(en="Open a shop", ar="فتح متجر"),
        request_contract="service/request",
        result_contract="service/result",
        subject=Path(root="request", step="", members=("a",)),
        consumers={},
        purposes={},
        steps={step.name: step for step in found},
        output={},
    )


@given(definitions)
def test_a_definition_comes_back_from_its_closure_exactly(definition: Definition) -> None:
    # When
    closure = to_closure(definition, CONTRACTS)
    back, contracts = from_closure(closure)
    # Then
    assert back == definition
    assert list(back.steps) == list(definition.steps)
    assert to_closure(back, {name: contracts.schema(name) for name in contracts.names()}) == closure


@given(steps)
def test_the_order_in_which_members_are_written_changes_no_byte(step: StepDefinition) -> None:
    backwards = {name: CONTRACTS[name] for name in reversed(CONTRACTS)}
    assert to_closure(a_definition(step), backwards) == to_closure(a_definition(step), CONTRACTS)


def test_a_closure_holds_the_contracts_that_the_service_uses_and_those_they_refer_to() -> None:
    _, contracts = from_closure(to_closure(a_definition(a_step("a.v1")), CONTRACTS))
    expected = {"service/request", "service/result", "operation/a.v1.input", "operation/a.v1.output"}
    assert set(contracts.names()) == expected | {"shared/number", "shared/digits"}
    assert contracts.accepts("service/request", {"a": "1"})
    assert not contracts.accepts("service/request", {"a": 1})


def test_every_change_of_definition_or_contract_is_another_revision() -> None:
    # Given
    plain = to_closure(a_definition(a_step("a.v1")), CONTRACTS)
    changed = CONTRACTS | {"shared/digits": {"type": "string", "maxLength": 3}}
    # When
    others = {
        to_closure(a_definition(a_step("b.v1")), CONTRACTS),
        to_closure(a_definition(a_step("a.v1")), changed),
        to_closure(a_definition(), CONTRACTS),
    }
    # Then
    assert len({revision(closure) for closure in (plain, *others)}) == 4
    assert revision(plain) == revision(to_closure(a_definition(a_step("a.v1")), CONTRACTS))


def test_a_contract_that_is_not_used_changes_no_revision() -> None:
    changed = CONTRACTS | {"service/other": {"type": "string"}}
    definition = a_definition(a_step("a.v1"))
    assert to_closure(definition, changed) == to_closure(definition, CONTRACTS)


def test_a_missing_contract_is_named() -> None:
    with pytest.raises(KeyError, match=r"operation/c\.v1"):
        to_closure(a_definition(a_step("c.v1")), CONTRACTS)


def test_the_contracts_of_compensations_belong_to_the_service() -> None:
    compensation = Compensation(operation="b.v1", input={}, repeat=Repeat(kind="safe"))
    step = StepDefinition(
        name="one",
        title=Text(en="a", ar="أ"),
        provider="office",
        operation="a.v1",
        input={},
        repeat=Repeat(kind="safe"),
        compensate=compensation,
    )
    assert "operation/b.v1.input" in contracts_of(a_definition(step))


def test_a_closure_of_another_form_is_refused() -> None:
    content = json.loads(to_closure(a_definition(), CONTRACTS))
    with pytest.raises(ValueError, match="form 3"):
        from_closure(json.dumps(content | {"form": 3}).encode())


def test_a_closure_from_before_there_were_items_and_groups_is_read_as_it_was_meant() -> None:
    definition = a_definition(a_step("a.v1"))
    content = json.loads(to_closure(definition, CONTRACTS)) | {"form": 1}
    for step in content["definition"]["steps"]:
        del step["for_each"], step["most"]
    assert from_closure(json.dumps(content).encode())[0] == definition
