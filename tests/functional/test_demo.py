"""`bus demo` as a person sees it: it names the row of everything, and says who let it down."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.installation import REGISTRY, ROOT, Installation, wait_for

#: Seconds: twice what it takes on a machine that does other things too.
BOUND = 100.0
#: How long after its last word a demo that cannot go on may take to say so.
GIVES_UP_WITHIN = 45.0


def begin() -> subprocess.Popen[str]:
    """A demo whose output is no terminal."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "bus", "demo"],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.timeout(240)
def test_two_demos_at_once_beside_a_running_bus_show_every_row_and_succeed(tmp_path: Path) -> None:
    # Given a bus that runs
    with Installation(tmp_path):
        # When two demos run at once
        both = [begin(), begin()]
        outputs = [demo.communicate(timeout=BOUND) for demo in both]
    # Then both succeed
    assert [demo.returncode for demo in both] == [0, 0], outputs
    told = outputs[0][0]
    # and each line within a scene names its row: a fact, a request, a desk's, a result's, an effect's
    inside = [line for line in told.splitlines() if line.startswith("  ")]
    named = re.compile(r"  (fact \d/\d+ |request +\d row \d{15,}|clerk +desk row \d{15,}|applicant +request \d"
                       r"|result +row \d{15,}|effect \d+ )")  # fmt: skip
    assert [line for line in inside if not named.match(line)] == []
    # and what happened can be read in both languages, without the words of the code
    assert all(title in told for title in ("الاسم التجاري", "رخصة الموقع", "القيد في السجل"))
    assert "not needed" in told
    assert not re.search(r"\bwhen\b", told)
    # and every effect happened once
    effects = [line for line in inside if line.startswith("  effect")]
    assert len(effects) == 6
    assert all(line.endswith("  once") for line in effects)
    assert "it adds up" in told


@pytest.mark.timeout(240)
def test_a_registry_that_dies_for_good_ends_the_demo_with_its_name_and_the_step() -> None:
    # Given a demo whose registry is killed as soon as it runs
    demo = begin()
    os.kill(wait_for("the simulator's process", lambda: simulator_of(demo.pid)), signal.SIGKILL)
    # When nothing moves any more
    _, error = demo.communicate(timeout=GIVES_UP_WITHIN)
    # Then it says who does not answer, and what waits for it
    assert demo.returncode == 1
    assert f"{REGISTRY} does not answer (its legacy system is not running); step name" in error
    assert "Traceback" not in error


def simulator_of(parent: int) -> int | None:
    """The child that stands in for the registry, by its command line."""
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            try:
                command = (process / "cmdline").read_bytes()
                stat = (process / "stat").read_text(encoding="utf-8")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if b"simulator\0run" in command and int(stat.rsplit(")", 1)[1].split()[1]) == parent:
                return int(process.name)
    return None
