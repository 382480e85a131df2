"""One HTTP exchange with the authority: connect, send, receive. It knows exactly whether a byte of a call has left."""

from __future__ import annotations

import base64
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from bus.adapter import AgencyUnavailableError

from .answer import pack

#: A certificate has less than two thousand bytes; who sends more than this has no certificate to send.
_MOST_BYTES = 1_000_000
_PIECE = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """Where the authority's service is, and how long it is waited for."""

    url: str
    user: str | None
    #: Sent with the call; never part of what is kept.
    password: str | None
    #: Certificates that its certificate must come from; None: those of the machine.
    ca_file: str | None
    connect_s: float
    #: From the connection to the last byte of the answer.
    timeout_s: float

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Door:
        """The door that the settings describe."""
        return cls(
            url=settings["url"],
            user=settings.get("user"),
            password=settings.get("password"),
            ca_file=settings.get("ca_file"),
            connect_s=settings.get("connect_s", 1.0),
            timeout_s=settings.get("timeout_s", 3.0),
        )

    def post(self, body: bytes, *, action: str, reference: str) -> bytes:
        """The answer, whatever it says, in the form of `answer.pack`. No redirect, no proxy, no second attempt.

        AgencyUnavailableError: no connection, so no byte of the call has left. Any other exception: the call may have
        arrived. An answer that ends in the middle of its body is kept as far as it came.
        """
        connection = self._connect()
        try:
            deadline = time.monotonic() + self.timeout_s
            # A new connection for each call: on one that was kept open nobody could tell whether a call had arrived.
            stream = connection.sock
            stream.settimeout(self.timeout_s)
            connection.request("POST", self._path(), body=body, headers=self._headers(action))
            with connection.getresponse() as response:
                content, is_cut = _received(response, stream, deadline)
                return pack(
                    reference=reference,
                    status=response.status,
                    reason=response.reason,
                    headers=response.getheaders(),
                    body=content,
                    is_cut=is_cut,
                )
        finally:
            connection.close()

    def _connect(self) -> HTTPConnection:
        address = urlsplit(self.url)
        try:
            if address.scheme == "https":
                context = ssl.create_default_context(cafile=self.ca_file)
                connection: HTTPConnection = HTTPSConnection(
                    address.hostname or "", address.port, timeout=self.connect_s, context=context
                )
            else:
                connection = HTTPConnection(address.hostname or "", address.port, timeout=self.connect_s)
            connection.connect()
        except OSError as error:
            raise AgencyUnavailableError(f"The authority's service cannot be reached: {error}.") from error
        return connection

    def _path(self) -> str:
        address = urlsplit(self.url)
        return f"{address.path or '/'}{f'?{address.query}' if address.query else ''}"

    def _headers(self, action: str) -> dict[str, str]:
        headers = {"Content-Type": "text/xml; charset=utf-8", "SOAPAction": f'"{action}"', "Connection": "close"}
        if self.user is not None:
            pair = f"{self.user}:{self.password or ''}".encode()
            headers["Authorization"] = f"Basic {base64.b64encode(pair).decode('ascii')}"
        return headers


def _received(response: HTTPResponse, stream: Any, deadline: float) -> tuple[bytes, bool]:
    """The body, and whether it was cut; an exception if not even one byte of a body came that was announced."""
    announced = response.length
    body = bytearray()
    try:
        while piece := _piece(response, stream, deadline):
            body += piece
            if len(body) > _MOST_BYTES:
                return bytes(body[:_MOST_BYTES]), True
    except (OSError, HTTPException):
        if not body:
            raise
        return bytes(body), True
    is_cut = announced is not None and len(body) < announced
    if is_cut and not body:
        raise ConnectionError("the connection ended before the first byte of the answer's body")
    return bytes(body), is_cut


def _piece(response: HTTPResponse, stream: Any, deadline: float) -> bytes:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("the answer was not whole in time")
    stream.settimeout(left)
    return response.read1(_PIECE)
