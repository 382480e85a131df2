"""Named threads that repeat a step until told to stop, and outlive what goes wrong in one of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from bus.errors import BrokerUnavailableError, TransientError
from bus.logs import LogEvent, bind

#: After a step that failed: long enough not to spin, short enough that nobody waits for it.
_AFTER_TROUBLE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """One step to repeat. ``rest`` is how many seconds to wait after a step that found nothing to do."""

    role: str
    step: Callable[[], object]
    rest: float
    #: Called once at the end, on the same thread.
    close: Callable[[], None] = lambda: None


class Loops:
    """Starts them together and stops them in the reverse order."""

    def __init__(self) -> None:
        self._groups: list[list[tuple[threading.Thread, threading.Event]]] = []

    def start(self, loop: Loop) -> None:
        """Repeat the loop's step on a thread of its own."""
        self.run(loop.role, lambda stop: _repeat(loop, stop))

    def run(self, role: str, body: Callable[[threading.Event], None]) -> None:
        """Run the body on a thread of its own until the event that it is given is set."""
        self.run_beside({role: body})

    def run_beside(self, bodies: Mapping[str, Callable[[threading.Event], None]]) -> None:
        """Run these, each on a thread of its own; they will be stopped together."""
        group = []
        for role, body in bodies.items():
            stop = threading.Event()
            group.append((threading.Thread(target=_outlive, args=(role, body, stop), name=role, daemon=True), stop))
        self._groups.append(group)
        for thread, _ in group:
            thread.start()

    def stop(self, within: float) -> bool:
        """Stop all, last started first, in so many seconds altogether; False if one of them still works then."""
        until, done = time.monotonic() + within, True
        for group in reversed(self._groups):
            for _, stop in group:
                stop.set()
            for thread, _ in group:
                with suppress(RuntimeError):
                    # One that a signal kept from being started finds its event set, should it still begin.
                    thread.join(max(0.0, until - time.monotonic()))
                done = done and not thread.is_alive()
        return done


def _outlive(role: str, body: Callable[[threading.Event], None], stop: threading.Event) -> None:
    """A role that dies of one bad row would take the bus with it: it begins again."""
    while not stop.is_set():
        try:
            body(stop)
        except TransientError as error:
            away: LogEvent = "broker_unavailable" if isinstance(error, BrokerUnavailableError) else "batch_repeated"
            bind(role=role).warning(away, error=error)
            stop.wait(_AFTER_TROUBLE)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told and the role goes on
            bind(role=role).error("unexpected_error", error=error)
            stop.wait(_AFTER_TROUBLE)


def _repeat(loop: Loop, stop: threading.Event) -> None:
    try:
        while not stop.is_set():
            try:
                if not loop.step():
                    stop.wait(loop.rest)
            except TransientError as error:
                bind(role=loop.role).warning("batch_repeated", error=error)
                stop.wait(_AFTER_TROUBLE)
    finally:
        if stop.is_set():
            loop.close()
