"""What the shell needs from the outside: a broker, a store, a journal. Everything is a batch."""

from bus.ports.broker import Broker, Confirmation, Consumer, Delivery, Outgoing, Publisher
from bus.ports.deciding import Decided, Decider, DeskAnswer, Fate, Incoming
from bus.ports.journal import Journal, JournalChanges, JournalInvalid, JournalReply, JournalResult, JournalTransaction
from bus.ports.rows import (
    AgencyRow,
    Changes,
    DeskClaim,
    DeskRow,
    FailureRow,
    Line,
    OutboxRow,
    Payload,
    Received,
    ResultRow,
    StepRef,
    Submission,
)
from bus.ports.store import Store, Transaction

__all__ = [
    "AgencyRow",
    "Broker",
    "Changes",
    "Confirmation",
    "Consumer",
    "Decided",
    "Decider",
    "Delivery",
    "DeskAnswer",
    "DeskClaim",
    "DeskRow",
    "FailureRow",
    "Fate",
    "Incoming",
    "Journal",
    "JournalChanges",
    "JournalInvalid",
    "JournalReply",
    "JournalResult",
    "JournalTransaction",
    "Line",
    "OutboxRow",
    "Outgoing",
    "Payload",
    "Publisher",
    "Received",
    "ResultRow",
    "StepRef",
    "Store",
    "Submission",
    "Transaction",
]
