"""Webhooks: a consumer's feed is brought to it signed, in order, at least once, and nobody else waits for it."""

from __future__ import annotations

import base64
import io
import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import pytest

from bus import logs
from bus.bench import fanout
from bus.bootstrap import Parts, assemble, load_workspace, open_store, running
from bus.catalog import configuration_rows
from bus.catalog.workspace import Secret, WebhookUse
from bus.config import Settings
from bus.errors import ConfigurationError
from bus.message.instant import MINUTE
from bus.ports import FailureRow, Incoming
from bus.process.event import CancelAsked, Submitted
from bus.runtime.webhook import FAILING, GONE, TOLD_AFTER, Webhook
from bus.runtime.webhook_signature import secret_of
from tests.support.installation import ROOT, wait_for
from tests.support.runtime_rig import RuntimeRig, runtime
from tests.support.workspaces.copies import Edit, copy_of_small

KEY = bytes(range(32))
WRITTEN = "whsec_" + base64.b64encode(KEY).decode()
SHORT = Settings(webhook_timeout=500, webhook_first=20, webhook_most=100)


@dataclass
class Receiver:
    """A consumer's server: keeps what came, and answers what the test tells it."""

    answers: list[int] = field(default_factory=list)
    #: Headers and body of every message, also of one that it did not take.
    came: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    #: Holds every answer back while it is not set.
    may_answer: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.may_answer.set()

    @contextmanager
    def listening(self, port: int = 0) -> Iterator[str]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.paths.append(self.path)
                receiver.came.append(({name.lower(): value for name, value in self.headers.items()}, body))
                receiver.may_answer.wait(10)
                status = receiver.answers.pop(0) if receiver.answers else 204
                self.send_response(status)
                if status in {301, 302, 307}:
                    self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # as in the class above
                pass

        with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
            server.daemon_threads = True
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
            thread.start()
            try:
                yield f"http://127.0.0.1:{server.server_address[1]}/bus"
            finally:
                self.may_answer.set()
                server.shutdown()
                thread.join(10)

    @property
    def ids(self) -> list[str]:
        return [headers["webhook-id"] for headers, _ in self.came]


def _documented() -> Callable[[dict[str, str], bytes, str], bool]:
    """The check that the documentation gives to consumers, as it stands there."""
    page = (ROOT / "docs" / "webhooks.md").read_text(encoding="utf-8")
    code = page.partition("```python\n")[2].partition("```")[0]
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102  # it is our own documentation
    return cast("Callable[[dict[str, str], bytes, str], bool]", names["verify"])


verify = _documented()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[RuntimeRig]:
    with runtime(tmp_path / "data", SHORT) as rig:
        yield rig


def end(rig: RuntimeRig, *keys: str) -> list[str]:
    """Requests that are over, so that the feed tells of each; the messages' ids in the order of the feed."""
    for request in rig.submit(*keys):
        rig.decide(Incoming(request_id=request, event=CancelAsked(actor="test", reason="test")))
    return [json.loads(body)["id"] for _, body in rig.store.results(fanout.CONSUMER, after=0, most=200)]


def webhook(rig: RuntimeRig, url: str, clock: Callable[[], float] | None = None) -> Webhook:
    return Webhook(
        consumer=fanout.CONSUMER,
        url=url,
        secret=KEY,
        store=rig.store,
        keys=rig.parts.tools.keys,
        settings=rig.settings,
        monotonic=clock or Clock(),
    )


