"""Where each value of a running configuration comes from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bus import config
from bus.catalog.adapters import SETTINGS_SCHEMA
from bus.catalog.document import Document, Place
from bus.catalog.environment import read_environment
from bus.catalog.secret import is_secret
from bus.catalog.shelf import META, read_json, read_own_schema
from bus.config import Settings
from bus.errors import ConfigurationError

#: What stands for a secret.
MASK = "********"
_MEMBERS = ("agencies", "webhooks", "broker", "store", "installation_secret", "intervals")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationRow:
    """One value and who set it."""

    #: ``intervals.tick_every``, ``agencies.tax_office.use``.
    name: str
    #: As a file would write it; a secret is masked.
    value: str
    #: "" where it is the built-in default.
    file: str = ""
    line: int = 0


def configuration_rows(root: Path, env: str) -> tuple[ConfigurationRow, ...]:
    """Each value of the environment with its file and line, defaults included; raises ConfigurationError."""
    schema, faults = read_own_schema(root, root / "schemas" / META / "env.schema.json", f"{META}/env")
    document = None
    if schema is not None:
        document, faults = read_environment(root, env, schema)
    if faults or document is None:
        raise ConfigurationError(faults)
    secrets = _secret_names(root)
    rows = [row for member in _MEMBERS for row in _rows(document, (member,), secrets)]
    said = {row.name for row in rows}
    defaults = Settings()
    unsaid = [name for name in config.NAMES if f"intervals.{name}" not in said]
    rows += [
        ConfigurationRow(name=f"intervals.{name}", value=config.shown(name, getattr(defaults, name))) for name in unsaid
    ]
    return tuple(rows)


def _secret_names(root: Path) -> frozenset[str]:
    """What any adapter calls a secret: what was wrongly written in clear is not repeated on a screen."""
    schemas = (read_json(root, file)[0] for file in sorted((root / "adapters").glob(f"*/{SETTINGS_SCHEMA}")))
    members = [schema.get("properties", {}) for schema in schemas if isinstance(schema, dict)]
    return frozenset(
        name for one in members for name, rules in one.items() if isinstance(rules, dict) and rules.get("writeOnly")
    )


def _rows(document: Document, at: Place, secrets: frozenset[str]) -> Iterator[ConfigurationRow]:
    value: Any = document.value
    for part in at:
        value = value.get(part, {}) if isinstance(value, dict) else value[part]
    if is_secret(value) or not isinstance(value, dict | list):
        position = document.values[at]
        shown = _masked(value) if is_secret(value) else MASK if secrets.intersection(map(str, at)) else str(value)
        name = ".".join(map(str, at))
        yield ConfigurationRow(name=name, value=shown, file=document.file, line=position.line)
        return
    for part in value if isinstance(value, dict) else range(len(value)):
        yield from _rows(document, (*at, part), secrets)


def _masked(secret: dict[str, str]) -> str:
    source, name = next(iter(secret.items()))
    return f"{MASK} (from {source} {name})"
