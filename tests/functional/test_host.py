"""An agency host over the embedded broker: when it is admitted, and what it answers to a task."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from bus.journals.sqlite import SqliteJournal
from bus.message import channel
from bus.message.envelope import MessageType
from bus.message.reply import Completed, Effect, Failed, Pending, Refused, Returned, Unknown
from bus.ports import Outgoing
from tests.support.host_rig import AGENCY, NOW, UNWRITABLE, LandOffice, Legacy, Rig, code_of, started


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with started(tmp_path) as rig:
        yield rig


# --- admission ------------------------------------------------------------------------------------------------------


def test_a_host_takes_no_task_before_the_bus_has_admitted_it(tmp_path: Path) -> None:
    # Given a host that has announced itself and heard nothing
    rig = Rig(tmp_path)
    rig.host.open()
    rig.send(rig.task())
    rig.send(rig.query("other"), on=channel.control(AGENCY))
    for _ in range(3):
        rig.host.step()
    # Then tasks and questions wait
    assert rig.legacy.calls == []
    assert rig.broker.depth(channel.tasks(AGENCY)) == 1
    # When the bus admits it, both are answered
    rig.settle()
    assert rig.host.is_admitted
    kinds = [message.envelope.type for message in rig.heard]
    assert kinds[0] == MessageType.HOST_STARTED
    assert {MessageType.TASK_COMPLETED, MessageType.TASK_FAILED} <= set(kinds)
    rig.host.close()
    rig.journal.close()


def test_an_admission_of_another_start_does_not_admit_this_one(tmp_path: Path) -> None:
    # Given a host that announces itself again before the admission of its first start has come
    rig = Rig(tmp_path)
    rig.host.open()
    rig.hear()
    rig.host.announce()
    # When that admission comes
    rig.host.step()
    admitted_by_the_first = rig.host.is_admitted
    rig.settle()
    # Then it is that of the second start that counts
    assert (admitted_by_the_first, rig.host.is_admitted) == (False, True)
    rig.host.close()
    rig.journal.close()


def test_a_host_says_that_it_is_alive_and_how_far_its_journal_has_come(rig: Rig) -> None:
    rig.ask(rig.task())
    rig.now += 1_000
    rig.settle()
    last = rig.heard[-1].envelope
    assert last.type == MessageType.HOST_ALIVE
    assert (last.journalid, last.journalseq) == (rig.identity().journal_id, rig.identity().seq)


def test_an_older_copy_of_the_journal_is_noticed_and_runs_nothing_again(rig: Rig, tmp_path: Path) -> None:
    # Given a copy of the journal, then an effect of which the bus has heard
    copy = tmp_path / "copy.db"
    rig.send(rig.task("saved", do="raise"))
    rig.settle()
    rig.journal._connection.execute("VACUUM INTO ?", (str(copy),))  # noqa: SLF001
    before = rig.identity()
    rig.ask(rig.task())
    # When the copy takes the journal's place
    rig.host.close()
    rig.journal.close()
    shutil.copy(copy, rig.path)
    for leftover in rig.path.parent.glob("journal.db-*"):
        leftover.unlink()
    rig.journal = SqliteJournal(rig.path)
    rig.host = rig.new_host()
    rig.start()
    # Then the host has announced a new journal, and the redelivered task is not run a second time
    assert rig.identity().journal_id != before.journal_id
    assert rig.answers(rig.task(journalid=before.journal_id)) == [Unknown()]
    assert rig.legacy.effects(rig.interaction()) == 1


def test_of_two_hosts_that_share_a_journal_each_task_is_run_by_one(rig: Rig) -> None:
    # Given a second host of the agency, over the same file
    journal = SqliteJournal(rig.path)
    second = rig.new_host(journal)
    second.open()
    for _ in range(5):
        rig.host.step()
        second.step()
        rig.hear()
    # The channel is shared: whoever of the two is handed the admission, both know of it
    assert second.is_admitted
    # When tasks come, each of them twice
    tasks = [rig.task(f"plot_{number}") for number in range(20)]
    rig.send(*tasks, *tasks)
    while not (rig.host.is_idle and second.is_idle and len(rig.legacy.ledger) >= 20):
        rig.host.step()
        second.step()
    rig.hear()
    # Then each has one effect and is answered
    assert [rig.legacy.effects(rig.interaction(f"plot_{number}")) for number in range(20)] == [1] * 20
    answered = {m.envelope.interactionid for m in rig.heard if m.envelope.type == MessageType.TASK_COMPLETED}
    assert len(answered) == 20
    second.close()
    journal.close()


# --- answers --------------------------------------------------------------------------------------------------------


def test_a_reply_names_its_task_its_journal_and_nothing_of_the_person(rig: Rig) -> None:
    task = rig.task(test=None, sequence=3)
    (reply,) = rig.ask(task)
    envelope, asked = reply.envelope, task.envelope
    assert envelope.source == f"/agency/{AGENCY}"
    assert envelope.causationid == asked.id
    for name in (
        "correlationid",
        "interactionid",
        "edit",
        "attempt",
        "service",
        "step",
        "kind",
        "provider",
        "operation",
    ):
        assert getattr(envelope, name) == getattr(asked, name), name
    assert envelope.journalid == rig.identity().journal_id
    assert 0 < (envelope.journalseq or 0) <= rig.identity().seq


def test_the_recorded_reply_comes_again_byte_for_byte_whatever_the_attempt(rig: Rig) -> None:
    (first,) = rig.ask(rig.task())
    again = rig.ask(rig.task(), rig.task(attempt=5), rig.query(attempt=6))
    assert {message.body for message in again} == {first.body}
    assert rig.legacy.effects(rig.interaction()) == 1


@pytest.mark.parametrize(
    ("do", "reply"),
    [("refuse", Refused), ("return", Returned), ("later", Pending), ("busy", Failed), ("raise", Unknown)],
)
def test_every_kind_of_answer_reaches_the_bus(rig: Rig, do: str, reply: type) -> None:
    assert [type(one) for one in rig.answers(rig.task(do=do))] == [reply]


@pytest.mark.parametrize("do", ["garbage", "bad_output", "too_large"])
def test_an_answer_that_cannot_be_used_is_a_failure_with_effect_done(rig: Rig, do: str) -> None:
    (reply,) = rig.answers(rig.task(do=do))
    assert code_of(reply) == ("answer_unreadable", Effect.DONE)


def test_an_unreadable_answer_is_translated_again_and_never_called_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.answers(rig.task(do="garbage"))
    (still,) = rig.answers(rig.task(do="garbage", attempt=2))
    assert code_of(still) == ("answer_unreadable", Effect.DONE)
    # When the translator is mended
    monkeypatch.setattr(
        LandOffice, "read", lambda _self, _operation, raw: tuple(Completed(data={"number": "7"}) for _ in raw)
    )
    assert rig.answers(rig.task(do="garbage", attempt=3)) == [Completed(data={"number": "7"})]
    assert len(rig.legacy.calls) == 1


@pytest.mark.parametrize(("do", "code"), [("unpreparable", "prepare_failed"), ("down", "unavailable")])
def test_what_never_left_the_host_has_no_effect(rig: Rig, do: str, code: str) -> None:
    (reply,) = rig.answers(rig.task(do=do))
    assert code_of(reply) == (code, Effect.NONE)


def test_what_no_call_could_change_goes_back_to_the_applicant_without_a_call(rig: Rig) -> None:
    # Given a task that the legacy system could never take, and a good one beside it
    replies = rig.answers(rig.task("plot", do="unwritable"), rig.task("deed", do="succeed"))
    # Then the applicant is asked, the good one is done, and only that one was sent
    assert {type(reply) for reply in replies} == {Returned, Completed}
    assert UNWRITABLE in replies
    assert len(rig.legacy.calls) == 1


def test_data_that_breaks_the_contract_is_not_sent(rig: Rig) -> None:
    bad = rig.message(MessageType.TASK_REQUESTED, "plot", kind="safe", data={"wrong": 1})
    (reply,) = rig.answers(bad)
    assert code_of(reply) == ("invalid_input", Effect.NONE)
    assert rig.legacy.calls == []


def test_an_operation_that_is_not_offered_is_refused(rig: Rig) -> None:
    (reply,) = rig.answers(rig.task(operation="deed.burn.v1"))
    assert code_of(reply) == ("no_operation", Effect.NONE)


def test_a_test_never_reaches_the_real_system(rig: Rig) -> None:
    (reply,) = rig.answers(rig.task(test=True))
    assert code_of(reply) == ("no_simulator", Effect.NONE)
    assert rig.legacy.calls == []


def test_a_test_goes_to_the_simulator(tmp_path: Path) -> None:
    rig, simulated = Rig(tmp_path), Legacy()
    rig.simulator = LandOffice(simulated)
    rig.host = rig.new_host()
    rig.start()
    (reply,) = rig.ask(rig.task(test=True))
    assert reply.envelope.test is True
    assert (len(simulated.ledger), len(rig.legacy.ledger)) == (1, 0)
    rig.host.close()
    rig.journal.close()


def test_nothing_begins_when_too_little_time_is_left(rig: Rig) -> None:
    (reply,) = rig.answers(rig.task(expirytime=NOW + 999))
    assert code_of(reply) == ("too_late", Effect.NONE)
    assert rig.answers(rig.task("b", expirytime=NOW + 1_000)) == [Completed(data={"number": rig.legacy.ledger[0]})]


def test_one_bad_task_does_not_sink_its_batch(rig: Rig) -> None:
    steps = [f"plot_{number}" for number in range(9)]
    wishes = ["unpreparable" if number == 4 else "garbage" if number == 7 else "succeed" for number in range(9)]
    replies = rig.answers(*(rig.task(step, do=do) for step, do in zip(steps, wishes, strict=True)))
    kinds = sorted(type(reply).__name__ for reply in replies)
    assert kinds == ["Completed"] * 7 + ["Failed"] * 2


def test_an_answer_of_the_wrong_length_makes_every_item_of_the_call_unknown(rig: Rig) -> None:
    replies = rig.answers(rig.task("a"), rig.task("b", do="short"))
    assert replies == [Unknown(), Unknown()]


def test_what_cannot_be_understood_keeps_its_bytes_and_harms_nobody(rig: Rig) -> None:
    publisher = rig.broker.publisher()
    to = channel.tasks(AGENCY)
    publisher.publish([Outgoing(channel=to, message_id="x", type="t", correlation_id="", body=b"\xff not json")])
    other = rig.task("elsewhere", provider="somebody_else")
    assert [type(reply) for reply in rig.answers(other, rig.task())] == [Completed]
    assert {(one.code, one.body) for one in rig.journal.invalid(10)} >= {("wrong-provider", other.body)}
    assert b"\xff not json" in {one.body for one in rig.journal.invalid(10)}
    assert rig.broker.depth(to) == 0
    publisher.close()
