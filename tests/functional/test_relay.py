"""The relay beside those who decide: confirmations hold nobody up, and what was left or forgotten is sent again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bus.bootstrap import running
from bus.errors import BrokerBusyError, BrokerUnavailableError
from bus.message.channel import POISON, control
from bus.ports import Publisher
from bus.runtime.process_manager import ProcessManager
from bus.runtime.relay import Relay
from tests.support.runtime_rig import AGENCIES, A, B, RuntimeRig, runtime
from tests.support.slow_broker import Clock, admitted, slow
from tests.support.waiting import wait_for


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[RuntimeRig]:
    with admitted(tmp_path) as made:
        yield made


def in_time(body: Callable[[], object]) -> None:
    """The body ends, and does not hang."""
    thread = threading.Thread(target=body, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive(), "it still waits"


def test_a_relay_that_waits_for_confirmations_holds_up_nobody_who_decides(rig: RuntimeRig) -> None:
    with slow(rig) as (broker, manager, _):
        # Given a relay that waits, in the process of those who decide
        manager.decide([rig.incoming("one")])
        rows = rig.store.leftovers(2**62, 10, 1_000)
        broker.confirms.clear()
        relayed: list[int] = []
        relay = threading.Thread(target=lambda: relayed.append(manager.publish(rows)), daemon=True)
        relay.start()
        wait_for("the relay has published", lambda: broker.made[0].unsaid)
        # When something is decided, then that does not wait
        in_time(lambda: manager.decide([rig.incoming("two")]))
        assert relay.is_alive()
        # And the relay hears what was said of its own
        broker.made[0].say()
        relay.join(20)
        assert relayed == [len(rows)]


def test_a_connection_that_was_lost_is_not_made_anew_by_those_who_decide(rig: RuntimeRig) -> None:
    with slow(rig) as (broker, manager, clock):
        broker.confirms.clear()
        manager.decide([rig.incoming("one")])
        first = broker.made[0]
        # When the connection is lost, and the broker cannot be reached
        first.say(lost=True)
        broker.no_connection = BrokerUnavailableError()
        manager.tend()
        broker.no_connection = None
        manager.decide([rig.incoming("two")])
        assert (first.is_closed, len(broker.made)) == (True, 1)
        # Then it is tried again after a while, and by whoever tends it
        manager.tend()
        assert len(broker.made) == 1
        clock.now += 2_000
        manager.decide([rig.incoming("three")])
        assert len(broker.made) == 1
        manager.tend()
        broker.confirms.set()
        manager.decide([rig.incoming("four")])
        assert (len(broker.made), broker.posted) == (2, 2)


def test_the_word_of_a_connection_that_is_long_gone_costs_its_successor_nothing(rig: RuntimeRig) -> None:
    with slow(rig) as (broker, manager, _):
        broker.confirms.clear()
        manager.decide([rig.incoming("one")])
        manager.decide([rig.incoming("two")])
        first = broker.made[0]
        late = first.unsaid.pop()
        first.say(lost=True)
        manager.tend()
        # When the first says once more that it is lost
        late[0](None)
        # Then the second still serves
        manager.decide([rig.incoming("three")])
        assert (len(broker.made), broker.made[1].is_closed, len(broker.made[1].unsaid)) == (2, False, 1)


def test_a_broker_that_takes_nothing_is_left_in_peace_for_a_while_and_kept(rig: RuntimeRig) -> None:
    with slow(rig) as (broker, manager, clock):
        manager.decide([rig.incoming("one")])
        broker.no_post = BrokerBusyError()
        manager.decide([rig.incoming("two")])
        manager.decide([rig.incoming("three")])
        assert broker.posted == 2
        clock.now += 2_000
        broker.no_post = None
        manager.decide([rig.incoming("four")])
        assert (broker.posted, len(broker.made), broker.made[0].is_closed) == (3, 1, False)


def test_what_is_confirmed_is_deleted_though_nobody_decides_any_more(rig: RuntimeRig) -> None:
    with slow(rig) as (_, manager, clock):
        manager.decide([rig.incoming("one")])
        left = rig.store.outbox_depth()
        # Under load the next transaction takes it along
        manager.tend()
        assert rig.store.outbox_depth() == left > 0
        # Without any, it goes before the relay takes it for left over
        clock.now += 2_000
        manager.tend()
        assert rig.store.outbox_depth() == 0


def test_what_is_confirmed_while_a_process_ends_is_deleted(rig: RuntimeRig) -> None:
    with slow(rig) as (broker, manager, _):
        broker.confirms.clear()
        manager.decide([rig.incoming("one")])
        assert rig.store.outbox_depth() > 0
    assert rig.store.outbox_depth() == 0


def test_a_relay_that_starts_ends_its_start_though_others_go_on_writing(rig: RuntimeRig) -> None:
    def away() -> Publisher:
        raise BrokerUnavailableError

    parts = rig.parts
    other = ProcessManager(store=rig.store, publisher=away, tools=parts.tools, dispatcher=parts.dispatcher)
    other.decide([rig.incoming("before")])
    with slow(rig) as (broker, manager, _):
        numbers = iter(range(50))

        def write_more() -> None:
            rig.pass_time(1)
            if (number := next(numbers, None)) is not None:
                other.decide([rig.incoming(f"meanwhile {number}")])

        broker.before_post = write_more
        relay = Relay(rig.store, rig.broker, manager, parts.tools.keys, rig.settings)
        relay.drain(lambda: False)
        assert broker.posted < 5
    assert rig.store.outbox_depth() > 0


def test_the_relay_takes_what_another_process_left_only_once_it_is_old(rig: RuntimeRig) -> None:
    def away() -> Publisher:
        raise BrokerUnavailableError

    parts = rig.parts
    other = ProcessManager(store=rig.store, publisher=away, tools=parts.tools, dispatcher=parts.dispatcher)
    other.decide([rig.incoming("one")])
    left = rig.store.outbox_depth()
    # What is young may be on its way
    assert (rig.relay.step(), rig.store.outbox_depth()) == (0, left)
    rig.pass_time(6_000)
    assert (rig.relay.step(), rig.store.outbox_depth()) == (left, 0)


def test_a_relay_sees_while_it_works_that_the_broker_was_wiped(rig: RuntimeRig) -> None:
    clock = Clock()
    relay = Relay(rig.store, rig.broker, rig.manager, rig.parts.tools.keys, rig.settings, AGENCIES, clock)
    relay.step()
    rig.submit("one")
    (task,) = rig.tasks(A)
    known = rig.store.epoch()
    # When the broker has forgotten everything
    rig.broker._epochs.clear()  # type: ignore[attr-defined]  # noqa: SLF001 - an accident of the broker
    clock.now += 2_000
    relay.step()
    # Then another epoch has begun, and the task leaves again
    assert rig.store.epoch() not in {None, known}
    assert [again.body for again in rig.tasks(A)] == [task.body]


def test_a_relay_makes_the_channels_of_an_agency_of_whose_hosts_nothing_is_heard(rig: RuntimeRig) -> None:
    # Given two agencies without the channel from which their hosts would hear that they are admitted
    clock, queues = Clock(), rig.broker._queues  # type: ignore[attr-defined]  # noqa: SLF001 - an accident
    relay = Relay(rig.store, rig.broker, rig.manager, rig.parts.tools.keys, rig.settings, AGENCIES, clock)
    clock.now += 6_000
    relay.step()
    for agency in (A, B):
        del queues._names[control(agency)]  # noqa: SLF001
    # When the relay comes by, then that of the silent one is made
    clock.now += 6_000
    relay.step()
    assert (queues.name(control(A)) is None, queues.name(control(B)) is None) == (True, False)


def test_a_relay_makes_the_channel_of_what_is_given_up_though_the_bus_sends_nothing_there(rig: RuntimeRig) -> None:
    # Given that of all agencies something is heard, and that nothing is refused
    clock, queues = Clock(), rig.broker._queues  # type: ignore[attr-defined]  # noqa: SLF001 - an accident
    relay = Relay(rig.store, rig.broker, rig.manager, rig.parts.tools.keys, rig.settings, (A,), clock)
    clock.now += 6_000
    relay.step()
    del queues._names[POISON]  # noqa: SLF001
    clock.now += 6_000
    relay.step()
    assert queues.name(POISON) is not None


def test_a_gateway_alone_leaves_the_relay_nothing_that_the_broker_has(tmp_path: Path) -> None:
    with runtime(tmp_path) as rig, running(rig.parts, hosts=False, roles=["gateway"]):
        rig.admit(A)
        rig.submit("one")
        # Nobody decides anything more here, and the relay is in another process
        wait_for("the rows are deleted", lambda: rig.store.outbox_depth() == 0)
