"""`bus route try` as a route's author uses it: what would happen is shown at once, and nothing happens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bus.bench import fanout
from bus.cli import main
from bus.message.envelope import Message, decode
from bus.message.reply import Completed, Refused, Reply
from bus.message.text import Text
from bus.process.state import RequestState
from bus.tools.rehearsal import rehearse
from bus.tools.rehearsal_answer import parse_answers
from bus.tools.rehearsal_sample import Samples
from bus.tools.rehearsal_value import Play
from tests.support.runtime_rig import AGENCIES, A, B, RuntimeRig, runtime
from tests.support.workspaces.copies import REPOSITORY, Edit, copy_of_repository

SERVICE = "open-business.v1"
#: Of an applicant with premises, so that the desk is asked, too.
FILE = str(REPOSITORY / "docs/samples/open-business-refused.json")
COMPENSATION = """        compensate:
          operation: name.release.v1
          input: {reservation: steps.name.reservation}
"""


def try_json(capsys: pytest.CaptureFixture[str], workspace: Path, *arguments: str) -> tuple[int, Any]:
    """The exit code, and what the command prints for programs."""
    code = main(["route", "try", SERVICE, FILE, "--workspace", str(workspace), "--json", *arguments])
    return code, json.loads(capsys.readouterr().out)


def test_a_request_that_everybody_fulfils_is_shown_from_its_submission_to_its_result(
    capsys: pytest.CaptureFixture[str],
) -> None:
    # When
    code = main(["route", "try", SERVICE, FILE, "--workspace", str(REPOSITORY)])
    # Then the whole is told in words, each step in both languages, and where it ends
    told = capsys.readouterr().out
    assert code == 0
    for part in ("What happens", "Messages that the bus would send", "Fields that each agency would see", "Result for"):
        assert part in told
    assert "Trade name" in told
    assert "الاسم التجاري" in told
    assert "/lease_number" in told
    assert "company_number" in told
    assert told.splitlines()[-1].startswith("Completed after")
    assert told.splitlines()[-1].endswith("مكتمل")


def test_for_programs_every_message_is_whole_and_can_be_read_as_one(capsys: pytest.CaptureFixture[str]) -> None:
    # When
    code, told = try_json(capsys, REPOSITORY, "--answer", "permit=refused")
    # Then each obeys the contract of envelopes, and carries the data
    assert code == 0
    messages = [decode(json.dumps(one["message"]).encode()) for one in told["messages"]]
    assert {message.envelope.consumer for message in messages} == {"one_stop_shop"}
    assert [one.data for one in messages if one.envelope.kind == "compensation" and one.envelope.step == "name"] == [
        {"reservation": "2600001"}
    ]
    # And the timeline says whose affair each thing is, however it was set going
    who = {(one["step"], one["kind"], one["what"]): one["who"] for one in told["timeline"]}
    assert who["permit", "task", "step_refused"] == "municipality/clerk"
    assert who["name", "compensation", "compensation_wanted"] == "commercial_registry"
    assert who[None, None, "closing"] == "one_stop_shop"
    # And the result is the last of them
    assert told["result"] == messages[-1].data
    assert told["state"] == "rejected"
    assert told["disclosures"]["municipality"] == {"site.permit.v1": ["/address", "/lease_number"]}


def test_a_request_that_needs_a_person_exits_1_and_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    # When
    code = main(["route", "try", SERVICE, FILE, "--workspace", str(REPOSITORY), "--answer", "register=malformed"])
    # Then
    told = capsys.readouterr().out
    assert code == 1
    assert "Parked: a person must look at register (answer_unreadable)." in told
    assert "بانتظار المشغّل" in told


def test_what_happens_forty_times_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    main(["route", "try", SERVICE, FILE, "--workspace", str(REPOSITORY), "--answer", "register=silent"])
    told = capsys.readouterr().out
    assert sum("queried" in line for line in told.splitlines()) == 2
    assert " times until " in told


def test_every_fault_of_the_answers_and_of_the_file_is_told_at_once_with_its_mend(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Given a file that breaks the contract
    file = tmp_path / "request.json"
    file.write_text('{"applicant": {"national_id": "12"}}', encoding="utf-8")
    # When
    command = ["route", "try", SERVICE, str(file), "--workspace", str(REPOSITORY)]
    code = main([*command, "--answer", "nam=refused,name=refusd"])
    # Then
    told = capsys.readouterr()
    assert code == 2
    assert told.out == ""
    assert "There is no step nam. Did you mean name?" in told.err
    assert "refusd is no answer. Did you mean refused?" in told.err
    assert f"{file} /applicant/national_id" in told.err
    assert f"{file} /business" in told.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["open-busines.v1", FILE], "Did you mean open-business.v1?"),
        ([SERVICE, FILE, "--as", "municipality"], "Granted to: one_stop_shop"),
        ([SERVICE, FILE, "--purpose", "curiosity"], "Granted: business-licensing"),
    ],
)
def test_who_or_what_the_workspace_does_not_know_is_told(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["route", "try", *arguments, "--workspace", str(REPOSITORY)]) == 2
    assert said in capsys.readouterr().err


def test_a_file_that_is_no_json_is_a_fault_of_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "request.json"
    file.write_text("{", encoding="utf-8")
    assert main(["route", "try", SERVICE, str(file), "--workspace", str(REPOSITORY)]) == 2
    assert str(file) in capsys.readouterr().err


def test_a_change_of_the_route_is_seen_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Given the same route, but nothing takes a reserved name back
    root, _ = copy_of_repository(tmp_path, Edit(old=COMPENSATION, new=""))
    # When the desk refuses, before and after
    _, before = try_json(capsys, REPOSITORY, "--answer", "permit=refused")
    _, after = try_json(capsys, root, "--answer", "permit=refused")
    # Then
    assert "left_behind" not in before["result"]
    assert "name" in after["result"]["left_behind"]


def test_no_code_of_an_adapter_runs_and_nothing_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Given adapters that cannot even be imported
    root, _ = copy_of_repository(tmp_path)
    for file in root.glob("adapters/*/*.py"):
        file.write_text("raise SystemExit('an adapter ran')\n", encoding="utf-8")
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")}
    # When
    code, told = try_json(capsys, root)
    # Then
    assert (code, told["state"]) == (0, "completed")
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")} == before


@pytest.mark.parametrize("text", ["[]", '{"type": "bus.task.refused.v1", "data": {"reason": "odd"}}', '{"type": 7}'])
def test_a_golden_reply_that_carries_no_reply_is_a_fault_with_its_file(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Given
    root, _ = copy_of_repository(tmp_path)
    name = "adapters/commercial_registry/samples/name.reserve.v1/reply-valid-a.canonical.json"
    (root / name).write_text(text, encoding="utf-8")
    # When
    code = main(["route", "try", SERVICE, FILE, "--workspace", str(root)])
    # Then
    assert code == 2
    assert f"{name}: The sample carries no reply" in capsys.readouterr().err


# --- the same as the bus ---------------------------------------------------------------------------------------------


def told(facts: Any) -> list[tuple[Any, ...]]:
    """What facts say, without who is named how in one installation or another."""
    return [(one.kind, one.step, one.changes.get("state"), one.changes.get("reason")) for one in facts]


def as_sent(messages: list[Message]) -> list[tuple[Any, ...]]:
    return [(one.envelope.type, one.envelope.step, one.envelope.attempt, one.data) for one in messages]


def answer(rig: RuntimeRig, name: str, reply: Reply | None = None) -> list[Message]:
    """The agency answers its task; what it was sent."""
    sent = rig.tasks(name)
    rig.answer(rig.reply(sent[0], reply))
    return sent


@pytest.mark.parametrize(
    ("answers", "replies", "end"),
    [
        ([], {}, RequestState.COMPLETED),
        (
            [f"{B}=refused:barred"],
            {B: Refused(reason_code="barred", text=Text(en="Barred.", ar="ممنوع."))},
            RequestState.REJECTED,
        ),
    ],
)
def test_a_rehearsal_has_the_facts_and_messages_of_the_running_bus(
    answers: list[str], replies: dict[str, Reply], end: RequestState, tmp_path: Path
) -> None:
    # Given a bus, and agencies that answer one after the other
    with runtime(tmp_path) as rig:
        rig.admit(*AGENCIES)
        (request,) = rig.submit("one")
        example = Completed(data={"id": "Number", "note": "Note"})
        sent = [message for name in AGENCIES for message in answer(rig, name, replies.get(name, example))]
        facts, state = rig.store.facts(request), rig.request(request).state
        # When the same request is rehearsed
        workspace = rig.parts.workspace
        definition, samples = workspace.services[fanout.SERVICE].definition, Samples(found={})
        said, faults = parse_answers(answers, definition, samples)
        play = Play(
            definition=definition,
            contracts=workspace.contracts,
            samples=samples,
            consumer=fanout.CONSUMER,
            purpose=fanout.PURPOSE,
            data=fanout.submission(1),
            answers=said,
            settings=rig.settings,
        )
        rehearsal = rehearse(play, rig.store.now())
    # Then
    assert faults == ()
    assert (state, rehearsal.request.state) == (end, end)
    assert told(fact for _, fact in rehearsal.timeline) == told(facts)
    asked = [one.message for one in rehearsal.messages if one.channel.removeprefix("tasks.") in AGENCIES]
    assert sorted(as_sent(asked), key=str) == sorted(as_sent(sent), key=str)
    assert A in rehearsal.disclosures
