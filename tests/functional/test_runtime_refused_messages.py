"""A message that the broker takes in no way is shown to people under a code of its own, and holds up no other."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import pytest

from bus.errors import ConfigurationError, Fault
from bus.message.channel import Channel, tasks
from bus.ports import Confirmation, FailureRow, Outgoing, Publisher, Told
from bus.runtime.process_manager import ProcessManager
from bus.runtime.relay import YOUNG, Relay
from tests.support.runtime_rig import AGENCIES, A, B, RuntimeRig, runtime

CONFIRMED = Confirmation.CONFIRMED


class Picky:
    """A publisher over a broker that does not take everything."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        #: Requests whose tasks for `A` are taken in no way; and channels that take nothing at all.
        self.minded: set[str] = set()
        self.full: set[Channel] = set()

    def publish(self, batch: Sequence[Outgoing]) -> tuple[Confirmation, ...]:
        minds = [message.correlation_id in self.minded and message.channel == tasks(A) for message in batch]
        if self.full:
            return tuple(Confirmation.REFUSED if one.channel in self.full else CONFIRMED for one in batch)
        told = iter(self._publisher.publish([one for one, bad in zip(batch, minds, strict=True) if not bad]))
        return tuple(Confirmation.UNACCEPTABLE if bad else next(told) for bad in minds)

    def post(self, batch: Sequence[Outgoing], told: Told) -> None:
        told(self.publish(batch))

    def close(self) -> None:
        self._publisher.close()


class House:
    """A bus of which every process publishes through such a broker."""

    def __init__(self, rig: RuntimeRig) -> None:
        self.rig = rig
        self.picky = Picky(rig.broker.publisher())
        self.manager = ProcessManager(
            store=rig.store, publisher=lambda: self.picky, tools=rig.parts.tools, dispatcher=rig.parts.dispatcher
        )
        self.relay = Relay(rig.store, rig.broker, self.manager, rig.parts.tools.keys, rig.settings)
        self.relay.connect()

    def submit(self, *names: str, minded: bool) -> None:
        incoming = [self.rig.incoming(name) for name in names]
        if minded:
            self.picky.minded |= {one.request_id for one in incoming}
        self.manager.decide(incoming)

    def relay_comes_by(self) -> None:
        """As it does once a lease is over."""
        self.rig.pass_time(YOUNG + self.rig.settings.lease)
        self.relay.step()
        self.relay.step()

    def shown(self) -> list[FailureRow]:
        return self.rig.failures()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with runtime(tmp_path) as rig:
        rig.admit(*AGENCIES)
        rig.manager.flush()
        house = House(rig)
        yield house
        house.manager.close()


def test_it_is_shown_as_such_and_not_as_a_channel_that_refuses_while_the_others_of_its_channel_go_on(
    house: House,
) -> None:
    # Given one message that the broker takes in no way, and one beside it
    house.submit("bad", minded=True)
    house.submit("good", minded=False)
    # When the relay comes by
    house.relay_comes_by()
    # Then a person sees what it is, and nothing is said against the channel
    assert [(one.code, one.agency, one.request_id) for one in house.shown()] == [("message_refused", A, None)]
    assert house.manager.refusing == frozenset()
    assert (len(house.rig.tasks(A)), len(house.rig.tasks(B))) == (1, 2)


def test_a_channel_that_refuses_and_cannot_be_made_again_is_shown_all_the_same_and_holds_up_no_other(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given two channels that take nothing, one of which stands in the broker otherwise than the bus would make it
    made: list[Channel] = []

    def apply(channels: Collection[Channel]) -> None:
        if tasks(A) in channels:
            raise ConfigurationError((Fault(code="topology-differs", message="It differs.", mend="Mend it."),))
        made.extend(channels)

    monkeypatch.setattr(house.rig.broker, "apply", apply)
    house.picky.full = {tasks(A), tasks(B)}
    house.submit("one", minded=False)
    # When the relay comes by
    house.relay_comes_by()
    # Then both are shown, and the other one is made again
    assert [(one.code, one.agency) for one in house.shown()] == [("channel_refuses", A), ("channel_refuses", B)]
    assert tasks(B) in made


def test_many_make_one_failure_that_counts(house: House) -> None:
    house.submit(*(f"bad {number}" for number in range(3)), minded=True)
    for _ in range(4):
        house.relay_comes_by()
    (failure,) = house.shown()
    assert failure.cause == f"{A}/-/message_refused"
    assert (failure.times or 0) >= 4


def test_whoever_closes_it_while_the_message_still_waits_sees_it_again(house: House) -> None:
    house.submit("bad", minded=True)
    house.relay_comes_by()
    (first,) = house.shown()
    house.rig.store.close_failure(first.key, "looked at")
    house.relay_comes_by()
    (again,) = house.shown()
    assert (again.code, again.key == first.key) == ("message_refused", False)


def test_once_the_broker_takes_it_the_stored_bytes_arrive_and_nothing_more_is_counted(house: House) -> None:
    # Given a message that was refused, and shown
    house.submit("bad", minded=True)
    house.relay_comes_by()
    (before,) = house.shown()
    # When somebody mends the broker
    house.picky.minded.clear()
    house.relay_comes_by()
    house.relay_comes_by()
    # Then
    (task,) = house.rig.tasks(A)
    step = house.rig.step(task.envelope.correlationid or "")
    assert house.rig.store.payloads([step.task_id or 0]) == {step.task_id: task.body}
    (after,) = house.shown()
    assert after.times == before.times
    assert house.rig.store.outbox_depth() == 0
