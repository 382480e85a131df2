"""Every exception of the bus, grouped by what its reader can do about it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that is wrong in a file or a message: what, where, and the mend."""

    #: Stable, machine-readable name: ``unknown-step``.
    code: str
    #: What happened, one English sentence.
    message: str
    #: How to mend it, one English sentence.
    mend: str = ""
    file: str = ""
    #: One-based; 0 where it is not known.
    line: int = 0
    column: int = 0
    #: RFC 6901 JSON pointer into the document, "" for the whole.
    pointer: str = ""

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part)
        where = " ".join(part for part in (place, self.pointer) if part)
        return f"{where + ': ' if where else ''}{self.message}{' ' + self.mend if self.mend else ''} [{self.code}]"


class BusError(Exception):
    """The root of the tree. ``code`` is stable; the text is for people and carries no personal data."""

    code = "error"

    def __init__(self, message: str = "", *, code: str = "", mend: str = "") -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())
        self.code = code or type(self).code
        self.mend = mend


class ConfigurationError(BusError):
    """The workspace or the settings are wrong; nothing was started. Mend the files named by ``faults``."""

    code = "configuration"

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = faults


class InvalidMessageError(BusError):
    """A message cannot be understood; its sender must mend it. The raw bytes are kept in ``raw``."""

    code = "invalid-message"

    def __init__(self, faults: tuple[Fault, ...], *, raw: bytes = b"") -> None:
        super().__init__("\n".join(str(fault) for fault in faults), code=faults[0].code)
        self.faults = faults
        self.raw = raw


class TransientError(BusError):
    """It did not work now; the same thing may be tried again later."""

    code = "transient"


class BrokerUnavailableError(TransientError):
    """The broker cannot be reached or did not confirm in time."""

    code = "broker-unavailable"


class BrokerBusyError(BrokerUnavailableError):
    """The connection is well; the broker takes nothing at present, or too much is not confirmed yet."""

    code = "broker-busy"


class StoreUnavailableError(TransientError):
    """The store cannot be reached, is locked, or its disk is full."""

    code = "store-unavailable"


class AgencyUnavailableError(TransientError):
    """The legacy system of an agency cannot be reached; no byte of the call was sent."""

    code = "agency-unavailable"


class StaleVersionError(TransientError):
    """Somebody else changed a row of this batch; the whole batch is decided again."""

    code = "stale-version"


class PermanentError(BusError):
    """Trying the same thing again cannot help."""

    code = "permanent"


class NotFoundError(PermanentError):
    """There is no such thing, or the asker may not see it."""

    code = "not-found"


class ForbiddenError(PermanentError):
    """The asker is known and may not do this."""

    code = "forbidden"


class UnauthenticatedError(PermanentError):
    """The asker is not known."""

    code = "unauthenticated"


class ConflictError(BusError):
    """Somebody was first, or the thing is not in a state that allows this; look again and decide anew."""

    code = "conflict"
