"""How the programs of a benchmark end: with whoever started them, and whoever that is, in order."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager


def end_with_parent() -> None:
    """From now on: when standard input ends, this program is told to stop. Nobody else reads it any more."""
    threading.Thread(target=_wait, name="parent", daemon=True).start()


def _wait() -> None:
    while os.read(sys.stdin.fileno(), 1 << 10):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def ended_in_order() -> Iterator[None]:
    """Within it SIGTERM is what Ctrl-C is: folders and services are cleared away. For the main thread."""

    def leave(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
