"""A connection uses what pika does not call public: whoever moves to another version of it is told here."""

from __future__ import annotations

import pytest
from pika.adapters.select_connection import IOLoop, SelectConnection  # type: ignore[import-untyped]
from pika.adapters.utils.io_services_utils import _AsyncPlaintextTransport  # type: ignore[import-untyped]
from pika.channel import Channel  # type: ignore[import-untyped]
from pika.connection import URLParameters  # type: ignore[import-untyped]

CONNECTION = (
    "_on_data_available",
    "_output_marshaled_frames",
    "_proto_connection_made",
    "_read_frame",
    "_terminate_stream",
    "_trim_frame_buffer",
)
CHANNEL = ("_cleanup_consumer_ref", "_rpc")
TRANSPORT = ("_MAX_CONSUME_BYTES", "_MAX_RECV_BYTES", "_on_socket_writable")


@pytest.mark.parametrize("name", CONNECTION)
def test_the_connection_has_what_a_link_builds_on(name: str) -> None:
    assert hasattr(SelectConnection, name)


@pytest.mark.parametrize("name", TRANSPORT)
def test_the_transport_has_what_a_link_builds_on(name: str) -> None:
    assert hasattr(_AsyncPlaintextTransport, name)


@pytest.mark.parametrize("name", CHANNEL)
def test_the_channel_has_what_subscriptions_build_on(name: str) -> None:
    assert callable(getattr(Channel, name))


def test_what_came_in_stands_in_the_buffer_that_a_link_reads() -> None:
    loop = IOLoop()
    connection = SelectConnection(
        URLParameters("amqp://nobody"), custom_ioloop=loop, internal_connection_workflow=False
    )
    loop.close()
    assert connection._frame_buffer == b""  # noqa: SLF001
    assert connection._transport is None  # noqa: SLF001
