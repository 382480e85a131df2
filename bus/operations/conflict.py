"""When a command comes too late: who was first, when, and how the thing stands now."""

from __future__ import annotations

from bus.errors import BusError, ConflictError, NotFoundError
from bus.message.instant import Instant, to_rfc3339
from bus.operations.caller import Caller, Role
from bus.ports import Decided, Fate
from bus.process.state import Request


class MovedError(ConflictError):
    """The thing has moved; ``state``, ``changed_by`` and ``changed_at`` say how it stands and who moved it."""

    code = "step-state"

    def __init__(
        self, *, code: str, state: str, changed_by: str | None = None, changed_at: Instant | None = None
    ) -> None:
        who = f" by {changed_by}" if changed_by else ""
        when = f" at {to_rfc3339(changed_at)}" if changed_at is not None else ""
        moved = f"; last moved{who}{when}" if who or when else ""
        super().__init__(f"It is {state} now{moved}.", code=code, mend="Look at it again and decide anew.")
        self.state = state
        self.changed_by = changed_by
        self.changed_at = changed_at


def applied(decided: Decided, caller: Caller) -> Request:
    """The request after the command; a MovedError or a NotFoundError if the command was not applied."""
    if decided.fate is Fate.CONFLICT:
        conflict = decided.conflict
        if conflict is None:
            raise MovedError(code="step-state", state=decided.request.state if decided.request else "something else")
        by = conflict.changed_by if _may_know(caller, conflict.changed_by) else None
        raise MovedError(code=conflict.code, state=conflict.state, changed_by=by, changed_at=conflict.changed_at)
    if decided.fate is Fate.BROKEN:
        raise BusError("The command could not be decided; it is kept as a failure.", code="undecidable")
    if decided.request is None:
        raise request_unknown()
    return decided.request


def request_unknown() -> NotFoundError:
    """There is no such request, or it is another consumer's: the asker cannot tell which."""
    return NotFoundError(
        "There is no such request among those that you may see.",
        code="request-unknown",
        mend="Compare the id or the tracking code with the receipt.",
    )


def _may_know(caller: Caller, actor: str | None) -> bool:
    """A consumer does not learn the names of other agencies' officials."""
    return caller.role is not Role.CONSUMER or (actor or "").startswith(f"{caller.agency}/")
