"""A host of the first release beside today's bus, and a bus of the first release before today's host.

Neither is there any more: what they sent is, byte for byte, and whoever plays them here fills in those messages by hand
and knows no attribute beyond theirs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from bus.bench import fanout
from bus.message import channel
from bus.message.envelope import decode
from bus.message.identity import interaction_id
from bus.message.instant import to_rfc3339
from bus.message.replies import reply_from_message
from bus.message.reply import Completed
from bus.ports import Consumer, Incoming, Outgoing
from bus.process.event import CancelAsked
from bus.process.state import RequestState
from tests.conformance.golden.versions import bodies
from tests.support.host_rig import AGENCY, Rig
from tests.support.runtime_rig import AGENCIES, RuntimeRig, runtime

V1: Mapping[str, Mapping[str, Any]] = {name: json.loads(body) for name, body in bodies("v1").items()}
Event = dict[str, Any]


def filled(name: str, data: Mapping[str, Any] | None = None, **values: Any) -> bytes:
    """A message of the first version with other values: none of its attributes more, none less."""
    event = {**V1[name], **values}
    assert event.keys() == V1[name].keys(), name
    return json.dumps(event if data is None else {**event, "data": data}, ensure_ascii=False).encode()


def known(body: bytes) -> Event:
    """The message, of which a program of the first release knows every attribute; else it would refuse it."""
    event: Event = json.loads(body)
    attributes = {name for one in V1.values() if one["type"] == event["type"] for name in one}
    assert event.keys() <= attributes, event.keys() - attributes
    return event


@dataclass
class HostOfV1:
    """As simple as a host can be: it remembers in memory what it answered."""

    rig: RuntimeRig
    agency: str
    journal: str = field(default_factory=lambda: str(uuid4()))
    start: str = field(default_factory=lambda: str(uuid4()))
    done: dict[str, bytes] = field(default_factory=dict)
    seen: list[str] = field(default_factory=list)
    seq: int = 1
    #: Whether what it says reaches the bus.
    is_heard: bool = True
    consumer: Consumer | None = None

    def announce(self) -> None:
        data = {**V1["host.started"]["data"], "startid": self.start, "operations": {fanout.OPERATION: "0" * 64}}
        self.say(filled("host.started", data, **self.myself()))

    def alive(self) -> None:
        self.say(filled("host.alive", {"startid": self.start}, **self.myself()))

    def work(self) -> None:
        """Take what there is, and answer it."""
        if self.consumer is None:
            channels = [channel.tasks(self.agency), channel.control(self.agency)]
            self.consumer = self.rig.broker.consumer(channels, 100)
        taken = self.consumer.collect(100, 0)
        for delivery in taken:
            self.take(known(delivery.body))
        self.consumer.acknowledge(taken)

    def take(self, event: Event) -> None:
        self.seen.append(event["type"])
        interaction = event.get("interactionid", "")
        match event["type"]:
            case "bus.host.admitted.v1":
                assert (event["data"]["startid"], event["journalid"]) == (self.start, self.journal)
            case "bus.task.requested.v1":
                self.done.setdefault(interaction, self.reply("task.completed", event, event["data"]))
                self.say(self.done[interaction])
            case "bus.task.queried.v1" | "bus.task.withdrawn.v1":
                failed = {**V1["task.failed"]["data"], "code": "never_seen", "retryable": False}
                self.say(self.done.get(interaction) or self.reply("task.failed", event, failed))

    def reply(self, name: str, to: Event, data: Mapping[str, Any]) -> bytes:
        self.seq += 1
        same = ("correlationid", "interactionid", "edit", "attempt", "service", "step", "kind", "operation")
        return filled(
            name, data, **{key: to[key] for key in same}, causationid=to["id"], **{**self.myself(), "id": str(uuid4())}
        )

    def myself(self) -> Event:
        source = f"/agency/{self.agency}"
        about = {"provider": self.agency, "journalid": self.journal, "journalseq": self.seq}
        return {"id": str(uuid4()), "source": source, "time": to_rfc3339(self.rig.store.now()), **about}

    def say(self, body: bytes) -> None:
        event = json.loads(body)
        if self.is_heard:
            self.rig.say_bytes(self.agency, body, event["type"], event["id"])


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[RuntimeRig]:
    with runtime(tmp_path) as made:
        yield made


def admitted(rig: RuntimeRig) -> list[HostOfV1]:
    hosts = [HostOfV1(rig, name) for name in AGENCIES]
    for host in hosts:
        host.announce()
    rig.settle()
    rig.relay.step()
    for host in hosts:
        host.work()
        assert host.seen == ["bus.host.admitted.v1"]
        host.alive()
    rig.settle()
    return hosts


def test_a_host_of_the_first_release_serves_requests_beside_todays_bus(rig: RuntimeRig) -> None:
    # Given old hosts of all agencies
    hosts = admitted(rig)
    # When requests come
    requests = rig.submit("one", "two", "three")
    for host in hosts:
        host.work()
    rig.settle()
    # Then they are completed with what the hosts said, in results as the first release told them
    assert {rig.request(id_).state for id_ in requests} == {RequestState.COMPLETED}
    assert rig.codes() == []
    results = [body for _, body in rig.store.results(fanout.CONSUMER, after=0, most=10)]
    assert len(results) == 3
    for body in results:
        assert known(body)["data"]["result"] == dict.fromkeys(AGENCIES, fanout.submission(1)["id"])


def test_a_host_of_the_first_release_is_heard_when_a_request_is_taken_back(rig: RuntimeRig) -> None:
    # Given a request of which one old host has done its part and said so to nobody, and the others never heard
    first, *others = admitted(rig)
    (request,) = rig.submit("one")
    for host in others:
        assert rig.tasks(host.agency)
    first.is_heard = False
    first.work()
    # When it is taken back
    first.is_heard = True
    event = CancelAsked(actor="portal", reason="asked by phone")
    rig.decide(Incoming(request_id=request, event=event))
    for host in (first, *others):
        host.work()
        assert host.seen[-1] == "bus.task.withdrawn.v1"
    rig.settle()
    # Then what each of them says counts
    assert rig.request(request).state is RequestState.CANCELLED
    states = [rig.step(request, host.agency).state.value for host in (first, *others)]
    assert states == ["succeeded", "cancelled", "cancelled", "cancelled"]


# --- today's host ---------------------------------------------------------------------------------------------------


def asked_by_v1(rig: Rig, name: str, step: str, **values: Any) -> bytes:
    interaction = interaction_id(rig.request_id, step, None, "task", 0)
    return filled(
        name,
        **{"data": {"do": "succeed"}} if "data" in V1[name] else {},
        id=str(uuid4()),
        correlationid=rig.request_id,
        interactionid=interaction,
        step=step,
        provider=AGENCY,
        operation="deed.at_most_once.v1",
        journalid=rig.journal_id,
        **values,
    )


def told(rig: Rig, *bodies_: bytes) -> list[Event]:
    """Send them as a bus of the first release did, and give the replies that came, every one of them known to it."""
    before = len(rig.heard)
    publisher = rig.broker.publisher()
    outgoing = [
        Outgoing(
            channel=channel.tasks(AGENCY), message_id=event["id"], type=event["type"], correlation_id="", body=body
        )
        for body in bodies_
        for event in [json.loads(body)]
    ]
    publisher.publish(outgoing)
    publisher.close()
    rig.settle()
    return [known(message.body) for message in rig.heard[before:]]


def test_todays_host_takes_what_a_bus_of_the_first_release_asks(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.start()
    assert [known(message.body)["type"] for message in rig.heard][:1] == ["bus.host.started.v1"]

    # A task, the same once more, and what became of it
    task = asked_by_v1(rig, "task.requested", "plot")
    for asked in (task, task, asked_by_v1(rig, "task.queried", "plot"), asked_by_v1(rig, "task.withdrawn", "plot")):
        (reply,) = [one for one in told(rig, asked) if one["type"] == "bus.task.completed.v1"]
        assert isinstance(reply_from_message(decode(json.dumps(reply).encode())), Completed)
    assert rig.legacy.effects(rig.interaction("plot")) == 1

    # A withdrawal that overtakes its task
    (refused,) = told(rig, asked_by_v1(rig, "task.withdrawn", "garden"))
    assert refused["data"]["code"] == "withdrawn"
    (dead,) = told(rig, asked_by_v1(rig, "task.requested", "garden"))
    assert (dead["data"]["code"], dead["data"]["effect"], dead["data"]["retryable"]) == ("withdrawn", "none", False)
    assert rig.legacy.effects(rig.interaction("garden")) == 0
    rig.host.close()
    rig.journal.close()
    rig.broker.close()
