"""A host's outbox: everything leaves once, in its order, and a long backlog is read part by part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bus.brokers.kombu import KombuBroker
from bus.errors import BrokerBusyError, BrokerUnavailableError
from bus.logs import bind
from bus.ports import Confirmation, JournalChanges, JournalReply, Outgoing, Publisher
from bus.ports.broker import Told
from bus.runtime.host_outbox import MOST_AT_ONCE, Outbox
from tests.support.host_rig import Rig


@dataclass
class Line(KombuBroker):
    """A broker whose publisher does as the test says."""

    sent: list[str] = field(default_factory=list)
    #: What was handed over and is not told of yet.
    open: list[tuple[int, Told]] = field(default_factory=list)
    is_busy: bool = False

    def __post_init__(self) -> None:
        super().__init__()

    def publisher(self) -> Publisher:  # type: ignore[override]
        return self

    def publish(self, batch: Sequence[Outgoing]) -> tuple[Confirmation, ...]:
        return tuple(Confirmation.CONFIRMED for _ in batch)

    def post(self, batch: Sequence[Outgoing], told: Told) -> None:
        if self.is_busy:
            raise BrokerBusyError
        self.sent += [one.message_id for one in batch]
        self.open.append((len(batch), told))

    def confirm(self) -> None:
        for count, told in self.open:
            told((Confirmation.CONFIRMED,) * count)
        self.open.clear()

    def refuse(self, message_id: str) -> None:
        """Take all but this one, which is taken in no way."""
        left = self.sent[-sum(count for count, _ in self.open) :]
        for count, told in self.open:
            batch, left = left[:count], left[count:]
            told(tuple(Confirmation.UNACCEPTABLE if one == message_id else Confirmation.CONFIRMED for one in batch))
        self.open.clear()

    def lose(self) -> None:
        for _, told in self.open:
            told(None)
        self.open.clear()

    def close(self) -> None:
        pass


class Office:
    """An outbox over a journal, and what the host does around it."""

    def __init__(self, folder: Path) -> None:
        self.rig = Rig(folder)
        self.journal = self.rig.journal
        self.line = Line()
        self.outbox = Outbox(self.rig.host._setup, self.line, bind())  # noqa: SLF001

    def answer(self, *names: str) -> None:
        """As the host does: first into the journal, then here."""
        made = [JournalReply(message_id=name, type="t", correlation_id="c", body=b"{}") for name in names]
        with self.journal.transaction() as transaction:
            transaction.write(JournalChanges(outbox=made))
        self.outbox.add(made)

    def forget(self) -> None:
        with self.journal.transaction() as transaction:
            transaction.write(JournalChanges(confirmed=self.outbox.confirmed))
        self.outbox.forget()

    def work_off(self) -> None:
        while not self.outbox.is_empty:
            self.outbox.publish()
            self.line.confirm()


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    office = Office(tmp_path)
    yield office
    office.rig.host.close()
    office.journal.close()


def names(first: int, last: int) -> list[str]:
    return [f"r{number}" for number in range(first, last)]


def test_a_long_backlog_leaves_in_order_once_and_is_never_here_as_a_whole(office: Office) -> None:
    # Given what waited for a broker for long, and what is answered while it leaves
    backlog = names(0, 5 * MOST_AT_ONCE + 7)
    office.answer(*backlog)
    office.outbox.open()
    most, late = 0, names(9_000, 9_010)
    for name in late:
        most = max(most, len(office.outbox))
        office.outbox.publish()
        office.answer(name)
        office.line.confirm()
    # When all has left
    office.work_off()
    # Then each left once, in its order
    assert office.line.sent == [*backlog, *late]
    assert most <= 2 * MOST_AT_ONCE
    # And the journal may forget all of it
    office.forget()
    assert office.journal.outbox(1) == ()


@pytest.mark.parametrize("backlog", [0, 1, MOST_AT_ONCE - 1, MOST_AT_ONCE, MOST_AT_ONCE + 1, 2 * MOST_AT_ONCE])
def test_a_backlog_of_any_length_is_followed_by_what_comes_after_it(office: Office, backlog: int) -> None:
    office.answer(*names(0, backlog))
    office.outbox.open()
    office.answer("between")
    office.work_off()
    office.answer("after")
    office.work_off()
    assert office.line.sent == [*names(0, backlog), "between", "after"]


def test_what_a_lost_connection_left_in_doubt_leaves_again_and_what_was_confirmed_does_not(office: Office) -> None:
    # Given two that are confirmed, of which the journal has not been told, and two of which nobody knows
    office.outbox.open()
    office.answer("a", "b")
    office.outbox.publish()
    office.line.confirm()
    office.outbox.publish()
    office.answer("c", "d")
    office.outbox.publish()
    # When the connection is lost, and there is another
    office.line.lose()
    with pytest.raises(BrokerUnavailableError):
        office.outbox.publish()
    office.outbox.close()
    office.outbox.open()
    office.answer("e")
    office.work_off()
    # Then
    assert office.line.sent == [*"abcd", *"cde"]
    assert [*office.outbox.confirmed] == [*"abcde"]


def test_a_busy_broker_gets_the_same_in_the_same_order_later(office: Office) -> None:
    backlog = names(0, 5 * MOST_AT_ONCE + 1)
    office.answer(*backlog)
    office.outbox.open()
    # However often it is tried, no more is read meanwhile
    office.line.is_busy = True
    for _ in range(5):
        assert office.outbox.publish()
        assert not office.outbox.is_due
        assert len(office.outbox) <= 2 * MOST_AT_ONCE
        office.rig.now += 1_000
    office.answer("new")
    office.line.is_busy = False
    office.work_off()
    assert office.line.sent == [*backlog, "new"]


def test_a_reply_that_the_broker_takes_in_no_way_stays_in_the_journal_and_holds_up_no_other(office: Office) -> None:
    # Given one of three that the broker takes in no way
    office.outbox.open()
    office.answer("a", "bad", "c")
    office.outbox.publish()
    office.line.refuse("bad")
    office.outbox.publish()
    # Then what comes after it leaves at once, and nothing waits for it
    office.answer("d")
    assert office.outbox.is_due
    office.work_off()
    assert office.line.sent == ["a", "bad", "c", "d"]
    office.forget()
    # And the journal has it, for the next connection
    assert [reply.message_id for _, reply in office.journal.outbox(10)] == ["bad"]
    office.outbox.close()
    office.outbox.open()
    office.work_off()
    assert office.line.sent[-1] == "bad"


def test_what_was_confirmed_of_a_long_backlog_is_forgotten_part_by_part_also_before_the_admission(
    tmp_path: Path,
) -> None:
    # Given a backlog, and a bus that says nothing
    rig = Rig(tmp_path)
    names = [f"r{number}" for number in range(5 * MOST_AT_ONCE)]
    with rig.journal.transaction() as transaction:
        transaction.write(
            JournalChanges(
                outbox=[JournalReply(message_id=name, type="t", correlation_id="c", body=b"{}") for name in names]
            )
        )
    rig.host.open()
    # When it leaves, step by step
    left = []
    for _ in range(40):
        rig.host.step()
        left.append(len(rig.journal.outbox(10 * MOST_AT_ONCE, 0)))
    # Then the journal holds less and less of it
    assert not rig.host.is_admitted
    assert len({*left}) > 3
    assert left[-1] == 0 or left[-1] < MOST_AT_ONCE
    rig.host.close()
    rig.journal.close()
