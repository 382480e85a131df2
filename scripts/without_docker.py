"""Starts what docker-compose.yml describes on a machine without Docker: the same programs, settings and definitions.

    .venv/bin/python -m scripts.without_docker [--secrets FOLDER] [--folder FOLDER] [--port PORT]

Run it from the root of the repository after scripts/make-secrets and `make services`. RabbitMQ and PostgreSQL are nodes
of their own on free ports; every other service is one process, or as many as it has replicas, with a workspace of its
own in which stand only the secrets that the file gives to it. Ctrl-C stops all of it. Without --folder nothing is kept.

What only containers have is missing: networks that keep the services apart, users, limits, read-only files. And
RabbitMQ listens here, on this machine alone, also without TLS, and has an administrator `guest` without rights in the
virtual host, for its keeper.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from urllib.parse import quote

import psycopg
from psycopg import sql

from bus.bench.services import PostgresNode, RabbitNode
from bus.bench.services.kept import Kept
from bus.bench.services.place import Start
from bus.bench.services.ports import free_ports
from bus.bench.services.rabbit_programs import find
from bus.bench.services.waiting import ServiceError, tail, wait_until
from bus.errors import BusError
from scripts.compose_file import Service, read, replaced

ROOT: Final = Path(__file__).parents[1]
#: What the Dockerfile puts into the workspace of an image.
WORKSPACE: Final = ("routes.yaml", "routes", "groups", "schemas", "adapters", "env", "scripts/connected.py")
#: Seconds for a program that does one thing, and for one to be well.
_ONCE, _WELL = 120.0, 120.0
_CLEAR: Final = "listeners.tcp"
_MAPPED: Final = "/workspace"


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One process of a service."""

    name: str
    service: Service
    folder: Path
    #: Address or path in the container -> here.
    here: Mapping[str, str]

    @property
    def log(self) -> Path:
        """All that it says."""
        return self.folder / "log"

    def start(self, command: Sequence[str]) -> Start:
        """A command as it runs here: with the service's environment and nothing of ours."""
        workspace = self.folder / "workspace"
        own = self.service.environment
        settings = {
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "HOME": str(self.folder),
            **dict(zip(own, replaced(own.values(), self.here), strict=True)),
        }
        assigned = [f"{name}={value}" for name, value in settings.items()]
        program, *arguments = replaced(command, self.here)
        found = str(workspace / program) if "/" in program else program
        return Start(command=("env", "-i", f"--chdir={workspace}", *assigned, found, *arguments))

    def lay(self) -> None:
        """Its workspace, with its own secrets and no others."""
        for name in WORKSPACE:
            source, target = ROOT / name, self.folder / "workspace" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)
        for path, file in self.service.files.items():
            (place,) = replaced([path], self.here)
            Path(place).parent.mkdir(mode=0o700, exist_ok=True)
            shutil.copyfile(file, place)
            Path(place).chmod(0o600)

    def is_well(self) -> bool:
        """Whether its health check says so."""
        start = self.start(self.service.check)
        return not subprocess.run(start.command, capture_output=True, timeout=30, check=False).returncode

    def run_once(self) -> None:
        """Run it to its end; ServiceError if it fails."""
        with self.log.open("ab") as log:
            start = self.start(self.service.command)
            done = subprocess.run(start.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=_ONCE)  # noqa: PLW1510
        if done.returncode:
            raise ServiceError(f"{self.name}: exit code {done.returncode}{tail(self.log)}")


def paths(everything: Path, name: str, service: Service) -> dict[str, str]:
    """Path in a container of the service -> where that is here."""
    own = everything / name
    folders = {
        path: everything / "volumes" / volume if volume else own / path.lstrip("/")
        for path, volume in service.folders.items()
    }
    return {path: str(place) for path, place in {_MAPPED: own / "workspace", **folders}.items()}


