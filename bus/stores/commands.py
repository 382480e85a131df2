"""Writes besides the hot statements, in SQLAlchemy Core, the same for every dialect: functions on a connection."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Connection, Insert, Table, and_, delete, func, insert, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from bus.message.instant import DAY, Instant, Milliseconds
from bus.ports import Act, AgencyRow, Changes, DeskRow, Mode, Payload
from bus.process.decision import FailureClosed
from bus.stores import queries, rows, seldom_rows
from bus.stores.locks import Lock
from bus.stores.schema import act as act_table
from bus.stores.schema import (
    agency,
    definition,
    desk,
    desk_claim,
    failure,
    outbox,
    payload,
    presence,
    setting,
    token,
)


def _named(table: Table, row: rows.Row) -> dict[str, Any]:
    return {column.name: value for column, value in zip(table.columns, row, strict=True)}


def _insert(connection: Connection, table: Table, values: Sequence[rows.Row]) -> None:
    if values:
        connection.execute(insert(table), [_named(table, row) for row in values])


def _insert_new(connection: Connection, table: Table, row: rows.Row) -> bool:
    """Insert a row; False if one with the same key is there, also one that came at this very moment."""
    fresh = _dialect(connection.dialect.name).insert(table).on_conflict_do_nothing().returning(*table.primary_key)
    return connection.execute(fresh, _named(table, row)).first() is not None


def _dialect(name: str) -> Any:
    return postgresql if name == "postgresql" else sqlite


def _save(
    connection: Connection, table: Table, values: Sequence[rows.Row], by: Collection[str], kept: Collection[str] = ()
) -> None:
    """Insert, or replace all columns but ``by`` and ``kept`` where a row with the same ``by`` is there."""
    if not values:
        return
    upsert = _upsert(connection.dialect.name, table, tuple(by), tuple(kept))
    connection.execute(upsert, [_named(table, row) for row in values])


@cache
def _upsert(dialect: str, table: Table, by: tuple[str, ...], kept: tuple[str, ...]) -> Insert:
    upsert = _dialect(dialect).insert(table)
    replaced = {column.name: upsert.excluded[column.name] for column in table.columns}
    for name in (*by, *kept):
        del replaced[name]
    statement: Insert = upsert.on_conflict_do_update(index_elements=list(by), set_=replaced)
    return statement


# --- within a batch -------------------------------------------------------------------------------------------------


def write(connection: Connection, changes: Changes) -> None:
    """The lists of a batch that are seldom long."""
    _insert(
        connection, failure, [seldom_rows.failure_row(row) for row in sorted(changes.failures, key=lambda row: row.key)]
    )
    save_desk(connection, changes.desk)


def close_failures(connection: Connection, closed: Sequence[tuple[int, FailureClosed, Instant]]) -> None:
    """Close the failures of these steps, or of the requests themselves, that were open before this batch."""
    for request_key, over, when in closed:
        name, item, kind = (None, None, None) if over.step is None else rows.key_columns(over.step)
        of_step = and_(
            failure.c.step.is_not_distinct_from(name),
            failure.c.item.is_not_distinct_from(item),
            failure.c.kind.is_not_distinct_from(kind),
        )
        is_open = and_(failure.c.request_key == request_key, failure.c.closed_at.is_(None))
        connection.execute(update(failure).where(is_open, of_step).values(closed_at=when, how_closed=over.how))


def save_desk(connection: Connection, tasks: Sequence[DeskRow]) -> None:
    """Insert, or replace by request and step; the row keeps its first key, by which clerks know it."""
    by = ("request_key", "step", "item", "kind")
    _save(
        connection,
        desk,
        [seldom_rows.desk_row(row) for row in sorted(tasks, key=lambda row: row.key)],
        by,
        kept=("key",),
    )


# --- alone ----------------------------------------------------------------------------------------------------------


def confirm(connection: Connection, keys: Collection[int]) -> None:
    """Delete confirmed outbox rows."""
    connection.execute(delete(outbox).where(outbox.c.key.in_(sorted(keys))))


def claim(connection: Connection, key: int, clerk: str, draft: Payload | None, now: Instant) -> bool:
    """Open, or claimed by this clerk -> claimed by this clerk; a new draft takes the place of the old one's bytes.

    Taking an open task is recorded: from then on the clerk may read a person's data.
    """
    was = queries.desk_row(connection, key, lock=True)
    may = or_(desk.c.state == "open", and_(desk.c.state == "claimed", desk.c.clerk == clerk))
    values: dict[str, Any] = {"state": "claimed", "clerk": clerk, "changed_at": now}
    if draft is not None:
        values["draft_id"] = draft.id
    if was is None or not connection.execute(update(desk).where(desk.c.key == key, may).values(values)).rowcount:
        return False
    if was.state == "open":
        _insert(connection, desk_claim, [(was.request_key, key, now, clerk)])
    if draft is not None:
        connection.execute(delete(payload).where(payload.c.id == was.draft_id))
        _insert(connection, payload, [rows.payload_row(draft)])
    return True


def release(connection: Connection, key: int, clerk: str, now: Instant) -> bool:
    """Claimed by this clerk -> open; the draft stays for the next one."""
    theirs = and_(desk.c.key == key, desk.c.state == "claimed", desk.c.clerk == clerk)
    values = {"state": "open", "clerk": None, "changed_at": now}
    return connection.execute(update(desk).where(theirs).values(values)).rowcount == 1


def close_failure(connection: Connection, key: int, how: str, now: Instant) -> bool:
    """Close one failure, if it is open."""
    is_open = and_(failure.c.key == key, failure.c.closed_at.is_(None))
    return bool(connection.execute(update(failure).where(is_open).values(closed_at=now, how_closed=how)).rowcount)


def save_agency(connection: Connection, row: AgencyRow, expected: AgencyRow | None) -> bool:
    """Replace the row if it is what was expected; an agency without a row has the defaults."""
    defaults = AgencyRow(agency=row.agency)
    found = queries.agencies(connection, [row.agency], lock=True).get(row.agency)
    if (found or defaults) != (expected or defaults):
        return False
    values = seldom_rows.agency_row(row)
    if found is None:
        return _insert_new(connection, agency, values)
    connection.execute(update(agency).where(agency.c.agency == row.agency).values(_named(agency, values)))
    return True


def note_act(connection: Connection, act: Act, now: Instant) -> None:
    """Keep what somebody did, at the end of the transaction that does it; keys follow the commits."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(int(Lock.ACTS))))
    done = {"at": now, "actor": act.actor, "what": act.what, "target": act.target, "reason": act.reason}
    connection.execute(insert(act_table).values(done))


