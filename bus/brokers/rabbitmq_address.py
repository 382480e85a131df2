"""Where RabbitMQ is: a URL of one host or several; and who connects to it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias
from urllib.parse import unquote

from bus.errors import ConfigurationError, Fault

#: Host and port of one node.
Node: TypeAlias = tuple[str, int]
#: Scheme of the URL -> port, where the URL names none.
PORTS: Final = {"amqp": 5672, "amqps": 5671}
#: The virtual host, where the URL names none: the bus has one of its own.
VHOST: Final = "bus"

_EXAMPLE = "Write it like amqp://host:5672/bus or amqps://host1,host2/bus; user and password are settings of their own."


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """What a URL says."""

    #: All nodes of a cluster, or the one.
    nodes: tuple[Node, ...]
    vhost: str
    is_tls: bool

    def __str__(self) -> str:
        return f"{', '.join(f'{host}:{port}' for host, port in self.nodes)} (virtual host {self.vhost!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """Who connects, and how patient he is."""

    user: str
    password: str
    #: PEM file of the authorities that are trusted in place of the system's.
    ca: Path | None
    #: Shown by the broker beside the connection.
    name: str
    #: Seconds between signs of life.
    heartbeat: int
    #: Seconds for a connection to stand, and for each answer on it.
    timeout: float

    def __repr__(self) -> str:
        # The password must not get into a log or a traceback.
        return f"Login(user={self.user!r}, name={self.name!r})"


def parse(url: str) -> Address:
    """The address; ConfigurationError without quoting the URL, which may hold a password."""
    scheme, mark, rest = url.partition("://")
    netloc, slash, path = rest.partition("/")
    if not mark or scheme not in PORTS:
        raise _wrong("It begins with neither amqp:// nor amqps://.")
    if "@" in netloc:
        raise _wrong("It holds a user or a password.")
    if "?" in rest or "#" in rest:
        raise _wrong("It holds parameters, and there are none.")
    nodes = tuple(_node(part.strip(), PORTS[scheme]) for part in netloc.split(","))
    return Address(nodes=nodes, vhost=unquote(path) if slash and path else VHOST, is_tls=scheme == "amqps")


def _node(part: str, port: int) -> Node:
    if part.startswith("["):
        host, bracket, rest = part[1:].partition("]")
        colon, number = rest[:1], rest[1:]
        if not bracket or colon not in {"", ":"}:
            raise _wrong("An IPv6 address stands in [ ].")
    else:
        host, colon, number = part.partition(":")
    if not host:
        raise _wrong("A host is missing.")
    if colon and not (number.isascii() and number.isdigit() and 0 < int(number) < 65_536):
        raise _wrong("A port is no number between 1 and 65535.")
    return host, int(number) if colon else port


def _wrong(what: str) -> ConfigurationError:
    fault = Fault(code="broker-url", message=f"The URL of the broker cannot be used. {what}", mend=_EXAMPLE)
    return ConfigurationError((fault,))
