"""What the bus sends most as the bytes that AMQP 0-9-1 puts on the wire: the frames of a publish, acknowledgements.

pika's own way there makes a dozen objects a message and costs ten times as much; each request has some ten messages.
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct
from typing import Final

from bus.message.channel import Channel
from bus.message.signature import HEADER
from bus.ports import Outgoing

CONTENT_TYPE: Final = "application/cloudevents+json"

#: Types of frames.
TYPE_METHOD: Final = 1
TYPE_HEADER: Final = 2
TYPE_BODY: Final = 3
#: The class of all that has to do with messages.
BASIC: Final = 60

_END = b"\xce"
_PUBLISH, _ACK, _MANDATORY = 40, 80, 1
#: Frame type, number of the channel, size of what follows up to the end mark.
FRAME: Final = Struct(">BHI")
#: The same for a header frame, with class, weight, size of the body, and which properties follow.
HEADER_FRAME: Final = Struct(">BHIHHQH")
_FIXED = 14
#: A whole frame: class, method, number of the delivery, whether all before it are meant too, end mark.
_ACK_FRAME: Final = Struct(">BHIHHQ?c")
#: Bytes of a frame beside its content.
_AROUND = 8
_SHORT: Final = tuple(bytes((length,)) for length in range(256))
#: Content type, delivery mode, correlation id, message id, timestamp, type, user id; headers where there are some.
FLAGS: Final = 1 << 15 | 1 << 12 | 1 << 10 | 1 << 7 | 1 << 6 | 1 << 5 | 1 << 4
_FLAGS_WITH_HEADERS: Final = FLAGS | 1 << 13
_PERSISTENT = b"\x02"


class Encoder:
    """Writes the messages of one user for one channel of AMQP; ``frame_max`` is what the broker agreed to."""

    def __init__(self, *, number: int, user: str, frame_max: int) -> None:
        self._number = number
        self._user = short(user)
        self._most = frame_max - _AROUND

    def encode(self, message: Outgoing, seconds: int) -> bytes:
        """All frames of one publish: persistent, mandatory, to the exchange that is called like the channel.

        ``seconds`` since 1970 are the time of publishing. ValueError for an id of more than 255 bytes.
        """
        body = message.body
        table = b"" if message.signature is None else _headers(message.signature)
        properties = b"".join(
            (
                _CONTENT_TYPE,
                table,
                _PERSISTENT,
                short(message.correlation_id),
                short(message.message_id),
                seconds.to_bytes(8, "big"),
                _known(message.type),
                self._user,
            )
        )
        size, flags = len(body), _FLAGS_WITH_HEADERS if table else FLAGS
        header = HEADER_FRAME.pack(TYPE_HEADER, self._number, _FIXED + len(properties), BASIC, 0, size, flags)
        pieces = [_publish(self._number, message.channel), header, properties, _END]
        for start in range(0, size, self._most):
            part = body if size <= self._most else body[start : start + self._most]
            pieces += (FRAME.pack(TYPE_BODY, self._number, len(part)), part, _END)
        return b"".join(pieces)


def ack(number: int, tag: int, *, multiple: bool = False) -> bytes:
    """The frame that acknowledges one delivery, or that one and all before it."""
    return _ACK_FRAME.pack(TYPE_METHOD, number, 13, BASIC, _ACK, tag, multiple, _END)


def short(text: str) -> bytes:
    """A short string: its length in one byte, then UTF-8."""
    encoded = text.encode()
    if len(encoded) > 255:
        raise ValueError(f"{text[:20]!r}... has {len(encoded)} bytes, and AMQP has room for 255.")
    return _SHORT[len(encoded)] + encoded


#: There are few types, and they are always the same.
_known = lru_cache(maxsize=256)(short)
_CONTENT_TYPE: Final = short(CONTENT_TYPE)


@lru_cache(maxsize=4096)
def _publish(number: int, channel: Channel) -> bytes:
    name = short(channel)
    content = Struct(">HHH").pack(BASIC, _PUBLISH, 0) + name + name + bytes((_MANDATORY,))
    return FRAME.pack(TYPE_METHOD, number, len(content)) + content + _END


def _headers(signature: str) -> bytes:
    """The table of headers with its one entry, a long string."""
    text = signature.encode()
    entry = b"".join((short(HEADER), b"S", len(text).to_bytes(4, "big"), text))
    return len(entry).to_bytes(4, "big") + entry
