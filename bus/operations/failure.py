"""Failures: what a person must see, and what can be done about it."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Annotated, Literal

from bus.errors import ConflictError, InvalidMessageError, NotFoundError
from bus.message.envelope import decode
from bus.message.instant import to_rfc3339
from bus.message.replies import reply_from_message
from bus.message.reply import Failed
from bus.message.text import Text
from bus.operations.advice import advice
from bus.operations.caller import Caller
from bus.operations.conflict import MovedError
from bus.operations.context import Context
from bus.operations.given import After, FailureKey, Most, Reason
from bus.operations.operation import Command, Given
from bus.operations.request import Moved, moved, when
from bus.ports import CauseRow, FailureRow, Incoming
from bus.process.event import Event, GaveUp, ReplayAsked
from bus.process.state import Step, StepKey, StepState

_MOST_CAUSES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class ListFailures:
    """Which failures."""

    state: Annotated[
        Literal["open", "closed", "all"],
        Given(place="query", summary=Text(en="Open, closed or all.", ar="المفتوحة أو المغلقة أو الكل.")),
    ] = "open"
    cause: Annotated[
        str | None,
        Given(place="query", summary=Text(en="Of this cause only.", ar="من هذا السبب وحده.")),
    ] = None
    after: After = 0
    most: Most = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureLine:
    """One failure. It names a request and a step where it has them; one of the wire alone has neither."""

    failure: str
    code: str
    #: The group it belongs to.
    cause: str
    agency: str | None
    request_id: str | None
    step: str | None
    item: int | None
    opened_at: str
    #: How often it came, and when last: more than once only where it stands for a cause and belongs to no request.
    times: int
    last_at: str
    closed_at: str | None
    how_closed: str | None
    what: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class CauseLine:
    """All open failures of one cause."""

    cause: str
    failures: int
    times: int
    opened_at: str
    last_at: str
    what: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureLines:
    """A page of failures."""

    items: tuple[FailureLine, ...]
    next: str | None
    #: With the first page, where it does not hold all that are open: what all of them are, so that none is hidden
    #: behind many of another cause. At most 200.
    causes: tuple[CauseLine, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OneFailure:
    """One failure."""

    failure: FailureKey


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureView:
    """One failure, the step as it is now, and size and keyed hash of its evidence (never the evidence itself)."""

    failure: FailureLine
    tracking: str | None
    mend: Text
    #: What the agency's system said, in the words of its adapter, which hold no person's data.
    agency_says: Text | None
    legacy_code: str | None
    step_kind: str | None
    step_state: str | None
    effect: str | None
    attempt: int | None
    tries: int | None
    reason: str | None
    changed_by: str | None
    changed_at: str | None
    evidence_bytes: int | None
    #: Keyed: the same bytes have the same one, and nobody can guess the bytes from it.
    evidence_digest: str | None
    #: Where it came more than once: how many of the raw messages are kept. The evidence is the first of them.
    kept: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ActOnFailure:
    """What to do about a failure, and why."""

    failure: FailureKey
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """One failure as it is after it was closed."""

    failure: FailureLine


def list_failures(context: Context, _caller: Caller, given: ListFailures) -> FailureLines:
    """A page of failures, oldest first."""
    is_open = {"open": True, "closed": False, "all": None}[given.state]
    rows = context.store.failures(is_open=is_open, after=given.after, most=given.most, cause=given.cause)
    following = str(rows[-1].key) if len(rows) == given.most else None
    # Each look goes over all that are open: who reads on has been told.
    is_told = following is not None and is_open is True and given.cause is None and not given.after
    causes = context.store.open_causes(_MOST_CAUSES) if is_told else ()
    return FailureLines(
        items=tuple(_line(row) for row in rows), next=following, causes=tuple(_cause_line(row) for row in causes)
    )


def show_failure(context: Context, _caller: Caller, given: OneFailure) -> FailureView:
    """One failure and how its step stands now."""
    row = _failure(context, given.failure)
    step = _step(context, row)
    evidence = context.store.payloads([row.payload_id]).get(row.payload_id) if row.payload_id is not None else None
    submission = context.store.submission_of(row.request_id) if row.request_id is not None else None
    said = _said(evidence)
    return FailureView(
        failure=_line(row),
        tracking=submission.tracking if submission else None,
        mend=advice(row.code).mend,
        agency_says=said.text if said else None,
        legacy_code=said.legacy_code if said else None,
        step_kind=step.key.kind.value if step else None,
        step_state=step.state.value if step else None,
        effect=step.effect.value if step else None,
        attempt=step.attempt if step else None,
        tries=step.tries if step else None,
        reason=step.reason if step else None,
        changed_by=step.changed_by if step else None,
        changed_at=when(step.changed_at) if step else None,
        evidence_bytes=None if evidence is None else len(evidence),
        evidence_digest=None if evidence is None else hmac.digest(context.secret, evidence, "sha256").hex(),
        kept=None if row.payload_id is None or row.times is None else len(context.store.failure_messages(row.key)),
    )


def _said(evidence: bytes | None) -> Failed | None:
    """The failure that the evidence carries, if it is an agency's."""
    if evidence is None:
        return None
    try:
        reply = reply_from_message(decode(evidence))
    except InvalidMessageError:
        return None
    return reply if isinstance(reply, Failed) else None


