"""Who is at the door: bearer tokens, looked up off the event loop and remembered for a moment."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial

from fastapi import Request

from bus.errors import ForbiddenError, UnauthenticatedError
from bus.gateway.threads import Threads
from bus.operations.caller import Caller, Role, caller_of, token_hash
from bus.operations.context import Context

#: Seconds for which a token once seen is not looked up again: one taken back is good for so long.
_REMEMBERED = 5.0
_MOST_REMEMBERED = 10_000
_NOBODY = Caller(user="nobody", role=Role.CONSUMER)


class Doorman:
    """Tells callers by their tokens."""

    def __init__(self, context: Context, threads: Threads) -> None:
        self._context = context
        self._threads = threads
        self._seen: dict[str, tuple[Caller, float]] = {}

    async def admit(self, request: Request, *, public: bool) -> Caller:
        """The caller; UnauthenticatedError without a valid token, unless everybody may come in."""
        if public:
            return _NOBODY
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise UnauthenticatedError(
                "There is no bearer token.", code="token-missing", mend="Send the header Authorization: Bearer TOKEN."
            )
        caller = await self.caller(token_hash(token.strip()))
        return self._for_agency(caller, request.headers.get("bus-agency"))

    async def caller(self, hash_: str) -> Caller:
        """The holder of the token with this hash; UnauthenticatedError if nobody has it."""
        known = self._seen.get(hash_)
        now = time.monotonic()
        if known is not None and known[1] > now:
            return known[0]
        caller = await self._threads.do(partial(caller_of, self._context.store, hash_))
        if len(self._seen) >= _MOST_REMEMBERED:
            self._seen.clear()
        self._seen[hash_] = (caller, now + _REMEMBERED)
        return caller

    def _for_agency(self, caller: Caller, agency: str | None) -> Caller:
        if agency is None or agency == caller.agency:
            return caller
        if caller.role is not Role.ADMIN:
            raise ForbiddenError(
                "Your token is not for that agency.", code="agency-not-yours", mend="Leave out the header Bus-Agency."
            )
        if agency not in self._context.workspace.agencies:
            raise ForbiddenError(
                "There is no such agency in this workspace.",
                code="agency-needed",
                mend=f"Name one of: {', '.join(sorted(self._context.workspace.agencies))}.",
            )
        return replace(caller, agency=agency)
