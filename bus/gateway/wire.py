"""HTTP on the wire: who opens a connection must ask in time, and what is no HTTP is answered with a problem too."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any

import h11
import orjson
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from bus.gateway.problems import CONTENT_TYPE, RETRY_AFTER, answer_of

#: Seconds within which the head of a request must be there, from the connection's or its own first byte on.
HEAD_WITHIN = 10.0
#: Bytes of a body that are still read, and dropped, after its refusal: who sends on must get to read the answer.
MOST_DROPPED = 1 << 20
#: So many connections may be open; who comes then is told to come later.
MOST_CONNECTIONS = 4_000


class Wire(H11Protocol):
    """One connection. Neither a head that trickles nor a connection that says nothing holds a place for ever."""

    head_within = HEAD_WITHIN
    most_connections = MOST_CONNECTIONS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_timer: asyncio.TimerHandle | None = None
        self._dropped = 0
        #: What was last asked whole; another one stands there as soon as the next head is.
        self._asked: RequestResponseCycle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the class above
        """A place is taken, if there is one."""
        super().connection_made(transport)
        if len(self.connections) > self.most_connections:
            self._refuse("busy")
        else:
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """The place is free again."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes of a head, or of a body, whose time the application watches."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self.cycle is not self._asked:
            self._asked, self._dropped = self.cycle, 0
            self._stop_timer()
        elif self._awaits_head():
            self._dropped += len(data) if self._is_body_left() else 0
            if self._dropped > MOST_DROPPED:
                self.transport.close()
            elif self._head_timer is None:
                self._await_head()

    def send_400_response(self, msg: str) -> None:  # a library's words are in one language
        """What was sent is no HTTP."""
        self._refuse("bad-request")

    def _awaits_head(self) -> bool:
        return self._asked is None or self._asked.response_complete

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(self.head_within, self._too_late)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _is_body_left(self) -> bool:
        """Whether the answer is given while the body still comes."""
        return self._asked is not None and self.conn.their_state is h11.SEND_BODY

    def _too_late(self) -> None:
        self._head_timer = None
        if self.transport.is_closing():
            return
        if self._is_body_left():
            self.transport.close()
        else:
            self._refuse("too-slow")

    def _refuse(self, code: str) -> None:
        """Answer before there is a question, and close."""
        self._stop_timer()
        body = answer_of(code)
        content, status = orjson.dumps(body), HTTPStatus(body["status"])
        lines = [f"HTTP/1.1 {status.value} {status.phrase}", f"Content-Type: {CONTENT_TYPE}", "Cache-Control: no-store"]
        lines += [f"Content-Length: {len(content)}", "Connection: close"]
        lines += [f"Retry-After: {RETRY_AFTER}"] if status == HTTPStatus.SERVICE_UNAVAILABLE else []
        self.transport.write("\r\n".join([*lines, "", ""]).encode() + content)
        self.transport.close()
