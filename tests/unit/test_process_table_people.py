"""Every cell of the tables of what people command, and of what closing makes of each row, written out.

A cell is read as in `tests.support.process_rows.seen`; `tests/unit/test_process_table.py` says what its signs mean.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bus.process.definition import StepDefinition
from bus.process.event import (
    AnsweredByHand,
    CancelAsked,
    Edited,
    Event,
    GaveUp,
    ReplayAsked,
    SkipAsked,
    Supplemented,
    TerminateAsked,
)
from bus.process.state import Request, RequestState, StepKey
from tests.support.process_rows import (
    BACK,
    CLOSED,
    MAIN,
    REPLIES,
    back,
    cells,
    decided,
    request,
    row,
    seen,
    service,
    step,
)
from tests.support.process_rows import named as _named

# --- people -----------------------------------------------------------------------------------------------------------

OPEN_COMMANDS = """
             supplement give_up         replay    edit      answer           skip
waiting      409        409             409       409       409              skipped
ready        409        failed          409       =         succeeded/done   skipped
ready-doubt  409        409             409       409       409              409
dispatched   409        409             409       409       409              409
returned     ready      failed          409       409       succeeded/done   skipped
pending      409        409             =+Q       409       succeeded/done+W 409
retrying     409        failed          ready     ready     succeeded/done   skipped
unknown      409        409             =+Q       409       succeeded/done+W 409
parked-none  409        failed+X        ready+X   ready+X   succeeded/done+X skipped+X
parked       409        failed+LX       unknown+QX ready+X  succeeded/done+WX 409
parked-done  409        failed+CX       ready+X   409       succeeded+X      409
succeeded    409        409             409       409       409              409
refused      409        409             409       409       409              409
skipped      409        409             409       409       409              409
failed       409        409             409       409       409              409
expired      409        409             409       409       409              409
cancelled    409        409             409       409       409              409
"""

CLOSING_COMMANDS = """
             supplement give_up         replay     edit   answer             skip
dispatched   409        409             409        409    409                409
pending      409        409             =+Q        409    succeeded/done+WC  409
unknown      409        409             =+Q        409    succeeded/done+WC  409
parked       409        failed+LX       unknown+QX 409    succeeded/done+WCX 409
parked-done  409        failed+CX       unknown+QX 409    succeeded+CX       409
succeeded    409        409             409        409    409                409
refused      409        409             409        409    409                409
skipped      409        409             409        409    409                409
failed       409        409             409        409    409                409
expired      409        409             409        409    409                409
cancelled    409        409             409        409    409                409
"""

COMPENSATION_COMMANDS = """
             supplement give_up         replay     edit   answer             skip
waiting      409        409             409        409    409                409
ready        409        409             409        409    succeeded/done     409
dispatched   409        409             409        409    409                409
pending      409        409             =+Q        409    succeeded/done+W   409
retrying     409        failed+L        ready      409    succeeded/done     409
unknown      409        409             =+Q        409    succeeded/done     409
parked-none  409        failed+LX       ready+X    409    succeeded/done+X   409
parked       409        failed+LX       unknown+QX 409    succeeded/done+X   409
succeeded    409        409             409        409    409                409
failed       409        409             409        409    succeeded/done     409
"""


def _command(column: str, key: StepKey, attempt: int) -> Event:
    by: dict[str, Any] = {"step": key, "actor": "clerk-7", "reason": "asked by phone"}
    match column:
        case "supplement":
            return Supplemented(step=key, attempt=attempt, input_id=5, actor="applicant")
        case "give_up":
            return GaveUp(**by)
        case "replay":
            return ReplayAsked(**by)
        case "edit":
            return Edited(**by, input_id=5)
        case "answer":
            return AnsweredByHand(**by, reply=REPLIES["completed"], payload_id=9, digest="by hand")
    return SkipAsked(**by)


def _optional(one: StepDefinition) -> StepDefinition:
    # Optional steps can be skipped; their failure does not close the request, which the cells leave out of account.
    return replace(one, optional=True)


OPTIONAL = service(_optional(step("main", compensate=back(), needs=("other",))), step("other"))


def _commanded(before: Request, key: StepKey, column: str) -> str:
    decision = decided(before, _command(column, key, before.steps[key].attempt), OPTIONAL)
    return seen(before, decision, key)


@pytest.mark.parametrize(("name", "column", "expected"), cells(OPEN_COMMANDS))
def test_a_command_fits_the_row_as_it_is_or_is_a_conflict(name: str, column: str, expected: str) -> None:
    assert _commanded(request(_named(name)), MAIN, column) == expected


@pytest.mark.parametrize(("name", "column", "expected"), cells(CLOSING_COMMANDS))
def test_while_closing_people_can_only_help_to_end(name: str, column: str, expected: str) -> None:
    assert _commanded(request(_named(name), state=CLOSED), MAIN, column) == expected


@pytest.mark.parametrize(("name", "column", "expected"), cells(COMPENSATION_COMMANDS))
def test_people_can_help_a_compensation(name: str, column: str, expected: str) -> None:
    later = row("dispatched", BACK._replace(step="other"))
    definition = service(step("main", compensate=back()), step("other", compensate=back()))
    before = request(row("succeeded"), _named(name, BACK), row("succeeded", StepKey(step="other")), later, state=CLOSED)
    decision = decided(before, _command(column, BACK, 2), definition)
    assert seen(before, decision, BACK) == expected


# --- closing ----------------------------------------------------------------------------------------------------------

CLOSING_BEGINS = """
             begin            terminate
waiting      cancelled        cancelled
ready        cancelled        cancelled
ready-doubt  unknown+Q        cancelled+L
dispatched   =+W              cancelled+L
returned     cancelled        cancelled
pending      =+W              cancelled+L
retrying     cancelled        cancelled
unknown      =+QW             cancelled+L
parked-none  cancelled+X      cancelled+X
parked       =+Q              cancelled+LX
parked-done  .                cancelled+LX
succeeded    .+C              .
refused      .                .
skipped      .                .
failed       .                .
failed-doubt =+L              .
failed-done  .+C              .
expired      .                .
"""


@pytest.mark.parametrize(("name", "column", "expected"), cells(CLOSING_BEGINS))
def test_closing_cancels_what_waits_withdraws_what_was_sent_and_takes_back_what_was_done(
    name: str, column: str, expected: str
) -> None:
    before = request(_named(name))
    by = {"actor": "portal", "reason": "changed my mind"}
    decision = decided(before, CancelAsked(**by) if column == "begin" else TerminateAsked(**by))
    wanted = "+C" if BACK in decision.request.steps else ""
    found = seen(before, decision)
    # Wanting a compensation is a fact of the compensation's row.
    assert (f".{wanted}" if found in {"=+C", "."} else found) == expected
    assert decision.request.state is (CLOSED if column == "begin" else RequestState.CANCELLED)