class Clock:
    """Every look at it is an hour later, so that nothing has to be waited for."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 3600
        return self.now


def collected(rig: RuntimeRig) -> list[bool]:
    return [row.collected_at is not None for row, _ in rig.store.results(fanout.CONSUMER, after=0, most=200)]


def test_every_message_is_brought_in_the_order_of_the_feed_signed_and_acknowledged(rig: RuntimeRig) -> None:
    # Given three messages in the feed
    ids = end(rig, "a", "b", "c")
    receiver = Receiver()
    with receiver.listening() as url:
        hook = webhook(rig, url)
        # When they are brought
        while hook.step():
            pass
        hook.close()
    # Then each came once, in order, as the very bytes of the feed, and is collected as if the consumer had said so
    assert receiver.ids == ids
    assert [body for _, body in receiver.came] == [
        body for _, body in rig.store.results(fanout.CONSUMER, after=0, most=9)
    ]
    assert all(verify(headers, body, WRITTEN) for headers, body in receiver.came)
    assert all(headers["content-type"] == "application/cloudevents+json" for headers, _ in receiver.came)
    assert collected(rig) == [True] * 3
    assert rig.store.recount() == ()


def test_a_signature_fails_for_another_body_another_time_and_another_secret(rig: RuntimeRig) -> None:
    end(rig, "a")
    receiver = Receiver()
    with receiver.listening() as url:
        webhook(rig, url).step()
    ((headers, body),) = receiver.came
    assert verify(headers, body, WRITTEN)
    assert not verify(headers, body + b" ", WRITTEN)
    assert not verify({**headers, "webhook-timestamp": "1"}, body, WRITTEN)
    assert not verify(headers, body, "whsec_" + base64.b64encode(bytes(32)).decode())


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


def test_what_the_consumer_acknowledged_itself_is_not_brought_any_more(rig: RuntimeRig) -> None:
    ids = end(rig, "a", "b")
    first = rig.store.results(fanout.CONSUMER, after=0, most=1)[0][0]
    rig.store.collect(fanout.CONSUMER, [first.key])
    receiver = Receiver()
    with receiver.listening() as url:
        hook = webhook(rig, url)
        while hook.step():
            pass
        # Also long after, what comes new is found
        rig.pass_time(60 * MINUTE)
        hook.step()
        ids = end(rig, "c")
        assert hook.step()
    assert receiver.ids == ids[1:]


def test_the_log_holds_neither_secret_nor_data_nor_address(rig: RuntimeRig) -> None:
    lines = io.StringIO()
    logs.configure(json=True, stream=lines)
    try:
        end(rig, "a")
        receiver = Receiver(answers=[500] * TOLD_AFTER)
        with receiver.listening() as url:
            hook = webhook(rig, f"{url}?token=hidden")
            for _ in range(TOLD_AFTER + 1):
                hook.step()
    finally:
        logs.configure(json=True, level="warning")
    told = lines.getvalue()
    assert "webhook_refused" in told
    assert not [
        word for word in ("whsec", "hidden", "127.0.0.1", "log_withheld", fanout.submission(1)["note"]) if word in told
    ]


def _end(parts: Parts, consumer: str) -> None:
    """One request of this consumer, taken back at once."""
    one = RuntimeRig(parts).incoming(f"of-{consumer}")
    assert isinstance(one.event, Submitted)
    assert one.submission is not None
    theirs = replace(
        one, event=replace(one.event, consumer=consumer), submission=replace(one.submission, consumer=consumer)
    )
    parts.manager.decide([theirs])
    parts.manager.decide([Incoming(request_id=one.request_id, event=CancelAsked(actor="test", reason="test"))])


def test_one_receiver_that_hangs_keeps_neither_another_consumer_nor_the_end_of_the_bus_waiting(tmp_path: Path) -> None:
    # Given two consumers, one of whose receivers takes and never answers
    stuck, quick = Receiver(answers=[500]), Receiver()
    stuck.may_answer.clear()
    with stuck.listening() as first, quick.listening() as second:
        workspace = fanout.workspace(replace(SHORT, webhook_timeout=5_000, drain_within=3_000))
        uses = {
            name: WebhookUse(url=url, secret=Secret(source="file", name="hook.secret"))
            for name, url in ((fanout.CONSUMER, first), ("agency_a", second))
        }
        (tmp_path / "hook.secret").write_text(f"{WRITTEN}\n", encoding="utf-8")
        workspace = replace(workspace, root=tmp_path, env=replace(workspace.env, webhooks=uses))
        parts = assemble(workspace, tmp_path / "data")
        for consumer in uses:
            _end(parts, consumer)
        # When the whole bus runs
        with running(parts, hosts=False):
            wait_for("the quick one has its message", lambda: quick.came)
            wait_for("the other one was asked", lambda: stuck.came)
        # Then the quick one's is collected, and the other's waits for the next start
    with closing(open_store(tmp_path / "data")) as store:
        assert [row.collected_at is not None for row, _ in store.results("agency_a", after=0, most=9)] == [True]
        assert [row.collected_at is not None for row, _ in store.results(fanout.CONSUMER, after=0, most=9)] == [False]


_USE = "\nwebhooks: {office: {url: URL, secret: SECRET}}\nintervals:\n"


def _workspace(folder: Path, url: str, secret: str, consumer: str = "portal") -> Path:
    text = _USE.replace("office", consumer).replace("URL", url).replace("SECRET", secret)
    return copy_of_small(folder, Edit(file="env/dev.yaml", old="\nintervals:\n", new=text))[0]


def test_an_environment_says_where_the_messages_of_a_consumer_go_and_shows_no_secret(tmp_path: Path) -> None:
    root = _workspace(tmp_path, "https://portal.example/bus", "{env: PORTAL_WEBHOOK}")

    use = load_workspace(root, "dev").env.webhooks["portal"]
    rows = {row.name: row.value for row in configuration_rows(root, "dev")}

    assert (use.url, use.secret.name) == ("https://portal.example/bus", "PORTAL_WEBHOOK")
    assert rows["webhooks.portal.url"] == "https://portal.example/bus"
    assert rows["webhooks.portal.secret"] == "******** (from env PORTAL_WEBHOOK)"


@pytest.mark.parametrize(
    ("url", "secret", "consumer", "code"),
    [
        ("http://portal.example/bus", "{env: X}", "portal", "webhook-address"),
        ("https://user:word@portal.example/bus", "{env: X}", "portal", "webhook-address"),
        ("https://portal.example:nine/bus", "{env: X}", "portal", "webhook-address"),
        ("ftp://portal.example/bus", "{env: X}", "portal", "webhook-address"),
        ("https:///bus", "{env: X}", "portal", "webhook-address"),
        ("https://portal.example/bus", WRITTEN, "portal", "secret-in-clear"),
        ("https://portal.example/bus", "{env: X}", "moon", "unknown-agency"),
    ],
)
def test_a_webhook_that_cannot_be_safe_is_refused_with_its_line_and_its_secret_is_not_repeated(
    tmp_path: Path, url: str, secret: str, consumer: str, code: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load_workspace(_workspace(tmp_path, url, secret, consumer), "dev")

    assert [fault.code for fault in refused.value.faults] == [code]
    assert all(fault.file == "env/dev.yaml" and fault.line and fault.mend for fault in refused.value.faults)
    assert WRITTEN not in str(refused.value)


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost:8080", "[::1]:8080"])
def test_plain_http_is_for_receivers_on_this_machine(tmp_path: Path, host: str) -> None:
    assert load_workspace(_workspace(tmp_path, f"'http://{host}/bus'", "{env: X}"), "dev").env.webhooks


@pytest.mark.parametrize("written", ["", WRITTEN.removeprefix("whsec_"), "whsec_???", "whsec_" + "A" * 20])
def test_a_secret_that_is_none_is_refused_and_not_repeated(written: str) -> None:
    with pytest.raises(ValueError, match=r"webhook's secret|base64") as refused:
        secret_of(written)
    assert not written or written not in str(refused.value)


def test_the_bus_does_not_start_with_a_secret_that_is_none(tmp_path: Path) -> None:
    workspace = fanout.workspace(SHORT)
    use = WebhookUse(
        url="http://127.0.0.1:9/", secret=Secret(source="file", name="hook", asked_in="env/x.yaml", line=7)
    )
    (tmp_path / "hook").write_text("short", encoding="utf-8")
    workspace = replace(workspace, root=tmp_path, env=replace(workspace.env, webhooks={fanout.CONSUMER: use}))
    parts = assemble(workspace, tmp_path / "data")
    with pytest.raises(ConfigurationError) as refused, running(parts, hosts=False):
        pass
    parts.store.close()
    (fault,) = refused.value.faults
    assert (fault.code, fault.file, fault.line, bool(fault.mend)) == ("webhook-secret", "env/x.yaml", 7, True)
