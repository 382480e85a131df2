"""Between the values of the journal's port and the columns that every journal keeps them in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from bus.message.quick import made
from bus.message.reply import Effect
from bus.ports import JournalInvalid, JournalReply, JournalResult
from bus.receiver.row import FOR_EVER, Row, State

#: Columns of an interaction, in the order of `values`.
COLUMNS = tuple(field.name for field in fields(Row))
#: What an interaction is known by: never another one.
KNOWN_BY = frozenset({"interaction_id", "reference", "first_sent"})
REPLY = ("message_id", "type", "correlation_id", "body")
RESULT = ("interaction_id", "raw", *REPLY)
INVALID = ("origin", "code", "body", "at")

#: What the lost part of a restored journal may have changed. An answer given for good stays true, and so does a
#: tombstone that no attempt outlives.
IN_DOUBT = f"state NOT IN ('completed', 'refused', 'unreadable') AND NOT (state = 'tombstone' AND dead = {FOR_EVER})"

_STATE, _EFFECT = COLUMNS.index("state"), COLUMNS.index("effect")
_STATES = {str(state): state for state in State}
_EFFECTS = {str(effect): effect for effect in Effect}


def values(row: Row) -> list[Any]:
    """The columns of an interaction."""
    found = [*vars(row).values()]
    # Drivers bind a plain str far faster than a subclass of it.
    found[_STATE], found[_EFFECT] = row.state.value, row.effect.value
    return found


def row(line: Sequence[Any]) -> Row:
    """The interaction of its columns."""
    found = dict(zip(COLUMNS, line, strict=True))
    found["state"] = _STATES[found["state"]]
    found["effect"] = _EFFECTS[found["effect"]]
    found["test"] = bool(found["test"])
    return made(Row, found)


def reply_values(reply: JournalReply) -> tuple[str, str, str, bytes]:
    """The columns of a reply."""
    return reply.message_id, reply.type, reply.correlation_id, reply.body


def reply(line: Sequence[Any]) -> JournalReply:
    """The reply of its columns."""
    return JournalReply(message_id=line[0], type=line[1], correlation_id=line[2], body=line[3])


def result_values(result: JournalResult) -> tuple[str, bytes | None, str, str, str, bytes]:
    """The columns of a result."""
    return (result.interaction_id, result.raw, *reply_values(result.reply))


def result(line: Sequence[Any]) -> JournalResult:
    """The result of its columns."""
    return JournalResult(interaction_id=line[0], raw=line[1], reply=reply(line[2:]))


def invalid_values(invalid: JournalInvalid) -> tuple[str, str, bytes, int]:
    """The columns of what could not be understood."""
    return invalid.origin, invalid.code, invalid.body, invalid.at


def invalid(line: Sequence[Any]) -> JournalInvalid:
    """What could not be understood, of its columns."""
    return JournalInvalid(origin=line[0], code=line[1], body=line[2], at=line[3])
