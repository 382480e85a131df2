"""A wiped broker: a new epoch begins, and everything that was under way there is sent again."""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

from bus.logs import bind
from bus.message.channel import POISON, Channel, control, replies, tasks
from bus.message.instant import SECOND, Milliseconds
from bus.ports import Broker, Decider, Incoming, Store
from bus.process.event import EpochBegan
from bus.runtime.turn import Turn

_log = bind(role="relay")
_BATCH = 100
#: How long the others wait where the relay that begins an epoch dies of it. One batch takes much less than half of it.
LEASE: Milliseconds = 30 * SECOND


def channels_of(agencies: tuple[str, ...]) -> list[Channel]:
    """Every channel between the bus and these agencies, and the one for what the broker gives up."""
    return [POISON, *(channel for agency in agencies for channel in (tasks(agency), control(agency), replies(agency)))]


def connect(
    broker: Broker, store: Store, decider: Decider, agencies: tuple[str, ...], turn: Turn | None = None
) -> bool:
    """Make the channels exist; True if the broker had forgotten the epoch, and all was made due again.

    Where several relays share the store, one begins the epoch: it has the ``turn``, and the others look again later.
    """
    broker.apply(channels_of(agencies))
    if _is_known(broker, store.epoch()):
        return False
    if turn is None:
        return _begin(broker, store, decider, lambda: True)
    if not turn.is_mine():
        return False
    try:
        # Whoever had the turn before may have begun it meanwhile. And the turn is retaken where nobody has it any more:
        # whoever had it in between may have begun and ended, and only the store's epoch tells.
        epoch = store.epoch()
        return not _is_known(broker, epoch) and _begin(
            broker, store, decider, lambda: turn.is_mine() and store.epoch() == epoch
        )
    finally:
        turn.end()


def _is_known(broker: Broker, epoch: str | None) -> bool:
    return epoch is not None and broker.has_epoch(epoch)


def _begin(broker: Broker, store: Store, decider: Decider, may: Callable[[], bool]) -> bool:
    """Whether it was begun: not if somebody else had the turn meanwhile, for this process was held up for so long."""
    new = str(uuid4())
    _log.info("epoch_began", epoch=new)
    after = 0
    while ids := store.alive_requests(after, _BATCH):
        decider.decide([Incoming(request_id=request_id, event=EpochBegan()) for request_id in ids])
        after = store.key_of(ids[-1])
        if not may():
            return False
    # Only now: a crash on the way begins the epoch again, and sends some of it twice.
    broker.begin_epoch(new)
    store.save_epoch(new)
    return True
