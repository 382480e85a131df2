"""What an operation works with."""

from __future__ import annotations

from dataclasses import dataclass, field

from bus.catalog import Service, Workspace
from bus.config import Settings
from bus.errors import NotFoundError
from bus.message.contract import Contracts
from bus.message.key import Keys
from bus.message.text import Text
from bus.operations.admission import Admission
from bus.ports import Decider, Store
from bus.process.closure import from_closure
from bus.process.definition import Definition


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The store, the one that decides, and the workspace: handed to every operation by the gateway."""

    store: Store
    decider: Decider
    workspace: Workspace
    keys: Keys
    #: The secret of the installation (32 bytes).
    secret: bytes
    settings: Settings
    admission: Admission
    _pinned: dict[str, tuple[Definition, Contracts]] = field(default_factory=dict)

    def service(self, name: str) -> Service:
        """The service as new requests get it; NotFoundError."""
        service = self.workspace.services.get(name)
        if service is None:
            raise NotFoundError(
                "There is no service of this name.",
                code="service-unknown",
                mend="List the services with GET /v1/services (`bus service list`).",
            )
        return service

    def pinned(self, revision: str) -> tuple[Definition, Contracts]:
        """The service as a request was pinned to it. A closure never changes, so each is read once."""
        known = self._pinned.get(revision)
        if known is None:
            closure = self.store.definition(revision)
            if closure is None:
                raise NotFoundError(
                    f"The store has no definition {revision[:12]}.",
                    code="definition-unknown",
                    mend="Run `bus store recount`: the store may be damaged.",
                )
            known = self._pinned[revision] = from_closure(closure)
        return known

    def agency_name(self, agency: str) -> Text:
        """The name of an agency or a group in both languages; its id where the workspace does not know it any more."""
        known = self.workspace.agencies.get(agency) or self.workspace.groups.get(agency)
        return known.name if known else Text(en=agency, ar=agency)
