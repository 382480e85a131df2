# ruff: noqa: E501 - a table is read across, and each of its lines is one state
"""Every cell of the tables of states, with its outcome written out: what `decide` makes of a row in that state.

A cell is read as in `tests.support.process_rows.seen`: ``.`` nothing, ``=`` the state stays, ``409`` a conflict; after
``/`` the new effect; after ``+`` what else happened (Q query, W withdrawal, R resent, T told, C compensation wanted,
L left behind, F failure opened, X failures closed). The tables are written from the promises, not from the code.
"""

from __future__ import annotations

from typing import Any

import pytest

from bus.message.instant import HOUR
from bus.message.reply import Completed, Effect, Failed
from bus.process.decision import FailureOpened
from bus.process.event import Dispatched
from bus.process.state import RequestState, StepKey, StepState
from bus.process.table import (
    CLOSING,
    CODES,
    COMMANDS_CLOSING,
    COMMANDS_COMPENSATION,
    COMMANDS_OPEN,
    REPLIES_CLOSING,
    REPLIES_COMPENSATION,
    REPLIES_OLDER,
    REPLIES_OLDER_COMPENSATION,
    REPLIES_OPEN,
    TIMERS_CLOSING,
    TIMERS_COMPENSATION,
    TIMERS_OPEN,
)
from tests.support.process_rows import (
    BACK,
    CLOSED,
    MAIN,
    NOW,
    REPLIES,
    SERVICE,
    cells,
    decided,
    reply,
    request,
    row,
    seen,
)
from tests.support.process_rows import named as _named

# --- replies to the current attempt -----------------------------------------------------------------------------------

OPEN = """
             completed        refused        returned          pending     retryable        permanent        done             unknown     withdrawn
waiting      =+F              =+F            =+F               =+F         =+F              =+F              =+F              =+F         =+F
ready-unsent =+F              =+F            =+F               =+F         =+F              =+F              =+F              =+F         =+F
ready        succeeded/done   refused        =                 =           =                =                =                =           =
dispatched   succeeded/done   refused/none   returned/none+T   pending     retrying/none    parked/none+F    parked/done+F    unknown+Q   parked/none+F
returned     succeeded/done   refused        =+T               =           =                =                parked/done+F    =           =
pending      succeeded/done   refused/none   returned/none+T   =           retrying/none    parked/none+F    parked/done+F    unknown+Q   parked/none+F
retrying     succeeded/done   refused        =                 =           =                =                =                =           =
unknown      succeeded/done   refused/none   returned/none+T   pending     retrying/none    parked/none+F    parked/done+F    =           parked/none+F
parked       succeeded/done+X refused/none+X returned/none+TX  =           =/none           =/none           =/done           =           =/none
parked-none  succeeded/done+X refused+X      returned+TX       =           =                =                =/done           =           =
succeeded    =+F              =+F            =                 =           =                =                =                =           =
refused      =+F              =+F            =                 =           =                =                =                =           =
skipped      =/done+C         =              =                 =           =                =                =                =           =
failed       =/done+C         =              =                 =/unknown+L =                =                =/done+L         =/unknown+L =
expired      =/done+C         =              =                 =/unknown+L =                =                =/done+L         =/unknown+L =
cancelled    =/done+C         =              =                 =/unknown+L =                =                =/done+L         =/unknown+L =
"""

CLOSING_REPLIES = """
            completed         refused         returned          pending     retryable        permanent        done             unknown     withdrawn
dispatched  succeeded/done+C  refused/none    cancelled/none    pending     cancelled/none   cancelled/none   parked/done+F    unknown+Q   cancelled/none
pending     succeeded/done+C  refused/none    cancelled/none    =           cancelled/none   cancelled/none   parked/done+F    unknown+Q   cancelled/none
unknown     succeeded/done+C  refused/none    cancelled/none    pending     cancelled/none   cancelled/none   parked/done+F    =           cancelled/none
parked      succeeded/done+CX refused/none+X  cancelled/none+X  =           cancelled/none+X cancelled/none+X =/done           =           cancelled/none+X
succeeded   =+F               =+F             =                 =           =                =                =                =           =
refused     =+F               =+F             =                 =           =                =                =                =           =
skipped     =/done+C          =               =                 =           =                =                =                =           =
failed      =/done+C          =               =                 =/unknown+L =                =                =/done+L         =/unknown+L =
expired     =/done+C          =               =                 =/unknown+L =                =                =/done+L         =/unknown+L =
cancelled   =/done+C          =               =                 =/unknown+L =                =                =/done+L         =/unknown+L =
"""

#: The same finals as while closing; nothing else is left when a request has ended.
ENDED_REPLIES = "\n".join(
    line
    for line in CLOSING_REPLIES.splitlines()
    if line.split()[:1] not in (["dispatched"], ["pending"], ["unknown"], ["parked"])
)

