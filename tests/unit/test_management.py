"""Whoever asks the broker's management is told what is wrong with the answer, and never by a crash."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from bus.brokers.management import Access, Management
from bus.errors import BrokerUnavailableError, ConfigurationError

PASSWORD = "a-secret-of-the-administrator"


@contextmanager
def answering(status: int, body: bytes, location: str = "") -> Iterator[Management]:
    """A management in whose place something answers so to everything."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            if location:
                self.send_header("Location", location)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        with Management(Access(url=url, user="ops", password=PASSWORD)) as management:
            yield management
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("status", "body"),
    [(200, b"<html>A portal</html>"), (200, b""), (200, b"null"), (200, b'"text"'), (200, b"[1]"), (200, b"\xff")],
)
def test_what_is_not_the_management_is_told_as_such(status: int, body: bytes) -> None:
    with answering(status, body) as management, pytest.raises(BrokerUnavailableError, match="not the management"):
        management.read("gov")


@pytest.mark.parametrize("status", [301, 307, 500, 503])
def test_who_is_sent_elsewhere_does_not_follow_with_the_password(status: int) -> None:
    elsewhere = "http://127.0.0.1:1/"
    with answering(status, b"", elsewhere) as management, pytest.raises(BrokerUnavailableError, match=str(status)):
        management.read("gov")


@pytest.mark.parametrize("url", ["http://[::1", "http://ops:secret@é..x"])
def test_an_address_that_cannot_be_read_is_told_without_quoting_it(url: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Management(Access(url=url, user="ops", password=PASSWORD))

    (fault,) = refused.value.faults
    assert fault.code == "management-url"
    assert not [secret for secret in (PASSWORD, "secret") if secret in str(refused.value)]
