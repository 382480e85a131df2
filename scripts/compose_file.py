"""Reads docker-compose.yml into what a machine without Docker can start: programs, their files and their order."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import yaml

from bus.errors import ConfigurationError, Fault

FILE = "docker-compose.yml"
#: Of a service: what a machine without Docker does, too.
_DONE = frozenset({"image", "command", "environment", "secrets", "configs", "volumes", "ports", "depends_on"})
_DONE_TOO = frozenset({"healthcheck", "restart", "deploy", "tmpfs", "working_dir"})
#: Of a service: walls and bounds that only containers have.
ONLY_DOCKER = frozenset(
    {"build", "cap_drop", "hostname", "init", "logging", "networks", "read_only", "security_opt", "shm_size"}
    | {"stop_grace_period", "user"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One service of the file."""

    name: str
    image: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    #: Path in the container -> file on this machine: secrets and configs.
    files: Mapping[str, Path]
    #: Path in the container -> name of a volume, "" for one that dies with the container.
    folders: Mapping[str, str]
    #: Port in the container -> address and port on this machine.
    ports: Mapping[int, tuple[str, int]]
    #: Service -> what must be true of it first.
    needs: Mapping[str, str]
    #: The program of its health check; empty for none.
    check: tuple[str, ...]
    replicas: int
    #: Whether it does one thing and ends.
    is_once: bool


def read(root: Path) -> tuple[Service, ...]:
    """The services of the file in ``root``, each after those that it needs.

    ConfigurationError with every member of a service that is not known here: it would be left out without a word.
    """
    document = yaml.safe_load((root / FILE).read_text(encoding="utf-8"))
    faults = list(_unknown(document["services"]))
    if faults:
        raise ConfigurationError(tuple(faults))
    paths = {
        kind: {name: root / one["file"] for name, one in document.get(kind, {}).items()}
        for kind in ("secrets", "configs")
    }
    services = {name: _service(name, written, paths) for name, written in document["services"].items()}
    order = TopologicalSorter({name: service.needs for name, service in services.items()}).static_order()
    return tuple(services[name] for name in order)


def _unknown(services: Mapping[str, Mapping[str, Any]]) -> Iterator[Fault]:
    for name, written in services.items():
        for member in sorted(written.keys() - _DONE - _DONE_TOO - ONLY_DOCKER):
            message = f"{member} of the service {name} has no meaning without Docker yet."
            mend = "Teach scripts/compose_file.py what it means."
            yield Fault(code="unknown-member", message=message, mend=mend, file=FILE)


def _service(name: str, written: Mapping[str, Any], paths: Mapping[str, Mapping[str, Path]]) -> Service:
    return Service(
        name=name,
        image=written["image"],
        command=tuple(map(str, written.get("command", ()))),
        environment={key: str(value) for key, value in written.get("environment", {}).items()},
        files=dict(_files(written, paths)),
        folders=dict(_folders(written)),
        ports=dict(map(_port, written.get("ports", ()))),
        needs={other: one["condition"] for other, one in written.get("depends_on", {}).items()},
        check=tuple(map(str, written.get("healthcheck", {}).get("test", ())[1:])),
        replicas=written.get("deploy", {}).get("replicas", 1),
        is_once=written.get("restart") == "no",
    )


def _files(written: Mapping[str, Any], paths: Mapping[str, Mapping[str, Path]]) -> Iterator[tuple[str, Path]]:
    for kind in ("secrets", "configs"):
        for use in written.get(kind, ()):
            source, target = (use, f"/run/secrets/{use}") if isinstance(use, str) else (use["source"], use["target"])
            yield target, paths[kind][source]


def _folders(written: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for target in written.get("tmpfs", ()):
        yield target.partition(":")[0], ""
    for volume in written.get("volumes", ()):
        name, target, *_ = volume.split(":")
        yield target, name


def _port(written: str) -> tuple[int, tuple[str, int]]:
    address, outside, inside = written.rsplit(":", 2)
    return int(inside), (address, int(outside))


def replaced(texts: Iterable[str], names: Mapping[str, str]) -> tuple[str, ...]:
    """The texts with each name, an absolute path or ``host:port``, in the place of which another one stands here.

    A path is also replaced where it begins a longer one, and nothing within a word.
    """
    if not names:
        return tuple(texts)
    longest: Sequence[str] = sorted(names, key=len, reverse=True)
    pattern = re.compile(rf"(?<![\w.-])({'|'.join(map(re.escape, longest))})(?![\w.-])")
    return tuple(pattern.sub(lambda found: names[found[1]], text) for text in texts)