COMPENSATION_REPLIES = """
             completed        refused          returned         pending   retryable        permanent         done             unknown    withdrawn
dispatched   succeeded/done   parked/none+LF   parked/none+LF   pending   retrying/none    parked/none+LF    succeeded/done   unknown+Q  parked/none+LF
pending      succeeded/done   parked/none+LF   parked/none+LF   =         retrying/none    parked/none+LF    succeeded/done   unknown+Q  parked/none+LF
retrying     succeeded/done   =                =                =         =                =                 =                =          =
unknown      succeeded/done   parked/none+LF   parked/none+LF   pending   retrying/none    parked/none+LF    succeeded/done   =          parked/none+LF
parked       succeeded/done+X =                =                =         =/none           =/none            succeeded/done+X =          =/none
succeeded    =+F              =+F              =                =         =                =                 =                =          =
failed       succeeded/done   =                =                =         =                =                 =                =          =
cancelled    succeeded/done   =                =                =         =                =                 =                =          =
"""


@pytest.mark.parametrize(("name", "column", "expected"), cells(OPEN))
def test_a_reply_to_the_current_attempt_of_an_open_request_does_what_the_table_says(
    name: str, column: str, expected: str
) -> None:
    before = request(_named(name))
    decision = decided(before, reply(before.steps[MAIN], REPLIES[column]))
    assert seen(before, decision) == expected


@pytest.mark.parametrize(("name", "column", "expected"), cells(CLOSING_REPLIES))
def test_a_reply_while_closing_settles_and_takes_back_what_was_done(name: str, column: str, expected: str) -> None:
    before = request(_named(name), state=CLOSED)
    decision = decided(before, reply(before.steps[MAIN], REPLIES[column]))
    assert seen(before, decision) == expected


@pytest.mark.parametrize(("name", "column", "expected"), cells(ENDED_REPLIES))
def test_a_reply_after_the_end_takes_back_what_was_done_and_never_changes_the_outcome(
    name: str, column: str, expected: str
) -> None:
    other = row("cancelled", StepKey(step="other"))
    before = request(_named(name), other, state=RequestState.CANCELLED, ended_at=NOW - HOUR)
    decision = decided(before, reply(before.steps[MAIN], REPLIES[column]))
    assert seen(before, decision) == expected
    assert (decision.request.state, decision.request.ended_at) == (RequestState.CANCELLED, NOW - HOUR)


@pytest.mark.parametrize(("name", "column", "expected"), cells(COMPENSATION_REPLIES))
def test_a_reply_to_a_compensation_ends_it_or_shows_it_to_a_person(name: str, column: str, expected: str) -> None:
    before = request(row("succeeded"), _named(name, BACK), state=CLOSED)
    decision = decided(before, reply(before.steps[BACK], REPLIES[column]))
    assert seen(before, decision, BACK) == expected


# --- older attempts and edits -----------------------------------------------------------------------------------------

OLDER = """
             completed        refused        other  edit_completed    edit_refused edit_other
waiting      =+F              =+F            =+F    =+F               =+F          =+F
ready        succeeded/done   refused        =      parked/done+F     =            =
ready-new    succeeded/done   refused        =      succeeded/done    =            =
dispatched   succeeded/done   refused/none   =      parked/done+F     =            =
returned     succeeded/done   refused        =      parked/done+F     =            =
pending      succeeded/done   refused/none   =      parked/done+F     =            =
retrying     succeeded/done   refused        =      parked/done+F     =            =
unknown      succeeded/done   refused/none   =      parked/done+F     =            =
parked       succeeded/done+X refused/none+X =      =/done+F          =            =
parked-none  succeeded/done+X refused+X      =      =/done+F          =            =/unknown
parked-new   succeeded/done+X refused/none+X =      succeeded/done+X  =            =
succeeded    =+F              =+F            =      =+F               =            =
refused      =+F              =+F            =      =/done+CF         =            =
skipped      =/done+C         =              =      =/done+C          =            =
failed       =/done+C         =              =      =/done+C          =            =
expired      =/done+C         =              =      =/done+C          =            =
cancelled    =/done+C         =              =      =/done+C          =            =
"""

OLDER_COMPENSATION = """
             completed        refused        other
ready        succeeded/done   =              =
dispatched   succeeded/done   parked/none+LF =
pending      succeeded/done   parked/none+LF =
retrying     succeeded/done   =              =
unknown      succeeded/done   parked/none+LF =
parked       succeeded/done+X =              =
succeeded    =+F              =+F            =
failed       succeeded/done   =              =
cancelled    succeeded/done   =              =
"""

_OTHERS = ("returned", "pending", "retryable", "permanent", "unknown", "withdrawn")


@pytest.mark.parametrize(("name", "column", "expected"), cells(OLDER))
def test_only_the_lasting_answers_of_an_older_attempt_or_edit_count(name: str, column: str, expected: str) -> None:
    is_edit, kind = column.startswith("edit_"), column.removeprefix("edit_")
    before = request(_named(name))
    main = before.steps[MAIN]
    if name.endswith("-new") and not is_edit:
        # An older attempt of an edit that never left does not exist: look at the edit before it.
        main = row(name.removesuffix("-new"))
        before = request(main)
    place: dict[str, Any] = {"edit": 0, "attempt": 1} if is_edit else {"attempt": 1}
    for what in _OTHERS if kind == "other" and not name.startswith("parked-none") else ("unknown",):
        answer = REPLIES[what if kind == "other" else kind]
        assert seen(before, decided(before, reply(main, answer, **place))) == expected


