"""A whole installation on many processes: RabbitMQ, PostgreSQL, one process a role, each to be killed by itself."""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from bus.bench.services import PostgresNode, RabbitNode
from bus.bootstrap import load_workspace
from bus.errors import BusError
from bus.message.identity import request_id
from bus.ports import Store
from bus.stores.postgres import PostgresStore, migrate
from tests.support.demo_workspace import ALWAYS_FREE, PORTAL, REGISTRY, ROOT
from tests.support.installation import Installation
from tests.support.waiting import StuckError, wait_for

#: Process -> its roles. Two process managers, because every rule must hold for several.
ROLES: Mapping[str, tuple[str, ...]] = {
    "gateway": ("gateway",),
    "manager-1": ("process-manager",),
    "manager-2": ("process-manager",),
    "clock": ("relay", "timekeeper"),
    "host": (f"agency:{REGISTRY}",),
}
#: Of the bus alone.
VHOST = "bus"

#: What waits or is held in the quorum queues of the vhost, asked of those that lead them: what `list_queues` and the
#: management API say of them is some seconds old. It waits a while for a moment in which nothing does, because the
#: signs of life of the bus pass all the time.
_DEPTHS = """
Asked = fun(Q) ->
    case ra:leader_query(amqqueue:get_pid(Q), {rabbit_fifo, query_messages_total, []}) of
        {ok, {_, Count}, _} -> Count;
        _ -> -1
    end
end,
Look = fun() ->
    [{Name, Count} || Q <- rabbit_amqqueue:list(<<"%s">>), amqqueue:get_type(Q) =:= rabbit_quorum_queue,
        {resource, _, queue, Name} <- [amqqueue:get_name(Q)], Count <- [Asked(Q)], Count =/= 0]
end,
Wait = fun Again(Times) ->
    case Look() of
        Found when Found =:= []; Times =:= 0 -> Found;
        _ -> timer:sleep(50), Again(Times - 1)
    end
end,
Wait(40).
"""


