"""Agencies as those who run the bus see them: alive, paused, in trouble."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import Field

from bus.errors import ConflictError, NotFoundError
from bus.logs import LogEvent, bind
from bus.message.instant import Instant
from bus.message.text import Text
from bus.operations.caller import Caller
from bus.operations.context import Context
from bus.operations.given import AgencyName, Why
from bus.operations.operation import Given
from bus.operations.request import when
from bus.ports import Act, AgencyRow
from bus.process.state import StepState

_LOG = bind(place="operations")
_TRIES = 5
_COUNTED = (StepState.READY, StepState.DISPATCHED, StepState.UNKNOWN, StepState.PARKED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Nothing:
    """No input."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActOnAgency:
    """One agency, and why something is done to it."""

    agency: AgencyName
    reason: Why = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RetireJournal:
    """A journal that may never come back: the agency's host has lost it."""

    agency: AgencyName
    journal: Annotated[
        str,
        Field(min_length=1, max_length=64),
        Given(place="member", summary=Text(en="Id of the lost journal.", ar="معرّف سجل الجهة المفقود.")),
    ]
    reason: Why = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AgencyView:
    """One provider."""

    agency: str
    name: Text
    #: real, simulator, desk or closed.
    use: str
    #: Whether its host was heard lately; a desk has none.
    alive: bool | None
    alive_at: str | None
    paused: bool
    breaker: str
    troubles: int
    probe_at: str | None
    journal_id: str | None
    journal_seq: int
    retired: tuple[str, ...]
    #: Steps that wait to be sent, those sent and unanswered, those of which nobody knows what became, and those that
    #: wait for a person.
    ready: int
    in_flight: int
    unknown: int
    parked: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AgencyViews:
    """Every provider of the workspace."""

    items: tuple[AgencyView, ...]


def list_agencies(context: Context, _caller: Caller, _given: Nothing) -> AgencyViews:
    """Every provider, with its host, breaker and steps."""
    return AgencyViews(items=agencies(context))


def pause(context: Context, caller: Caller, given: ActOnAgency) -> AgencyView:
    """Send it nothing more; its replies are still taken."""
    return _change(context, caller, given, "agency_paused", lambda row: replace(row, paused=True))


def resume(context: Context, caller: Caller, given: ActOnAgency) -> AgencyView:
    """Send to it again."""
    return _change(context, caller, given, "agency_resumed", lambda row: replace(row, paused=False))


def retire_journal(context: Context, caller: Caller, given: RetireJournal) -> AgencyView:
    """Declare a journal lost, so that a host with a new one is admitted. It can never come back."""

    def retire(row: AgencyRow) -> AgencyRow:
        if given.journal in row.retired:
            return row
        if row.journal_id != given.journal:
            raise ConflictError(
                f"The known journal of {row.agency} is {row.journal_id or 'none'}.", code="journal-unknown"
            )
        # Its host must announce itself again, with another journal.
        return row.retire_journal()

    return _change(context, caller, given, "journal_retired", retire)


def agencies(context: Context) -> tuple[AgencyView, ...]:
    """Every provider of the workspace, by id."""
    rows = context.store.agencies()
    counts = {state: context.store.counts(state) for state in _COUNTED}
    now = context.store.now()
    return tuple(
        _view(
            context,
            rows.get(name) or AgencyRow(agency=name),
            now,
            {state: counts[state].get(name, 0) for state in _COUNTED},
        )
        for name in sorted(context.workspace.env.agencies)
    )


def _change(
    context: Context,
    caller: Caller,
    given: ActOnAgency | RetireJournal,
    what: LogEvent,
    change: Callable[[AgencyRow], AgencyRow],
) -> AgencyView:
    """Change the row and keep who did it, in one transaction; the log says it too."""
    name = given.agency
    target = f"{name}/{given.journal}" if isinstance(given, RetireJournal) else name
    act = Act(actor=caller.actor(), what=what, target=target, reason=given.reason)
    if name not in context.workspace.env.agencies:
        raise NotFoundError(
            "There is no such provider in this workspace.",
            code="agency-unknown",
            mend="List the agencies with GET /v1/agencies (`bus agency list`).",
        )
    for _ in range(_TRIES):
        row = context.store.agencies().get(name)
        if context.store.save_agency(change(row or AgencyRow(agency=name)), row, act):
            _LOG.warning(what, agency=name, user=act.actor)
            return next(view for view in agencies(context) if view.agency == name)
    raise ConflictError("The agency's row keeps changing under this command.", code="agency-busy", mend="Try it again.")


def _view(context: Context, row: AgencyRow, now: Instant, counts: Mapping[StepState, int]) -> AgencyView:
    use = context.workspace.env.agencies[row.agency].use
    return AgencyView(
        agency=row.agency,
        name=context.agency_name(row.agency),
        use=use,
        alive=None if use == "desk" else row.is_alive(now, context.settings.dead_after),
        alive_at=when(row.alive_at),
        paused=row.paused,
        breaker=row.breaker,
        troubles=row.troubles,
        probe_at=when(row.probe_at),
        journal_id=row.journal_id,
        journal_seq=row.journal_seq,
        retired=row.retired,
        ready=counts[StepState.READY],
        in_flight=counts[StepState.DISPATCHED],
        unknown=counts[StepState.UNKNOWN],
        parked=counts[StepState.PARKED],
    )
