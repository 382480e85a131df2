"""What a host can judge of a message, and how hosts and the bus get to know each other."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bus.errors import InvalidMessageError
from bus.message.envelope import MessageType, decode, encode
from bus.receiver.announcement import (
    Admitted,
    Alive,
    Started,
    admitted_message,
    alive_message,
    read_admitted,
    read_alive,
    read_started,
    started_message,
)
from bus.receiver.ask import Ask, asked, hash_of
from bus.receiver.row import JournalIdentity
from tests.support.host_rig import AGENCY, NOW, Messages, other_uuid

ID = other_uuid("message")
JOURNAL = JournalIdentity(journal_id=other_uuid("journal"), seq=7, oldest=NOW - 5)


@pytest.fixture
def messages() -> Messages:
    messages = Messages()
    messages.journal_id = JOURNAL.journal_id
    return messages


def test_the_three_things_that_a_bus_asks_are_told_apart(messages: Messages) -> None:
    found = [asked(one, AGENCY).ask for one in (messages.task(), messages.query(), messages.withdrawal())]
    assert found == [Ask.TASK, Ask.QUERY, Ask.WITHDRAWAL]


def test_the_same_data_has_the_same_hash_however_it_is_written() -> None:
    assert hash_of({"a": 1, "b": [1.0, "é"]}) == hash_of({"b": [1, "é"], "a": 1})
    assert hash_of({"a": 1}) != hash_of({"a": 2})


def test_everything_that_is_missing_is_named_at_once(messages: Messages) -> None:
    with pytest.raises(InvalidMessageError) as error:
        asked(messages.task(operation=None, journalid=None, firstsent=None, provider="other_office"), AGENCY)
    assert {fault.pointer for fault in error.value.faults} == {"/operation", "/journalid", "/firstsent", "/provider"}


def test_a_task_without_data_and_a_message_of_another_kind_are_refused(messages: Messages) -> None:
    task = messages.task()
    with pytest.raises(InvalidMessageError, match="/data"):
        asked(encode(replace(task.envelope, datacontenttype=None), None), AGENCY)
    with pytest.raises(InvalidMessageError, match="/type"):
        asked(encode(replace(task.envelope, type=MessageType.TASK_COMPLETED), {}), AGENCY)


def test_announcements_are_read_as_they_were_written() -> None:
    started = Started(
        agency=AGENCY, start_id=ID, journal=JOURNAL, operations={"deed.enter.v1": "ab"}, versions={"bus": "0.1.0"}
    )
    admitted = Admitted(agency=AGENCY, start_id=ID, journal_id=JOURNAL.journal_id, heard=9)
    alive = Alive(agency=AGENCY, start_id=ID, journal_id=JOURNAL.journal_id, seq=8)
    assert read_started(decode(started_message(started, id=ID, now=NOW).body)) == started
    assert read_admitted(decode(admitted_message(admitted, id=ID, now=NOW).body)) == admitted
    assert read_alive(decode(alive_message(alive, id=ID, now=NOW).body)) == replace(alive, at=NOW)


def test_an_announcement_that_lacks_something_is_refused() -> None:
    alive = alive_message(Alive(agency=AGENCY, start_id=ID, journal_id=JOURNAL.journal_id, seq=8), id=ID, now=NOW)
    for envelope, data in (
        (alive.envelope, {}),
        (replace(alive.envelope, journalid=None), alive.data),
        (replace(alive.envelope, type=MessageType.HOST_STARTED), alive.data),
    ):
        with pytest.raises(InvalidMessageError):
            read_alive(encode(envelope, data))
    with pytest.raises(InvalidMessageError, match="/data"):
        read_started(encode(replace(alive.envelope, type=MessageType.HOST_STARTED), alive.data))
