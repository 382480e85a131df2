"""What a batch made goes when the batch ends: processes that run for months must not wait for the garbage collector."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from bus.message.reply import Completed
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


#: Threads that all allocate at once, and how many heaps the C library then has besides the first: each begins at a
#: multiple of 64 MiB, which nothing else that is mapped for reading and writing does.
_HEAPS: Final = """
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
starts = (line.split("-")[0] for line in open("/proc/self/maps") if " rw-p " in line)
print(sum(int(start, 16) % (64 << 20) == 0 for start in starts))
"""


def _heaps_besides_the_first(call: str) -> int:
    command = [sys.executable, "-c", _HEAPS.format(call=call)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout)


def test_the_threads_of_a_server_allocate_from_one_heap() -> None:
    assert _heaps_besides_the_first("share_one_heap()") == 0
    # Without it they do not: the look is one that sees them.
    assert _heaps_besides_the_first("") > 0
