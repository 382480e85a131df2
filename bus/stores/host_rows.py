"""Starts of agencies' hosts: written when one announces itself and when it says that it is alive."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import orjson
from sqlalchemy import Connection, Insert, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from bus.message.instant import DAY, Instant
from bus.ports import HostRow
from bus.stores import rows
from bus.stores.schema import host

#: More hosts than this run nowhere side by side; an agency that says so is not believed.
_MOST = 16


def read(connection: Connection, agency: str) -> tuple[HostRow, ...]:
    """Those that an agency's hosts have announced, the newest first."""
    of_agency = select(host).where(host.c.agency == agency).order_by(host.c.started_at.desc()).limit(_MOST)
    return tuple(
        HostRow(
            agency=name, start_id=start_id, operations=orjson.loads(operations), started_at=started_at, seen_at=seen_at
        )
        for name, start_id, operations, started_at, seen_at in connection.execute(of_agency)
    )


def write(connection: Connection, hosts: Sequence[HostRow], now: Instant) -> None:
    """Insert, or keep when it was seen last; those that were not seen for a day are forgotten."""
    if not hosts:
        return
    connection.execute(delete(host).where(host.c.seen_at < now - DAY))
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
    statement: Insert = new.on_conflict_do_update(
        index_elements=[host.c.agency, host.c.start_id], set_={"seen_at": new.excluded.seen_at}
    )
    return statement
