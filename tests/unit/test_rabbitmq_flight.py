"""Each message of a publisher is told what became of it, once, whatever the broker says of those beside it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bus.brokers.rabbitmq_flight import WINDOW, Batch, Flight
from bus.brokers.rabbitmq_reading import Verdict
from bus.message.channel import tasks
from bus.ports import Confirmation

CONFIRMED, REFUSED, UNROUTABLE = Confirmation.CONFIRMED, Confirmation.REFUSED, Confirmation.UNROUTABLE


def batch_of(names: list[str]) -> Batch:
    return Batch(
        channels=[tasks(name.partition(" ")[0]) for name in names],
        message_ids=names,
        frames=[f"{name};".encode() for name in names],
        said=[None] * len(names),
        left=len(names),
        told=lambda _said: None,
    )


class FakeBroker:
    """Takes one message after the other, as RabbitMQ does; of a bad one it says only that one was bad.

    It tells of what it took only ``late`` messages later, and of those no more once it has closed the channel.
    """

    def __init__(self, flight: Flight, *, multiple: bool = False, late: int = 0) -> None:
        self.flight = flight
        self.ended: list[Batch] = []
        self.turns = 0
        self._multiple = multiple
        self._late = late
        self._tag = 0

    def run(self) -> None:
        while sent := self.flight.send(0.0):
            self.turns += 1
            self.take([name.decode() for name in sent.split(b";")[:-1]])

    def take(self, names: list[str]) -> None:
        first = self._tag + 1
        for place, name in enumerate(names):
            self._tag += 1
            if name.startswith("nowhere") or "bad" in name:
                self._tell(first, names[: max(0, place - self._late)])
                self._close(name)
                return
            if "loose" in name:
                self.flight.returned(name, tasks("a"))
        self._tell(first, names)

    def _tell(self, first: int, names: list[str]) -> None:
        verdicts = [Verdict(tag, multiple=False, is_taken="full" not in name) for tag, name in enumerate(names, first)]
        if self._multiple and verdicts and all(one.is_taken for one in verdicts):
            verdicts = [verdicts[-1]._replace(multiple=True)]
        self.ended += self.flight.judge(verdicts).ended

    def _close(self, name: str) -> None:
        self._tag = 0
        if name.startswith("nowhere"):
            self.ended += self.flight.set_aside(tasks("nowhere"), UNROUTABLE).ended
        else:
            self.ended += self.flight.single_out()[1].ended


kinds = st.sampled_from(["a", "a", "a", "a bad", "a loose", "a full", "nowhere"])


@given(
    batches=st.lists(st.lists(kinds, min_size=1, max_size=8), max_size=4),
    multiple=st.booleans(),
    late=st.integers(0, 3),
)
def test_a_message_that_is_refused_falls_alone(batches: list[list[str]], *, multiple: bool, late: int) -> None:
    flight = Flight()
    made = [
        batch_of([f"{kind} {place}.{number}" for number, kind in enumerate(batch)])
        for place, batch in enumerate(batches)
    ]
    for batch in made:
        flight.add(batch)
    broker = FakeBroker(flight, multiple=multiple, late=late)

    broker.run()

    assert sorted(map(id, broker.ended)) == sorted(map(id, made))
    assert [batch.said for batch in made] == [[expected(name) for name in batch.message_ids] for batch in made]
    assert (len(flight), flight.waits, flight.lost()) == (0, False, [])


def expected(name: str) -> Confirmation:
    if name.startswith("nowhere") or "loose" in name:
        return UNROUTABLE
    if "bad" in name:
        return Confirmation.UNACCEPTABLE
    return REFUSED if "full" in name else CONFIRMED


def test_once_the_refused_one_is_found_the_others_go_out_many_at_once_again() -> None:
    flight = Flight()
    names = [f"a {number}" for number in range(2 * WINDOW)]
    names[3] = "a bad"
    flight.add(batch_of(names))
    broker = FakeBroker(flight, late=3)

    broker.run()

    # All that the window holds, then four alone, then the rest.
    assert broker.turns == 1 + 4 + 2


def test_where_none_is_refused_any_more_they_go_out_many_at_once_again() -> None:
    flight = Flight()
    flight.add(batch_of([f"a {number}" for number in range(10)]))
    flight.send(0.0)
    flight.single_out()
    flight.add(batch_of([f"b {number}" for number in range(10)]))
    broker = FakeBroker(flight)

    broker.run()

    assert broker.turns == 10 + 1


def test_the_oldest_on_the_wire_is_that_of_the_first_burst_that_is_not_settled() -> None:
    flight = Flight()
    flight.add(batch_of(["a 1", "a 2"]))
    flight.send(1.0)
    flight.add(batch_of(["a 3"]))
    flight.send(2.0)

    assert flight.oldest() == 1.0
    flight.judge([Verdict(tag=2, multiple=True, is_taken=True)])
    assert flight.oldest() == 2.0
    flight.judge([Verdict(tag=3, multiple=False, is_taken=True)])
    assert flight.oldest() is None
