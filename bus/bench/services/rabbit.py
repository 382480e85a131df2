"""Private RabbitMQ nodes, and how an administrator reaches any."""

from __future__ import annotations

import re
import shutil
import socket
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Self, TypeAlias
from urllib.parse import quote

import httpx

from bus.bench.services.kept import Kept
from bus.bench.services.place import MEND, Image, Place, docker_works, run, services_dir
from bus.bench.services.ports import free_ports
from bus.bench.services.waiting import ServiceError, wait_until

#: ``4``: RabbitMQ 4.x, which decides. ``debian``: the release of the machine's own packages, older on Debian 12.
Release: TypeAlias = Literal["4", "debian"]

_USER: Final = "rabbitmq"
_IMAGES: Final[dict[Release, Image]] = {
    "4": Image(image="rabbitmq:4-management", user=_USER),
    "debian": Image(image="rabbitmq:3.10-management", user=_USER),
}
#: Not the programs of /usr/sbin: those are wrappers that change the user and hide the output.
PROGRAMS: Final = Path("/usr/lib/rabbitmq/bin")
#: Seconds for a start on a busy machine; a quiet one needs five.
_START: Final = 90.0
_COOKIE: Final = "bus"
_ADMINISTRATOR: Final = "guest"

#: Makes the administrator anew where definitions took its place.
_ADMINISTRATE = """
U = <<"guest">>, W = <<"test">>,
rabbit_auth_backend_internal:exists(U) orelse rabbit_auth_backend_internal:add_user(U, U, W),
rabbit_auth_backend_internal:set_tags(U, [administrator], W),
[rabbit_auth_backend_internal:set_permissions(U, V, <<".*">>, <<".*">>, <<".*">>, W) || V <- rabbit_vhost:list_names()].
"""


def find(release: Release) -> Place | Image:
    """RabbitMQ of that release: Docker if it works, else what ``scripts/services`` made, else this machine's own."""
    local = _local()
    if docker_works():
        return _IMAGES[release]
    if release == "debian":
        if local is None:
            raise ServiceError(f"There is no rabbitmq-server here. {MEND}")
        return local
    made = services_dir() / "rabbitmq-4"
    if (made / "usr/lib/rabbitmq/bin/rabbitmq-server").exists():
        if not (made / "proc/self").exists():
            raise ServiceError(f"{made} is not mounted, as after a start of the machine. {MEND}")
        return Place(programs=PROGRAMS, user=_USER, root=made)
    if local is not None and _version(local) >= 4:
        return local
    raise ServiceError(f"There is no RabbitMQ 4 here: neither Docker, nor {made}, nor a rabbitmq-server 4. {MEND}")


def _local() -> Place | None:
    if (PROGRAMS / "rabbitmq-server").exists():
        return Place(programs=PROGRAMS, user=_USER)
    found = shutil.which("rabbitmq-server")
    return Place(programs=Path(found).parent, user=_USER) if found else None


def _version(place: Place) -> int:
    """The major release, by the folder of its code: asking the program takes a second."""
    text = " ".join(str(path) for path in place.programs.resolve().parent.glob("lib/rabbitmq_server-*"))
    found = re.search(r"rabbitmq_server-(\d+)", text) or re.search(r"/(\d+)\.\d+\.\d+", str(place.programs.resolve()))
    return int(found[1]) if found else 0


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


class RabbitNode:
    """A node of its own in ``folder``, on ports that stay; everything in it is gone after ``wipe``."""

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
        self.folder = folder.resolve()
        self.log = self.folder / "log" / "rabbit.log"
        self.definitions = definitions
        self._settings = dict(settings or {})
        self._place = find(release)
        self.seat = seat or Seat.on_loopback()
        self._kept: Kept | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    # --- how it is reached ------------------------------------------------------------------------------------------

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

    @property
    def pids(self) -> list[int]:
        """The Erlang VM, then what it started."""
        return self._kept.pids() if self._kept else []

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

    # --- its life ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start it, with the data that it had; returns when it takes connections and its management answers."""
        if self._kept and self._kept.alive:
            return
        self._prepare()
        started = self._place.start(
            "rabbitmq-server", folder=self.folder, environment=self._environment(), network=self.seat.network
        )
        self._kept = Kept(started, self.log)
        with ExitStack() as failed:
            failed.callback(self.kill)
            wait_until("RabbitMQ starts", self._listens, within=_START, log=self.log, alive=self._lives)
            if self.definitions:  # then RabbitMQ makes no administrator by itself
                self.ctl("eval", _ADMINISTRATE)
            wait_until("RabbitMQ answers", self.admin.answers, within=_START, log=self.log, alive=self._lives)
            failed.pop_all()

    def kill(self) -> None:
        """End it with SIGKILL: a crash."""
        if self._kept:
            self._kept.kill()

    def stop(self) -> None:
        """Shut it down as an operator does."""
        if self._kept:
            self._kept.stop()

    def restart(self) -> None:
        """Shut it down and start it again."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Stop every process of it where it stands: it is there, and answers nobody."""
        self._running().pause()

    def resume(self) -> None:
        """Let it go on."""
        self._running().resume()

    def wipe(self, definitions: Path | None = None) -> None:
        """Kill it, and start it empty on the same ports, with other definitions if they are given."""
        self.kill()
        shutil.rmtree(self.folder / "data")
        self.definitions = definitions or self.definitions
        self.start()

    def wait_until_written(self) -> None:
        """Wait until it has written down which quorum queues it has.

        RabbitMQ confirms a queue, and messages in it, a second or so before this. A node that is killed in between
        starts the queue empty, unless other nodes have copies: so a test waits for this before it kills.
        """
        names = {queue["name"] for queue in self.admin.ask("GET", "/api/queues") if queue["type"] == "quorum"}

        def written() -> bool:
            registers = b"".join(file.read_bytes() for file in (self.folder / "data").rglob("names.dets"))
            return all(name.encode() in registers for name in names)

        wait_until("quorum queues are written down", written, within=30.0, log=self.log, alive=self._lives)

    def memory_alarm(self, *, on: bool) -> None:
        """Let it find that it uses too much memory: it takes nothing from publishers until this is over."""
        self.ctl("set_vm_memory_high_watermark", "0.00001" if on else "0.6")
        self._wait_for_alarm("memory", on=on)

    def disk_alarm(self, *, on: bool) -> None:
        """Let it find that its disk is nearly full: it takes nothing from publishers until this is over."""
        self.ctl("set_disk_free_limit", "1000000GiB" if on else "50MB")
        self._wait_for_alarm("disk", on=on)

    # --- the inside -------------------------------------------------------------------------------------------------

    @property
    def _longnames(self) -> bool:
        return "." in self.seat.name

    def _inside(self, name: str) -> str:
        return str((self._place.folder_inside or self.folder) / name)

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

    def _prepare(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._place.owned(self.folder)
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

    def _running(self) -> Kept:
        if self._kept is None:
            raise ServiceError("RabbitMQ was not started. Mend: use the node in a with statement.")
        return self._kept

    def _lives(self) -> bool:
        return self._running().alive

    def _listens(self) -> bool:
        with suppress(OSError), socket.create_connection((self.seat.host, self.seat.amqp), 2):
            return True
        return False

    def _wait_for_alarm(self, resource: str, *, on: bool) -> None:
        def looked() -> bool:
            return (resource in self.admin.alarms()) is on

        what = f"the alarm of the {resource} is {'on' if on else 'off'}"
        wait_until(what, looked, within=30.0, log=self.log, alive=self._lives)
