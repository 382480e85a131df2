"""Whether the journals of an environment keep what was done for as long as a request of the routes may live."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from inspect import signature
from typing import Any

from bus import config
from bus.catalog.document import Document
from bus.config import Milliseconds, Settings, duration, shown, to_duration
from bus.errors import Fault
from bus.process.definition import Definition

_REQUEST: Milliseconds = signature(Definition).parameters["deadline"].default
_KEEP = "keep_journal"


def lifetime_faults(routes: Document, document: Document) -> Iterator[Fault]:
    """Each service that may still send a task after the hosts have forgotten that it was done.

    How long a person takes over a step that was parked is in no file: `docs/operating.md` tells to allow for it.
    """
    said = document.value.get("intervals", {}).get(_KEEP, shown(_KEEP, Settings().keep_journal))
    try:
        kept = config.setting(_KEEP, said)
    except ValueError:
        return  # told as a fault of its own
    for service, content in routes.value.get("services", {}).items():
        longest = max(_deadlines(content))
        if longest >= kept:
            message = f"{service} may take {to_duration(longest)}, and a journal forgets after {said}."
            mend = f"Set {_KEEP} well above {to_duration(longest)}, or lower the deadline in the routes."
            yield document.fault(("intervals", _KEEP), "journal-too-short", message, mend)


def _deadlines(service: Mapping[str, Any]) -> Iterator[Milliseconds]:
    """The request's, and those of its own steps and of what undoes them, which may be longer."""
    yield _read(service.get("deadline"), _REQUEST)
    for step in service.get("steps", {}).values():
        yield _read(step.get("deadline"))
        yield _read(step.get("compensate", {}).get("deadline"))


def _read(written: str | None, otherwise: Milliseconds = 0) -> Milliseconds:
    """The shape of the routes was judged before; what is faulty in it was taken out."""
    return otherwise if written is None else duration(written)
