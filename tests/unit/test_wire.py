"""The bus's own messages: the same attempt is the same bytes, another one is not; a consumer sees what is granted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from bus.message.envelope import Message, MessageType, decode
from bus.message.identity import interaction_id
from bus.process import wire
from bus.process.definition import Grant
from bus.process.state import Kind, Request, RequestState, Step, StepKey
from tests.support import process_rows
from tests.support.process_rows import BACK, MAIN, NOW, SERVICE

Build = Callable[[Request, StepKey], Message]
JOURNAL = "6f1c1d0e-6d5f-4a34-9a59-0d8f8f7f8a11"


def row(state: str, key: StepKey = MAIN, **changes: Any) -> Step:
    return process_rows.row(state, key, journal_id=JOURNAL, **changes)


def request(*rows: Step) -> Request:
    return process_rows.request(*rows, consumer="shop", service=SERVICE.service)


def task(given: Request, key: StepKey) -> Message:
    return wire.task(given, key, SERVICE, {"id": "١"}, "SUBJECT")


def query(given: Request, key: StepKey) -> Message:
    return wire.query(given, key, SERVICE)


def withdrawal(given: Request, key: StepKey) -> Message:
    return wire.withdrawal(given, key, SERVICE)


BUILDS = pytest.mark.parametrize("build", [task, query, withdrawal])


@BUILDS
def test_the_same_attempt_gives_the_same_bytes_whatever_else_has_moved(build: Build) -> None:
    # Given a row, and the same attempt later: asked again and again, its look-ups counted, the request moved on
    before = request(row("dispatched"))
    later = replace(before.steps[MAIN], asks=3, resends=2, answered=1, answer_at=NOW + 9, ask_at=NOW + 7)
    after = replace(before, version=99, steps={**before.steps, MAIN: later})
    # Then whoever compares the two finds no difference.
    assert build(after, MAIN).body == build(before, MAIN).body


@BUILDS
def test_another_attempt_or_edit_is_another_message(build: Build) -> None:
    before = request(row("dispatched"))
    ids = {build(before, MAIN).envelope.id}
    for changed in (replace(before.steps[MAIN], attempt=3), replace(before.steps[MAIN], edit=2)):
        ids.add(build(replace(before, steps={**before.steps, MAIN: changed}), MAIN).envelope.id)
    assert len(ids) == 3


def test_the_three_kinds_about_one_attempt_are_three_messages() -> None:
    given = request(row("dispatched"))
    assert len({build(given, MAIN).envelope.id for build in (task, query, withdrawal)}) == 3


def test_a_message_says_what_the_host_matches_and_gates_on() -> None:
    given = request(row("dispatched"))
    step, envelope = given.steps[MAIN], decode(task(given, MAIN).body).envelope
    assert envelope.type is MessageType.TASK_REQUESTED
    assert envelope.interactionid == interaction_id(given.id, "main", None, "task", step.edit)
    assert (envelope.attempt, envelope.journalid, envelope.firstsent) == (2, JOURNAL, step.first_sent)
    assert (envelope.expirytime, envelope.provider) == (step.expires_at, "agency_of_main")
    assert envelope.supersedes == interaction_id(given.id, "main", None, "task", 0)


def test_a_compensation_asks_for_the_operation_that_takes_back() -> None:
    envelope = query(request(row("unknown", BACK)), BACK).envelope
    assert (envelope.operation, envelope.kind) == ("main.undo.v1", Kind.COMPENSATION.value)


@pytest.mark.parametrize("outcome", sorted({*RequestState} - {RequestState.OPEN, RequestState.CLOSING}))
def test_each_outcome_has_its_type_and_tells_the_reasons_of_its_steps(outcome: RequestState) -> None:
    given = replace(request(row("refused", reason="not_entitled")), state=outcome)
    message = wire.result(given, SERVICE, None, {}, NOW)
    assert message.envelope.type == f"bus.request.{outcome}.v1"
    assert message.data is not None
    assert {"step": "main", "state": "refused", "reason": "not_entitled"} in message.data["steps"]
    assert "result" not in message.data


def test_a_refusal_carries_the_words_of_the_agency() -> None:
    given = replace(request(row("refused", reason="zoning")), state=RequestState.REJECTED)
    words = {"en": "Not in this street.", "ar": "ليس في هذا الشارع."}
    data = wire.result(given, SERVICE, None, {StepKey(step="main"): words}, NOW).data
    assert data is not None
    told = next(one for one in data["steps"] if one["step"] == "main")
    assert told == {"step": "main", "state": "refused", "reason": "zoning", "text": words}


def test_a_step_whose_compensation_succeeded_is_told_as_taken_back() -> None:
    done, undone = row("succeeded"), row("succeeded", BACK)
    given = replace(request(done), state=RequestState.CANCELLED)
    given = replace(given, steps={**given.steps, BACK: undone})
    data = wire.result(given, SERVICE, None, {}, NOW).data
    assert data is not None
    assert next(one for one in data["steps"] if one["step"] == "main")["taken_back"] is True


def test_a_consumer_gets_the_granted_fields_and_learns_which_were_withheld() -> None:
    given = replace(request(row("succeeded")), state=RequestState.COMPLETED)
    service = replace(SERVICE, consumers={"shop": Grant(purposes=(), fields=("/number",))})
    data = wire.result(given, service, {"number": "7", "salary": 9}, {}, NOW).data
    assert data is not None
    assert (data["result"], data["withheld"]) == ({"number": "7"}, ["/salary"])


def test_what_may_still_exist_is_listed_once_by_the_name_of_its_step() -> None:
    assert wire.left_behind(request(row("succeeded"))) == []
    assert wire.left_behind(request(row("cancelled", left_behind=True))) == ["main"]
    assert wire.left_behind(request(row("succeeded", left_behind=True), row("parked", BACK))) == ["main"]
