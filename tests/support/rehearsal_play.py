"""A small service to rehearse: a name, a permit from a desk, each partner, the register; and what to look at after."""

from __future__ import annotations

from collections import Counter
from typing import Any

from bus.message.contract import Contracts
from bus.message.instant import DAY, SECOND
from bus.message.reply import Data
from bus.message.text import Text
from bus.process.definition import (
    DESK_REPEAT,
    Backoff,
    Compensation,
    Definition,
    Grant,
    Purpose,
    Repeat,
    RepeatKind,
    StepDefinition,
)
from bus.process.mapping import parse_path
from bus.tools.rehearsal import rehearse
from bus.tools.rehearsal_answer import parse_answers
from bus.tools.rehearsal_sample import Sample, Samples
from bus.tools.rehearsal_value import Play, Rehearsal

NOW = 1_767_600_000_000
TITLE = Text(en="Title", ar="عنوان")
SAMPLES = Samples(
    found={
        ("registry", "name.reserve.v1"): (
            Sample(name="closed", kind="failed", data={"code": "shut", "effect": "none", "retryable": True}),
            Sample(name="full", kind="failed", data={"code": "full", "effect": "none", "retryable": False}),
            Sample(name="reserved", kind="completed", data={"reservation": "R-7"}),
            Sample(name="short", kind="returned", data={"needs": [{"pointer": "/name", "reason_code": "too_short"}]}),
            Sample(name="taken", kind="refused", data={"reason_code": "name_taken"}),
            Sample(name="banned", kind="refused", data={"reason_code": "name_banned"}),
        ),
    }
)


def text_of(*members: str, optional: tuple[str, ...] = ()) -> Data:
    """A contract of an object with these texts."""
    told = {name: {"type": "string", "examples": [f"example of {name}"]} for name in (*members, *optional)}
    return {"type": "object", "required": [*members], "additionalProperties": False, "properties": told}


PEOPLE = {"type": "array", "maxItems": 3, "items": text_of("number", optional=("town",))}
CONTRACTS = Contracts(
    {
        "service/open.request": {
            "type": "object",
            "required": ["owner", "name"],
            "properties": {
                "owner": {"type": "string"},
                "name": {"type": "string"},
                "site": text_of("address"),
                "partners": PEOPLE,
            },
        },
        "service/open.result": text_of("shop", optional=("permit",)),
        "operation/name.reserve.v1.input": {
            "type": "object",
            "properties": {"name": {"type": "string", "maxLength": 20, "examples": ["A longer name"]}},
        },
        "operation/name.reserve.v1.output": text_of("reservation"),
        "operation/name.release.v1.input": text_of("reservation"),
        "operation/name.release.v1.output": text_of(),
        "operation/site.permit.v1.input": text_of("address", optional=("lease",)),
        "operation/site.permit.v1.output": text_of("permit"),
        "operation/person.verify.v1.input": text_of("number"),
        "operation/person.verify.v1.output": text_of("status"),
        "operation/person.forget.v1.input": text_of("number", "status"),
        "operation/person.forget.v1.output": text_of(),
        "operation/person.partners.v1.input": text_of("owner"),
        "operation/person.partners.v1.output": {
            "type": "object",
            "properties": {"people": {**PEOPLE, "examples": [[{"number": "8"}, {"number": "9"}]]}},
        },
        "operation/shop.register.v1.input": text_of("reservation"),
        "operation/shop.register.v1.output": text_of("shop"),
    }
)


def step(
    name: str, operation: str, given: dict[str, str], kind: RepeatKind = "queryable", **more: Any
) -> StepDefinition:
    """A step that the registry provides, unless said otherwise."""
    return StepDefinition(
        name=name,
        title=TITLE,
        operation=operation,
        input={member: parse_path(path) for member, path in given.items()},
        **{"provider": "registry", "repeat": Repeat(kind=kind), "backoff": Backoff(attempts=3, first=SECOND), **more},
    )


def definition(**changes: StepDefinition) -> Definition:
    """Reserve a name; then, at once, ask a desk where there is a site, and verify each partner; then register."""
    steps = {
        "name": step(
            "name",
            "name.reserve.v1",
            {"name": "request.name"},
            compensate=Compensation(
                operation="name.release.v1",
                input={"reservation": parse_path("steps.name.reservation")},
                repeat=Repeat(kind="idempotent", window=DAY),
            ),
        ),
        "permit": step(
            "permit", "site.permit.v1", {"address": "request.site.address"},
            provider="office", desk=True, repeat=DESK_REPEAT, needs=("name",), deadline=5 * DAY,
        ),
        "partners": step(
            "partners", "person.verify.v1", {"number": "item.number"},
            for_each=parse_path("request.partners"), most=3, needs=("name",),
            compensate=Compensation(
                operation="person.forget.v1",
                input={"number": parse_path("item.number"), "status": parse_path("steps.partners.status")},
                repeat=Repeat(kind="safe"),
            ),
        ),
        "register": step(
            "register", "shop.register.v1", {"reservation": "steps.name.reservation"},
            needs=("name", "permit", "partners"), final=True,
        ),
    }  # fmt: skip
    return Definition(
        service="open.v1",
        title=TITLE,
        request_contract="service/open.request",
        result_contract="service/open.result",
        subject=parse_path("request.owner"),
        consumers={"portal": Grant(purposes=("licensing",), fields=("/shop",))},
        purposes={"licensing": Purpose(title=TITLE, legal_basis="Law 1")},
        steps={**steps, **changes},
        output={"shop": parse_path("steps.register.shop"), "permit": parse_path("steps.permit.permit")},
        deadline=10 * DAY,
    )


DATA: Data = {
    "owner": "29001011234567",
    "name": "Shop",
    "site": {"address": "A street"},
    "partners": [{"number": "1"}, {"number": "2"}],
}


def try_(*answers: str, data: Data = DATA, of: Definition | None = None, samples: Samples = SAMPLES) -> Rehearsal:
    """Rehearse with these answers; a fault of theirs is a fault of the test."""
    wanted = of or definition()
    said, faults = parse_answers(answers, wanted, samples)
    assert faults == ()
    play = Play(
        definition=wanted,
        contracts=CONTRACTS,
        samples=samples,
        consumer="portal",
        purpose="licensing",
        data=data,
        answers=said,
    )
    return rehearse(play, NOW)


def told(rehearsal: Rehearsal, name: str) -> list[str]:
    """The kinds of facts of one step's tasks, in their order."""
    return [fact.kind for _, fact in rehearsal.timeline if (fact.step, fact.step_kind) == (name, "task")]


def at(rehearsal: Rehearsal, name: str, kind: str) -> int:
    """When a step's task first had a fact of this kind, since the submission."""
    return next(at for at, fact in rehearsal.timeline if (fact.step, fact.kind) == (name, kind))


def reasons(rehearsal: Rehearsal) -> dict[str, str]:
    """Step -> why it ended so, as the consumer reads it."""
    assert rehearsal.result is not None
    return {one["step"]: one["reason"] for one in rehearsal.result["steps"] if "reason" in one}


def sent(rehearsal: Rehearsal) -> Counter[tuple[str, str]]:
    """How many messages of each type went into each channel."""
    return Counter((one.channel, str(one.message.envelope.type)) for one in rehearsal.messages)
