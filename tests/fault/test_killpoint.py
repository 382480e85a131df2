"""An armed kill point ends the process as a power cut would, once; one that is not armed does nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from bus.errors import ConfigurationError
from bus.killpoint import POINTS, arm, parse, reach

ROOT = Path(__file__).parents[2]
KILLED = -signal.SIGKILL

#: Reaches the points that it reads, one a line, and answers each; what stands behind a kill would be seen.
PROGRAM = """
import atexit, sys
from bus.killpoint import reach
atexit.register(print, "the end")
try:
    for line in sys.stdin:
        reach(line.strip())
        print("past", line.strip(), flush=True)
finally:
    print("cleaned up", flush=True)
"""


class Walker:
    """A process that walks past kill points as it is told."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("BUS_KILL")}
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            cwd=ROOT,
            env={**inherited, **settings},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def walk(self, point: str) -> bool:
        """Whether it lived on."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{point}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline() == f"past {point}\n"

    def end(self) -> tuple[int, str]:
        """Its exit status and what else it said."""
        said, _ = self.process.communicate(timeout=30)
        return self.process.returncode, said


@pytest.fixture
def walkers() -> Iterator[list[Walker]]:
    started: list[Walker] = []
    yield started
    for walker in started:
        walker.process.kill()
        walker.process.communicate()


def start(walkers: list[Walker], **settings: str) -> Walker:
    walkers.append(Walker(settings))
    return walkers[-1]


def test_without_arms_every_point_is_passed(walkers: list[Walker]) -> None:
    walker = start(walkers)

    assert all(walker.walk(point) for point in sorted(POINTS))
    assert walker.end() == (0, "cleaned up\nthe end\n")


def test_an_armed_point_kills_at_once_and_nothing_is_cleaned_up(walkers: list[Walker]) -> None:
    walker = start(walkers, BUS_KILL_AT="host.called")

    assert walker.walk("host.intended")
    assert not walker.walk("host.called")
    assert walker.end() == (KILLED, "")


def test_a_point_may_kill_at_a_later_time_and_others_do_not_count(walkers: list[Walker]) -> None:
    walker = start(walkers, BUS_KILL_AT="host.called:3, host.read:9")

    walked = [walker.walk(point) for point in ("host.called", "host.read", "host.called", "host.called")]

    assert walked == [True, True, True, False]
    assert walker.end()[0] == KILLED


@pytest.mark.parametrize("first", ["relay.claimed", "timekeeper.due"])
def test_of_several_points_the_first_that_is_reached_kills(walkers: list[Walker], first: str) -> None:
    walker = start(walkers, BUS_KILL_AT="timekeeper.due:1,relay.claimed:1")

    assert not walker.walk(first)
    assert walker.end()[0] == KILLED


def test_a_file_arms_a_running_process_and_is_gone_after_the_kill(walkers: list[Walker], tmp_path: Path) -> None:
    walker = start(walkers, BUS_KILL_DIR=str(tmp_path))
    assert walker.walk("process.committed")

    arm(tmp_path, "process.committed")

    assert walker.walk("process.published")
    assert not walker.walk("process.committed")
    assert walker.end()[0] == KILLED
    assert list(tmp_path.iterdir()) == []


def test_after_the_restart_the_point_does_not_fire_again(walkers: list[Walker], tmp_path: Path) -> None:
    arm(tmp_path, "gateway.committed")
    assert not start(walkers, BUS_KILL_DIR=str(tmp_path)).walk("gateway.committed")

    assert start(walkers, BUS_KILL_DIR=str(tmp_path)).walk("gateway.committed")


def test_the_time_in_a_file_counts_from_its_arming(walkers: list[Walker], tmp_path: Path) -> None:
    walker = start(walkers, BUS_KILL_DIR=str(tmp_path))
    assert walker.walk("host.read")
    assert walker.walk("host.read")

    arm(tmp_path, "host.read", 2)

    assert walker.walk("host.read")
    assert not walker.walk("host.read")


def test_a_disarmed_point_lets_pass_and_the_next_arming_counts_anew(walkers: list[Walker], tmp_path: Path) -> None:
    walker = start(walkers, BUS_KILL_DIR=str(tmp_path))
    arm(tmp_path, "host.read", 2)
    assert walker.walk("host.read")

    (tmp_path / "host.read").unlink()
    assert walker.walk("host.read")
    arm(tmp_path, "host.read", 2)

    assert walker.walk("host.read")
    assert not walker.walk("host.read")


def test_an_empty_file_means_the_next_time(walkers: list[Walker], tmp_path: Path) -> None:
    (tmp_path / "desk.committed").touch()

    assert not start(walkers, BUS_KILL_DIR=str(tmp_path)).walk("desk.committed")


def test_of_several_processes_that_share_a_folder_only_one_dies(walkers: list[Walker], tmp_path: Path) -> None:
    team = [start(walkers, BUS_KILL_DIR=str(tmp_path)) for _ in range(3)]
    arm(tmp_path, "consumer.collected")

    walked = [walker.walk("consumer.collected") for walker in team]

    assert walked == [False, True, True]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"BUS_KILL_AT": "host.caled"}, "no kill point 'host.caled'"),
        ({"BUS_KILL_AT": "host.called:0"}, "the time '0'"),
        ({"BUS_KILL_DIR": "/nonexistent"}, "which is no folder"),
    ],
)
def test_a_process_that_could_not_be_killed_as_wanted_does_not_start(settings: dict[str, str], told: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", "import bus.killpoint"],
        cwd=ROOT,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 1
    assert "ConfigurationError" in ended.stderr
    assert told in ended.stderr


def test_a_misspelt_file_is_refused_at_start(tmp_path: Path) -> None:
    (tmp_path / "host.caled").touch()

    ended = subprocess.run(
        [sys.executable, "-c", "import bus.killpoint"],
        cwd=ROOT,
        env={**os.environ, "BUS_KILL_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 1
    assert "no kill point 'host.caled'" in ended.stderr


def test_all_faults_of_a_setting_are_told_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse("nowhere,host.called:x,host.read:-1,host.read:2,host.read")

    assert [fault.code for fault in caught.value.faults] == [
        "unknown-kill-point",
        "bad-kill-time",
        "bad-kill-time",
        "duplicate-kill-point",
    ]


def test_names_and_times_are_read_as_written() -> None:
    assert parse("host.called:2, relay.claimed") == {"host.called": 2, "relay.claimed": 1}
    assert parse("") == {}


def test_arming_what_is_no_point_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        arm(tmp_path, "host.caled")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError):
        arm(tmp_path, "host.called", 0)

    assert list(tmp_path.iterdir()) == []


def test_reaching_what_is_no_point_is_refused_by_the_type_checker() -> None:
    reach("host.caled")  # type: ignore[arg-type]
