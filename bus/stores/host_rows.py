"""Starts of agencies' hosts: written when one announces itself and when it says that it is alive."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import orjson
from sqlalchemy import Connection, Insert, and_, delete, or_, select
from sqlalchemy.dialects import postgresql, sqlite

from bus.message.instant import DAY, HOUR, Instant
from bus.ports import HostRow
from bus.stores import rows
from bus.stores.greatest import greatest
from bus.stores.schema import host

#: More hosts than this run nowhere side by side; an agency that says so is not believed.
_MOST = 16


def read(connection: Connection, agency: str, speaking: str, now: Instant) -> tuple[HostRow, ...]:
    """Those of the last day, and the one that is ``speaking`` whatever its age, the last heard of first."""
    # By when they were heard of: a host that starts again and again leaves many starts, and hides no other host.
    speaks = host.c.start_id == speaking
    of_agency = select(host).where(host.c.agency == agency, or_(host.c.seen_at >= now - DAY, speaks))
    latest = of_agency.order_by(speaks.desc(), host.c.seen_at.desc(), host.c.started_at.desc()).limit(_MOST)
    found = (
        HostRow(
            agency=name, start_id=start_id, operations=orjson.loads(operations), started_at=started_at, seen_at=seen_at
        )
        for name, start_id, operations, started_at, seen_at in connection.execute(latest)
    )
    return tuple(sorted(found, key=lambda one: (one.seen_at, one.started_at), reverse=True))


def write(connection: Connection, hosts: Sequence[HostRow], now: Instant) -> None:
    """Insert, or keep when it was seen last; those that were not seen for a day are forgotten.

    Not after less, though the silent soon count no more: while the bus is away nothing is heard of any of them, and one
    that was forgotten would never count again. But one that never said more than that it starts is forgotten after an
    hour, or a host that starts again and again would leave a hundred thousand.
    """
    if not hosts:
        return
    only_started = and_(host.c.seen_at == host.c.started_at, host.c.seen_at < now - HOUR)
    connection.execute(delete(host).where(or_(host.c.seen_at < now - DAY, only_started)))
    for one in sorted(hosts, key=lambda one: (one.agency, one.start_id)):
        values = {
            "agency": one.agency,
            "start_id": one.start_id,
            "operations": rows.to_text(dict(one.operations)),
            "started_at": one.started_at,
            "seen_at": one.seen_at,
        }
        connection.execute(_statement(connection.dialect.name), values)


@cache
def _statement(dialect: str) -> Insert:
    build: Any = postgresql if dialect == "postgresql" else sqlite
    new = build.insert(host)
    # A batch that began earlier may be committed later.
    seen_at = greatest(dialect, host.c.seen_at, new.excluded.seen_at)
    statement: Insert = new.on_conflict_do_update(
        index_elements=[host.c.agency, host.c.start_id], set_={"seen_at": seen_at}
    )
    return statement
