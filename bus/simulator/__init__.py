"""What the simulator of a legacy system may import: the ledger of effects, misbehaviours, the test persons."""

from bus.message.instant import SECOND, Instant
from bus.simulator.control import Armed, Control, Misbehaviour, wall_clock
from bus.simulator.engine import Simulator
from bus.simulator.ledger import Entry, Ledger
from bus.simulator.persons import Behaviour, Person, Persons

__all__ = [
    "SECOND",
    "Armed",
    "Behaviour",
    "Control",
    "Entry",
    "Instant",
    "Ledger",
    "Misbehaviour",
    "Person",
    "Persons",
    "Simulator",
    "wall_clock",
]
