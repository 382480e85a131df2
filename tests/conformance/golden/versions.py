"""The committed messages of each version of the wire: what they are, what is read from them, and how to add one.

``python -m tests.conformance.golden.versions v2`` writes the messages that the code builds now as a new version, and
refuses to touch one that is there: hosts and buses in the field speak it. ``… page`` writes docs/wire.md.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

from bus.message.envelope import Message, MessageType, decode
from bus.message.replies import REPLY_TYPES, reply_from_message
from bus.receiver.announcement import read_admitted, read_alive, read_started
from bus.receiver.ask import asked
from tests.conformance.golden import messages
from tests.conformance.golden.page import page

FOLDER = Path(__file__).parent
PAGE = FOLDER.parents[2] / "docs" / "wire.md"
#: What was read from the messages of a version when it was written.
READINGS = "readings.json"
_ASKS = {MessageType.TASK_REQUESTED, MessageType.TASK_QUERIED, MessageType.TASK_WITHDRAWN}
_READERS: dict[str, Any] = {
    MessageType.HOST_STARTED: read_started,
    MessageType.HOST_ADMITTED: read_admitted,
    MessageType.HOST_ALIVE: read_alive,
    **dict.fromkeys(REPLY_TYPES, reply_from_message),
}


def versions() -> list[str]:
    """The committed versions, oldest first."""
    return sorted((path.name for path in FOLDER.glob("v[0-9]*")), key=lambda name: int(name[1:]))


def bodies(version: str) -> dict[str, bytes]:
    """The exact bytes of each message of a version, by its name; the file has a line end more."""
    files = sorted(path for path in (FOLDER / version).glob("*.json") if path.name != READINGS)
    return {path.stem: path.read_bytes().removesuffix(b"\n") for path in files}


def reading(body: bytes) -> dict[str, Any]:
    """Everything that today's code reads from a message, as plain JSON; what is absent is left out."""
    message = decode(body)
    values = {"envelope": dataclasses.asdict(message.envelope), "data": message.data, "meaning": _meaning(message)}
    return _plain(values)  # type: ignore[no-any-return]


def _meaning(message: Message) -> Any:
    kind = message.envelope.type
    if kind in _ASKS:
        return dataclasses.asdict(asked(message, message.envelope.provider or ""))
    reader = _READERS.get(kind)
    return None if reader is None else dataclasses.asdict(reader(message))


def _plain(value: Any) -> Any:
    match value:
        case dict():
            return {str(name): _plain(member) for name, member in value.items() if member is not None}
        case list() | tuple():
            return [_plain(member) for member in value]
        case bytes():
            return value.hex()
    return value


def write(version: str) -> None:
    """Write what the code builds now as a new version; a FileExistsError if there is one of that name."""
    folder = FOLDER / version
    folder.mkdir()
    built = messages.messages()
    for name, message in built.items():
        (folder / f"{name}.json").write_bytes(message.body + b"\n")
    read = {name: reading(message.body) for name, message in sorted(built.items())}
    text = json.dumps(read, ensure_ascii=False, indent=2, sort_keys=True)
    (folder / READINGS).write_text(f"{text}\n", encoding="utf-8")


def write_closure() -> None:
    """Write the closure of today's form beside those of earlier ones; a FileExistsError if there is one."""
    built = messages.closure()
    form = json.loads(built)["form"]
    with (FOLDER / "closures" / f"form-{form}.json").open("xb") as file:
        file.write(built + b"\n")


def main(arguments: list[str]) -> int:
    """Write what is named; 1 and the reason if it cannot be."""
    for name in arguments:
        try:
            if name == "page":
                PAGE.write_text(page(bodies(versions()[-1]), versions()[-1]), encoding="utf-8")
            elif name == "closure":
                write_closure()
            elif name[:1] == "v" and name[1:].isdigit():
                write(name)
            else:
                sys.stderr.write(f"{name} is neither a version (v2) nor page nor closure.\n")
                return 1
        except FileExistsError as error:
            sys.stderr.write(f"{error.filename} is there, and what was once sent is never changed: take the next.\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
