"""While the broker takes nothing and the outbox is full, nothing new is accepted, and nothing accepted is lost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bus.bench import fanout
from bus.config import Settings
from bus.errors import TransientError
from bus.message.channel import tasks
from bus.operations.admission import Admission
from bus.ports import Changes, OutboxRow, Payload
from bus.stores.sqlite import SqliteStore, migrate


@pytest.fixture
def store(tmp_path: Path) -> SqliteStore:
    migrate(tmp_path / "store.db")
    return SqliteStore(tmp_path / "store.db")


def fill(store: SqliteStore, count: int) -> None:
    row = OutboxRow(
        key=0, channel=tasks(fanout.AGENCIES[0]), message_id="m", type="t", correlation_id="", payload_id=1,
        request_key=None,
    )  # fmt: skip
    with store.transaction() as transaction:
        transaction.write(
            Changes(
                payloads=[Payload(id=1, request_key=None, bytes=b"{}")],
                outbox=[replace(row, key=key) for key in range(1, count + 1)],
            )
        )


def test_nothing_new_is_accepted_while_too_much_waits_for_the_broker(store: SqliteStore) -> None:
    now = 0
    admission = Admission(store, Settings(outbox_most=3), lambda: now)
    admission.check("portal", "key")

    fill(store, 4)
    now += 1_000
    with pytest.raises(TransientError) as caught:
        admission.check("portal", "key")

    assert caught.value.code == "outbox-full"
    store.confirm([1])
    now += 1_000
    admission.check("portal", "key")


def test_one_look_counts_for_a_second(store: SqliteStore) -> None:
    admission = Admission(store, Settings(outbox_most=3), lambda: 0)
    admission.check("portal", "key")
    fill(store, 4)

    admission.check("portal", "key")
