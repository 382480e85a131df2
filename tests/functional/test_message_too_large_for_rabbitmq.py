"""A RabbitMQ that is set to take less than the bus sends: it is told, shown, and mended without a restart."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from bus.bench import fanout
from bus.bench.services import RabbitNode
from bus.brokers.rabbitmq import RabbitBroker
from bus.message.channel import control, replies, tasks
from bus.message.envelope import decode
from bus.runtime.process_manager import ProcessManager
from bus.runtime.relay import YOUNG, Relay
from tests.conformance.broker_contract import settle
from tests.support.runtime_rig import AGENCIES, A, RuntimeRig, runtime
from tests.support.services import new_vhost

#: A task with nothing in its note is smaller, and one with a long note is larger.
LIMIT = 2_000
SMALL, LARGE = {**fanout.submission(1), "note": ""}, {**fanout.submission(2), "note": "x" * LIMIT}


@pytest.fixture
def node(tmp_path: Path) -> Iterator[RabbitNode]:
    with RabbitNode(tmp_path / "rabbit", settings={"max_message_size": str(LIMIT)}) as started:
        yield started


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[RuntimeRig]:
    with runtime(tmp_path / "store") as made:
        made.admit(*AGENCIES)
        made.manager.flush()
        yield made


def comes_down_to(rig: RuntimeRig, manager: ProcessManager, count: int) -> bool:
    """Whether before long the broker has taken all but so many messages."""
    until = time.monotonic() + 30
    while rig.store.outbox_depth() != count and time.monotonic() < until:
        threading.Event().wait(0.01)
        manager.flush()
    return rig.store.outbox_depth() == count


def test_what_is_too_large_for_the_broker_is_shown_and_arrives_once_somebody_mends_it(
    node: RabbitNode, rig: RuntimeRig, capsys: pytest.CaptureFixture[str]
) -> None:
    # Given a bus over such a broker, and a request that is too large beside one that is not
    place = new_vhost(node.admin)
    with closing(RabbitBroker(place.url, user=place.user, password=place.password)) as broker:
        broker.apply([channel(name) for name in AGENCIES for channel in (tasks, control, replies)])
        manager = ProcessManager(
            store=rig.store, publisher=broker.publisher, tools=rig.parts.tools, dispatcher=rig.parts.dispatcher
        )
        relay = Relay(rig.store, broker, manager, rig.parts.tools.keys, rig.settings)
        relay.connect()
        manager.decide([rig.incoming("large", LARGE), rig.incoming("small", SMALL)])
        assert comes_down_to(rig, manager, len(AGENCIES))
        # When the relay comes by
        for _ in range(2):
            rig.pass_time(YOUNG + rig.settings.lease)
            relay.step()
            relay.step()
        # Then a failure of each agency says so, with the broker's reason and the request in the log
        assert {(one.code, one.agency) for one in rig.failures()} == {("message_refused", name) for name in AGENCIES}
        lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
        assert {line["cause"] for line in lines if line["event"] == "message_refused"} == {"too-large"}
        refused = {line["request_id"] for line in lines if line["event"] == "publish_refused"}
        assert "log_withheld" not in {line["event"] for line in lines}
        # When somebody lets the broker take more
        node.ctl("eval", "persistent_term:put(max_message_size, 1000000).")
        rig.pass_time(YOUNG + rig.settings.lease)
        relay.drain(lambda: False)
        # Then it arrives, too
        found = settle(broker.consumer([tasks(A)], 10), 2)
        assert len(refused) == 1
        assert {decode(one.body).envelope.correlationid for one in found} > refused
        manager.close()
