"""The page that documents every operation, made from the registry: ``python -m bus.operations.reference``."""

from __future__ import annotations

import sys
from typing import Any

from bus.operations.operation import Operation
from bus.operations.registry import OPERATIONS

_HEAD = """<!-- Written by `python -m bus.operations.reference > docs/operations.md`: change bus/operations/. -->
# Operations

The HTTP API and the command line are the same operations. `/v1/openapi.json` of a running gateway has every value.

- A caller is known by a bearer token: `bus user add` makes one, `bus user remove` takes those of a user back. A gateway
  remembers a token that it has seen for five seconds, so that one taken back is good for so long.
- An administrator does everything, and names the agency that he acts for in `Bus-Agency` (`--as`); each fact says so.
- Errors are RFC 9457 problems in English and Arabic, with a stable `code` and the mend.
- Who paused, resumed or retired what of an agency, and who gave or took tokens, is kept in the list of acts
  (`bus audit acts`): such an act belongs to no request, so no fact can name him.
- An auditor (`bus user add NAME --role auditor`) sees who was told which fields of which request, when, for which
  purpose and on which legal basis (`bus audit list`): names of fields and never their values, and no request itself.
- A clerk reads the data of a task once he has claimed it. Claims are kept with clerk and time, and those who run the
  bus see them in `request show`.

"""


def page() -> str:
    """Markdown: one line for each operation, with its command, route, roles and meaning in both languages."""
    lines = [
        "| command | route | roles | meaning | المعنى |",
        "|---|---|---|---|---|",
        *(_line(operation) for operation in OPERATIONS),
    ]
    return _HEAD + "\n".join(lines) + "\n"


def _line(operation: Operation[Any, Any]) -> str:
    command = " ".join(part for part in ("bus", operation.noun, operation.verb) if part)
    roles = ", ".join(sorted(operation.roles | {"admin"})) if operation.roles else "everybody"
    route = f"{operation.method} /v1{operation.path}"
    return f"| `{command}` | `{route}` | {roles} | {operation.summary.en} | {operation.summary.ar} |"


if __name__ == "__main__":
    sys.stdout.write(page())
