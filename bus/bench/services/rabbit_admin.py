"""How an administrator reaches a RabbitMQ: one node or a cluster, private or not."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import httpx

from bus.bench.services.waiting import ServiceError

_ADMINISTRATOR: Final = "guest"


@dataclass(frozen=True, slots=True, kw_only=True)
class RabbitAdmin:
    """How an administrator reaches a RabbitMQ: one node or a cluster."""

    #: ``127.0.0.1:5672``; several of a cluster with commas between them.
    hosts: str
    #: The management API, without the final slash.
    management: str
    user: str = _ADMINISTRATOR
    password: str = _ADMINISTRATOR

    def url(self, vhost: str = "/") -> str:
        """The AMQP URL of a vhost, without user and password."""
        return f"amqp://{self.hosts}/{quote(vhost, safe='')}"

    def url_with_user(self, vhost: str = "/") -> str:
        """The same with the administrator in it, as pika takes it; of the first host."""
        return f"amqp://{self.user}:{self.password}@{self.hosts.partition(',')[0]}/{quote(vhost, safe='')}"

    def ask(self, method: str, path: str, json: object = None) -> Any:
        """One request to the management API: ``("GET", "/api/queues")``; what it answers, None for nothing."""
        login = (self.user, self.password)
        answer = httpx.request(method, f"{self.management}{path}", auth=login, json=json, timeout=30.0)
        if answer.is_error:
            raise ServiceError(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer.json() if answer.content else None

    def make_vhost(self, name: str) -> None:
        """Make a vhost in which the administrator may do everything."""
        where = quote(name, safe="")
        self.ask("PUT", f"/api/vhosts/{where}")
        rights = {"configure": ".*", "write": ".*", "read": ".*"}
        self.ask("PUT", f"/api/permissions/{where}/{quote(self.user, safe='')}", rights)

    def drop_vhost(self, name: str) -> None:
        """Drop a vhost with all that is in it."""
        self.ask("DELETE", f"/api/vhosts/{quote(name, safe='')}")

    def make_user(
        self,
        user: str,
        password: str,
        *,
        vhost: str,
        configure: str = ".*",
        write: str = ".*",
        read: str = ".*",
        tags: str = "",
    ) -> None:
        """Make a user, and say what it may do in a vhost: patterns of names."""
        self.ask("PUT", f"/api/users/{quote(user, safe='')}", {"password": password, "tags": tags})
        rights = {"configure": configure, "write": write, "read": read}
        self.ask("PUT", f"/api/permissions/{quote(vhost, safe='')}/{quote(user, safe='')}", rights)

    def alarms(self) -> set[str]:
        """The resources of which there is too little: ``memory``, ``disk``."""
        login = (self.user, self.password)
        answer = httpx.get(f"{self.management}/api/health/checks/alarms", auth=login, timeout=30.0).json()
        return {alarm["resource"].partition(" ")[0] for alarm in answer.get("alarms", ())}

    def answers(self) -> bool:
        """Whether the management API answers."""
        with suppress(httpx.TransportError, ServiceError):
            return bool(self.ask("GET", "/api/overview"))
        return False
