"""RabbitMQ's management API: reads what stands in a virtual host, and makes it, its users and their rights."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar
from urllib.parse import quote

import httpx

from bus.brokers.comparison import Found, Written
from bus.brokers.definitions import has_password, permission, tags_of
from bus.brokers.topology import Rights
from bus.errors import BrokerUnavailableError, ConfigurationError, Fault

T = TypeVar("T")

#: Seconds for an answer; a broker with thousands of queues takes a while to tell of them.
_TIMEOUT: Final = 30.0
_REFUSED: Final = (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN)
#: Parameters that carry messages from one place to another.
_CARRIERS: Final = ("shovel", "federation-upstream", "federation-upstream-set")


class Deed(StrEnum):
    """What became of one thing that should be there."""

    MADE = "made"
    CHANGED = "changed"
    AS_IT_WAS = "as it was"


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Where the management API is, and whom it knows as an administrator."""

    url: str
    user: str
    password: str
    #: PEM file of the authorities that are trusted in place of the system's.
    ca: Path | None = None

    def __repr__(self) -> str:
        # The password must not get into a log or a traceback.
        return f"Access(user={self.user!r})"


class Management:
    """One administrator's connection to the management API.

    Everything raises BrokerUnavailableError where it cannot be reached, and ConfigurationError where it knows no such
    administrator.
    """

    def __init__(self, access: Access) -> None:
        self._user = access.user
        try:
            self._http = httpx.Client(
                base_url=f"{access.url.rstrip('/')}/api/",
                auth=(access.user, access.password),
                timeout=_TIMEOUT,
                verify=_context(access.ca),
                # No proxy of the machine comes between: it would see the administrator's password.
                trust_env=False,
            )
        except httpx.InvalidURL:
            # Its text quotes the address, which may hold a password.
            message = "The address of the broker's management cannot be read."
            fault = Fault(
                code="management-url", message=message, mend="Write broker.management.url: https://host:15671."
            )
            raise ConfigurationError((fault,)) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def read(self, vhost: str) -> Found:
        """Everything that stands in the virtual host, all users and all nodes."""
        there = self._get(f"vhosts/{_part(vhost)}")
        parameters = [
            one for one in self._list("parameters") if one["vhost"] == vhost and one["component"] in _CARRIERS
        ]
        kinds = ("queues", "exchanges", "bindings", "policies", "operator-policies")
        inside = {kind: self._list(f"{kind}/{_part(vhost)}") if there is not None else [] for kind in kinds}
        return Found(
            vhost=there,
            queues=inside["queues"],
            exchanges=inside["exchanges"],
            bindings=inside["bindings"],
            policies=inside["policies"],
            operator_policies=inside["operator-policies"],
            parameters=parameters,
            permissions=self._list("permissions"),
            users=self._list("users"),
            nodes=self._list("nodes"),
        )

    def make_vhost(self, vhost: str) -> Deed:
        """Make the virtual host where it is missing."""
        if self._get(f"vhosts/{_part(vhost)}") is not None:
            return Deed.AS_IT_WAS
        self._put(f"vhosts/{_part(vhost)}", {})
        # Who makes a virtual host gets every right in it, and an administrator needs none.
        self._send("DELETE", f"permissions/{_part(vhost)}/{_part(self._user)}")
        return Deed.MADE

    def make_user(self, user: str, password: str) -> Deed:
        """Make the user with this password and no tags, or make one that is there so."""
        there = self._get(f"users/{_part(user)}")
        if there is not None and not tags_of(there) and has_password(there, password):
            return Deed.AS_IT_WAS
        self._put(f"users/{_part(user)}", {"password": password, "tags": ""})
        return Deed.MADE if there is None else Deed.CHANGED

    def grant(self, rights: Rights, vhost: str) -> Deed:
        """Give a user its rights, in place of those that it has here."""
        place = f"permissions/{_part(vhost)}/{_part(rights.user)}"
        there, wanted = self._get(place), permission(rights, vhost)
        if there == wanted:
            return Deed.AS_IT_WAS
        self._put(place, wanted)
        return Deed.MADE if there is None else Deed.CHANGED

    def _list(self, path: str) -> list[Written]:
        found: list[Any] = _read(self._send("GET", path), list)
        return [one for one in found if isinstance(one, Mapping)]

    def _get(self, path: str) -> dict[str, Any] | None:
        answer = self._send("GET", path)
        return None if answer.status_code == httpx.codes.NOT_FOUND else _read(answer, dict)

    def _put(self, path: str, value: Mapping[str, Any]) -> None:
        self._send("PUT", path, value)

    def _send(self, method: str, path: str, value: Mapping[str, Any] | None = None) -> httpx.Response:
        try:
            answer = self._http.request(method, path, json=value)
        except httpx.TransportError as error:
            message = f"The management of the broker cannot be reached: {type(error).__name__}."
            mend = "Look at broker.management.url, and whether the plugin rabbitmq_management is on."
            raise BrokerUnavailableError(message, mend=mend) from error
        if answer.status_code in _REFUSED:
            message = f"The management of the broker refuses {self._user}."
            mend = "Look at broker.management.password, and give the user the tag administrator."
            raise ConfigurationError((Fault(code="management-refuses", message=message, mend=mend),))
        missing = answer.status_code == httpx.codes.NOT_FOUND and method != "PUT"
        if not answer.is_success and not missing:
            message = f"The management of the broker answered {method} {path} with {answer.status_code}."
            raise BrokerUnavailableError(message, mend="Its log says why.")
        return answer


def _read(answer: httpx.Response, kind: type[T]) -> T:
    with suppress(ValueError):
        found = answer.json()
        if isinstance(found, kind):
            return found
    message = "What answers at the address of the broker's management is not the management."
    raise BrokerUnavailableError(message, mend="Look at broker.management.url.")


def _part(name: str) -> str:
    return quote(name, safe="")


def _context(ca: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=None if ca is None else str(ca))
    except OSError as error:
        message = "The certificates of the authorities that vouch for the broker cannot be read."
        mend = "Give a PEM file that this user may read."
        raise ConfigurationError((Fault(code="unreadable-ca", message=message, mend=mend, file=str(ca)),)) from error
