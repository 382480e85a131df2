"""How a command ends: the exit code, and what is told on stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import click

from bus.errors import (
    BusError,
    ConfigurationError,
    InvalidMessageError,
    TransientError,
    UnauthenticatedError,
)

DONE = 0
#: The question was understood, and the answer is no.
NO = 1
#: The input or the configuration is wrong: the same again cannot work.
BAD_INPUT = 2
#: Not reachable; try again.
TRY_AGAIN = 3

_OF_FAULT = ("code", "pointer", "file", "line", "column", "message", "mend")
_BAD_INPUT = (ConfigurationError, InvalidMessageError, UnauthenticatedError)


def told(run: Callable[[], Any]) -> int:
    """Run it; tell on stderr what went wrong, with the mend; the exit code."""
    try:
        result = run()
    except click.ClickException as error:
        error.show()
        return BAD_INPUT
    except click.Abort:
        click.echo("Stopped.", err=True)
        return NO
    except BusError as error:
        _tell(error)
        return exit_code(error)
    sys.stdout.flush()
    return result if isinstance(result, int) else DONE


def exit_code(error: BusError) -> int:
    """The exit code of an error, by what its reader can do about it."""
    if isinstance(error, TransientError):
        return TRY_AGAIN
    return BAD_INPUT if isinstance(error, _BAD_INPUT) else NO


def as_problem(error: BusError) -> dict[str, Any]:
    """The error for programs: the members of a problem (RFC 9457) that are known here, all faults, the exit code."""
    faults = error.faults if isinstance(error, ConfigurationError | InvalidMessageError) else ()
    detail = str(error) if len(faults) < 2 else f"{len(faults)} faults, see faults."
    return {
        "type": f"urn:bus:problem:{error.code}",
        "code": error.code,
        "detail": faults[0].message if len(faults) == 1 else detail,
        "mend": error.mend,
        "exit_code": exit_code(error),
        "faults": [{name: getattr(fault, name) for name in _OF_FAULT if getattr(fault, name)} for fault in faults],
    }


def _tell(error: BusError) -> None:
    if isinstance(error, ConfigurationError | InvalidMessageError):
        for fault in error.faults:
            click.echo(f"bus: {fault}", err=True)
    else:
        click.echo(f"bus: {error} [{error.code}]", err=True)
    for line in error.mend.splitlines():
        click.echo(f"  {line}", err=True)
