"""A signal that tells a program to stop does so wherever it finds the program."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

#: What the main thread is at when SIGTERM comes. Python drops what is raised while an object goes.
_DOING = {
    "its work": "signal.raise_signal(signal.SIGTERM)",
    "letting an object go": "weakref.finalize(Thing(), signal.raise_signal, signal.SIGTERM)",
    "telling that an object went": "ref = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGTERM)); del thing",
    "finishing an object": "Last()",
}
_PROGRAM = """
import signal, time, weakref
from bus import logs
from bus.cli.stopping import stop_on_signals

class Thing:
    pass

class Last:
    def __del__(self):
        signal.raise_signal(signal.SIGTERM)

logs.configure(json=True, level="info")
logs.claim_process()
stop_on_signals()
thing = Thing()
try:
    {doing}
    time.sleep(30)
    print("it went on")
finally:
    print("it left well")
"""


@pytest.mark.parametrize("doing", _DOING.values(), ids=list(_DOING))
def test_a_stop_is_one_whatever_the_program_is_at(doing: str) -> None:
    program = textwrap.dedent(_PROGRAM).format(doing=doing)
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)

    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "it left well\n", "")
