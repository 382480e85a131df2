"""A consumer's server for webhooks, and one webhook of a runtime rig that brings it the feed."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from bus.bench import fanout
from bus.config import Settings
from bus.ports import Incoming
from bus.process.event import CancelAsked
from bus.runtime.webhook import Webhook
from tests.support.runtime_rig import RuntimeRig

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
