"""Checkers of the counts: every submission is there once, nothing is left over, and it adds up while work goes on."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import Self

from bus.client import Client, Json
from bus.errors import TransientError
from bus.ports import Store
from bus.process.state import ALIVE

#: Seconds between two looks at the counts.
EVERY = 0.2
#: A page of the store, and one of a feed.
_PAGE = 500
_FEED_PAGE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What was seen at one moment."""

    #: On the monotonic clock.
    at: float
    #: Requests that had not ended.
    alive: int


class Watch:
    """Looks all the time, beside the bus, whether accepted is the sum of what is open, closing and ended."""

    def __init__(self, store: Callable[[], AbstractContextManager[Store]]) -> None:
        self._store = store
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self.began = time.monotonic()
        self.looks: list[Look] = []
        #: Every time that it did not add up.
        self.wrong: list[str] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Look a last time, and no more."""
        self._stop.set()
        self._thread.join(60)

    def _run(self) -> None:
        while not self._stop.is_set():
            # A store that is away is looked at again when it is back.
            with suppress(TransientError), self._store() as store:
                self._look(store)
                while not self._stop.wait(EVERY):
                    self._look(store)
                self._look(store)
            self._stop.wait(EVERY)

    def _look(self, store: Store) -> None:
        # Accepted is read twice: what comes in between must not look like a loss.
        before, totals, after = store.accepted(), store.totals(), store.accepted()
        self.looks.append(Look(at=time.monotonic(), alive=sum(totals[state] for state in ALIVE)))
        if not before <= sum(totals.values()) <= after:
            self.wrong.append(f"accepted {before}..{after}, and {dict(totals)}")


def assert_it_added_up(*watches: Watch, fault_at: float = 0.0) -> None:
    """The counts were looked at and right; of a fault in this time also after it began, while requests were under way.

    ``fault_at`` is on the monotonic clock.
    """
    wrong = [one for watch in watches for one in watch.wrong]
    looks = [look for watch in watches for look in watch.looks]
    assert not wrong, f"the counts did not add up {len(wrong)} times: {wrong[:3]}"
    assert all(watch.looks for watch in watches), "nobody looked whether the counts add up"
    if fault_at >= min(watch.began for watch in watches):
        seen = [look for look in looks if look.at > fault_at and look.alive]
        assert seen, "nobody looked whether the counts add up after the fault began, while requests were under way"


def ids_of(store: Store) -> list[str]:
    """The id of every request that was ever accepted, as often as it is there."""
    found: list[str] = []
    after = 0
    while lines := store.requests(consumer=None, states=(), after=after, most=_PAGE):
        found += [line.request_id for line in lines]
        after = lines[-1].request_key
    return found


def assert_accepted_once(ids: Sequence[str], *, receipts: Collection[str], attempted: Collection[str]) -> None:
    """``ids`` are in the store: each receipt's, each once, and none but those of submissions that were tried.

    An id follows from the key of its submission, so that two ids of which one was tried are two keys.
    """
    lost = sorted(set(receipts) - set(ids))
    doubled = sorted(id_ for id_, count in Counter(ids).items() if count > 1)
    strange = sorted(set(ids) - set(attempted))
    assert not lost, f"{len(lost)} with a receipt are not in the store: {lost[:3]}"
    assert not doubled, f"{len(doubled)} are there more than once: {doubled[:3]}"
    assert not strange, f"{len(strange)} are of no submission that anybody tried: {strange[:3]}"


def left_over(store: Store, depths: Callable[[], Mapping[str, int]]) -> dict[str, int]:
    """What waits in the outbox, or else in the channels."""
    waiting = store.outbox_depth()
    return {"the outbox": waiting} if waiting else dict(depths())


def whole_feed(client: Client) -> list[Json]:
    """Everything that a consumer was ever told, from the beginning."""
    found: list[Json] = []
    while page := client.result_list(after=int(found[-1]["cursor"]) if found else 0, most=_FEED_PAGE)["items"]:
        found += page
    return found


def ends_told(client: Client) -> Counter[str]:
    """How often a consumer's feed tells the end of each request."""
    ended = (item for item in whole_feed(client) if item["type"] == "bus.request.completed.v1")
    return Counter(str(item["request_id"]) for item in ended)
