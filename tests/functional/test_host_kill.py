"""A host killed at each of its gaps: after the restart no effect comes twice, and what is told is true."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from bus.message.reply import Completed, Reply, Unknown
from bus.process.definition import RepeatKind
from tests.support.host_rig import Rig

POINTS = (
    "host.received",
    "host.acknowledged",
    "host.intended",
    "host.called",
    "host.read",
    "host.recorded",
    "host.published",
    "host.confirmed",
)
#: The gaps in which a call may have been made and no result is in the journal.
DOUBTFUL = {"host.intended", "host.called", "host.read"}


class Filed(list[str]):
    """A ledger that outlives the process."""

    def __init__(self, path: Path) -> None:
        super().__init__(path.read_text().split() if path.exists() else [])
        self.path = path

    def extend(self, more: Iterable[str]) -> None:
        entries = list(more)
        with self.path.open("a") as file:
            file.writelines(f"{one}\n" for one in entries)
        super().extend(entries)


def live(folder: Path, kind: RepeatKind, request_id: str, attempt: int) -> list[Reply]:
    """One life of the host: the bus sends the task, then asks what became of it."""
    rig = Rig(folder)
    rig.request_id = request_id
    rig.legacy.ledger = Filed(folder / "ledger")
    # Past every lease and every time after which absence counts.
    rig.now += attempt * 10_000
    rig.start()
    task = rig.task(kind=kind, attempt=attempt, expirytime=rig.now + 3_600_000)
    replies = [*rig.answers(task), *rig.answers(rig.query(kind=kind, attempt=attempt))]
    rig.host.close()
    rig.journal.close()
    return replies


@pytest.mark.parametrize(
    ("kind", "point"),
    [("at_most_once", point) for point in POINTS]
    + [(kind, point) for kind in ("queryable", "idempotent") for point in sorted(DOUBTFUL)],
)
def test_a_host_killed_at_a_gap_comes_back_with_the_truth(point: str, kind: RepeatKind, tmp_path: Path) -> None:
    # Given a host that dies at the gap
    request_id = "6f0a1a52-5a0e-8c11-9d2e-0a4b6b1c2d3e"
    program = (
        "import sys; from pathlib import Path\n"
        "from tests.functional.test_host_kill import live\n"
        "live(Path(sys.argv[1]), sys.argv[2], sys.argv[3], 1)\n"
    )
    environment = {**os.environ, "BUS_KILL_AT": point}
    command = [sys.executable, "-c", program, str(tmp_path), kind, request_id]
    dead = subprocess.run(command, check=False, env=environment, capture_output=True, text=True)
    assert dead.returncode == -signal.SIGKILL, dead.stderr
    # When it comes again and the bus, which has heard nothing, asks for the same attempt, then for a greater one
    first = live(tmp_path, kind, request_id, 1)
    second = live(tmp_path, kind, request_id, 2)
    # Then there was no second effect, unless the operation may be repeated
    effects = len((tmp_path / "ledger").read_text().split()) if (tmp_path / "ledger").exists() else 0
    may_repeat = kind == "idempotent" and point in DOUBTFUL
    assert effects <= (2 if may_repeat else 1)
    # And what was told is true
    assert all(isinstance(reply, Completed | Unknown) for reply in [*first, *second]), [*first, *second]
    if kind == "at_most_once" and point in DOUBTFUL:
        assert set(map(type, [*first, *second])) == {Unknown}
    else:
        assert isinstance(second[-1], Completed)
        assert effects >= 1
