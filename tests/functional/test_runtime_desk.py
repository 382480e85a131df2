"""The demo's services in the process manager: desks, and agencies with several operations."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bus.bootstrap import Parts
from bus.message.reply import Completed, Refused, Reply
from bus.message.text import Text
from bus.operations.caller import Role
from bus.ports import DeskAnswer, Fate, Incoming, Payload
from bus.process.event import Replied
from bus.process.state import StepKey, StepState
from tests.support.gateway_rig import (
    BUSINESS,
    DESK,
    PERMIT,
    PORTAL,
    REGISTRY,
    TAX,
    Rig,
    application,
    business,
    gateway,
    permit,
)

STEP = StepKey(step="permit")


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with gateway(tmp_path) as made:
        yield made


def answer(parts: Parts, request: str, clerk: str, reply: Reply) -> Incoming:
    read = parts.store.request(request)
    assert read is not None
    payload = Payload(id=parts.tools.keys.next(), request_key=read.key, bytes=b"{}")
    step = read.steps[STEP]
    event = Replied(
        interaction_id=read.interaction(STEP),
        provider=DESK,
        attempt=step.attempt,
        reply=reply,
        message_id=f"{clerk}-answers",
        payload_id=payload.id,
        digest="0" * 64,
        actor=clerk,
    )
    desk = DeskAnswer(clerk=clerk, attempt=step.attempt)
    return Incoming(request_id=request, event=event, payloads=(payload,), step=STEP, desk=desk)


def submitted(rig: Rig) -> str:
    with closing(rig.client(Role.CONSUMER, PORTAL)) as client:
        return str(client.submit(PERMIT, application(), key="k", purpose="statistics")["request_id"])


def test_of_two_clerks_in_one_batch_the_first_is_heard_and_the_second_learns_who_was(rig: Rig) -> None:
    # Given a task that nobody has claimed
    request, parts = submitted(rig), rig.parts
    refusal = Refused(reason_code="zoning", text=Text(en="No.", ar="لا."))
    # When two clerks answer it in one batch
    first, second = parts.manager.decide(
        [
            answer(parts, request, "amal", Completed(data=permit())),
            answer(parts, request, "badr", refusal),
        ]
    )
    # Then
    assert (first.fate, second.fate) == (Fate.APPLIED, Fate.CONFLICT)
    assert second.conflict is not None
    assert second.conflict.changed_by == "amal"
    ended = parts.store.request(request)
    assert ended is not None
    assert ended.state.value == "completed"
    assert parts.store.recount() == ()


def test_a_clerk_who_claimed_the_task_is_not_overtaken(rig: Rig) -> None:
    request, parts = submitted(rig), rig.parts
    assert parts.store.claim(rig.row_of(request), "amal", None)
    (decided,) = parts.manager.decide([answer(parts, request, "badr", Completed(data=permit()))])
    assert (decided.fate, decided.conflict is not None) == (Fate.CONFLICT, True)


def complete(rig: Rig, request: str, step: str, provider: str, data: dict[str, Any]) -> None:
    """The provider answers that it is done."""
    parts = rig.parts
    read = parts.store.request(request)
    assert read is not None
    body = json.dumps({"type": "bus.task.completed.v1", "data": data}).encode()
    payload = Payload(id=parts.tools.keys.next(), request_key=read.key, bytes=body)
    replied = Replied(
        interaction_id=read.interaction(StepKey(step=step)),
        provider=provider,
        attempt=1,
        reply=Completed(data=data),
        message_id=f"{step} done",
        payload_id=payload.id,
        digest="0" * 64,
    )
    parts.manager.decide([Incoming(request_id=request, event=replied, payloads=(payload,))])


def test_an_operation_that_nobody_offers_hides_no_other_of_the_same_agency(rig: Rig) -> None:
    # Given a request that waits for the last operation of the registry, behind its pause
    parts, store = rig.parts, rig.parts.store
    rig.admit_host()
    (last,) = businesses(rig, 1)
    change(rig, paused=True)
    rig.admit_host(TAX)
    complete(rig, last, "name", REGISTRY, {"reservation": "2600001"})
    cleared = {"certificate": "2026-000001", "issued_on": "2026-01-05", "valid_until": "2026-04-05"}
    complete(rig, last, "tax", TAX, cleared)
    # and before it more than one look takes, which wait for an operation that is gone
    change(rig, paused=False, operations={"company.register.v1": ""})
    businesses(rig, parts.tools.settings.batch_most + 1)
    # When the dispatcher looks
    parts.manager.dispatch_waiting([REGISTRY])
    # Then the last one leaves
    after = store.request(last)
    assert after is not None
    assert after.steps[StepKey(step="register")].state is StepState.DISPATCHED
    assert store.counts(StepState.READY)[REGISTRY] == parts.tools.settings.batch_most + 1


def businesses(rig: Rig, count: int) -> list[str]:
    with closing(rig.client(Role.CONSUMER, PORTAL)) as client:
        return [str(client.submit(BUSINESS, business(), key=f"{count}-{n}")["request_id"]) for n in range(count)]


def change(rig: Rig, **changes: Any) -> None:
    before = rig.parts.store.agencies()[REGISTRY]
    assert rig.parts.store.save_agency(replace(before, **changes), before)
