"""The yardstick ``bare``: the same messages through kombu's memory transport, one committed insert each, no bus."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import kombu

#: kombu says that it is typed, but its functions are not.
_KOMBU: Final[Any] = kombu
#: One submission, four tasks, four replies, one result.
MESSAGES = 10


def bare(folder: Path, requests: int, body: bytes) -> float:
    """Requests per second: each of a request's messages is published, consumed, inserted, committed, acknowledged."""
    queue = f"bare-{uuid4()}"
    store = sqlite3.connect(folder / "bare.db", isolation_level=None)
    store.execute("PRAGMA journal_mode = WAL")
    store.execute("PRAGMA synchronous = FULL")
    store.execute("CREATE TABLE message (id INTEGER PRIMARY KEY, body BLOB NOT NULL)")
    with _KOMBU.Connection("memory://", transport_options={"polling_interval": 0.001}) as connection:
        channel = connection.default_channel
        queue_ = _KOMBU.Queue(queue, channel=channel)
        queue_.declare()
        producer = _KOMBU.Producer(channel)
        begun = time.perf_counter()
        for _ in range(requests * MESSAGES):
            producer.publish(
                body, routing_key=queue, content_type="application/octet-stream", content_encoding="binary"
            )
            message = queue_.get(no_ack=False)
            store.execute("INSERT INTO message (body) VALUES (?)", (bytes(message.body),))
            message.ack()
        took = time.perf_counter() - begun
        queue_.delete()
    store.close()
    return requests / took
