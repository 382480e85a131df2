"""Two hosts of one agency on one journal, in a file or in PostgreSQL: each effect once, every task answered."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, SupportsIndex, cast

import pytest

from bus.journals.postgres import PostgresJournal
from bus.journals.sqlite import SqliteJournal
from bus.message.envelope import Message
from bus.message.replies import REPLY_TYPES, reply_from_message
from bus.message.reply import Completed, Reply, Unknown
from bus.process.definition import RepeatKind
from tests.support.host_rig import AGENCY, Rig

REQUEST = "6f0a1a52-5a0e-8c11-9d2e-0a4b6b1c2d3e"
#: Name and kind of each task; the calls are made kind by kind.
TASKS: tuple[tuple[str, RepeatKind], ...] = tuple(
    (f"plot_{number}", "queryable" if number % 2 else "at_most_once") for number in range(16)
)
#: Those that the host is handed which dies, and those of the other one: some are brought to both.
HERS, HIS = TASKS[:12], TASKS[4:]
#: Past every lease, and past the time after which absence counts.
LATER = 10_000


class Shared(list[str]):
    """The ledger of a legacy system that both hosts call, and that outlives them."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def extend(self, more: Iterable[str]) -> None:
        with self.path.open("a") as file:
            file.write("".join(f"{one}\n" for one in more))

    def read(self) -> list[str]:
        return self.path.read_text().split() if self.path.exists() else []

    def __contains__(self, reference: object) -> bool:
        return reference in self.read()

    def count(self, reference: str) -> int:
        return self.read().count(reference)

    def __len__(self) -> int:
        return len(self.read())

    def __getitem__(self, index: SupportsIndex | slice) -> Any:
        return self.read()[index]


@contextmanager
def host(folder: Path, url: str) -> Iterator[Rig]:
    """A host with a broker of its own, on the journal of the folder, or of the database where there is a URL."""
    rig = Rig(folder)
    if url:
        rig.host.close()
        rig.journal.close()
        # The rig asks nothing of it but what the port promises.
        rig.journal = cast("SqliteJournal", PostgresJournal(url, agency=AGENCY))
        rig.journal_id = rig.identity().journal_id
        rig.host = rig.new_host()
    rig.request_id = REQUEST
    rig.legacy.ledger = Shared(folder / "ledger")
    try:
        yield rig
    finally:
        rig.host.close()
        rig.journal.close()
        rig.broker.close()


@pytest.fixture(params=["file", "postgres"])
def url(request: pytest.FixtureRequest) -> str:
    """Where the journal is; empty for a file."""
    return str(request.getfixturevalue("database")) if request.param == "postgres" else ""


def asked(rig: Rig, tasks: Iterable[tuple[str, RepeatKind]], **more: Any) -> list[Message]:
    return [rig.task(step, kind=kind, expirytime=rig.now + 3_600_000, **more) for step, kind in tasks]


def answers(rig: Rig) -> dict[str, Reply]:
    """The latest answer to each interaction."""
    return {
        message.envelope.interactionid or "": reply_from_message(message)
        for message in rig.heard
        if message.envelope.type in REPLY_TYPES
    }


def die(folder: Path, url: str) -> None:
    """The life of the host that is killed: it waits for the word, takes its tasks, and dies where it is told to."""
    with host(folder, url) as rig:
        rig.start()
        sys.stdout.write("started\n")
        sys.stdout.flush()
        sys.stdin.readline()
        rig.ask(*asked(rig, HERS))


