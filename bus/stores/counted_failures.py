"""Failures that stand for a cause: one is open for each, and what comes again is counted there and not beside it.

So a sender of nothing but bad messages makes one line that grows, and hides nobody else's failures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from sqlalchemy import Connection, Insert, func, insert, select, text
from sqlalchemy.dialects import postgresql, sqlite

from bus.ports import MOST_KEPT, Alarm, CauseRow, FailureRow, Payload
from bus.stores import rows, seldom_rows
from bus.stores.greatest import greatest
from bus.stores.schema import IS_COUNTED, failure, failure_message, payload


def write(connection: Connection, alarms: Sequence[Alarm]) -> None:
    """Count each alarm of a batch."""
    # In one order, so that two who tell of the same causes wait for one another and not in a circle.
    for alarm in sorted(alarms, key=lambda alarm: alarm.failure.cause):
        _count(connection, alarm)


def note(connection: Connection, row: FailureRow, evidence: Payload | None) -> int:
    """Count what came once, now; the key of the failure that is open for its cause."""
    counted = replace(row, times=1, last_at=row.opened_at)
    return _count(connection, Alarm(failure=counted, messages=() if evidence is None else (evidence,)))


def messages(connection: Connection, key: int) -> tuple[int, ...]:
    """Payload ids of the raw messages that are kept of a failure."""
    of_failure = select(failure_message.c.payload_id).where(failure_message.c.failure_key == key)
    return tuple(connection.scalars(of_failure.order_by(failure_message.c.payload_id)))


def open_causes(connection: Connection, most: int) -> tuple[CauseRow, ...]:
    """The causes of all open failures, the one that came last first."""
    last_at = func.max(func.coalesce(failure.c.last_at, failure.c.opened_at))
    times = func.sum(func.coalesce(failure.c.times, 1))
    of = (failure.c.cause, failure.c.code, failure.c.agency)
    counted = select(*of, func.count(), times, func.min(failure.c.opened_at), last_at)
    causes = counted.where(failure.c.closed_at.is_(None)).group_by(*of)
    return tuple(
        CauseRow(
            cause=cause, code=code, agency=agency, failures=failures, times=int(times), first_at=first, last_at=last
        )
        for cause, code, agency, failures, times, first, last in connection.execute(
            causes.order_by(last_at.desc(), failure.c.cause).limit(most)
        )
    )


def _count(connection: Connection, alarm: Alarm) -> int:
    first = alarm.messages[0].id if alarm.messages else None
    values = seldom_rows.failure_row(replace(alarm.failure, payload_id=first))
    named = {column.name: value for column, value in zip(failure.columns, values, strict=True)}
    key, times = connection.execute(_statement(connection.dialect.name), named).one()
    came_before = times - (alarm.failure.times or 0)
    _keep(connection, key, alarm.messages[: max(0, MOST_KEPT - came_before)])
    return int(key)


@cache
def _statement(dialect: str) -> Insert:
    build: Any = postgresql if dialect == "postgresql" else sqlite
    new = build.insert(failure)
    # A batch that began earlier may be committed later.
    last_at = greatest(dialect, failure.c.last_at, new.excluded.last_at)
    counted = {"times": failure.c.times + new.excluded.times, "last_at": last_at}
    statement: Insert = new.on_conflict_do_update(
        index_elements=[failure.c.cause], index_where=text(IS_COUNTED), set_=counted
    ).returning(failure.c.key, failure.c.times)
    return statement


def _keep(connection: Connection, key: int, kept: Sequence[Payload]) -> None:
    if kept:
        names = [column.name for column in payload.columns]
        connection.execute(insert(payload), [dict(zip(names, rows.payload_row(one), strict=True)) for one in kept])
        connection.execute(insert(failure_message), [{"failure_key": key, "payload_id": one.id} for one in kept])
