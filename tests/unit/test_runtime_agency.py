"""The breaker of an agency: it opens on trouble, lets one probe through at a time, and never shuts for good."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from bus.config import Settings
from bus.message.reply import Completed, Effect, Failed, Pending, Refused, Reply, Unknown
from bus.message.text import Text
from bus.ports import AgencyRow
from bus.receiver.announcement import Started
from bus.receiver.row import JournalIdentity
from bus.runtime import agency
from bus.runtime.agency import Gate

NOW = 1_800_000_000_000
SETTINGS = Settings()
ROW = AgencyRow(agency="a", journal_id="j", alive_at=NOW, operations={"do.v1": "hash"})
AWAY = Failed(code="unavailable", effect=Effect.NONE, retryable=True)
WORDS = Text(en="No.", ar="لا.")


def gate(row: AgencyRow, now: int = NOW, in_flight: int = 0, operation: str = "do.v1") -> Gate:
    return agency.gate(replace(row, alive_at=now), operation, in_flight, now, SETTINGS)


def opened() -> AgencyRow:
    row = ROW
    for _ in range(SETTINGS.breaker_opens_after):
        row = agency.answered(row, AWAY, NOW, SETTINGS)
    return row


def test_the_first_reason_that_holds_a_task_back_is_the_one_that_counts() -> None:
    # Given an agency with every reason against it, then each is named once those before it are gone.
    worst = replace(opened(), paused=True, alive_at=None, operations={})
    assert agency.gate(worst, "do.v1", 400, NOW, SETTINGS) is Gate.PAUSED
    assert agency.gate(replace(worst, paused=False), "do.v1", 400, NOW, SETTINGS) is Gate.BREAKER
    assert agency.gate(replace(ROW, alive_at=None, operations={}), "do.v1", 400, NOW, SETTINGS) is Gate.NO_HOST
    assert agency.gate(replace(ROW, operations={}), "do.v1", 400, NOW, SETTINGS) is Gate.NOT_OFFERED
    assert agency.gate(ROW, "do.v1", 400, NOW, SETTINGS) is Gate.WINDOW
    assert agency.gate(ROW, "do.v1", 399, NOW, SETTINGS) is Gate.OPEN


@pytest.mark.parametrize("shut", list(Gate))
def test_a_clock_rests_where_only_the_bus_or_the_legacy_system_is_to_blame(shut: Gate) -> None:
    assert shut.rests == (shut in {Gate.RECONCILING, Gate.PAUSED, Gate.BREAKER})


def test_five_troubles_in_a_row_open_the_breaker_and_four_do_not() -> None:
    row = ROW
    for _ in range(4):
        row = agency.answered(row, AWAY, NOW, SETTINGS)
    assert gate(row) is Gate.OPEN
    assert gate(agency.answered(row, AWAY, NOW, SETTINGS)) is Gate.BREAKER


@pytest.mark.parametrize(
    "reply",
    [
        Completed(data={}),
        Refused(reason_code="no", text=WORDS),
        Pending(),
        Failed(code="busy", effect=Effect.NONE, retryable=True),
        Failed(code="never_seen", effect=Effect.NONE, retryable=True),
        Failed(code="invalid_input", effect=Effect.NONE, retryable=False),
    ],
)
def test_an_answer_that_shows_the_agency_at_work_closes_the_breaker(reply: Reply) -> None:
    assert gate(agency.answered(opened(), reply, NOW, SETTINGS)) is Gate.OPEN


@pytest.mark.parametrize("reply", [AWAY, Unknown()])
def test_an_agency_that_cannot_be_used_is_in_trouble(reply: Reply) -> None:
    assert agency.answered(ROW, reply, NOW, SETTINGS).troubles == 1


def test_a_probe_that_fails_is_followed_by_the_next_after_twice_the_time() -> None:
    row, now, waits = opened(), NOW, []
    for _ in range(7):
        assert row.probe_at is not None
        waits.append(row.probe_at - now)
        now = row.probe_at
        assert gate(row, now) is Gate.OPEN
        row = agency.answered(agency.sent(row, now, SETTINGS), AWAY, now, SETTINGS)
    assert waits == [30_000, 60_000, 120_000, 240_000, 480_000, 600_000, 600_000]


def test_a_probe_that_nobody_ever_answers_makes_room_for_the_next_one() -> None:
    # Given an open breaker whose probe left, and whose step was cancelled meanwhile
    row = opened()
    probed_at = row.probe_at
    assert probed_at is not None
    row = agency.sent(row, probed_at, SETTINGS)
    # When twice the first wait is over
    assert gate(row, probed_at + 59_999) is Gate.BREAKER
    # Then another may leave, and after it one that waits longer still
    assert gate(row, probed_at + 60_000) is Gate.OPEN
    again = agency.sent(row, probed_at + 60_000, SETTINGS)
    assert gate(again, probed_at + 60_000 + 119_999) is Gate.BREAKER


class Breaker(RuleBasedStateMachine):
    """Whatever comes, in whatever order: a probe is due within the longest wait, and only one at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.row = ROW
        self.in_a_row = 0
        self.probed_at: list[int] = []

    @rule(length=st.integers(1, 700_000))
    def time_passes(self, length: int) -> None:
        self.now += length

    @precondition(lambda self: gate(self.row, self.now) is Gate.OPEN)
    @rule()
    def a_task_leaves(self) -> None:
        before = self.row
        self.row = agency.sent(before, self.now, SETTINGS)
        if before.breaker != "closed":
            assert gate(self.row, self.now) is Gate.BREAKER, "a second probe could leave at once"

    @rule(trouble=st.sampled_from([AWAY, Unknown()]))
    def trouble_comes(self, trouble: Reply) -> None:
        self.in_a_row += 1
        self.row = agency.answered(self.row, trouble, self.now, SETTINGS)

    @rule()
    def nobody_answers(self) -> None:
        self.in_a_row += 1
        self.row = agency.troubled(self.row, self.now, SETTINGS)

    @rule()
    def an_answer_comes(self) -> None:
        self.in_a_row = 0
        self.row = agency.answered(self.row, Completed(data={}), self.now, SETTINGS)

    @invariant()
    def it_is_closed_exactly_while_too_few_troubles_came_in_a_row(self) -> None:
        assert (self.row.breaker == "closed") == (self.in_a_row < SETTINGS.breaker_opens_after)
        assert self.row.troubles == self.in_a_row

    @invariant()
    def a_task_may_leave_within_the_longest_wait(self) -> None:
        assert gate(self.row, self.now + SETTINGS.breaker_probe_most) is Gate.OPEN

    @invariant()
    def nothing_of_an_old_opening_remains_once_it_is_closed(self) -> None:
        if self.row.breaker == "closed":
            assert (self.row.probe_at, self.row.probe_wait) == (None, 0)