class Fleet(Installation):
    """The demo workspace on services of its own. Folder, data and services stay while processes come and go."""

    def __init__(
        self,
        folder: Path,
        rabbit: RabbitNode,
        postgres: PostgresNode,
        *,
        intervals: Mapping[str, str] | None = None,
        broker_url: str | None = None,
        store_at: str | None = None,
        replicas: int = 1,
        roles: Mapping[str, tuple[str, ...]] = ROLES,
    ) -> None:
        """``broker_url``, and ``store_at`` (host:port), lead there by another way than straight, as through a proxy.

        ``replicas`` of a cluster's channels; ``rabbit`` is then any node of it.
        """
        super().__init__(folder, intervals=intervals)
        self.roles = roles
        self.rabbit = rabbit
        self.postgres = postgres
        self.broker_url = broker_url or rabbit.admin.url(VHOST)
        #: As the tests look into it, and as the bus reaches it.
        self.database = postgres.make_database(f"bus_{uuid4().hex[:8]}")
        straight = f"127.0.0.1:{postgres.port}"
        self.store_url = self.database.replace(straight, store_at or straight)
        self.replicas = replicas
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        #: Process -> what stands in its environment besides, from its next start on.
        self.environments: dict[str, Mapping[str, str]] = {}
        #: The ids of all requests that anybody tried to submit.
        self.attempted: set[str] = set()
        #: When the last fault began, on the monotonic clock.
        self.fault_at = 0.0
        self._write_environment()
        applied = self.topology("apply")
        assert applied.returncode == 0, applied.stdout + applied.stderr
        migrate(self.database)

    def _write_environment(self) -> None:
        vault = self.workspace / "secrets"
        vault.mkdir()
        words = {name: secrets.token_hex(16) for name in ("bus", REGISTRY)} | {"admin": self.rabbit.admin.password}
        words["installation"] = secrets.token_hex(32)
        for name, word in words.items():
            (vault / name).write_text(word, encoding="ascii")
        file = self.workspace / "env" / "test.yaml"
        text = file.read_text(encoding="utf-8")
        own = f"broker_password: {{file: secrets/{REGISTRY}}}"
        assert text.count(f"{REGISTRY}: {{use: real, ") == 1
        text = text.replace(f"{REGISTRY}: {{use: real, ", f"{REGISTRY}: {{use: real, {own}, ")
        admin = self.rabbit.admin
        file.write_text(
            f"{text}\n"
            f"broker: {{url: '{self.broker_url}', replicas: {self.replicas}, password: {{file: secrets/bus}}, "
            "management: "
            f"{{url: '{admin.management}', user: {admin.user}, password: {{file: secrets/admin}}}}}}\n"
            f"store: {{url: '{self.store_url}'}}\n"
            "installation_secret: {file: secrets/installation}\n",
            encoding="utf-8",
        )

    def topology(self, verb: str) -> subprocess.CompletedProcess[str]:
        """`bus topology VERB`, as an operator runs it."""
        command = [sys.executable, "-m", "bus", "topology", verb, "--workspace", str(self.workspace), "--env", "test"]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)

    def differences(self) -> list[str]:
        """What `bus topology check` finds, but for the rights of the tests' own administrator."""
        told = self.topology("check").stdout.splitlines()
        return [line for line in told if line.startswith("difference: ") and "[rights-strange]" not in line]

    # --- the broker, as an administrator has it ---------------------------------------------------------------------

    def rabbit_definitions(self) -> Any:
        """What `bus topology export` would write, with what is there."""
        return self.rabbit.admin.ask("GET", "/api/definitions")

    def define(self, definitions: Any) -> None:
        """Give a broker that was wiped its users back, as definitions at boot do; the channels are for the relay."""
        kept = {name: definitions[name] for name in ("users", "vhosts", "permissions")}
        self.rabbit.admin.ask("POST", "/api/definitions", kept)

    def delete(self, what: str, channel: str) -> None:
        """Take an exchange, a queue or the binding of the two away."""
        self.fault_begins()
        api = f"/api/{what}s/{VHOST}"
        if what == "binding":
            for one in self.rabbit.admin.ask("GET", f"/api/bindings/{VHOST}/e/{channel}/q/{channel}"):
                self.rabbit.admin.ask("DELETE", f"{api}/e/{channel}/q/{channel}/{one['properties_key']}")
            return
        self.rabbit.admin.ask("DELETE", f"{api}/{channel}")

    def let_impersonate(self) -> None:
        """The administrator may speak under any name."""
        admin = self.rabbit.admin
        tags = {"password": admin.password, "tags": "administrator,impersonator"}
        admin.ask("PUT", f"/api/users/{admin.user}", tags)

    def depths(self) -> dict[str, int]:
        """What waits or is held in the channels, where anything does; -1 where that cannot be told."""
        found = self.rabbit.ctl("eval", _DEPTHS % VHOST)
        return {name: int(count) for name, count in re.findall(r'<<"([^"]+)">>,\s*(-?\d+)', found)}

    @property
    def secret(self) -> bytes:
        """Of the installation."""
        return bytes.fromhex((self.workspace / "secrets" / "installation").read_text(encoding="ascii"))

    def attempt(self, key: str, name: str = PORTAL) -> str:
        """Somebody is about to submit under this key, whatever comes of it: the id that the request then has."""
        request = request_id(self.secret, name, key)
        self.attempted.add(request)
        return request

    def submit(self, key: str, *, premises: bool = True, name: str = ALWAYS_FREE) -> str:
        """Submit until there is a receipt, always under the same key; the request's id."""
        self.attempt(key)
        return super().submit(key, premises=premises, name=name)

    def fault_begins(self) -> None:
        """Something is done to the fleet now: the counts must be looked at after this."""
        self.fault_at = time.monotonic()

    # --- living and dying -------------------------------------------------------------------------------------------

    def spawn_role(self, name: str) -> subprocess.Popen[bytes]:
        """One process of the fleet; its words go to the common log."""
        roles = [part for role in self.roles[name] for part in ("--role", role)]
        data = str(self.folder_of(name))
        return self.serve("--data", data, *roles, "--log-level", "info", environment=self.environments.get(name))

    def folder_of(self, _name: str) -> Path:
        """The folder that a process has as its own."""
        return self.data

    def start(self) -> None:
        """Start what does not run, and wait until the gateway answers."""
        if self.registry is None:
            self.start_registry()
        for name in self.roles:
            if not self.runs(name):
                self.start_one(name)

    def start_one(self, name: str) -> None:
        """Start one process; of the gateway also wait until it answers."""
        if name != "gateway":
            self.processes[name] = self.spawn_role(name)
            return
        self._forget_clients()
        (self.data / "url").unlink(missing_ok=True)
        self.processes[name] = self.spawn_role(name)
        wait_for("the gateway answers", lambda: self._up_or_dead() == "up")

    def runs(self, name: str) -> bool:
        """Whether this process lives."""
        return name in self.processes and self.processes[name].poll() is None

    @property
    def is_alive(self) -> bool:
        """Whether all of them run."""
        return all(self.runs(name) for name in self.roles)

    def kill(self) -> None:
        """All machines of the bus lose their power."""
        for name in tuple(self.processes):
            self.kill_one(name)
        self._forget_clients()

    def kill_one(self, name: str) -> None:
        """One of them does."""
        self.signal_one(name, signal.SIGKILL)
        self.processes[name].wait()

    def signal_one(self, name: str, number: signal.Signals) -> None:
        """To the whole group: a role's stand-ins die with it."""
        if number is not signal.SIGCONT:
            self.fault_begins()
        with suppress(ProcessLookupError):
            os.killpg(self.processes[name].pid, number)

    def stop_one(self, name: str, within: float = 30.0) -> int:
        """Tell one to stop; its exit code."""
        self.fault_begins()
        self.processes[name].send_signal(signal.SIGTERM)
        return self.processes[name].wait(within)

    def revive(self) -> bool:
        """Start again what an armed point has killed; whether there was any."""
        dead = [name for name, process in self.processes.items() if process.poll() is not None]
        for name in dead:
            code = self.processes[name].wait()
            if code != -signal.SIGKILL:
                raise StuckError(f"{name} ended by itself with {code}; {self.last_words()}")
            self.deaths += 1
            self.fault_begins()
            for point in self.after_deaths.popleft() if self.after_deaths else ():
                self.arm(point)
            self.start_one(name)
        return bool(dead)

    def _up_or_dead(self) -> str | None:
        if not self.runs("gateway"):
            return "dead"
        try:
            self.client(None).health()
        except (OSError, BusError):
            self._forget_clients()
            return None
        return "up"

    # --- ground truth -----------------------------------------------------------------------------------------------

    def store(self) -> AbstractContextManager[Store]:  # type: ignore[override]  # another dialect of the same port
        """A look into the store, beside the bus."""
        return closing(PostgresStore(self.database))

    def workspace_is_sound(self) -> bool:
        """Whether `bus check` would find nothing."""
        return bool(load_workspace(self.workspace, "test"))


@contextmanager
def fleet_on(folder: Path, kind: type[Fleet] = Fleet, **more: Any) -> Iterator[Fleet]:
    """A fleet of that kind on a RabbitMQ and a PostgreSQL of its own."""
    with RabbitNode(folder / "rabbit") as rabbit, PostgresNode(folder / "postgres") as postgres:
        rabbit.admin.make_vhost(VHOST)
        (folder / "fleet").mkdir()
        with kind(folder / "fleet", rabbit, postgres, **more) as fleet:
            yield fleet


def processes_of(fleet: Fleet) -> Sequence[int]:
    """The process ids of the fleet."""
    return [process.pid for process in fleet.processes.values()]
