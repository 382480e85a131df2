"""What a broker says most, as AMQP 0-9-1 puts it on the wire: deliveries and confirmations, read many at once.

pika makes a dozen objects of each. What is read here is only what the bus itself writes: a message without headers in
one body frame. Everything else (headers, foreign messages, long bodies, other frames, half of one) is left to pika.
"""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct
from struct import error as TooShort  # noqa: N812
from typing import Final, NamedTuple

from bus.brokers.rabbitmq_frames import BASIC, FLAGS, FRAME, HEADER_FRAME, TYPE_BODY, TYPE_HEADER, TYPE_METHOD
from bus.message.channel import Channel

#: Frame type, number of the channel, size; class and method. The name of the subscription follows,
_DELIVER: Final = Struct(">BHIHH")
#: the number of the delivery, and a bit for a redelivery. Then come the names of exchange and routing key.
_NUMBERED: Final = Struct(">QB")
#: A whole frame: class and method, number of the message, a bit for all before it too, end mark.
_CONFIRM: Final = Struct(">BHIHHQBB")
_CONFIRM_SIZE = 13
#: Bytes of a table.
_SIZE: Final = Struct(">I")
#: Methods of class basic: delivered; acknowledged and refused.
_DELIVERED = 60
_VERDICTS: Final = {80: True, 120: False}
_END = 0xCE
#: Flags of a header frame: a content type, an encoding, a table of headers follow; in this order, and before all else.
_TYPE, _ENCODING, _TABLE = 1 << 15, 1 << 14, 1 << 13


class Arrival(NamedTuple):
    """One delivery, as it came."""

    channel: Channel
    tag: int
    redelivered: bool
    #: None of a message that the bus did not publish.
    message_id: str | None
    #: Whom the broker vouches for; "" for nobody.
    user: str
    body: bytes


class Verdict(NamedTuple):
    """What the broker says of one published message, or of that one and all before it."""

    tag: int
    multiple: bool
    is_taken: bool


def confirmations(buffer: bytes, number: int) -> tuple[list[Verdict], int]:
    """The confirmations that stand whole at the beginning of ``buffer``, and where what is left begins.

    ``number`` is that of the channel of AMQP.
    """
    verdicts: list[Verdict] = []
    place = 0
    while place + _CONFIRM.size <= len(buffer):
        kind, on, size, of_class, method, tag, bits, end = _CONFIRM.unpack_from(buffer, place)
        if (kind, on, size, of_class, end) != (TYPE_METHOD, number, _CONFIRM_SIZE, BASIC, _END):
            break
        if method not in _VERDICTS:
            break
        verdicts.append(Verdict(tag, bits & 1 == 1, _VERDICTS[method]))
        place += _CONFIRM.size
    return verdicts, place


def deliveries(buffer: bytes, number: int, channels: Mapping[bytes, Channel]) -> tuple[list[Arrival], int]:
    """The deliveries that stand whole at the beginning of ``buffer``, and where what is left begins.

    ``number`` is that of the channel of AMQP; ``channels`` are those of its subscriptions, by their names.
    """
    arrivals: list[Arrival] = []
    place = 0
    try:
        while (found := _delivery(buffer, place, number, channels)) is not None:
            arrival, place = found
            arrivals.append(arrival)
    except (TooShort, IndexError, UnicodeDecodeError):
        # It is not whole yet, or pika knows what to do about it.
        pass
    return arrivals, place


def without_headers(buffer: bytes) -> tuple[bytes, int] | None:
    """The header frame that begins ``buffer``, less its table of headers, and its length with it; None: there is none.

    The broker passes on tables that pika cannot read (years beyond any calendar, a thousand tables in one another).
    """
    try:
        kind, on, size, of_class, weight, length, flags = HEADER_FRAME.unpack_from(buffer)
        end = FRAME.size + size
        if kind != TYPE_HEADER or not flags & _TABLE or buffer[end] != _END:
            return None
        table_at = HEADER_FRAME.size
        for flag in (_TYPE, _ENCODING):
            table_at = _short(buffer, table_at) if flags & flag else table_at
        rest_at = table_at + _SIZE.size + int(_SIZE.unpack_from(buffer, table_at)[0])
    except (TooShort, IndexError):
        return None
    if rest_at > end:
        return None
    properties = buffer[HEADER_FRAME.size : table_at] + buffer[rest_at:end]
    size += len(properties) - (end - HEADER_FRAME.size)
    return HEADER_FRAME.pack(kind, on, size, of_class, weight, length, flags & ~_TABLE) + properties + b"\xce", end + 1


def _delivery(buffer: bytes, start: int, number: int, channels: Mapping[bytes, Channel]) -> tuple[Arrival, int] | None:
    """The delivery that begins there, and the place behind it; None for anything else."""
    kind, on, size, of_class, method = _DELIVER.unpack_from(buffer, start)
    if (kind, on, of_class, method) != (TYPE_METHOD, number, BASIC, _DELIVERED):
        return None
    name_at = start + _DELIVER.size
    tag_at = _short(buffer, name_at)
    channel = channels.get(buffer[name_at + 1 : tag_at])
    tag, bits = _NUMBERED.unpack_from(buffer, tag_at)
    end = _short(buffer, _short(buffer, tag_at + _NUMBERED.size))
    if channel is None or not _ends(buffer, start, size, end):
        return None

    start = end + 1
    kind, on, size, of_class, _, length, flags = HEADER_FRAME.unpack_from(buffer, start)
    if (kind, on, of_class, flags) != (TYPE_HEADER, number, BASIC, FLAGS):
        return None
    # Content type, delivery mode, correlation id; then message id, timestamp, type, user id.
    id_at = _short(buffer, _short(buffer, start + HEADER_FRAME.size) + 1)
    time_at = _short(buffer, id_at)
    user_at = _short(buffer, time_at + 8)
    end = _short(buffer, user_at)
    if not _ends(buffer, start, size, end):
        return None
    message_id, user = buffer[id_at + 1 : time_at].decode(), buffer[user_at + 1 : end].decode()

    start, body = end + 1, b""
    if length:
        kind, on, size = FRAME.unpack_from(buffer, start)
        end = start + FRAME.size + length
        if (kind, on) != (TYPE_BODY, number) or not _ends(buffer, start, size, end):
            return None
        start, body = end + 1, buffer[start + FRAME.size : end]
    return Arrival(channel, tag, bits & 1 == 1, message_id, user, body), start


def _short(buffer: bytes, place: int) -> int:
    """The place behind a short string; IndexError where none can be."""
    return place + 1 + buffer[place]


def _ends(buffer: bytes, start: int, size: int, place: int) -> bool:
    """Whether the frame that begins at ``start`` ends at ``place``, as it says itself."""
    return start + FRAME.size + size == place and buffer[place] == _END
