"""The thread that does nothing but the socket work of all connections of a broker."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol

from pika.adapters.select_connection import IOLoop  # type: ignore[import-untyped]

from bus.logs import bind

#: Seconds for a connection to say goodbye before it is cut off.
FAREWELL: Final = 3.0
#: Seconds in which more comes in before anybody is told.
_MOMENT: Final = 0.002

_log = bind()


class Severable(Protocol):
    """A connection, as far as its thread must know it."""

    def cut(self, why: str) -> None:
        """Break off without a hand-shake."""


class IoThread:
    """A daemon thread with one loop. Any thread may hand it work."""

    def __init__(self, name: str) -> None:
        # What happens to a connection is told once, by us; pika would tell the same several times over.
        logging.getLogger("pika").setLevel(logging.CRITICAL)
        self._loop: Any = IOLoop()
        self._links: set[Severable] = set()
        self._stopped = False
        #: What other threads handed over, and whether this one has been told of it.
        self._handed: deque[Callable[[], None]] = deque()
        self._is_woken = False
        #: What waits for more to come in.
        self._gathering: list[Callable[[], None]] = []
        self._thread = threading.Thread(target=self._run, name=f"rabbitmq {name}", daemon=True)
        self._thread.start()

    @property
    def loop(self) -> Any:
        """The loop of pika."""
        return self._loop

    @property
    def is_alive(self) -> bool:
        """Whether what is handed over will still be done."""
        return self._thread.is_alive()

    @property
    def is_here(self) -> bool:
        """Whether the asker is this very thread, and must not wait for it."""
        return threading.current_thread() is self._thread

    def call(self, work: Callable[[], None]) -> None:
        """Do this on the thread, soon; in the order of the calls."""
        self._handed.append(work)
        # Waking costs more than most work. Who finds it woken comes in time: it forgets that before it looks.
        if not self._is_woken:
            self._wake()

    def later(self, seconds: float, work: Callable[[], None]) -> None:
        """Do this on the thread, which is the asker's own, after so many seconds."""
        self._loop.call_later(seconds, work)

    def gather(self, work: Callable[[], None]) -> None:
        """Do this on the thread, which is the asker's own, when what comes within a moment has been read too.

        Messages and confirmations trickle in; to wake up for each of them costs more than the moment.
        """
        self._gathering.append(work)
        if len(self._gathering) == 1:
            self.later(0, self._pause)

    def _pause(self) -> None:
        # Asleep, and not with a timer: the loop would wake up for all that comes within the moment.
        time.sleep(_MOMENT)
        works, self._gathering = self._gathering, []
        for work in works:
            # That is after the next look at the sockets.
            self.later(0, work)

    def watch(self, link: Severable) -> None:
        """Cut the connection off should the thread run into an error that nobody expected."""
        self._links.add(link)

    def forget(self, link: Severable) -> None:
        """The connection is gone."""
        self._links.discard(link)

    def stop(self) -> None:
        """End the thread, once its connections have said goodbye or were cut off. A second time does nothing."""
        if self._stopped or self.is_here:
            return
        self._stopped = True
        until = time.monotonic() + FAREWELL
        self.call(lambda: self._wind_up(until))
        self._thread.join(2 * FAREWELL)
        if not self._thread.is_alive():
            self._loop.close()

    def _wake(self) -> None:
        self._is_woken = True
        self._loop.add_callback_threadsafe(self._work_off)

    def _work_off(self) -> None:
        self._is_woken = False
        # What is handed over meanwhile waits until the sockets had their turn.
        for _ in range(len(self._handed)):
            self._handed.popleft()()

    def _wind_up(self, until: float) -> None:
        late = time.monotonic() - until
        if late > 0:
            for link in tuple(self._links):
                _cut(link, "The broker is closed.")
        # One that was cut off still has to let go of its socket, here.
        if self._links and late < 1:
            self.later(0.01, lambda: self._wind_up(until))
        else:
            self._loop.stop()

    def _run(self) -> None:
        while not self._stopped:
            try:
                self._loop.start()
            except Exception as error:  # noqa: BLE001
                # It came out of one connection, and nobody knows in what state that is: all begin anew.
                _log.error("unexpected_error", error=error)
                for link in tuple(self._links):
                    _cut(link, "The connection was given up after an unexpected error.")
                # Whoever gathered is cut off too, and its moment may have gone down with the error.
                self._gathering.clear()
                # Of what was handed over, something may be left.
                self._wake()


def _cut(link: Severable, why: str) -> None:
    try:
        link.cut(why)
    except Exception as error:  # noqa: BLE001
        # One that cannot be cut must not save the others from it, nor end the thread under all of them.
        _log.error("unexpected_error", error=error)
