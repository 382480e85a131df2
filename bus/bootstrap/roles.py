"""Which roles a process takes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bus.bootstrap.host import hosted
from bus.catalog import Workspace
from bus.errors import ConfigurationError, Fault

#: The roles of the bus's own side; beside them stands ``agency:<name>`` for each agency's host.
BUS_ROLES: Final = ("gateway", "process-manager", "relay", "timekeeper")
_AGENCY: Final = "agency:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Roles:
    """What one process does."""

    #: Among `BUS_ROLES`.
    bus: frozenset[str]
    #: Agencies whose hosts it runs.
    agencies: tuple[str, ...]

    @property
    def are_all(self) -> bool:
        """Whether the whole bus runs in this process."""
        return self.bus == frozenset(BUS_ROLES)


def roles_of(written: Sequence[str], workspace: Workspace) -> Roles:
    """The roles as they are written; none means all. A ConfigurationError names each that is none."""
    env, served = workspace.env, hosted(workspace)
    if not written:
        return Roles(bus=frozenset(BUS_ROLES), agencies=served)
    faults = [_unknown(role, served) for role in written if not _is_role(role, served)]
    bus = frozenset(role for role in written if role in BUS_ROLES)
    if env.broker is None:
        mend = "Name one under broker: there, or leave --role out and run everything in one process."
        faults.append(_missing("broker", mend, env.name))
    if bus and env.store is None:
        mend = "Name one under store: there; a store in a file belongs to the one process that runs the whole bus."
        faults.append(_missing("store", mend, env.name))
    if faults:
        raise ConfigurationError(tuple(faults))
    agencies = [role.removeprefix(_AGENCY) for role in written if role.startswith(_AGENCY)]
    return Roles(bus=bus, agencies=tuple(dict.fromkeys(agencies)))


def _is_role(role: str, served: Sequence[str]) -> bool:
    return role in BUS_ROLES or (role.startswith(_AGENCY) and role.removeprefix(_AGENCY) in served)


def _unknown(role: str, served: Sequence[str]) -> Fault:
    known = [*BUS_ROLES, *(f"{_AGENCY}{name}" for name in served)]
    return Fault(code="unknown-role", message=f"There is no role {role}.", mend=f"The roles: {', '.join(known)}.")


def _missing(what: str, mend: str, env: str) -> Fault:
    message = f"Roles in processes of their own share a {what}, and the environment names none."
    return Fault(code=f"{what}-missing", message=message, mend=mend, file=f"env/{env}.yaml")
