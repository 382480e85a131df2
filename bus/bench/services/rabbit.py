"""Private RabbitMQ nodes."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import httpx

from bus.bench.services.node import Node
from bus.bench.services.place import Start, run
from bus.bench.services.ports import free_ports
from bus.bench.services.rabbit_admin import RabbitAdmin
from bus.bench.services.rabbit_programs import Release, find
from bus.bench.services.waiting import ServiceError

#: Seconds for a start on a busy machine; a quiet one needs five.
_START: Final = 90.0
_COOKIE: Final = "bus"

#: Makes the administrator anew where definitions took its place.
_ADMINISTRATE = """
U = <<"guest">>, W = <<"test">>,
rabbit_auth_backend_internal:exists(U) orelse rabbit_auth_backend_internal:add_user(U, U, W),
rabbit_auth_backend_internal:set_tags(U, [administrator], W),
[rabbit_auth_backend_internal:set_permissions(U, V, <<".*">>, <<".*">>, <<".*">>, W) || V <- rabbit_vhost:list_names()].
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """Where a node listens, and what it is called there."""

    host: str
    amqp: int
    management: int
    #: For the other nodes of its cluster, and the register in which they find it.
    distribution: int
    register: int
    name: str
    #: A process whose network it shares; None: this machine's own.
    network: int | None = None

    @classmethod
    def on_loopback(cls) -> Self:
        """On ports that nobody uses."""
        amqp, management, distribution, register = free_ports(4)
        return cls(
            host="127.0.0.1",
            amqp=amqp,
            management=management,
            distribution=distribution,
            register=register,
            name="bus@localhost",
        )


