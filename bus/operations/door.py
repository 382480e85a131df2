"""The one way in, shared by the API and the pages: who somebody is, and one operation done for him."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias

from starlette.routing import BaseRoute

from bus.operations.caller import Caller
from bus.operations.context import Context
from bus.operations.operation import Operation


class Door(Protocol):
    """What the gateway opens to the pages that it serves beside ``/v1``."""

    @property
    def context(self) -> Context:
        """What operations work with."""

    async def caller(self, token_hash: str) -> Caller:
        """Whose token has this hash; UnauthenticatedError if nobody's."""

    async def perform(self, operation: Operation[Any, Any], caller: Caller, given: Any) -> Any:
        """The output of the operation, as the API would give it; raises the operation's own BusError.

        Whether the caller's role may do it is checked here; ``given`` is an instance of ``operation.input``.
        """


#: Makes the routes of the pages that the gateway serves beside the API.
Pages: TypeAlias = Callable[[Door], Sequence[BaseRoute]]
