"""Every cell of the tables of clocks, deaths of messages, new epochs and restored stores, written out.

A cell is read as in `tests.support.process_rows.seen`; `tests/unit/test_process_table.py` says what its signs mean.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bus.process.event import AskedAgain, EpochBegan, Event, Poisoned, TimerFired
from bus.process.state import Request, StepKey, StepState
from tests.support.process_rows import BACK, CLOSED, MAIN, NOW, SETTINGS, cells, decided, request, row, seen
from tests.support.process_rows import named as _named

OPEN_TIMERS = """
                    answer   ask    next   deadline       until     epoch  poison   restored
waiting             .        .      .      .              .         .      .        .
ready               .        .      .      parked+F       .         .      .        .
ready-doubt         .        .      .      unknown+Q      .         .      .        .
dispatched          =+R      .      .      unknown+Q      .         =+R    =+R      =+Q
dispatched-poisoned =+R      .      .      unknown+Q      .         =+R    parked+F =+Q
returned            .        .      .      .              refused   .      .        .
pending             =+Q      =+Q    .      unknown+Q      .         =+Q    =+Q      =+Q
pending-poisoned    =+Q      =+Q    .      unknown+Q      .         =+Q    parked+F =+Q
retrying            .        .      ready  parked+F       .         .      .        .
unknown             =+Q      =+Q    .      =              .         =+Q    =+Q      =+Q
unknown-poisoned    =+Q      =+Q    .      =              .         =+Q    parked+F =+Q
parked              .        .      .      .              .         .      .        .
succeeded           .        .      .      .              .         .      .        .
refused             .        .      .      .              .         .      .        .
skipped             .        .      .      .              .         .      .        .
failed              .        .      .      .              .         .      .        .
expired             .        .      .      .              .         .      .        .
cancelled           .        .      .      .              .         .      .        .
"""

CLOSING_TIMERS = """
                    answer   ask    next   deadline       until     epoch  poison   restored
dispatched          =+W      .      .      unknown+Q      .         =+W    =+W      =+Q
dispatched-poisoned =+W      .      .      unknown+Q      .         =+W    parked+F =+Q
pending             =+Q      =+Q    .      unknown+Q      .         =+Q    =+Q      =+Q
pending-poisoned    =+Q      =+Q    .      unknown+Q      .         =+Q    parked+F =+Q
unknown             =+Q      =+Q    .      parked+F       .         =+Q    =+Q      =+Q
unknown-poisoned    =+Q      =+Q    .      parked+F       .         =+Q    parked+F =+Q
parked              .        .      .      .              .         .      .        .
succeeded           .        .      .      .              .         .      .        .
refused             .        .      .      .              .         .      .        .
skipped             .        .      .      .              .         .      .        .
failed              .        .      .      .              .         .      .        .
expired             .        .      .      .              .         .      .        .
cancelled           .        .      .      .              .         .      .        .
"""

COMPENSATION_TIMERS = """
                    answer   ask    next   deadline       until     epoch  poison    restored
ready               .        .      .      parked+LF      .         .      .         .
dispatched          =+R      .      .      unknown+Q      .         =+R    =+R       =+Q
dispatched-poisoned =+R      .      .      unknown+Q      .         =+R    parked+LF =+Q
pending             =+Q      =+Q    .      unknown+Q      .         =+Q    =+Q       =+Q
retrying            .        .      ready  parked+LF      .         .      .         .
unknown             =+Q      =+Q    .      parked+LF      .         =+Q    =+Q       =+Q
unknown-poisoned    =+Q      =+Q    .      parked+LF      .         =+Q    parked+LF =+Q
parked              .        .      .      .              .         .      .         .
succeeded           .        .      .      .              .         .      .         .
failed              .        .      .      .              .         .      .         .
"""


def _after(before: Request, key: StepKey, column: str) -> str:
    """What the timer, which is due now, makes of the row."""
    of = before.steps[key]
    events: dict[str, Event] = {
        "epoch": EpochBegan(),
        "restored": AskedAgain(),
        "poison": Poisoned(step=key, edit=of.edit, attempt=of.attempt, payload_id=5),
    }
    if column in events:
        return seen(before, decided(before, events[column]), key)
    changes: dict[str, Any] = {f"{column}_at": NOW}
    if column == "deadline" and before.steps[key].state not in {StepState.PARKED, StepState.RETURNED}:
        changes["expires_at"] = NOW - SETTINGS.deadline_grace
    due = replace(before.steps[key], **changes)
    before = replace(before, steps={**before.steps, key: due})
    event = TimerFired(step=key, timer=column, at=NOW, edit=due.edit, attempt=due.attempt)  # type: ignore[arg-type]
    return seen(before, decided(before, event), key)


@pytest.mark.parametrize(("name", "column", "expected"), cells(OPEN_TIMERS))
def test_what_befalls_the_bus_does_what_the_table_says(name: str, column: str, expected: str) -> None:
    assert _after(request(_named(name)), MAIN, column) == expected


@pytest.mark.parametrize(("name", "column", "expected"), cells(CLOSING_TIMERS))
def test_while_closing_a_timer_never_sends_the_task_again(name: str, column: str, expected: str) -> None:
    assert _after(request(_named(name), state=CLOSED), MAIN, column) == expected


@pytest.mark.parametrize(("name", "column", "expected"), cells(COMPENSATION_TIMERS))
def test_a_compensation_is_sent_again_while_closing(name: str, column: str, expected: str) -> None:
    assert _after(request(row("succeeded"), _named(name, BACK), state=CLOSED), BACK, column) == expected
