"""Load on a fleet: submissions all the time, and what must be true of them when they have ended."""

from __future__ import annotations

import threading
import time
from collections import Counter
from contextlib import suppress
from typing import Self
from uuid import uuid4

from bus.client import Client
from bus.errors import TransientError
from bus.process.state import OUTCOMES, RequestState
from tests.support.accounts import Watch, assert_accepted_once, assert_it_added_up, ids_of, left_over
from tests.support.demo_workspace import ALWAYS_FREE, PORTAL, SERVICE, application
from tests.support.fleet import Fleet
from tests.support.waiting import StuckError, wait_for


class Load:
    """Submits at a rate from threads of its own, always with a key, and watches that the counts add up meanwhile."""

    def __init__(self, fleet: Fleet, *, rate: float = 15.0, clients: int = 3) -> None:
        self._fleet = fleet
        self._every = clients / rate
        self._clients = clients
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        #: Request ids with a receipt.
        self.accepted: list[str] = []
        #: Request id with a receipt -> the key under which it was sent.
        self.keys: dict[str, str] = {}
        #: Code of what was told to clients that got none.
        self.refused: Counter[str] = Counter()
        #: Receipts that name another request than their key is.
        self.mistaken: list[str] = []
        self.watch = Watch(fleet.store)

    def __enter__(self) -> Self:
        self.watch.__enter__()
        self._threads = [threading.Thread(target=self._submit, daemon=True) for _ in range(self._clients)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """No more submissions; what was submitted goes on."""
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
        self.watch.stop()

    @property
    def wrong(self) -> list[str]:
        """Every time that the counts did not add up, and every wrong receipt."""
        return [*self.watch.wrong, *self.mistaken]

    def wait_for(self, count: int) -> None:
        """Until so many more have a receipt; where they do not, what was told to those who got none."""
        until = len(self.accepted) + count
        try:
            wait_for(f"{count} more receipts", lambda: len(self.accepted) >= until)
        except StuckError as error:
            raise StuckError(f"{error}; who got none was told {dict(self.refused)}") from None

    def _submit(self) -> None:
        client: Client | None = None
        while not self._stop.wait(self._every):
            key = uuid4().hex
            request = self._fleet.attempt(key)
            # Until there is a receipt or it ends: an answer that was lost is asked for again under the same key.
            while not self._stop.is_set():
                try:
                    client = client or self._client()
                    receipt = client.submit(SERVICE, application(ALWAYS_FREE, premises=False), key=key)
                except (TransientError, OSError) as error:
                    with self._lock:
                        self.refused[getattr(error, "code", type(error).__name__)] += 1
                    if client is not None:
                        client.close()
                        client = None
                    time.sleep(0.2)
                else:
                    self._keep(key, request, str(receipt["request_id"]))
                    break
        if client is not None:
            client.close()

    def _keep(self, key: str, expected: str, told: str) -> None:
        with self._lock:
            self.keys[told] = key
            self.accepted.append(told)
            if told != expected:
                self.mistaken.append(f"the receipt of {expected} names {told}")

    def _client(self) -> Client:
        url = (self._fleet.data / "url").read_text(encoding="utf-8").strip()
        token = (self._fleet.data / "token").read_text(encoding="utf-8").strip()
        return Client(url, token, agency=PORTAL)


def wait_until_flowing(fleet: Fleet, many: int = 20, within: float = 60.0) -> None:
    """Wait until so many more requests are completed."""

    def completed() -> int:
        with suppress(TransientError), fleet.store() as store:
            return store.totals()[RequestState.COMPLETED]
        return 0

    until = wait_for("one is completed", completed, within) + many
    wait_for(f"{many} more are completed", lambda: completed() >= until, within)


def all_end(fleet: Fleet, load: Load, *, within: float = 90.0) -> Counter[str]:
    """Wait until every request with a receipt has ended, reviving what was killed; how they ended.

    Then each submission is there once and none that nobody tried, nothing waits anywhere, and the counts added up all
    the time, also after the last fault began.
    """
    load.stop()
    with Watch(fleet.store) as watch:
        _wait_for_the_end(fleet, watch, within)
        _wait_until_nothing_is_left(fleet, within)
    with fleet.store() as store:
        ids, totals = ids_of(store), store.totals()
        states = [request.state for id_ in load.accepted if (request := store.request(id_)) is not None]
    assert_accepted_once(ids, receipts=load.accepted, attempted=fleet.attempted)
    assert sum(totals[state] for state in OUTCOMES) == len(ids)
    assert not load.mistaken, load.mistaken[:3]
    assert_it_added_up(load.watch, watch, fault_at=fleet.fault_at)
    return Counter(str(state) for state in states)


def _wait_for_the_end(fleet: Fleet, watch: Watch, within: float) -> None:
    def ended() -> bool:
        fleet.revive()
        return bool(watch.looks) and not watch.looks[-1].alive

    try:
        wait_for("the end of every request", ended, within)
    except StuckError as error:
        with fleet.store() as store:
            first = store.requests(consumer=None, states=(RequestState.OPEN, RequestState.CLOSING), after=0, most=1)
        told = fleet.told(first[0].request_id) if first else ""
        raise StuckError(f"{error}\n{told}\n{fleet.last_words()}") from None


def _wait_until_nothing_is_left(fleet: Fleet, within: float) -> None:
    last: dict[str, int] = {}

    def nothing() -> bool:
        fleet.revive()
        with suppress(TransientError), fleet.store() as store:
            last.clear()
            last.update(left_over(store, fleet.depths))
            return not last
        return False

    try:
        wait_for("outbox and channels are empty", nothing, within)
    except StuckError as error:
        raise StuckError(f"{error}: {last}\n{fleet.last_words()}") from None
