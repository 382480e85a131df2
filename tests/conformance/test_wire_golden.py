"""What was once sent stays readable: the messages of every version of the wire, and the closures that stores hold."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bus.errors import InvalidMessageError
from bus.message.envelope import MessageType, decode
from bus.message.replies import reply_from_message
from bus.process.closure import from_closure
from bus.process.definition import Definition
from bus.process.mapping import parse_path
from bus.receiver.announcement import read_started
from tests.conformance.golden import messages, versions
from tests.conformance.golden.page import page

VERSIONS = versions.versions()
NEWEST = VERSIONS[-1]
MEND = "the wire has changed: if it is meant, python -m tests.conformance.golden.versions"
EVERY = [(version, name) for version in VERSIONS for name in versions.bodies(version)]


def test_the_code_builds_exactly_the_messages_of_the_newest_version() -> None:
    built = {name: message.body for name, message in messages.messages().items()}
    committed = versions.bodies(NEWEST)
    assert built.keys() == committed.keys(), MEND
    for name, body in built.items():
        assert body == committed[name], f"{name}: {MEND}"


@pytest.mark.parametrize(("version", "name"), EVERY)
def test_a_message_of_any_version_is_read_into_the_values_that_it_was_written_with(version: str, name: str) -> None:
    known = json.loads((versions.FOLDER / version / versions.READINGS).read_text(encoding="utf-8"))
    assert lost(known[name], versions.reading(versions.bodies(version)[name])) == []


def test_what_is_read_of_a_message_is_what_it_was_built_from() -> None:
    bodies = versions.bodies(NEWEST)
    for name, reply in messages.REPLIES.items():
        assert reply_from_message(decode(bodies[name])) == reply
    for name, said in messages.ANNOUNCEMENTS.items():
        assert versions.reading(bodies[name])["meaning"]["start_id"] == said.start_id


def test_every_type_of_the_vocabulary_is_there_or_named_as_not_built() -> None:
    there = {decode(body).envelope.type for body in versions.bodies(NEWEST).values()}
    assert there | messages.NOT_BUILT == {*MessageType}
    assert not there & messages.NOT_BUILT


def test_an_attribute_that_nobody_knows_is_refused_and_named() -> None:
    # Passing over it would be to do a task without the condition that it may carry.
    for name, body in versions.bodies(NEWEST).items():
        event = {**json.loads(body), "onlyif": "the plot is free"}
        with pytest.raises(InvalidMessageError, match="onlyif"):
            decode(json.dumps(event).encode())
        assert name


def test_a_member_more_in_an_announcement_is_passed_over() -> None:
    event = json.loads(versions.bodies("v1")["host.started"])
    event["data"]["region"] = "north"
    assert read_started(decode(json.dumps(event).encode())) == messages.ANNOUNCEMENTS["host.started"]


def test_a_version_that_is_there_is_never_written_again(capsys: pytest.CaptureFixture[str]) -> None:
    before = {name: versions.bodies(name) for name in VERSIONS}
    assert versions.main([*VERSIONS]) == 1
    assert versions.main(["closure"]) == 1
    assert "never changed" in capsys.readouterr().err
    assert {name: versions.bodies(name) for name in VERSIONS} == before


def test_the_page_says_what_is_on_the_wire() -> None:
    written = versions.PAGE.read_text(encoding="utf-8")
    assert written == page(versions.bodies(NEWEST), NEWEST), "python -m tests.conformance.golden.versions page"


# --- closures -------------------------------------------------------------------------------------------------------


def closure(form: int) -> bytes:
    return Path(versions.FOLDER / "closures" / f"form-{form}.json").read_bytes().removesuffix(b"\n")


def of_the_first_form() -> Definition:
    """The service as one could say it before there were items and groups."""
    now = messages.definition()
    check = replace(
        now.steps["check"],
        provider="registry_north",
        input={"owner": parse_path("request.owner")},
        for_each=None,
        most=0,
    )
    return replace(now, steps={**now.steps, "check": check})


def test_the_code_builds_exactly_the_closure_of_the_newest_form() -> None:
    assert messages.closure() == closure(2), "the closure has changed: give it another form, and read this one still"


@pytest.mark.parametrize(("form", "definition"), [(1, of_the_first_form()), (2, messages.definition())])
def test_a_closure_of_any_form_is_read_as_it_was_meant(form: int, definition: Definition) -> None:
    found, contracts = from_closure(closure(form))
    assert found == definition
    assert {name: contracts.schema(name) for name in contracts.names()} == messages.contracts()


def lost(known: Any, found: Any, at: str = "") -> list[str]:
    """Where what was read once is not read any more; a later release may read more."""
    if isinstance(known, Mapping) and isinstance(found, Mapping):
        return [place for name, value in known.items() for place in lost(value, found.get(name), f"{at}/{name}")]
    if isinstance(known, list) and isinstance(found, list) and len(known) == len(found):
        places = (lost(one, other, f"{at}/{nth}") for nth, (one, other) in enumerate(zip(known, found, strict=True)))
        return [place for some in places for place in some]
    return [] if known == found else [at]
