"""A wiped broker: a new epoch begins, and everything that was under way there is sent again."""

from __future__ import annotations

from uuid import uuid4

from bus.logs import bind
from bus.message.channel import POISON, Channel, control, replies, tasks
from bus.ports import Broker, Decider, Incoming, Store
from bus.process.event import EpochBegan

_log = bind(role="relay")
_BATCH = 100


def channels_of(agencies: tuple[str, ...]) -> list[Channel]:
    """Every channel between the bus and these agencies, and the one for what the broker gives up."""
    return [POISON, *(channel for agency in agencies for channel in (tasks(agency), control(agency), replies(agency)))]


def connect(broker: Broker, store: Store, decider: Decider, agencies: tuple[str, ...]) -> bool:
    """Make the channels exist; True if the broker had forgotten the epoch, and all was made due again."""
    broker.apply(channels_of(agencies))
    epoch = store.epoch()
    if epoch is not None and broker.has_epoch(epoch):
        return False
    new = str(uuid4())
    _log.info("epoch_began", epoch=new)
    after = 0
    while ids := store.alive_requests(after, _BATCH):
        decider.decide([Incoming(request_id=request_id, event=EpochBegan()) for request_id in ids])
        after = store.key_of(ids[-1])
    # Only now: a crash on the way begins the epoch again, and sends some of it twice.
    broker.begin_epoch(new)
    store.save_epoch(new)
    return True