def replay(context: Context, caller: Caller, given: ActOnFailure) -> Command[Moved]:
    """Try the step again; what may have happened is looked up first."""
    row, step = _open_step(context, given.failure)
    return _command(row, ReplayAsked(step=step, actor=caller.actor(), reason=given.reason), caller)


def give_up(context: Context, caller: Caller, given: ActOnFailure) -> Command[Moved]:
    """End the step without its answer; an effect that may exist is listed."""
    row, step = _open_step(context, given.failure)
    return _command(row, GaveUp(step=step, actor=caller.actor(), reason=given.reason), caller)


def close(context: Context, caller: Caller, given: OneFailure) -> Closed:
    """Take what was seen and settled out of sight; a step that waits for a person is replayed or given up instead."""
    row = _failure(context, given.failure)
    step = _step(context, row)
    if step is not None and step.state is StepState.PARKED:
        raise ConflictError(
            "A step waits for the end of this failure.",
            code="failure-holds-a-step",
            mend="Replay it or give it up.",
        )
    if not context.store.close_failure(given.failure, f"closed by {caller.user}"):
        raise MovedError(
            code="failure-closed",
            state=f"closed ({row.how_closed or 'a moment ago'})",
            changed_by=None,
            changed_at=row.closed_at,
        )
    return Closed(failure=_line(_failure(context, given.failure)))


def _command(row: FailureRow, event: Event, caller: Caller) -> Command[Moved]:
    incoming = Incoming(request_id=row.request_id or "", event=event)
    return Command(incoming=incoming, answer=lambda decided: moved(decided, caller))


def _failure(context: Context, key: int) -> FailureRow:
    row = context.store.failure(key)
    if row is None:
        raise NotFoundError(
            "There is no such failure.",
            code="failure-unknown",
            mend="List the failures with GET /v1/failures (`bus failure list`).",
        )
    return row


def _open_step(context: Context, key: int) -> tuple[FailureRow, StepKey]:
    row = _failure(context, key)
    step = _step(context, row)
    if row.closed_at is not None:
        raise MovedError(
            code="failure-closed",
            state=f"closed ({row.how_closed})" + (f", and its step {step.state.value}," if step else ""),
            changed_by=step.changed_by if step else None,
            changed_at=row.closed_at,
        )
    if row.request_id is None or row.step is None:
        raise ConflictError(
            "This failure belongs to no step, so there is nothing to try again.",
            code="failure-without-step",
            mend="Mend its cause; what the sender sends again is judged anew.",
        )
    return row, row.step


def _step(context: Context, row: FailureRow) -> Step | None:
    request = context.store.request(row.request_id) if row.request_id is not None else None
    return request.steps.get(row.step) if request is not None and row.step is not None else None


def _cause_line(row: CauseRow) -> CauseLine:
    return CauseLine(
        cause=row.cause,
        failures=row.failures,
        times=row.times,
        opened_at=to_rfc3339(row.first_at),
        last_at=to_rfc3339(row.last_at),
        what=advice(row.code).what,
    )


def _line(row: FailureRow) -> FailureLine:
    return FailureLine(
        failure=str(row.key),
        code=row.code,
        cause=row.cause,
        agency=row.agency,
        request_id=row.request_id,
        step=row.step.step if row.step else None,
        item=row.step.item if row.step else None,
        opened_at=to_rfc3339(row.opened_at),
        times=row.times or 1,
        last_at=to_rfc3339(row.last_at or row.opened_at),
        closed_at=when(row.closed_at),
        how_closed=row.how_closed,
        what=advice(row.code).what,
    )