class RabbitNode(Node):
    """A node of its own in ``folder``, on ports that stay; everything in it is gone after ``wipe``."""

    title = "RabbitMQ"
    start_within = _START

    def __init__(
        self,
        folder: Path,
        *,
        release: Release = "4",
        settings: Mapping[str, str] | None = None,
        definitions: Path | None = None,
        seat: Seat | None = None,
    ) -> None:
        """``settings`` are lines of ``rabbitmq.conf``; ``definitions`` is imported at boot, before anybody connects."""
        super().__init__(folder, find(release))
        self.definitions = definitions
        self._settings = dict(settings or {})
        self.seat = seat or Seat.on_loopback()

    @property
    def admin(self) -> RabbitAdmin:
        """Its administrator ``guest``, and its addresses."""
        return RabbitAdmin(
            hosts=f"{self.seat.host}:{self.seat.amqp}", management=f"http://{self.seat.host}:{self.seat.management}"
        )

    @property
    def name(self) -> str:
        """Its name in its cluster."""
        return self.seat.name

    @property
    def version(self) -> str:
        """As the running node says it: ``4.3.6``."""
        return str(self.admin.ask("GET", "/api/overview")["rabbitmq_version"])

    def running(self) -> set[str]:
        """The nodes of its cluster that it sees running, itself among them; empty if it does not answer."""
        with suppress(httpx.TransportError, ServiceError):
            return {
                node["name"] for node in self.admin.ask("GET", "/api/nodes?columns=name,running") if node["running"]
            }
        return set()

    def ctl(self, *arguments: str, check: bool = True) -> str:
        """Run ``rabbitmqctl``, which takes a second; what it prints."""
        start = self._place.start(
            "rabbitmqctl",
            *("--quiet", "--node", self.seat.name, *(("--longnames",) if self._longnames else ())),
            *arguments,
            folder=self.folder,
            environment={**self._environment(), "RABBITMQ_CTL_ERL_ARGS": f"-setcookie {_COOKIE}"},
            network=self.seat.network,
        )
        return run(start, check=check)

    def wipe(self, definitions: Path | None = None) -> None:
        """Kill it, and start it empty on the same ports, with other definitions if they are given."""
        self.definitions = definitions or self.definitions
        super().wipe()

    def wait_until_written(self) -> None:
        """Wait until it has written down which quorum queues it has.

        RabbitMQ confirms a queue, and messages in it, a second or so before this. A node that is killed in between
        starts the queue empty, unless other nodes have copies: so a test waits for this before it kills.
        """
        queues = [queue for queue in self.admin.ask("GET", "/api/queues") if queue["type"] == "quorum"]
        # As it names them there.
        names = {f"{'%2F' if queue['vhost'] == '/' else queue['vhost']}_{queue['name']}" for queue in queues}

        def written() -> bool:
            registers = b"".join(file.read_bytes() for file in (self.folder / "data").rglob("names.dets"))
            return all(name.encode() in registers for name in names)

        self._wait("quorum queues are written down", written, 30.0)

    def memory_alarm(self, *, on: bool) -> None:
        """Let it find that it uses too much memory: it takes nothing from publishers until this is over."""
        self.ctl("set_vm_memory_high_watermark", "0.00001" if on else "0.6")
        self._wait_for_alarm("memory", on=on)

    def disk_alarm(self, *, on: bool) -> None:
        """Let it find that its disk is nearly full: it takes nothing from publishers until this is over."""
        self.ctl("set_disk_free_limit", "1000000GiB" if on else "50MB")
        self._wait_for_alarm("disk", on=on)

    # --- its start --------------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        super()._prepare()
        settings = {
            "listeners.tcp.1": f"{self.seat.host}:{self.seat.amqp}",
            "management.tcp.ip": self.seat.host,
            "management.tcp.port": str(self.seat.management),
            "loopback_users": "none",
            "disk_free_limit.absolute": "50MB",
            **self._settings,
        }
        if self.definitions:
            shutil.copyfile(self.definitions, self.folder / "definitions.json")
            (self.folder / "definitions.json").chmod(0o644)
            settings["load_definitions"] = self._inside("definitions.json")
        lines = "".join(f"{name} = {value}\n" for name, value in settings.items())
        (self.folder / "rabbitmq.conf").write_text(lines, encoding="utf-8")
        (self.folder / "enabled_plugins").write_text("[rabbitmq_management].\n", encoding="utf-8")

    def _command(self) -> Start:
        environment = self._environment()
        return self._place.start(
            "rabbitmq-server", folder=self.folder, environment=environment, network=self.seat.network
        )

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection((self.seat.host, self.seat.amqp), 2):
            return True
        return False

    def _started(self) -> None:
        if self.definitions:  # then RabbitMQ makes no administrator by itself
            self.ctl("eval", _ADMINISTRATE)
        self._wait("RabbitMQ answers", self.admin.answers, _START)

    # --- the inside -------------------------------------------------------------------------------------------------

    @property
    def _longnames(self) -> bool:
        return "." in self.seat.name

    def _environment(self) -> dict[str, str]:
        """All that RabbitMQ would look for outside of the folder."""
        return {
            "HOME": self._inside(""),
            "RABBITMQ_NODENAME": self.seat.name,
            "RABBITMQ_USE_LONGNAME": str(self._longnames).lower(),
            "RABBITMQ_BASE": self._inside(""),
            "RABBITMQ_MNESIA_BASE": self._inside("data"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_CONFIG_FILE": self._inside("rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": self._inside("enabled_plugins"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_DIST_PORT": str(self.seat.distribution),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"-setcookie {_COOKIE}",
            # The VM takes the place of the shell that starts it, and minds SIGTERM itself.
            "RUNNING_UNDER_SYSTEMD": "true",
            "ERL_EPMD_PORT": str(self.seat.register),
            "ERL_EPMD_ADDRESS": self.seat.host,
        }

    def _wait_for_alarm(self, resource: str, *, on: bool) -> None:
        def looked() -> bool:
            return (resource in self.admin.alarms()) is on

        self._wait(f"the alarm of the {resource} is {'on' if on else 'off'}", looked, 30.0)
