"""One request of a browser: in which language, by whom, and whether what it sends is really his."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import parse_qsl, urlsplit

from starlette.requests import ClientDisconnect, Request

from bus.console.language import Language
from bus.console.session import Session
from bus.errors import BusError
from bus.message.instant import Instant
from bus.message.strict_json import MOST_BYTES
from bus.operations.caller import Caller

#: More fields than this are in no form of ours.
_MOST_FIELDS = 5_000
#: Seconds within which a form must be there.
_WITHIN = 20.0
_FORM = "application/x-www-form-urlencoded"

Pairs = Sequence[tuple[str, str]]


class PageError(BusError):
    """What a browser sent cannot be taken; ``status`` says how it is told."""

    code = "page"

    def __init__(self, status: int, *, retry_after: int = 0) -> None:
        super().__init__(f"The page answers {status}.")
        self.status = status
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """What a page is made from."""

    http: Request
    language: Language
    now: Instant
    session: Session | None = None
    caller: Caller | None = None
    #: What the browser posted, in its order; never logged.
    form: Pairs = ()
    #: Goes into every form of the page.
    form_token: str = ""

    def one(self, name: str) -> str:
        """The last value of a name; "" without one."""
        return next((value for key, value in reversed(self.form) if key == name), "")

    def every(self, name: str) -> tuple[str, ...]:
        """All values of a name."""
        return tuple(value for key, value in self.form if key == name)

    @property
    def who(self) -> Caller:
        """The caller of a page that needs one."""
        if self.caller is None:
            raise PageError(401)
        return self.caller


def address(http: Request) -> str:
    """The address that asks: the server's peer, or whom a proxy on this machine says that it speaks for."""
    peer = http.client.host if http.client is not None else ""
    forwarded = http.headers.getlist("x-forwarded-for") if _is_this_machine(peer) else []
    # The last name is the one that the nearest proxy wrote; those before it anybody may have made up.
    named = forwarded[-1].rpartition(",")[2].strip() if forwarded else ""
    return named if parse_address(named) is not None else peer


def is_secure(http: Request) -> bool:
    """Whether the browser speaks TLS, to us or to a proxy on this machine."""
    peer = http.client.host if http.client is not None else ""
    forwarded = http.headers.get("x-forwarded-proto", "") if _is_this_machine(peer) else ""
    return "https" in {http.url.scheme, forwarded.strip().lower()}


def parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """The address that is written, one of version 4 as itself also where a socket of version 6 took it; else None."""
    try:
        parsed = ip_address(text)
    except ValueError:
        return None
    return parsed.ipv4_mapped or parsed if isinstance(parsed, IPv6Address) else parsed


def _is_this_machine(peer: str) -> bool:
    parsed = parse_address(peer)
    return parsed is not None and parsed.is_loopback


async def read_form(http: Request) -> Pairs:
    """The fields of a posted form; a PageError for what is none."""
    if http.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        raise PageError(415)
    raw = bytearray()
    try:
        async with asyncio.timeout(_WITHIN):
            async for chunk in http.stream():
                raw += chunk
                if len(raw) > MOST_BYTES:
                    raise PageError(413)
        text = raw.decode("ascii")
        return tuple(parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS))
    except (ClientDisconnect, TimeoutError, ValueError) as broken:
        # Half a form or one that never ends, bytes that are no UTF-8, or thousands of fields: nothing of it is taken.
        raise PageError(400) from broken


def is_from_here(http: Request) -> bool:
    """Whether a posted form comes from a page of this very site, as the browser says."""
    origin = http.headers.get("origin")
    if origin is None:
        return http.headers.get("sec-fetch-site") == "same-origin"
    try:
        return urlsplit(origin).netloc == http.headers.get("host", "") != ""
    except ValueError:
        # What is no address at all is no page of ours.
        return False
