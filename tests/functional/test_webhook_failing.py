"""Webhooks whose receiver refuses, hangs, dies or is gone: nothing is lost, and people are shown it once."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bus.bench import fanout
from bus.ports import FailureRow
from bus.runtime.webhook import FAILING, GONE, TOLD_AFTER
from tests.support.runtime_rig import RuntimeRig, runtime
from tests.support.webhook_receiver import SHORT, Receiver, collected, end, webhook


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[RuntimeRig]:
    with runtime(tmp_path / "data", SHORT) as rig:
        yield rig


@pytest.mark.parametrize("answers", [[500], [404, 503], [429], [302], [307], [400]])
def test_what_was_not_taken_is_brought_again_before_anything_else(rig: RuntimeRig, answers: list[int]) -> None:
    ids = end(rig, "a", "b")
    receiver = Receiver(answers=list(answers))
    with receiver.listening() as url:
        hook = webhook(rig, url)
        for _ in range(len(answers) + 2):
            hook.step()
    # The first came again until it was taken; a redirect leads nowhere.
    assert receiver.ids == [ids[0]] * (len(answers) + 1) + [ids[1]]
    assert set(receiver.paths) == {"/bus"}
    assert collected(rig) == [True, True]


def test_nothing_is_tried_before_its_time(rig: RuntimeRig) -> None:
    end(rig, "a")
    now = [0.0]
    receiver = Receiver(answers=[500, 500, 500])
    with receiver.listening() as url:
        hook = webhook(rig, url, lambda: now[0])
        # 20 ms after the first failure, 40 ms after the second, 80 ms after the third
        tries = []
        for step in range(20):
            now[0] = step * 0.01
            before = len(receiver.came)
            hook.step()
            tries += [step] if len(receiver.came) > before else []
    assert tries == [0, 2, 6, 14]


def test_a_receiver_that_is_down_or_sleeps_loses_nothing(rig: RuntimeRig) -> None:
    ids = end(rig, "a", "b")
    # Given nobody listens
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    hook = webhook(rig, f"http://127.0.0.1:{port}/bus")
    assert not hook.step()
    # When somebody does, and takes a message without answering in time
    receiver = Receiver()
    receiver.may_answer.clear()
    with receiver.listening(port):
        assert not hook.step()
        receiver.may_answer.set()
        while hook.step():
            pass
    # Then it came twice, which its id shows, and nothing is missing
    assert receiver.ids == [ids[0], ids[0], ids[1]]
    assert collected(rig) == [True, True]


def test_a_receiver_killed_between_receiving_and_answering_gets_the_message_again(
    rig: RuntimeRig, tmp_path: Path
) -> None:
    ids = end(rig, "a")
    kept = tmp_path / "kept"
    # Given a receiver that writes down what comes, and dies before it answers
    program = (
        "import os, signal, socket, sys\n"
        "s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True)\n"
        "c, _ = s.accept(); data = b''\n"
        "while b'\\r\\n\\r\\n' not in data or b'}' not in data.partition(b'\\r\\n\\r\\n')[2]: data += c.recv(65536)\n"
        "open(sys.argv[1], 'wb').write(data); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(kept)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        hook = webhook(rig, f"http://127.0.0.1:{port}/bus")
        assert not hook.step()
        assert process.wait(10) == -signal.SIGKILL
    assert ids[0].encode() in kept.read_bytes()
    assert collected(rig) == [False]
    # When it is back
    receiver = Receiver()
    with receiver.listening(port):
        assert hook.step()
    # Then it has the message a second time
    assert receiver.ids == ids
    assert collected(rig) == [True]


def test_ten_failures_in_a_row_are_shown_once_and_closed_when_it_works_again(rig: RuntimeRig) -> None:
    end(rig, "a")
    receiver = Receiver(answers=[500] * (TOLD_AFTER + 3))
    with receiver.listening() as url:
        hook = webhook(rig, url)
        for _ in range(TOLD_AFTER - 1):
            hook.step()
        assert rig.codes() == []
        hook.step()
        assert rig.codes() == [FAILING]
        for _ in range(3):
            hook.step()
        assert rig.codes() == [FAILING]
        (shown,) = rig.failures()
        assert shown.agency == fanout.CONSUMER
        # Also a process started meanwhile knows what is shown
        assert webhook(rig, url).step()
    assert rig.codes() == []


def test_a_receiver_that_is_gone_gets_nothing_more_until_a_restart(rig: RuntimeRig) -> None:
    ids = end(rig, "a")
    receiver = Receiver(answers=[410])
    with receiver.listening() as url:
        hook = webhook(rig, url)
        assert not any(hook.step() for _ in range(5))
        assert (receiver.ids, rig.codes(), collected(rig)) == ([ids[0]], [GONE], [False])
        # A new start tries again
        assert webhook(rig, url).step()
    assert (rig.codes(), collected(rig)) == ([], [True])


def test_failures_are_counted_anew_after_each_message_that_is_taken(rig: RuntimeRig) -> None:
    end(rig, "a", "b")
    receiver = Receiver(answers=[*[500] * (TOLD_AFTER - 1), 204, 500])
    with receiver.listening() as url:
        hook = webhook(rig, url)
        for _ in range(TOLD_AFTER + 1):
            hook.step()
    assert (collected(rig), rig.codes()) == ([True, False], [])


def test_what_somebody_closed_though_the_webhook_still_fails_is_shown_again(rig: RuntimeRig) -> None:
    end(rig, "a")
    receiver = Receiver(answers=[500] * (TOLD_AFTER + 1))
    with receiver.listening() as url:
        hook = webhook(rig, url)
        for _ in range(TOLD_AFTER):
            hook.step()
        (shown,) = rig.failures()
        assert rig.store.close_failure(shown.key, "seen")
        hook.step()
    assert rig.codes() == [FAILING]


def test_a_receiver_that_fails_and_then_is_gone_is_shown_as_gone(rig: RuntimeRig) -> None:
    end(rig, "a")
    receiver = Receiver(answers=[*[500] * TOLD_AFTER, 410])
    with receiver.listening() as url:
        hook = webhook(rig, url)
        for _ in range(TOLD_AFTER + 1):
            hook.step()
    assert rig.codes() == [GONE]


def test_a_webhook_that_works_closes_no_failure_of_anybody_else(rig: RuntimeRig) -> None:
    end(rig, "a")
    other = FailureRow(
        key=rig.parts.tools.keys.next(),
        request_key=None,
        request_id=None,
        step=None,
        agency="press",
        code=FAILING,
        cause=f"press/-/{FAILING}",
        payload_id=None,
        opened_at=rig.store.now(),
    )
    rig.store.note_failure(other, None)
    with Receiver().listening() as url:
        assert webhook(rig, url).step()
    assert [failure.key for failure in rig.failures()] == [other.key]
