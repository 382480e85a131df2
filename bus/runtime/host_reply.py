"""Builds the messages that carry a host's replies: each once, as the bytes that are recorded, sent and sent again."""

from __future__ import annotations

from uuid import UUID, uuid5

from bus.errors import InvalidMessageError
from bus.message.envelope import DATA_CONTENT_TYPE, Envelope, encode
from bus.message.identity import message_id
from bus.message.instant import Instant
from bus.message.replies import reply_to_data, reply_type
from bus.message.reply import Effect, Reply
from bus.ports import JournalReply
from bus.receiver.failure import failed
from bus.receiver.row import JournalIdentity


def recorded(
    to: Envelope, reply: Reply, *, attempt: int, journal: JournalIdentity, now: Instant
) -> tuple[JournalReply, Reply]:
    """The message of a reply that is recorded, and the reply it carries.

    What cannot be written as a message (too large, no JSON, against its contract) was nevertheless done: the answer
    then counts as unreadable.
    """
    try:
        id_ = message_id(to.interactionid or "", attempt, str(reply_type(reply)))
        return _built(id_, to, reply, attempt, journal, now), reply
    except InvalidMessageError:
        unreadable = failed("answer_unreadable", Effect.DONE)
        id_ = message_id(to.interactionid or "", attempt, str(reply_type(unreadable)))
        return _built(id_, to, unreadable, attempt, journal, now), unreadable


def anew(to: Envelope, reply: Reply, *, attempt: int, journal: JournalIdentity, now: Instant) -> JournalReply:
    """The message of a reply that tells how things stand now: each building is a message of its own."""
    id_ = str(uuid5(UUID(to.interactionid), f"{attempt}/{reply_type(reply)}/{journal.seq}"))
    return _built(id_, to, reply, attempt, journal, now)


def _built(id_: str, to: Envelope, reply: Reply, attempt: int, journal: JournalIdentity, now: Instant) -> JournalReply:
    envelope = Envelope(
        id=id_,
        source=f"/agency/{to.provider}",
        type=reply_type(reply),
        time=now,
        correlationid=to.correlationid,
        causationid=to.id,
        interactionid=to.interactionid,
        edit=to.edit,
        attempt=attempt,
        service=to.service,
        step=to.step,
        item=to.item,
        kind=to.kind,
        provider=to.provider,
        operation=to.operation,
        test=to.test,
        journalid=journal.journal_id,
        journalseq=journal.seq,
        datacontenttype=DATA_CONTENT_TYPE,
    )
    message = encode(envelope, reply_to_data(reply))
    return JournalReply(
        message_id=id_, type=str(envelope.type), correlation_id=to.correlationid or "", body=message.body
    )