class Machine:
    """Everything of the file on this machine, while the ``with`` lasts."""

    def __init__(self, folder: Path, secrets: Path, port: int | None) -> None:
        self._folder = folder
        self._secrets = secrets
        self._port = port
        self._stack = ExitStack()
        #: Service and port -> address and port here.
        self._addresses: dict[str, str] = {}
        self._running: list[tuple[Instance, Kept]] = []

    @contextmanager
    def up(self) -> Iterator[Mapping[str, object]]:
        """Start it and wait until all of it is well; where everything is."""
        with ExitStack() as self._stack:
            self._stack.callback(self._stop)
            for service in map(self._here, read(ROOT)):
                self._wait_for(service.needs)
                match service.image.partition(":")[0]:
                    case "rabbitmq":
                        self._start_rabbit(service)
                    case "postgres":
                        self._start_postgres(service)
                    case _:
                        self._start_bus(service)
            self._wait_for({instance.service.name: "service_healthy" for instance, _ in self._running})
            yield {
                "gateway": f"http://{self._addresses['gateway:8420']}",
                "addresses": self._addresses,
                "services": {
                    instance.name: {"pids": kept.pids(), "folder": str(instance.folder)}
                    for instance, kept in self._running
                },
            }

    def _here(self, service: Service) -> Service:
        """The service with the secrets of this run, and ports of this machine."""
        files = {
            target: self._secrets / file.relative_to(ROOT / "secrets")
            if file.is_relative_to(ROOT / "secrets")
            else file
            for target, file in service.files.items()
        }
        missing = [str(file) for file in files.values() if not file.is_file()]
        if missing:
            raise ServiceError(f"There is no {', '.join(missing)}. Mend: scripts/make-secrets {self._secrets}")
        ports = {}
        for inside, (address, outside) in service.ports.items():
            port = outside if self._port is None else self._port or free_ports(1)[0]
            ports[inside] = (address, port)
            self._addresses[f"{service.name}:{inside}"] = f"{address}:{port}"
        return replace(service, files=files, ports=ports)

    def _wait_for(self, needs: Mapping[str, str]) -> None:
        # What runs once has ended when its start returns, and so has the start of a node.
        for instance, kept in self._running:
            if needs.get(instance.service.name) == "service_healthy":
                wait_until(
                    f"{instance.name} is well",
                    instance.is_well,
                    within=_WELL,
                    log=instance.log,
                    alive=lambda kept=kept: kept.alive,  # type: ignore[misc]  # the default binds this one
                )

    def _start_bus(self, service: Service) -> None:
        for number in range(1, service.replicas + 1):
            name = service.name if service.replicas == 1 else f"{service.name}-{number}"
            instance = self._instance(name, service)
            if service.is_once:
                instance.run_once()
            else:
                self._running.append((instance, Kept(instance.start(service.command), instance.log)))

    def _instance(self, name: str, service: Service) -> Instance:
        folder = self._folder / name
        here = {**self._addresses, **paths(self._folder, name, service)}
        for path in service.folders:
            Path(here[path]).mkdir(mode=0o700, parents=True, exist_ok=True)
        for inside, (address, port) in service.ports.items():
            # It listens here where Docker would let it be reached, and nowhere else.
            here |= {"0.0.0.0": address, str(inside): str(port), f"127.0.0.1:{inside}": f"{address}:{port}"}  # noqa: S104
        instance = Instance(name=name, service=service, folder=folder, here=here)
        shutil.rmtree(folder / "workspace", ignore_errors=True)
        instance.lay()
        return instance

    # --- what the bus stands on -------------------------------------------------------------------------------------

    def _start_rabbit(self, service: Service) -> None:
        """A node with the file's settings, which listens at ports of its own, with the exported definitions."""
        folder = self._folder / service.name
        inside = find("4").folder_inside or folder
        (folder / "files").mkdir(parents=True)
        here = {}
        settings_file = next(file for file in service.files.values() if file.suffix == ".conf")
        for path, file in service.files.items():
            name = path.replace("/", "_")
            shutil.copyfile(file, folder / "files" / name)
            # The node runs as another user; that it may read them opens them to nobody else in a private folder.
            (folder / "files" / name).chmod(0o644)
            here[path] = str(inside / "files" / name)
        settings = _settings(settings_file)
        tls, management = free_ports(2)
        for port, setting, now in (
            ("5671", "listeners.ssl.default", tls),
            ("15671", "management.ssl.port", management),
        ):
            if settings[setting] != port:
                raise ServiceError(f"{setting} in {settings_file} is not {port}, which {service.name} is asked for at.")
            self._addresses[f"{service.name}:{port}"] = f"127.0.0.1:{now}"
            settings[setting] = f"127.0.0.1:{now}" if setting.startswith("listeners") else str(now)
        settings["management.ssl.ip"] = "127.0.0.1"
        definitions = self._volume(service, settings.pop("load_definitions"))
        del settings[_CLEAR]
        values = replaced(settings.values(), here)
        node = RabbitNode(folder, settings=dict(zip(settings, values, strict=True)), definitions=definitions)
        self._stack.enter_context(node)
        for rights in node.admin.ask("GET", f"/api/users/{node.admin.user}/permissions"):
            node.admin.ask("DELETE", f"/api/permissions/{quote(rights['vhost'], safe='')}/{node.admin.user}")
        self._addresses[f"{service.name}:clear"] = node.admin.hosts
        self._addresses[f"{service.name}:management"] = node.admin.management

    def _volume(self, service: Service, path: str) -> Path:
        """A file of one of the volumes."""
        volume = next(name for target, name in service.folders.items() if path.startswith(f"{target}/"))
        return self._folder / "volumes" / volume / Path(path).name

    def _start_postgres(self, service: Service) -> None:
        """A node with the file's database and user, who is asked for the password, and may do nothing else."""
        node = self._stack.enter_context(PostgresNode(self._folder / service.name))
        self._addresses[f"{service.name}:5432"] = f"127.0.0.1:{node.port}"
        user, database = (service.environment[name] for name in ("POSTGRES_USER", "POSTGRES_DB"))
        password = service.files[service.environment["POSTGRES_PASSWORD_FILE"]].read_text(encoding="ascii").strip()
        rules = self._folder / service.name / "data" / "pg_hba.conf"
        rules.write_text(f"host all {user} 127.0.0.1/32 scram-sha-256\n{rules.read_text(encoding='utf-8')}")
        with psycopg.connect(node.url, autocommit=True) as connection:
            name = sql.Identifier(user)
            connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(name, sql.Literal(password)))
            connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(database), name))
            connection.execute("SELECT pg_reload_conf()")

    def _stop(self) -> None:
        """All processes of the bus at once; the nodes stay until they have drained."""
        with ThreadPoolExecutor(max_workers=max(1, len(self._running))) as pool:
            list(pool.map(lambda each: each[1].stop(), self._running))


