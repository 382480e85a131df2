"""Keeps one program and everything that it starts: all of it dies when the process that asked for it dies.

A program of its own, run as ``python -I keeper.py STOP-SIGNAL [AFTER…] -- COMMAND…``, with the standard library alone.
It lives until its standard input ends, which the kernel sees to even when its parent is killed with SIGKILL. Then it
kills every descendant: also daemons that left their parents, because it is their subreaper. ``SIGTERM`` asks COMMAND to
stop by STOP-SIGNAL first. AFTER is a command that is run at the very end.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

#: From linux/prctl.h: orphans among the descendants become children of this process.
_PR_SET_CHILD_SUBREAPER = 36
#: Seconds that a program which was asked to stop has for it.
_GRACE = 60.0


def descendants(pid: int) -> list[int]:
    """Everything that the process has started, parents before their children; empty where there is no /proc."""
    children = defaultdict(list)
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it ended meanwhile
            state, parent = stat.read_text(encoding="utf-8", errors="replace").rpartition(") ")[2].split()[:2]
            if state != "Z":
                children[int(parent)].append(int(stat.parent.name))

    def below(parent: int) -> Iterator[int]:
        for child in children[parent]:
            yield child
            yield from below(child)

    return list(below(pid))


def _reap() -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _kill_all() -> None:
    # Again and again: a process may have started another one while it was looked for.
    while pids := descendants(os.getpid()):
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)
        _reap()


def keep(command: list[str], stop: signal.Signals, after: list[str]) -> int:
    """Run the command until it ends or nobody wants it any more; its exit code."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    told_r, told_w = os.pipe()
    os.set_blocking(told_w, False)
    signal.set_wakeup_fd(told_w)
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
    signal.signal(signal.SIGCHLD, lambda *_: None)
    parent = os.getppid()
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    until: float | None = None
    while child.poll() is None:
        ready, _, _ = select.select([0, told_r], [], [], 1.0)
        if told_r in ready:
            os.read(told_r, 4096)
        if asked and until is None:
            until = time.monotonic() + _GRACE
            child.send_signal(stop)
        unwanted = 0 in ready and not os.read(0, 1)
        # A fork of the parent may hold the other end of our input open: so its death is looked at, too.
        if unwanted or os.getppid() != parent or (until and time.monotonic() > until):
            break
    child.kill()
    child.wait()
    _kill_all()
    if after:
        subprocess.run(after, stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False)
    return child.returncode


def main(arguments: list[str]) -> int:
    """The program."""
    parting = arguments.index("--")
    stop, *after = arguments[:parting]
    return keep(arguments[parting + 1 :], signal.Signals[stop], after)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