def save_definition(connection: Connection, revision: str, closure: bytes) -> None:
    """Keep a closure under its hash; the same again is nothing."""
    if queries.closure(connection, revision) is None:
        _insert_new(connection, definition, (revision, closure))


def save_setting(connection: Connection, name: str, value: str) -> None:
    """Set a setting of the installation."""
    _save(connection, setting, [(name, value)], ["name"])


def be_present(connection: Connection, process: str, settled_to: Instant, now: Instant) -> None:
    """Keep that a process manager is there, and forget those not seen for a day."""
    connection.execute(delete(presence).where(presence.c.seen_at < now - DAY))
    _save(connection, presence, [(process, now, settled_to)], ["process"])


def leave(connection: Connection, process: str) -> None:
    """Forget a process manager."""
    connection.execute(delete(presence).where(presence.c.process == process))


def take_turn(connection: Connection, what: str, process: str, now: Instant, lease: Milliseconds) -> bool:
    """Compare-and-set: nobody has this turn, or its time is over, or the process has it itself."""
    name, taken = f"turn:{what}", f"{process} {now + lease}"
    held = connection.scalar(select(setting.c.value).where(setting.c.name == name))
    if held is None:
        return _insert_new(connection, setting, (name, taken))
    holder, _, until = held.partition(" ")
    # One that ends later than any lease would was taken on a clock that was set back since.
    if holder != process and now < int(until) <= now + lease:
        return False
    return move_setting(connection, name, held, taken)


def end_turn(connection: Connection, what: str, process: str) -> None:
    """Nobody has this turn any more, if the process had it."""
    mine = and_(setting.c.name == f"turn:{what}", setting.c.value.startswith(f"{process} "))
    connection.execute(delete(setting).where(mine))


def move_setting(connection: Connection, name: str, was: str, now: str) -> bool:
    """Compare-and-set of a setting that is there."""
    found = and_(setting.c.name == name, setting.c.value == was)
    return connection.execute(update(setting).where(found).values(value=now)).rowcount == 1


def begin_reconcile(connection: Connection) -> None:
    """The store was restored. What it was about to send may have been sent, answered and overtaken since."""
    connection.execute(delete(outbox))
    connection.execute(delete(presence))
    save_setting(connection, "mode", Mode.RECONCILE)


def save_token(connection: Connection, token_hash: str, user: str, role: str, agency: str | None) -> None:
    """Keep a token's hash; the same token again replaces whom it names."""
    _save(connection, token, [(token_hash, user, role, agency)], ["token_hash"])


def remove_tokens(connection: Connection, user: str) -> int:
    """Forget every token of a user; how many there were."""
    return connection.execute(delete(token).where(token.c.user == user)).rowcount