def _settings(file: Path) -> dict[str, str]:
    """Of a rabbitmq.conf."""
    lines = (line.strip() for line in file.read_text(encoding="utf-8").splitlines())
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name.strip(): value.strip() for name, _, value in pairs}


def _leave(_signal: int, _frame: object) -> None:
    for told in (signal.SIGTERM, signal.SIGINT):
        signal.signal(told, signal.SIG_IGN)
    raise SystemExit(0)


def main() -> int:
    """The program."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--secrets", type=Path, default=ROOT / "secrets", help="what scripts/make-secrets made")
    parser.add_argument("--folder", type=Path, help="new or empty; keeps data and logs")
    parser.add_argument("--port", type=int, help="of the gateway, 0 for a free one; default: as the file has it")
    given = parser.parse_args()
    for told in (signal.SIGTERM, signal.SIGINT):
        signal.signal(told, _leave)
    with ExitStack() as stack:
        folder = given.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bus-")))
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        machine = Machine(folder.resolve(), given.secrets.resolve(), given.port)
        try:
            where = stack.enter_context(machine.up())
        except BusError as error:
            sys.stderr.write(f"{error}\n")
            return 3
        (folder / "running.json").write_text(json.dumps(where, indent=2), encoding="utf-8")
        sys.stdout.write(f"The gateway answers on {where['gateway']}; everything is in {folder}. Ctrl-C stops it.\n")
        sys.stdout.flush()
        signal.pause()
    return 0


if __name__ == "__main__":
    sys.exit(main())
