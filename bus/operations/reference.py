"""The page that documents every operation, made from the registry."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bus.operations.operation import Operation
from bus.operations.registry import OPERATIONS


def page(operations: Iterable[Operation[Any, Any]] = OPERATIONS) -> str:
    """Markdown: one line for each operation, with its command, route, roles and meaning in both languages."""
    lines = [
        "| command | route | roles | meaning | المعنى |",
        "|---|---|---|---|---|",
        *(_line(operation) for operation in operations),
    ]
    return "\n".join(lines) + "\n"


def _line(operation: Operation[Any, Any]) -> str:
    command = " ".join(part for part in ("bus", operation.noun, operation.verb) if part)
    roles = ", ".join(sorted(operation.roles | {"admin"})) if operation.roles else "everybody"
    route = f"{operation.method} /v1{operation.path}"
    return f"| `{command}` | `{route}` | {roles} | {operation.summary.en} | {operation.summary.ar} |"
