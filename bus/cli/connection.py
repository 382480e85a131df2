"""Where the gateway is, and with which token to ask it."""

from __future__ import annotations

import os
from pathlib import Path

from bus.client import Client
from bus.errors import ConfigurationError, Fault

_MEND = (
    "Start the bus here with `bus serve`, or set BUS_URL and BUS_TOKEN. "
    "شغّل الناقل بالأمر bus serve أو عيّن المتغيرين BUS_URL وBUS_TOKEN."
)


def connect(data: Path | None, agency: str | None, *, public: bool = False) -> Client:
    """A client from BUS_URL and BUS_TOKEN, or from what ``bus serve`` left in its folder; ConfigurationError if none.

    ``agency`` (or BUS_AGENCY) is whom an administrator acts for. A ``public`` operation needs no token.
    """
    folder = data or Path(os.environ.get("BUS_DATA", ".bus"))
    url, token = _value("BUS_URL", folder / "url"), _value("BUS_TOKEN", folder / "token")
    faults = [
        Fault(code=code, message=f"Neither {variable} nor {folder / name} says {what}.", mend=_MEND)
        for value, code, variable, name, what in (
            (url, "url-missing", "BUS_URL", "url", "where the gateway is"),
            (token or public, "token-missing", "BUS_TOKEN", "token", "with which token to ask it"),
        )
        if not value
    ]
    if faults:
        raise ConfigurationError(tuple(faults))
    return Client(url, token, agency=agency or os.environ.get("BUS_AGENCY"))


def _value(variable: str, file: Path) -> str:
    if variable in os.environ:
        return os.environ[variable].strip()
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
