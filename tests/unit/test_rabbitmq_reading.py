"""What is read of RabbitMQ's words without pika is what pika would have read, however the bytes come."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import pika  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika import frame, spec
from pika.channel import ContentFrameAssembler  # type: ignore[import-untyped]

from bus.brokers.rabbitmq_frames import Encoder, ack
from bus.brokers.rabbitmq_link import NUMBER, Link
from bus.brokers.rabbitmq_reading import Arrival, Verdict, confirmations, deliveries
from bus.message.channel import replies, tasks
from bus.ports import Outgoing

CHANNELS = {b"tasks.a 1": tasks("a"), "replies.ضريبة 2".encode(): replies("b")}
SUBSCRIPTIONS = [*(name.decode() for name in CHANNELS), "somebody else's"]
#: A quarter of it goes into one body frame.
MOST = 64

texts = st.text(max_size=8)
bodies = st.binary(max_size=4 * MOST)


def message(body: bytes, message_id: str, *, signature: str | None = None) -> bytes:
    """Header and body frames of a message as the bus publishes it."""
    outgoing = Outgoing(
        channel=tasks("a"), message_id=message_id, type="t", correlation_id="ث", body=body, signature=signature
    )
    frames = Encoder(number=NUMBER, user="bus", frame_max=MOST + 8).encode(outgoing, 1_800_000_000)
    return frames[frames.index(b"\xce\x02") + 1 :]


def foreign(body: bytes, properties: Any) -> bytes:
    """The same as anybody may publish it."""
    parts = [body[start : start + MOST] for start in range(0, len(body), MOST)]
    frames = [frame.Header(NUMBER, len(body), properties), *(frame.Body(NUMBER, part) for part in parts)]
    return b"".join(each.marshal() for each in frames)


foreign_properties = st.builds(
    pika.BasicProperties,
    headers=st.none() | st.dictionaries(st.sampled_from(["x-delivery-count", "signature"]), st.integers(0, 9)),
    message_id=st.none() | texts,
    user_id=st.none() | texts,
    timestamp=st.none() | st.integers(0, 9),
)
messages = st.builds(message, bodies, texts, signature=st.none() | texts) | st.builds(
    foreign, bodies, foreign_properties
)
delivered = st.builds(
    lambda name, tag, again: frame.Method(NUMBER, spec.Basic.Deliver(name, tag, again, "x", "راوتر")).marshal(),
    st.sampled_from(SUBSCRIPTIONS),
    st.integers(1, (1 << 40) - 1),
    st.booleans(),
)
heartbeats = st.sampled_from([b"", frame.Heartbeat().marshal()])
#: A delivery, perhaps with a heartbeat between its frames.
whole = st.builds(lambda *parts: b"".join(parts), delivered, heartbeats, messages)
verdicts = st.builds(
    lambda method, tag, multiple: frame.Method(NUMBER, method(tag, multiple)).marshal(),
    st.sampled_from([spec.Basic.Ack, spec.Basic.Nack]),
    st.integers(1, 1 << 40),
    st.booleans(),
)
others = st.sampled_from(
    [
        frame.Heartbeat().marshal(),
        frame.Method(NUMBER, spec.Basic.CancelOk("tasks.a 1")).marshal(),
        frame.Method(0, spec.Connection.Blocked("memory")).marshal(),
        frame.Method(NUMBER, spec.Basic.Return(312, "NO_ROUTE", "x", "x")).marshal() + message(b"{}", "id"),
        frame.Method(2, spec.Basic.Ack(7)).marshal(),
    ]
)
streams = st.lists(whole | verdicts | others, max_size=12)


class Listener(Link):
    """A connection without a socket, which notes what came: read by pika alone, or by the bus where it can."""

    def __init__(self, *, alone: bool) -> None:
        self._frame_buffer = b""
        self.bytes_received = 0
        self.heard: list[object] = []
        self.by_the_bus = 0
        self._assembler = ContentFrameAssembler()
        self.take = None if alone else self._take

    def hear(self, data: bytes) -> None:
        self._on_data_available(data)

    def _take(self, buffer: bytes) -> int:
        arrivals, place = deliveries(buffer, NUMBER, CHANNELS)
        told, end = confirmations(buffer[place:], NUMBER)
        self.heard += [*arrivals, *told]
        self.by_the_bus += len(arrivals) + len(told)
        return place + end

    def _process_frame(self, frame_value: Any) -> None:
        if isinstance(frame_value, frame.Heartbeat) or frame_value.channel_number != NUMBER:
            self.heard.append(repr(frame_value))
        elif isinstance(frame_value, frame.Method) and isinstance(frame_value.method, spec.Basic.Ack | spec.Basic.Nack):
            method = frame_value.method
            self.heard.append(Verdict(method.delivery_tag, method.multiple, method.NAME == "Basic.Ack"))
        elif isinstance(frame_value, frame.Method) and not spec.has_content(frame_value.method.INDEX):
            self.heard.append(repr(frame_value))
        elif content := self._assembler.process(frame_value):
            self.heard.append(as_told(*content))


def as_told(method: Any, header: Any, body: bytes) -> object:
    """What pika has read, in the form in which the bus reads it where it can."""
    channel = CHANNELS.get(getattr(method.method, "consumer_tag", "").encode())
    properties = header.properties
    if channel is None or properties.headers or properties.message_id is None or properties.user_id is None:
        return method.method, properties, body
    told = method.method
    return Arrival(channel, told.delivery_tag, told.redelivered, properties.message_id, properties.user_id, body)


def pieces(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in itertools.pairwise(places)]


@given(stream=streams, cuts=st.lists(st.integers(0, 1 << 16), max_size=8))
def test_what_came_is_the_same_in_the_same_order_wherever_the_bytes_are_cut(
    stream: list[bytes], cuts: list[int]
) -> None:
    by_pika, by_us = Listener(alone=True), Listener(alone=False)

    for piece in pieces(b"".join(stream), cuts):
        by_pika.hear(piece)
        by_us.hear(piece)

    assert by_us.heard == by_pika.heard
    assert by_us.bytes_received == by_pika.bytes_received


def test_a_burst_of_what_the_bus_publishes_is_read_without_pika() -> None:
    stream = [
        frame.Method(NUMBER, spec.Basic.Deliver("tasks.a 1", tag, exchange="tasks.a", routing_key="tasks.a")).marshal()
        + message(b"x" * (tag % MOST), f"id-{tag}")
        for tag in range(1, 101)
    ]
    listener = Listener(alone=False)

    listener.hear(b"".join(stream))

    assert listener.by_the_bus == 100
    assert listener.heard[6] == Arrival(tasks("a"), 7, redelivered=False, message_id="id-7", user="bus", body=b"x" * 7)


@pytest.mark.parametrize(
    "read", [lambda data: deliveries(data, NUMBER, CHANNELS), lambda data: confirmations(data, NUMBER)]
)
@given(stream=st.lists(whole | verdicts, min_size=1, max_size=3), data=st.data())
def test_of_bytes_that_are_wrong_nothing_is_taken_but_what_pika_would_read(
    read: Callable[[bytes], tuple[list[object], int]], stream: list[bytes], data: st.DataObject
) -> None:
    wrong = bytearray(b"".join(stream))
    for _ in range(data.draw(st.integers(0, 3))):
        wrong[data.draw(st.integers(0, len(wrong) - 1))] = data.draw(st.integers(0, 255))
    by_pika = Listener(alone=True)

    told, place = read(bytes(wrong))
    by_pika.hear(bytes(wrong[:place]))

    assert told == by_pika.heard
    assert by_pika.bytes_received == place


def test_no_single_byte_can_be_wrong_without_being_read_as_pika_reads_it() -> None:
    delivery = frame.Method(NUMBER, spec.Basic.Deliver("tasks.a 1", 5, exchange="x", routing_key="x")).marshal()
    stream = delivery + message(b"body", "id") + frame.Method(NUMBER, spec.Basic.Ack(6)).marshal()
    for place, right in enumerate(stream):
        for wrong in {0, 1, 2, right ^ 1, (right + 1) % 256, (right - 1) % 256, 0xCE, 0xFF} - {right}:
            bytes_of_both = stream[:place] + bytes((wrong,)) + stream[place + 1 :]
            by_pika = Listener(alone=True)

            told, end = deliveries(bytes_of_both, NUMBER, CHANNELS)
            more, length = confirmations(bytes_of_both[end:], NUMBER)
            by_pika.hear(bytes_of_both[: end + length])

            assert [*told, *more] == by_pika.heard, (place, wrong)
            assert by_pika.bytes_received == end + length, (place, wrong)


@given(tag=st.integers(1, (1 << 64) - 1), multiple=st.booleans())
def test_an_acknowledgement_has_the_bytes_that_pika_would_send(tag: int, *, multiple: bool) -> None:
    assert ack(NUMBER, tag, multiple=multiple) == frame.Method(NUMBER, spec.Basic.Ack(tag, multiple)).marshal()
