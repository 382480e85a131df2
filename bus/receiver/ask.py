"""What the bus asks of a host about one interaction: do it, tell what became of it, or leave it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from bus.errors import Fault, InvalidMessageError
from bus.message.envelope import Message, MessageType
from bus.message.instant import Instant
from bus.message.quick import quick
from bus.message.strict_json import canonical


class Ask(StrEnum):
    """The three things that a bus asks."""

    TASK = "task"
    QUERY = "query"
    WITHDRAWAL = "withdrawal"


_ASKS: dict[str, Ask] = {
    MessageType.TASK_REQUESTED: Ask.TASK,
    MessageType.TASK_QUERIED: Ask.QUERY,
    MessageType.TASK_WITHDRAWN: Ask.WITHDRAWAL,
}


@quick
@dataclass(frozen=True, kw_only=True)
class Asked:
    """What one message asks, as far as a decision needs it."""

    ask: Ask
    interaction_id: str
    attempt: int
    operation: str
    #: The journal under which the interaction was first dispatched, and when.
    journal_id: str
    first_sent: Instant
    test: bool = False
    expires_at: Instant | None = None
    supersedes: str | None = None
    #: SHA-256 of a task's data; None for the others, which have none.
    data_hash: bytes | None = None


def asked(message: Message, agency: str) -> Asked:
    """What the message asks of the host of ``agency``; InvalidMessageError with every fault if it cannot be judged."""
    envelope = message.envelope
    ask = _ASKS.get(envelope.type)
    if ask is None:
        raise _refused([_fault("wrong-type", "/type", "A host takes tasks, queries and withdrawals.")], message)
    faults = [
        _fault("missing", f"/{name}", "A host cannot judge this without it.")
        for name in ("interactionid", "attempt", "operation", "journalid", "firstsent", "correlationid")
        if getattr(envelope, name) is None
    ]
    if envelope.provider != agency:
        faults.append(_fault("wrong-provider", "/provider", f"This is the host of {agency}."))
    if ask is Ask.TASK and message.data is None:
        faults.append(_fault("missing", "/data", "A task has data."))
    interaction_id, attempt, operation = envelope.interactionid, envelope.attempt, envelope.operation
    journal_id, first_sent = envelope.journalid, envelope.firstsent
    if (
        faults
        or interaction_id is None
        or attempt is None
        or operation is None
        or journal_id is None
        or first_sent is None
    ):
        raise _refused(faults, message)
    return Asked(
        ask=ask,
        interaction_id=interaction_id,
        attempt=attempt,
        operation=operation,
        journal_id=journal_id,
        first_sent=first_sent,
        test=bool(envelope.test),
        expires_at=envelope.expirytime,
        supersedes=envelope.supersedes,
        data_hash=hash_of(message.data) if ask is Ask.TASK else None,
    )


def hash_of(data: Any) -> bytes:
    """SHA-256 of the data's canonical form: however two tasks are written, the same data is the same."""
    return hashlib.sha256(canonical(data)).digest()


def _fault(code: str, pointer: str, message: str) -> Fault:
    return Fault(code=code, message=message, mend="The sender must mend it.", pointer=pointer)


def _refused(faults: list[Fault], message: Message) -> InvalidMessageError:
    return InvalidMessageError(tuple(faults), raw=message.body)
