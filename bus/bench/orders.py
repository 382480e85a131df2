"""How a loader, a program of its own, is told what to do and tells what it heard: lines of JSON over its pipes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from threading import Event
from typing import TypeAlias

import orjson

from bus.bench.lifeline import end_with_parent
from bus.bench.pace import Order, Ran
from bus.bench.report import BenchError

#: Seconds in which one request after the other is tried; the last one is waited for.
_FIRST = 0.2

#: Loads as it is told.
Load: TypeAlias = Callable[[Order], Ran]


def obey(connect: Callable[[Order], Load]) -> None:
    """The loader's side: read the order, connect, try one request, say so, wait for the word, load, tell what came.

    The first request has ended before anything is measured: everybody is at work then.
    """
    order = Order(**orjson.loads(sys.stdin.buffer.readline()))
    load = connect(order)
    load(replace(order, window=1, seconds=0.0, warm=_FIRST, rate=None, prefix=f"{order.prefix}-first"))
    _say(b"{}")
    if not sys.stdin.buffer.readline():
        return
    end_with_parent()
    ran = load(order)
    _say(orjson.dumps(asdict(ran)))
    # What it used of the processor is read while it is there; then it is told to stop.
    Event().wait()


def _say(line: bytes) -> None:
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


@dataclass(frozen=True, slots=True, kw_only=True)
class Loader:
    """A loader that is connected."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        """Its process."""
        return self.process.pid

    def load(self) -> Ran:
        """Give it the word and hear what came of it."""
        assert self.process.stdin is not None  # noqa: S101  # for the type; it is a pipe
        self.process.stdin.write(b"go\n")
        self.process.stdin.flush()
        return Ran.from_json(self.hear())

    def hear(self) -> dict[str, object]:
        """One line; BenchError with the end of its log if it died."""
        assert self.process.stdout is not None  # noqa: S101  # for the type; it is a pipe
        line = self.process.stdout.readline()
        if not line:
            tail = self.log.read_text(encoding="utf-8", errors="replace")[-2000:]
            raise BenchError(f"A loader died: {tail}")
        heard = orjson.loads(line)
        assert isinstance(heard, dict)  # noqa: S101  # for the type; `obey` wrote it
        return heard


@contextmanager
def loader(command: Sequence[str], order: Order, log: Path) -> Iterator[Loader]:
    """Start a loader and wait until it is connected; it ends with the ``with``."""
    with (
        log.open("ab") as errors,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors) as process,
    ):
        try:
            assert process.stdin is not None  # noqa: S101  # for the type; it is a pipe
            process.stdin.write(orjson.dumps(asdict(order)) + b"\n")
            process.stdin.flush()
            started = Loader(process=process, log=log)
            started.hear()
            yield started
        finally:
            process.terminate()
