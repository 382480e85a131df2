"""Secrets: written as where they are, revealed at the last moment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from bus.catalog.document import Document, Place
from bus.catalog.workspace import Secret
from bus.errors import ConfigurationError, Fault
from bus.message.reply import Data

_SOURCES = ("file", "env")


def reveal(settings: Data, root: Path, environ: Mapping[str, str]) -> dict[str, Any]:
    """The settings with every `Secret` replaced by its value; a ConfigurationError names all that cannot be read.

    A file is relative to ``root``, the workspace; one line end at its end does not count. Keep the result out of logs.
    """
    faults: list[Fault] = []
    revealed = {name: _revealed(value, root, environ, faults) for name, value in settings.items()}
    if faults:
        raise ConfigurationError(tuple(faults))
    return revealed


def _revealed(value: Any, root: Path, environ: Mapping[str, str], faults: list[Fault]) -> Any:
    if isinstance(value, Mapping):
        return {name: _revealed(member, root, environ, faults) for name, member in value.items()}
    if isinstance(value, list):
        return [_revealed(item, root, environ, faults) for item in value]
    if not isinstance(value, Secret):
        return value
    try:
        if value.source == "env":
            return environ[value.name]
        return (root / value.name).read_text(encoding="utf-8").removesuffix("\n")
    except KeyError:
        message, mend = f"The environment variable {value.name} is not set.", "Set it for this process."
    except (OSError, UnicodeDecodeError) as error:
        message, mend = f"The secret in {value.name} cannot be read: {type(error).__name__}.", "Put it there."
    faults.append(Fault(code="secret-missing", message=message, mend=mend, file=value.asked_in, line=value.line))
    return ""


@contextmanager
def placed(value: Any, code: str, file: str) -> Iterator[None]:
    """Within it, a fault of that code names where the value stands; never the value.

    ``value`` is as the settings have it: a `Secret`, or what is written in ``file`` itself.
    """
    try:
        yield
    except ConfigurationError as error:
        faults = tuple(at_its_place(fault, value, file) if fault.code == code else fault for fault in error.faults)
        raise ConfigurationError(faults) from None


def at_its_place(fault: Fault, value: Any, file: str) -> Fault:
    """The fault with the place of the value, and with the file or the variable that a secret is read from."""
    if not isinstance(value, Secret):
        return replace(fault, file=file)
    source = "the file" if value.source == "file" else "the environment variable"
    message = f"{fault.message} It is read from {source} {value.name}."
    return replace(fault, message=message, file=value.asked_in, line=value.line)


def is_secret(value: Any) -> bool:
    """Whether a written value is ``{file: ...}`` or ``{env: ...}``."""
    return (
        isinstance(value, dict)
        and len(value) == 1
        and next(iter(value)) in _SOURCES
        and isinstance(next(iter(value.values())), str)
    )


def with_secrets(document: Document, at: Place, value: Any) -> Any:
    """The written value with every ``{file: ...}`` and ``{env: ...}`` as a `Secret` that knows its place."""
    if is_secret(value):
        source, name = next(iter(value.items()))
        return Secret(source=source, name=name, asked_in=document.file, line=document.values[at].line)
    if isinstance(value, dict):
        return {name: with_secrets(document, (*at, name), member) for name, member in value.items()}
    if isinstance(value, list):
        return [with_secrets(document, (*at, index), item) for index, item in enumerate(value)]
    return value
