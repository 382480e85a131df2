"""A running program with a keeper beside it, seen from the process that wants it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from bus.bench.services import keeper
from bus.bench.services.place import Start

#: Seconds after which an end that was asked for counts as not coming.
_PATIENCE = 90.0


class Kept:
    """One start of a program. It ends when it is told to, by itself, or with this process, however that ends."""

    def __init__(self, start: Start, log: Path, *, stop: signal.Signals = signal.SIGTERM) -> None:
        """Its output goes to the end of ``log``; ``stop`` is the signal by which it is asked to end."""
        self._container = start.container
        after = ["docker", "rm", "--force", start.container] if start.container else []
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            # A session of its own: neither Ctrl-C nor a kill of our process group ends it before it has cleaned up.
            self._keeper = subprocess.Popen(
                [sys.executable, "-I", keeper.__file__, stop.name, *after, "--", *start.command],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def alive(self) -> bool:
        """Whether the program runs."""
        return self._keeper.poll() is None

    def pids(self) -> list[int]:
        """The program, then what it started."""
        if not self.alive:
            return []
        if self._container:
            main = int(_docker("inspect", "--format", "{{.State.Pid}}", self._container))
            return [main, *keeper.descendants(main)]
        return keeper.descendants(self._keeper.pid)

    def pause(self) -> None:
        """Stop all of it where it stands."""
        if self._container:
            _docker("pause", self._container)
        else:
            self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        if self._container:
            _docker("unpause", self._container)
        else:
            self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End all of it with SIGKILL; returns when nothing of it is left."""
        if self._keeper.stdin and not self._keeper.stdin.closed:
            self._keeper.stdin.close()
        self._keeper.wait(_PATIENCE)

    def stop(self) -> None:
        """Ask the program to end, and wait for it."""
        self._keeper.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._keeper.wait(_PATIENCE)
        self.kill()

    def _signal(self, number: signal.Signals) -> None:
        for pid in self.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, number)


def _docker(*arguments: str) -> str:
    command = ["/usr/bin/env", "docker", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