TestBreaker = Breaker.TestCase


def started(journal: str, seq: int = 5) -> Started:
    return Started(
        agency="a", start_id="s", journal=JournalIdentity(journal_id=journal, seq=seq), operations={}, versions={}
    )


def test_a_second_journal_waits_until_the_first_is_retired_which_never_comes_back() -> None:
    # Given an agency whose journal is known
    row = agency.admit(AgencyRow(agency="a"), started("first"), NOW).row
    # When a host comes with another, it waits, and is admitted once the first is retired
    assert agency.admit(row, started("second"), NOW).alarm == "second_journal"
    row = agency.admit(row.retire_journal(), started("second"), NOW).row
    assert (row.journal_id, row.is_alive(NOW, SETTINGS.dead_after)) == ("second", True)
    # Then the first may not come back, not even when the second is retired too
    assert agency.admit(row.retire_journal(), started("first"), NOW).alarm == "retired_journal"


def test_a_journal_behind_what_was_heard_of_it_gets_no_tasks() -> None:
    row = agency.admit(AgencyRow(agency="a"), started("first", seq=9), NOW).row
    admission = agency.admit(row, started("first", seq=8), NOW)
    assert (admission.alarm, admission.row.journal_seq) == ("journal_rolled_back", 9)
    assert not admission.row.is_alive(NOW, SETTINGS.dead_after)


def test_a_sign_of_another_journal_keeps_nobody_alive() -> None:
    row = replace(ROW, alive_at=NOW - SETTINGS.dead_after)
    assert agency.heard(row, "other", 99, NOW) == row
    assert agency.heard(row, "j", 99, NOW).is_alive(NOW, SETTINGS.dead_after)


def offering(*operations: str) -> Started:
    return replace(started("j"), operations=dict.fromkeys(operations, "hash"))


def test_a_host_that_drops_an_operation_in_use_is_refused_and_changes_nothing() -> None:
    row = replace(ROW, operations={"a.v1": "", "b.v1": "", "c.v1": ""})
    admission = agency.admit(row, offering("b.v1"), NOW + 1, {"a.v1", "b.v1", "c.v1"})
    assert (admission.admitted, admission.alarm) == (False, "host_lacks_operation")
    assert admission.operations == ("a.v1", "c.v1")
    assert admission.row == row


@pytest.mark.parametrize(
    ("offers", "needed"),
    [
        (("b.v1",), ()),
        (("a.v1", "b.v1", "more.v1"), ("a.v1", "b.v1", "more.v1")),
        # What nobody ever offered is not dropped.
        (("a.v1", "b.v1"), ("a.v1", "never.v1")),
    ],
    ids=["nobody needs it", "it drops nothing", "it was never offered"],
)
def test_a_host_that_drops_nothing_in_use_is_taken_in(offers: tuple[str, ...], needed: tuple[str, ...]) -> None:
    row = replace(ROW, operations={"a.v1": "", "b.v1": ""})
    admission = agency.admit(row, offering(*offers), NOW, needed)
    assert (admission.admitted, admission.alarm, tuple(admission.row.operations)) == (True, None, offers)