@pytest.mark.parametrize(("name", "column", "expected"), cells(OLDER_COMPENSATION))
def test_an_older_attempt_of_a_compensation_can_do_it_but_not_end_it_as_refused(
    name: str, column: str, expected: str
) -> None:
    before = request(row("succeeded"), _named(name, BACK), state=CLOSED)
    answer = REPLIES["unknown" if column == "other" else column]
    assert seen(before, decided(before, reply(before.steps[BACK], answer, attempt=1)), BACK) == expected


@pytest.mark.parametrize(("state", "kind"), [("succeeded", "completed"), ("refused", "refused")])
def test_the_same_answer_again_is_a_duplicate_and_not_even_a_fact(state: str, kind: str) -> None:
    before = request(row(state))
    again = reply(before.steps[MAIN], REPLIES[kind], digest="the first answer")
    assert seen(before, decided(before, again)) == "."


# --- codes with a rule of their own -----------------------------------------------------------------------------------

CODE_RULES = """
                    open            closing
withdrawn           parked/none+F   cancelled/none
never_seen          ready/none      cancelled/none
absent              retrying/none   cancelled/none
too_late            parked/none+F   cancelled/none
busy                retrying/none   cancelled/none
interaction_reused  parked+F        parked+F
answer_unreadable   parked/done+F   parked/done+F
superseded_too_late unknown+Q       unknown+Q
no_simulator        parked/none+F   cancelled/none
"""
_STATED = {
    "interaction_reused": Effect.UNKNOWN,
    "superseded_too_late": Effect.UNKNOWN,
    "answer_unreadable": Effect.DONE,
}


@pytest.mark.parametrize("state", ["dispatched", "pending", "unknown"])
@pytest.mark.parametrize(("code", "column", "expected"), cells(CODE_RULES))
def test_a_failure_code_with_a_rule_of_its_own_follows_it(state: str, code: str, column: str, expected: str) -> None:
    before = request(row(state), state=CLOSED if column == "closing" else RequestState.OPEN)
    failure = Failed(
        code=code, effect=_STATED.get(code, Effect.NONE), retryable=code in {"never_seen", "absent", "busy"}
    )
    found = seen(before, decided(before, reply(before.steps[MAIN], failure)))
    assert found == expected.replace(state, "=") if expected.startswith(state) else found == expected


@pytest.mark.parametrize("code", sorted(set(CODES) - {"interaction_reused", "answer_unreadable"}))
def test_a_code_that_speaks_of_nothing_having_happened_does_not_count_where_the_effect_is_unknown(code: str) -> None:
    before = request(row("dispatched"))
    failure = Failed(code=code, effect=Effect.UNKNOWN, retryable=True)
    assert seen(before, decided(before, reply(before.steps[MAIN], failure))) == "unknown+Q"


# --- the tables themselves --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "table",
    [
        REPLIES_OPEN,
        REPLIES_CLOSING,
        REPLIES_COMPENSATION,
        REPLIES_OLDER,
        REPLIES_OLDER_COMPENSATION,
        TIMERS_OPEN,
        TIMERS_CLOSING,
        TIMERS_COMPENSATION,
        COMMANDS_OPEN,
        COMMANDS_CLOSING,
        COMMANDS_COMPENSATION,
        CLOSING,
    ],
)
def test_a_table_has_a_cell_for_every_state_and_column(table: dict[tuple[StepState, str], str]) -> None:
    columns = {column for _, column in table}
    assert set(table) == {(state, column) for state in StepState for column in columns}


def test_a_ready_row_is_dispatched_once() -> None:
    before = request(row("ready", sent_edit=None, first_sent=None))
    leaves = Dispatched(step=MAIN, journal_id="journal", task_id=3, message_id="task")
    first = decided(before, leaves)
    assert seen(before, first) == "dispatched/unknown"
    assert decided(first.request, leaves).facts == ()


def test_another_agency_cannot_answer_for_the_provider_though_it_knows_the_interaction() -> None:
    # Given a step that was sent, and an answer to that very interaction from somebody else
    before = request(row("dispatched"))
    forged = reply(before.steps[MAIN], Completed(data={"number": "7"}), provider="agency_of_nobody")
    # When it is decided
    decision = decided(before, forged)
    # Then no step moves, and a person is shown it
    assert decision.request.steps == before.steps
    assert [(failure.step, failure.code) for failure in decision.failures if isinstance(failure, FailureOpened)] == [
        (None, "early")
    ]


def test_the_service_of_these_tables_is_what_the_tables_speak_of() -> None:
    main = SERVICE.steps["main"]
    assert (main.compensate is not None, main.on_deadline, main.on_exhausted) == (True, "park", "park")
