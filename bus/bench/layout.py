"""The fan-out as a workspace in files, as processes of their own read it, with the environment of a benchmark."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from bus.bench import fanout, null_system
from bus.message.channel import BUS_USER, host_user

#: The environment's name.
ENV: Final = "bench"
#: Users of the broker.
USERS: Final = (BUS_USER, *map(host_user, fanout.AGENCIES))
_CONTACT = {"team": "bench", "contact": "bench@example.gov"}


def lay(
    folder: Path, meta: Path, *, broker: str, management: Mapping[str, str], store: str, passwords: Mapping[str, str]
) -> None:
    """Lay the workspace out in ``folder``. ``meta`` holds the schemas of a workspace's own files.

    ``broker`` and ``store`` are URLs without passwords; ``management`` is url, user and password of the administrator;
    ``passwords`` has one for each of `USERS`.
    """
    shutil.copytree(meta, folder / "schemas" / "meta")
    for name, schema in fanout.schemas().items():
        _write(folder / "schemas" / f"{name}.json", schema)
    _write(folder / "routes.yaml", _routes())
    for agency in fanout.AGENCIES:
        _adapter(folder / "adapters" / agency)
    for user in USERS:
        _secret(folder / _file(user), passwords[user])
    _secret(folder / "secrets" / "management", management["password"])
    _secret(folder / "secrets" / "installation", secrets.token_hex(32))
    _write(folder / "env" / f"{ENV}.yaml", _environment(broker, management, store))


def _environment(broker: str, management: Mapping[str, str], store: str) -> Mapping[str, Any]:
    administrator = {"url": management["url"], "user": management["user"], "password": {"file": "secrets/management"}}
    return {
        "broker": {"url": broker, "password": {"file": _file(BUS_USER)}, "management": administrator},
        "store": {"url": store},
        "installation_secret": {"file": "secrets/installation"},
        "agencies": {
            agency: {"use": "real", "broker_password": {"file": _file(host_user(agency))}} for agency in fanout.AGENCIES
        },
    }


def _routes() -> Mapping[str, Any]:
    given = {"id": "request.id", "note": "request.note"}
    service = {
        "title": _text(fanout.SERVICE),
        "request": f"service/{fanout.SERVICE}.request.json",
        "result": f"service/{fanout.SERVICE}.result.json",
        "subject": "request.id",
        "consumers": {
            fanout.CONSUMER: {"purposes": [fanout.PURPOSE], "fields": [f"/{name}" for name in fanout.AGENCIES]}
        },
        "deadline": "10d",
        "steps": {
            name: {"title": _text(name), "provider": name, "operation": fanout.OPERATION, "input": given}
            for name in fanout.AGENCIES
        },
        "output": {name: f"steps.{name}.id" for name in fanout.AGENCIES},
    }
    providers = {name: {"name": _text(name), "adapter": name} for name in fanout.AGENCIES}
    return {
        "version": 1,
        "purposes": {fanout.PURPOSE: {"title": _text(fanout.PURPOSE), "legal_basis": "Law 1, art. 1"}},
        "agencies": {fanout.CONSUMER: {"name": _text(fanout.CONSUMER)}, **providers},
        "services": {fanout.SERVICE: service},
    }


def _adapter(folder: Path) -> None:
    name = folder.name
    operation = {"repeat": "at_most_once", "timeout": "30s", "batch": 100}
    manifest = {"id": name, "name": _text(name), "description": _text(name), "owner": _CONTACT}
    _write(folder / "manifest.yaml", {**manifest, "operations": {fanout.OPERATION: operation}})
    dialect = "https://json-schema.org/draft/2020-12/schema"
    settings = {"$schema": dialect, "$id": f"urn:bus:adapter:{name}.settings", "type": "object"}
    _write(folder / "settings.schema.json", {**settings, "additionalProperties": False})
    shutil.copyfile(null_system.__file__, folder / "adapter.py")


def _file(user: str) -> str:
    return f"secrets/{user}"


def _secret(file: Path, text: str) -> None:
    file.parent.mkdir(mode=0o700, exist_ok=True)
    file.touch(mode=0o600)
    file.write_text(f"{text}\n", encoding="ascii")


def _write(file: Path, content: Mapping[str, Any]) -> None:
    """JSON, which YAML is, too."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _text(name: str) -> Mapping[str, str]:
    return {"en": name, "ar": name}
