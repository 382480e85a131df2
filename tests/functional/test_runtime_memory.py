"""What a batch made goes when the batch ends: processes that run for months must not wait for the garbage collector."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from bus.message.reply import Completed
from tests.support.installation import Installation
from tests.support.runtime_rig import AGENCIES, RuntimeRig, runtime

#: The records of a batch: there are hundreds of each.
_RECORDS: Final = {"Case", "Envelope", "Fact", "Incoming", "Message", "OutboxRow", "Payload", "Request", "Step", "Work"}


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[RuntimeRig]:
    with runtime(tmp_path) as rig:
        rig.admit(*AGENCIES)
        # Once, so that what is kept for good is there.
        _answer_all(rig, rig.submit("first"))
        yield rig


def _answer_all(rig: RuntimeRig, requests: list[str]) -> None:
    for agency in AGENCIES:
        rig.answer(*(rig.reply(task, Completed(data={"reference": "1"})) for task in rig.tasks(agency)))
    assert all(rig.request(request).version > 1 for request in requests)


def _left_to_the_collector(work: Callable[[], object]) -> Counter[str]:
    """How many objects of each class nobody refers to any more, and yet are there."""
    gc.collect()
    gc.disable()
    try:
        work()
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        return Counter(type(one).__name__ for one in gc.garbage)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def test_what_submissions_made_is_gone_when_they_are_accepted(rig: RuntimeRig) -> None:
    left = _left_to_the_collector(lambda: rig.submit(*(f"r{number}" for number in range(20))))

    assert not _RECORDS & set(left), left


def test_what_replies_made_is_gone_when_they_are_settled(rig: RuntimeRig) -> None:
    requests = rig.submit("second")

    left = _left_to_the_collector(lambda: _answer_all(rig, requests))

    assert not _RECORDS & set(left), left


#: Threads that all allocate at once, and then what is mapped where.
_CROWD: Final = """
import threading
from bus.bootstrap.memory import share_one_heap
{call}
barrier = threading.Barrier(12)
def work():
    barrier.wait()
    kept = [bytearray(10_000) for _ in range(50)]
    barrier.wait()
threads = [threading.Thread(target=work) for _ in range(12)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(open("/proc/self/maps").read())
"""
#: Room that the C library sets aside for each heap but the first, and where one begins: at a multiple of it. What is
#: not yet used of it may be neither read nor written.
_ROOM: Final = 64 << 20


class _Mapping(NamedTuple):
    start: int
    end: int
    rights: str
    is_of_a_file: bool


def _mapped(line: str) -> _Mapping:
    places, rights, *_, last = line.split()
    start, end = (int(place, 16) for place in places.split("-"))
    return _Mapping(start, end, rights, last != "0")


def _heaps_besides_the_first(maps: str) -> int:
    mappings = [_mapped(line) for line in maps.splitlines() if line]
    return sum(
        used.start % _ROOM == 0
        and (used.rights, used.is_of_a_file) == ("rw-p", False)
        and (rest.end, rest.rights) == (used.start + _ROOM, "---p")
        for used, rest in pairwise(mappings)
    )


def _crowded(call: str) -> int:
    command = [sys.executable, "-c", _CROWD.format(call=call)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return _heaps_besides_the_first(ran.stdout)


def test_threads_allocate_from_one_heap_where_they_are_told_to() -> None:
    assert _crowded("share_one_heap()") == 0
    # Without it they do not: the look is one that sees them.
    assert _crowded("") > 0


def test_a_bus_that_serves_allocates_from_one_heap(tmp_path: Path) -> None:
    with Installation(tmp_path) as bus:
        assert bus.drive(bus.submit("one-heap", premises=False)) == "completed"
        assert bus.process is not None
        maps = Path(f"/proc/{bus.process.pid}/maps").read_text(encoding="ascii")
    assert maps.count("rw-p") > 10
    assert _heaps_besides_the_first(maps) == 0
