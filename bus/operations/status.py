"""How the bus is doing."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from bus.operations.agency import AgencyView, Nothing, agencies
from bus.operations.caller import Caller
from bus.operations.context import Context
from bus.operations.request import when
from bus.ports import Mode
from bus.process.state import ALIVE, RequestState


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The whole bus at one instant."""

    at: str
    #: ``open``; ``reconcile`` or ``asked`` after a restore: the agencies are being asked, or were, and nothing is sent
    #: until `bus store open`.
    mode: str
    #: While it is not open: how many interactions were asked about and have no answer yet.
    unanswered: int
    #: Requests by state.
    requests: dict[str, int]
    alive: int
    ended: int
    #: Submissions ever accepted.
    accepted: int
    #: Whether accepted = alive + ended. If not, a request is lost: `bus store recount` names it.
    adds_up: bool
    #: Messages that wait to be published.
    outbox: int
    #: At most 201: more are counted as "more than 200".
    open_failures: int
    next_due: str | None
    agencies: tuple[AgencyView, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """The gateway answers and its store can be read."""

    status: str
    version: str


def show_status(context: Context, _caller: Caller, _given: Nothing) -> Status:
    """Counts, what waits to be published, and agencies."""
    # Other requests are accepted meanwhile: the sum lies between what was accepted before and after it.
    before, totals, after = context.store.accepted(), context.store.totals(), context.store.accepted()
    counted = sum(totals.values())
    accepted = min(max(counted, before), after)
    mode = context.store.mode()
    return Status(
        at=when(context.store.now()) or "",
        mode=mode.value,
        unanswered=0 if mode is Mode.OPEN else context.store.unanswered(),
        requests={state.value: totals.get(state, 0) for state in RequestState},
        alive=sum(count for state, count in totals.items() if state in ALIVE),
        ended=sum(count for state, count in totals.items() if state not in ALIVE),
        accepted=accepted,
        adds_up=accepted == counted,
        outbox=context.store.outbox_depth(),
        open_failures=len(context.store.failures(is_open=True, after=0, most=201)),
        next_due=when(context.store.next_due()),
        agencies=agencies(context),
    )


def show_health(context: Context, _caller: Caller, _given: Nothing) -> Health:
    """Whether the gateway and its store work; StoreUnavailableError if the store cannot be read."""
    context.store.epoch()
    try:
        number = version("g2g-bus")
    except PackageNotFoundError:
        number = "unknown"
    return Health(status="ok", version=number)
