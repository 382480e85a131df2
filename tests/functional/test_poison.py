"""What the broker gave up: sent once more, then shown to a person; never put back, and never forgotten."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from bus.message.channel import BUS_USER, POISON, Channel, host_user, replies, tasks
from bus.message.envelope import Message
from bus.message.instant import Milliseconds
from bus.ports import Consumer, Delivery, Outgoing
from bus.process.state import StepState
from bus.runtime import work
from bus.runtime.poison import PoisonConsumer
from tests.support.runtime_rig import A, B, RuntimeRig, runtime


class Vouched(Consumer):
    """A consumer of a broker that knows its users and where it gave up what it calls redelivered."""

    def __init__(self, consumer: Consumer, sender: str | None, died_in: Channel) -> None:
        self._consumer = consumer
        self._sender = sender
        self._died_in = died_in

    def collect(self, most: int, wait: Milliseconds) -> tuple[Delivery, ...]:
        found = self._consumer.collect(most, wait)
        return tuple(replace(one, sender=self._sender, redelivered=True, died_in=self._died_in) for one in found)

    def acknowledge(self, deliveries: Collection[Delivery]) -> None:
        self._consumer.acknowledge(deliveries)

    def age(self) -> Milliseconds:
        return self._consumer.age()

    def pause(self, channel: Channel) -> None:
        self._consumer.pause(channel)

    def resume(self, channel: Channel) -> None:
        self._consumer.resume(channel)

    def close(self) -> None:
        self._consumer.close()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[RuntimeRig]:
    with runtime(tmp_path) as made:
        made.broker.apply([POISON])
        made.admit(A, B)
        yield made


def give_up(
    rig: RuntimeRig,
    *bodies: bytes,
    sender: str | None = BUS_USER,
    died_in: Channel = tasks(A),  # noqa: B008
) -> int:
    """The broker has brought these too often; how many were left of them once all was settled."""
    with closing(rig.broker.publisher()) as publisher:
        publisher.publish(
            [Outgoing(channel=POISON, message_id="m", type="any", correlation_id="", body=body) for body in bodies]
        )
    poison = PoisonConsumer(lambda: rig.broker.consumer([POISON], 20), rig.manager, rig.parts.tools.keys)
    with closing(Vouched(rig.broker.consumer([POISON], 20), sender, died_in)) as consumer:
        while poison.step(consumer):
            pass
    return rig.broker.depth(POISON)


def task_for(rig: RuntimeRig, name: str) -> Message:
    (task,) = rig.tasks(name)
    return task


def test_a_task_that_killed_its_hosts_leaves_once_more_as_the_same_bytes_and_then_waits_for_a_person(
    rig: RuntimeRig,
) -> None:
    # Given a task that the broker gave up
    (request,) = rig.submit("one")
    task, other = task_for(rig, A), task_for(rig, B)
    # When that is heard
    assert give_up(rig, task.body) == 0
    # Then it leaves again, the same bytes, and nothing of anybody else with it
    assert [again.body for again in rig.tasks(A)] == [task.body]
    assert rig.tasks(B) == []
    assert (rig.step(request).state, rig.step(request).reason) == (StepState.DISPATCHED, "poison")
    # And given up again, the step waits for a person who sees the bytes, and the other agency's step goes on
    assert give_up(rig, task.body) == 0
    assert rig.step(request).state is StepState.PARKED
    assert rig.codes() == ["poison"]
    assert rig.evidence(rig.failures()[0]) == task.body
    rig.answer(rig.reply(other))
    assert rig.step(request, B).state is StepState.SUCCEEDED
    assert rig.store.recount() == ()


def test_a_task_that_was_answered_meanwhile_is_nothing_any_more(rig: RuntimeRig) -> None:
    (request,) = rig.submit("one")
    task = task_for(rig, A)
    rig.answer(rig.reply(task))
    before = rig.request(request)
    assert give_up(rig, task.body) == 0
    assert rig.request(request) == before
    assert (rig.codes(), rig.tasks(A)) == ([], [])


def test_what_the_bus_itself_died_of_is_kept_with_its_bytes(rig: RuntimeRig) -> None:
    rig.submit("one")
    reply = rig.reply(task_for(rig, A))
    assert give_up(rig, reply.body, sender=host_user(A), died_in=replies(A)) == 0
    (failure,) = rig.failures()
    assert (failure.code, failure.agency, rig.evidence(failure)) == ("poison", A, reply.body)


def test_what_follows_from_one_that_breaks_the_code_is_left_to_a_person_who_sees_its_bytes(
    rig: RuntimeRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a task that the broker gave up, and a fault in what decides what follows
    (request,) = rig.submit("one")
    task, before = task_for(rig, A), rig.request(request)

    def breaks(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(work, "decide", breaks)
    # When that is heard
    assert give_up(rig, task.body) == 0
    # Then the broker has forgotten it, nothing was done about it, and a person is shown its bytes
    (failure,) = rig.failures()
    assert (failure.code, failure.agency) == ("poison", A)
    assert list(rig.store.payloads(rig.store.failure_messages(failure.key)).values()) == [task.body]
    assert rig.request(request) == before


def test_bytes_that_nobody_can_read_are_kept_and_counted_in_one_failure(rig: RuntimeRig) -> None:
    assert give_up(rig, b"\xff\x00", b"{}") == 0
    (failure,) = rig.failures()
    assert (failure.code, failure.times) == ("poison", 2)
    kept = rig.store.failure_messages(failure.key)
    assert sorted(rig.store.payloads(kept).values()) == [b"{}", b"\xff\x00"]


def test_a_task_of_a_request_that_the_store_does_not_know_is_shown(rig: RuntimeRig, tmp_path: Path) -> None:
    with runtime(tmp_path / "other") as other:
        other.admit(A)
        other.submit("elsewhere")
        task = task_for(other, A)
    assert give_up(rig, task.body) == 0
    assert [(failure.code, failure.agency, rig.evidence(failure)) for failure in rig.failures()] == [
        ("poison", A, task.body)
    ]


def test_an_agency_cannot_have_the_step_of_another_parked(rig: RuntimeRig) -> None:
    # Given a task for one agency, and its bytes from the user of another
    (request,) = rig.submit("one")
    task = task_for(rig, A)
    # When the broker gave those up, twice
    give_up(rig, task.body, task.body, sender=host_user(B), died_in=replies(B))
    # Then nothing became of the step, and a person is shown that it came twice
    assert (rig.step(request).state, rig.step(request).reason) == (StepState.DISPATCHED, None)
    assert rig.tasks(A) == []
    assert [(failure.code, failure.times) for failure in rig.failures()] == [("poison", 2)]


def test_what_killed_its_readers_is_told_of_the_channel_in_which_it_did_whomever_it_names(rig: RuntimeRig) -> None:
    # Given messages in which a host of one agency names others, those that there are and those that there are not
    rig.submit("one")
    sound = rig.reply(task_for(rig, A)).body
    crafted = [sound.replace(f'"{A}"'.encode(), f'"{name}"'.encode()) for name in (B, "moon", "mars")]
    assert len({sound, *crafted}) == 4
    # When the broker gave them up in that agency's channel
    assert give_up(rig, *crafted, sender=host_user(A), died_in=replies(A)) == 0
    # Then one failure says so, and it is that agency's
    assert [(failure.agency, failure.times) for failure in rig.failures()] == [(A, 3)]