@contextmanager
def doomed(folder: Path, url: str, point: str) -> Iterator[Callable[[], None]]:
    """A second host that dies at the point; what is given makes it begin."""
    program = "import sys; from pathlib import Path\nfrom tests.functional.test_two_hosts import die\n"
    program += "die(Path(sys.argv[1]), sys.argv[2])\n"
    with subprocess.Popen(
        [sys.executable, "-c", program, str(folder), url],
        env={**os.environ, "BUS_KILL_AT": point},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"

        def begin() -> None:
            process.stdin.write("begin\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]

        yield begin
        process.stdin.close()
        assert process.wait() == -signal.SIGKILL


@pytest.mark.parametrize(
    "point",
    [
        "host.received",
        "host.acknowledged",
        "host.intended",
        "host.called",
        "host.called:2",
        "host.read",
        "host.recorded",
        "host.published",
    ],
)
def test_of_two_hosts_one_is_killed_and_the_other_answers_for_both(tmp_path: Path, url: str, point: str) -> None:
    with host(tmp_path, url) as rig:
        rig.start()
        # When both work at once, some tasks are brought to both, and one of the hosts dies
        with doomed(tmp_path, url, point) as begin:
            begin()
            rig.ask(*asked(rig, HIS))
        # And the bus, which has heard nothing of some, asks again for the same attempt, and then for the next one
        rig.now += LATER
        rig.ask(*asked(rig, TASKS))
        rig.now += LATER
        doubtful = [task for task in TASKS if answers(rig).get(rig.interaction(task[0])) in (None, Unknown())]
        rig.ask(*asked(rig, doubtful, attempt=2))

        # Then each has one effect at most and an answer, and the answer is true
        said = answers(rig)
        for step, kind in TASKS:
            reply, effects = said[rig.interaction(step)], rig.legacy.effects(rig.interaction(step))
            if isinstance(reply, Completed):
                assert effects == 1, step
            else:
                # Nobody can tell, and so nobody pretends to, nor tries again.
                assert (reply, kind) == (Unknown(), "at_most_once"), step
                assert effects <= 1, step
        unsure = [step for step, _ in TASKS if said[rig.interaction(step)] == Unknown()]
        assert not unsure or point.partition(":")[0] in {"host.intended", "host.called", "host.read"}


def test_two_hosts_share_the_work_and_each_task_is_run_by_one(tmp_path: Path, url: str) -> None:
    with host(tmp_path, url) as rig:
        rig.start()
        # Given a second host in the same channels, which both know to be admitted whoever was handed the admission
        journal = cast("SqliteJournal", PostgresJournal(url, agency=AGENCY)) if url else SqliteJournal(rig.path)
        second = rig.new_host(journal)
        second.open()
        while not second.is_admitted:
            rig.host.step()
            second.step()
            rig.hear()
        # When every task comes twice
        tasks = asked(rig, TASKS)
        rig.send(*tasks, *tasks)
        while not (rig.host.is_idle and second.is_idle and len(rig.legacy.ledger) >= len(TASKS)):
            rig.host.step()
            second.step()
        while rig.hear():
            pass
        # Then each has one effect and is answered
        assert [rig.legacy.effects(rig.interaction(step)) for step, _ in TASKS] == [1] * len(TASKS)
        assert {type(reply) for reply in answers(rig).values()} == {Completed}
        assert len(answers(rig)) == len(TASKS)
        second.close()
        journal.close()


def test_a_host_that_starts_does_not_repeat_what_waits_in_the_other(tmp_path: Path, url: str) -> None:
    with host(tmp_path, url) as rig:
        rig.start()
        # Given a host that has received tasks of both kinds and is in its first call
        rig.send(*asked(rig, TASKS))
        rig.host.step()
        # When another one starts and finds in the journal what waits
        journal = cast("SqliteJournal", PostgresJournal(url, agency=AGENCY)) if url else SqliteJournal(rig.path)
        second = rig.new_host(journal)
        second.open()
        while not second.is_admitted:
            second.step()
            rig.hear()
        while not (rig.host.is_idle and second.is_idle):
            second.step()
            rig.host.step()
        while rig.hear():
            pass
        # Then it is done by one of them
        assert [rig.legacy.effects(rig.interaction(step)) for step, _ in TASKS] == [1] * len(TASKS)
        assert len(answers(rig)) == len(TASKS)
        second.close()
        journal.close()
