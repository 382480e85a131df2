"""A message whose headers pika cannot read is read without them, and keeps nobody from the messages behind it."""

from __future__ import annotations

import struct
from typing import Any

import pika  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika import frame, spec

from bus.brokers.rabbitmq_frames import short
from bus.brokers.rabbitmq_link import NUMBER, Link
from bus.brokers.rabbitmq_reading import without_headers

texts = st.text(max_size=20)
properties = st.builds(
    pika.BasicProperties,
    content_type=st.none() | texts,
    content_encoding=st.none() | texts,
    headers=st.none() | st.dictionaries(st.text(min_size=1, max_size=8), texts | st.integers(0, 9), max_size=3),
    delivery_mode=st.none() | st.just(2),
    priority=st.none() | st.integers(0, 9),
    correlation_id=st.none() | texts,
    message_id=st.none() | texts,
    timestamp=st.none() | st.integers(0, 1 << 40),
    user_id=st.none() | texts,
    cluster_id=st.none() | texts,
)


@given(properties=properties, size=st.integers(0, 1 << 40), behind=st.binary(max_size=30))
def test_what_is_left_is_the_same_frame_without_its_table(properties: Any, size: int, behind: bytes) -> None:
    whole = frame.Header(NUMBER, size, properties).marshal()
    found = without_headers(whole + behind)

    if properties.headers is None:
        assert found is None
        return
    assert found is not None
    bare, length = found
    properties.headers = None
    assert (length, bare) == (len(whole), frame.Header(NUMBER, size, properties).marshal())


@given(properties=properties, data=st.data())
def test_half_a_frame_and_wrong_bytes_harm_nobody(properties: Any, data: st.DataObject) -> None:
    wrong = bytearray(frame.Header(NUMBER, 7, properties).marshal())
    for _ in range(data.draw(st.integers(0, 3))):
        wrong[data.draw(st.integers(0, len(wrong) - 1))] = data.draw(st.integers(0, 255))

    found = without_headers(bytes(wrong[: data.draw(st.integers(0, len(wrong)))]))

    assert found is None or found[1] <= len(wrong)


def test_a_frame_without_its_end_or_with_a_table_longer_than_itself_is_none() -> None:
    whole = foreign(b"V")
    table_at = 7 + 14
    longer = whole[:table_at] + struct.pack(">I", 1_000) + whole[table_at + 4 :]

    assert without_headers(whole) is not None
    assert without_headers(whole[:-1] + b"\x00") is None
    assert without_headers(longer) is None


def nested(depth: int) -> bytes:
    value = b"V"
    for _ in range(depth):
        value = b"A" + struct.pack(">I", len(value)) + value
    return value


#: Values of a header that the broker passes on.
UNREADABLE = {
    "a time beyond all calendars": b"T" + b"\xff" * 8,
    "a number that is none": b"d" + struct.pack(">d", float("nan")),
    "endless": b"f" + struct.pack(">f", float("inf")),
    "lists within lists": nested(3_000),
    "a kind that nobody knows": b"?",
}


def foreign(value: bytes) -> bytes:
    """The header frame of a message of one byte with such a header, from a user for whom the broker vouches."""
    entry = short("x") + value
    table = struct.pack(">I", len(entry)) + entry
    content = struct.pack(">HHQH", spec.Basic.INDEX, 0, 1, 1 << 13 | 1 << 7 | 1 << 4) + table + short("id") + short("b")
    return struct.pack(">BHI", 2, NUMBER, len(content)) + content + b"\xce"


class Listener(Link):
    """A connection without a socket, which notes the frames that came."""

    def __init__(self) -> None:
        self._frame_buffer = b""
        self.bytes_received = 0
        self.heard: list[Any] = []

    def _process_frame(self, frame_value: Any) -> None:
        self.heard.append(frame_value)


@pytest.mark.parametrize("value", UNREADABLE.values(), ids=UNREADABLE)
@pytest.mark.parametrize("cut", [0, 5, 30])
def test_such_a_message_comes_with_its_sender_and_what_follows_it_comes_too(value: bytes, cut: int) -> None:
    delivery = frame.Method(NUMBER, spec.Basic.Deliver("c", 5, exchange="x", routing_key="x")).marshal()
    stream = delivery + foreign(value) + frame.Body(NUMBER, b"!").marshal() + frame.Heartbeat().marshal()
    listener = Listener()

    for piece in (stream[:cut], stream[cut:]):
        listener._on_data_available(piece)  # noqa: SLF001

    _, header, body, heartbeat = listener.heard
    assert (header.properties.headers, header.properties.message_id, header.properties.user_id) == (None, "id", "b")
    assert (header.body_size, body.fragment, heartbeat.frame_type) == (1, b"!", spec.FRAME_HEARTBEAT)
    assert listener.bytes_received == len(stream)


def test_what_is_no_frame_at_all_still_ends_the_connection_and_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(pika.exceptions.InvalidFrameError):
        Listener()._on_data_available(b"\x02\x00\x01\x00\x00\x00\x01??")  # noqa: SLF001

    assert '"unexpected_error"' in capsys.readouterr().err
