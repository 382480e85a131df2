"""Between values and rows, as `bus.stores.rows`, for what few batches write: failures, desks, agencies and acts."""

from __future__ import annotations

import orjson

from bus.ports import Act, AgencyRow, DeskRow, FailureRow
from bus.stores import rows


def failure_row(row: FailureRow) -> rows.Row:
    """A row of ``failure``."""
    step, item, kind = (None, None, None) if row.step is None else rows.key_columns(row.step)
    return (
        row.key,
        row.request_key,
        row.request_id,
        step,
        item,
        kind,
        row.agency,
        row.code,
        row.cause,
        row.payload_id,
        row.opened_at,
        row.closed_at,
        row.how_closed,
        row.times,
        row.last_at,
    )


def failure_of(row: rows.Row) -> FailureRow:
    """A failure of its row."""
    (
        key, request_key, request_id, step, item, kind, agency, code, cause, payload_id, opened_at, closed_at,
        how_closed, times, last_at,
    ) = row  # fmt: skip
    return FailureRow(
        key=key,
        request_key=request_key,
        request_id=request_id,
        step=None if step is None else rows.step_key(step, item, kind),
        agency=agency,
        code=code,
        cause=cause,
        payload_id=payload_id,
        opened_at=opened_at,
        closed_at=closed_at,
        how_closed=how_closed,
        times=times,
        last_at=last_at,
    )


def desk_row(row: DeskRow) -> rows.Row:
    """A row of ``desk``."""
    return (
        row.key,
        row.request_key,
        row.request_id,
        *rows.key_columns(row.step),
        row.agency,
        row.operation,
        row.interaction_id,
        row.edit,
        row.attempt,
        row.task_id,
        row.state,
        row.opened_at,
        row.due_at,
        row.clerk,
        row.changed_at,
        row.draft_id,
    )


def desk_of(row: rows.Row) -> DeskRow:
    """A desk's task of its row."""
    (
        key, request_key, request_id, step, item, kind, agency, operation, interaction_id, edit, attempt, task_id,
        state, opened_at, due_at, clerk, changed_at, draft_id,
    ) = row  # fmt: skip
    return DeskRow(
        key=key,
        request_key=request_key,
        request_id=request_id,
        step=rows.step_key(step, item, kind),
        agency=agency,
        operation=operation,
        interaction_id=interaction_id,
        edit=edit,
        attempt=attempt,
        task_id=task_id,
        state=state,
        opened_at=opened_at,
        due_at=due_at,
        clerk=clerk,
        changed_at=changed_at,
        draft_id=draft_id,
    )


def act_of(row: rows.Row) -> Act:
    """An act of its row."""
    key, at, actor, what, target, reason = row
    return Act(key=key, at=at, actor=actor, what=what, target=target, reason=reason)


def agency_row(row: AgencyRow) -> rows.Row:
    """A row of ``agency``."""
    return (
        row.agency,
        row.paused,
        row.start_id,
        row.journal_id,
        row.journal_seq,
        row.alive_at,
        rows.to_text(dict(row.operations)),
        row.breaker,
        row.troubles,
        row.probe_at,
        row.probe_wait,
        row.heard_at,
        rows.to_text(row.retired),
    )


def agency_of(row: rows.Row) -> AgencyRow:
    """What is known of an agency, of its row."""
    (
        agency, paused, start_id, journal_id, journal_seq, alive_at, operations, breaker, troubles, probe_at,
        probe_wait, heard_at, retired,
    ) = row  # fmt: skip
    return AgencyRow(
        agency=agency,
        paused=bool(paused),
        start_id=start_id,
        journal_id=journal_id,
        journal_seq=journal_seq,
        alive_at=alive_at,
        operations=orjson.loads(operations),
        breaker=breaker,
        troubles=troubles,
        probe_at=probe_at,
        probe_wait=probe_wait,
        heard_at=heard_at,
        retired=tuple(orjson.loads(retired)),
    )
